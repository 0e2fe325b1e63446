"""The baselines that mask HR, in the paper's three columns (paper §5.2; Tables 1 and 2).

Pt applies a rule to the classifier that PatchDrop's own Pt has; Ft-1 and Ft-2 fine-tune the HR classifier under the
rule, without and with the frozen LR stream, from where PatchDrop's begin, for as long and by the same recipe. A rule
buys as many patches as PatchDrop did in the same column, spread evenly over scenes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from geozoom.model import PatchDrop
from training.baselines.reading import seeded
from training.baselines.rules import RULES, Rule
from training.baselines.stn import SALIENT, StnStage
from training.datasets import Batch, Split
from training.engine import Engine
from training.evaluate import Row, Streams, ViewedSplit, answers, correct, row, spread_evenly
from training.optimizing import build_optimizer
from training.parallel import rand
from training.recalibrate import forget, is_settled, keep, load_as_shipped, recalibrate_if_better
from training.results import POLICIES
from training.stages.bench import Bench, hit_rate
from training.stages.policy import answer_together

Column = Literal["pt", "ft1", "ft2"]
MASKED = (*RULES, "stn")
"""The masked baselines, by name."""


class MaskedFineTuning:
    """The HR classifier learns from the patches that a rule buys; the LR stream is frozen."""

    def __init__(self, bench: Bench, name: Literal["ft1", "ft2"], rule: Rule, sampled: float) -> None:
        recipe = bench.recipe.ft1 if name == "ft1" else bench.recipe.ft2
        self.bench = bench
        self.name = name
        self.rule = rule
        self.sampled = sampled
        self.recipe = recipe
        self.epochs, self.batch_size, self.schedule = recipe.epochs, recipe.batch_size, recipe.schedule
        self.optimizer = build_optimizer(
            "adam",
            [{"params": list(bench.model.hr.parameters()), "lr": recipe.classifier_learning_rate}],
            0.0,
        )

    def train_mode(self) -> None:
        """The HR stream learns alone."""
        self.bench.only_training(self.bench.model.hr)
        self.frozen = self.bench.folded()

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify HR views masked by the rule."""
        model, recipe = self.bench.model, self.recipe
        hr, lr = self.bench.views(batch, generator, recipe.min_area)
        with torch.no_grad():
            known = self.frozen.lr_logits(lr)
            # As many as S on the mean: a part of the scenes gets one more.
            counts = (self.sampled + rand((len(lr),), lr.device, generator)).floor()
            masks = self.rule.choose(self.frozen, lr, known, counts, generator)
        logits = model.hr_reader(hr)(masks)
        scores = answer_together(model, recipe, logits, None if self.name == "ft1" else known, masks)
        loss = self.bench.taught(F.nll_loss(scores, batch.labels), scores, hr, recipe.distill)
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss, "accuracy": hit_rate(scores, batch.labels), "sampled": masks.sum(dim=1).mean()}

    def validate(self) -> dict[str, float]:
        """Accuracy under the rule, and S."""
        model, val = self.bench.model, self.bench.val
        known = answers(model, val, "lr")
        masks = masks_of(self.rule, model, val, known, self.sampled, seed=0)
        right = correct(model, val, POLICIES[self.name][1], masks, known)
        return {"val_accuracy": right.float().mean().item(), "val_sampled": masks.sum(dim=1).mean().item()}


def masks_of(
    rule: Rule, model: PatchDrop, views: ViewedSplit, known: Tensor, sampled: float, seed: int
) -> Tensor:
    """Return what a rule buys (N, P) of a split: `sampled` patches of a scene on the mean, spread evenly.

    Args:
        rule: The rule.
        model: What it asks.
        views: The scenes.
        known: (N, classes) logits of the LR stream.
        sampled: S.
        seed: Of which scenes get one patch more, and of the rule's own draws.
    """
    device = views.lr.device
    total = round(sampled * len(views))
    counts = spread_evenly(total, len(views), model.grid.patches, np.random.default_rng(seed)).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    return rule.choose(model, views.lr, known, counts, generator)


@dataclass(frozen=True, kw_only=True)
class MaskedBaseline:
    """A masked baseline of one run: what trains it and what it is measured on."""

    name: str
    """One of `MASKED`."""
    source: Engine
    """The run that PatchDrop was trained in: its checkpoints are where the baseline begins."""
    engine: Engine
    """Its own folder."""
    bench: Bench
    """The model, which takes other weights, the recipe and the validation split."""
    split: Split
    """Training scenes."""
    test: ViewedSplit
    """What it is measured on."""

    def rows(self, sampled: Mapping[Column, float]) -> Iterator[tuple[Column, Row]]:
        """Train what is missing and yield each column's row at the S given for it.

        Args:
            sampled: S of PatchDrop in each column that is wanted.

        Raises:
            RunError: The run has not trained its classifiers, or as `Engine.fit`.
        """
        model = self.bench.model
        start = "robust" if self.source.is_done("robust") else "lr"
        self.source.load(model, start)
        known = answers(model, self.test, "lr")
        rule = self._rule(start, sampled)
        salient = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
        before: tuple[Engine, str] = (self.source, start)
        columns: tuple[Column, ...] = ("pt", "ft1", "ft2")
        for column in columns:
            if column not in sampled:
                continue
            engine, stage = before
            engine.load(model, stage)
            model.policy.load_state_dict(salient)
            if column != "pt":
                if not self.engine.is_done(column):
                    forget(self.engine, column)
                    self.engine.fit(
                        MaskedFineTuning(self.bench, column, rule, sampled[column]), model, self.split
                    )
                before = (self.engine, column)
                self._settle(rule, column, sampled[column])
            streams = POLICIES[column][1]
            masks = masks_of(rule, model, self.test, known, sampled[column], self.engine.seed)
            yield column, row(self.name, correct(model, self.test, streams, masks, known), masks)

    def _rule(self, start: str, sampled: Mapping[Column, float]) -> Rule:
        """Return the rule; the saliency network is trained first and left in the model's policy."""
        if self.name != "stn":
            return RULES[self.name]
        model = self.bench.model
        if not self.engine.is_done("stn"):
            with seeded(self.engine, "stn"):
                fresh = PatchDrop(model.card).policy.state_dict()
            model.policy.load_state_dict(fresh)
            self.bench.begin_policy()
            self.engine.fit(StnStage(self.bench, next(iter(sampled.values()))), model, self.split)
        self.engine.load(model, "stn")
        return SALIENT

    def _settle(self, rule: Rule, column: Literal["ft1", "ft2"], sampled: float) -> None:
        """Ship the classifier as PatchDrop's is: in half precision, batch norm recalibrated where that is better."""
        model, bench, seed = self.bench.model, self.bench, self.engine.seed
        load_as_shipped(self.engine, model, column)
        if is_settled(self.engine, column):
            return
        streams: Streams = POLICIES[column][1]
        known = answers(model, bench.val, "lr")
        masks = masks_of(rule, model, bench.val, known, sampled, seed)
        noise = torch.Generator(model.mean.device).manual_seed(seed)

        def choose(lr: Tensor) -> Tensor:
            counts = (sampled + rand((len(lr),), lr.device, noise)).floor()
            return rule.choose(model, lr, model.lr_logits(lr), counts, noise)

        done = recalibrate_if_better(
            model,
            self.split,
            bench.recipe,
            seed,
            choose,
            lambda: correct(model, bench.val, streams, masks, known).float().mean().item(),
        )
        keep(self.engine, model, column, better=done.better)

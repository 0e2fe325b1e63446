"""Table 3 of the paper: a BagNet that computes what was bought, beside the whole BagNet, the CNN and other rules."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from geozoom.inference import for_inference
from geozoom.model import PatchDrop
from training import STAGES
from training.comparing.rules import Rule
from training.comparing.stn import SaliencySampler, SaliencyStage, Salient
from training.datasets import Batch, Reading, read_dataset
from training.engine import Engine, build_optimizer
from training.evaluate import EVALUATION_BATCH, ViewedSplit, correct, policy_probabilities, view_split
from training.record import RunRequest, card_of, new_record
from training.run import pick_device, train
from training.stages import Bench
from training.stages.bench import hit_rate
from training.timing import median_ratio, time_in_turns

BAGNET, CNN, PATCHDROP = "BagNet, all patches", "CNN", "PatchDrop"
TIMED, AT_ONCE = 1024, 256
"""Test images that time is taken on, and how many of them are classified at once."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How well a classifier does, with how much."""

    accuracy: float
    """In percent."""
    sampled: float
    """S, the mean number of patches that it saw."""


Way = Callable[[], object]
"""Classifies all timed images."""
_Found = tuple[Measured, Measured, Way]


@dataclass(frozen=True, kw_only=True)
class BagNetRow:
    """One row of the table."""

    name: str
    pt: Measured
    """The classifier that learned from all patches."""
    ft1: Measured
    """The same after fine-tuning on the row's own masks, where there are any."""
    ms: float
    """Milliseconds per image with the masks of Ft-1, what chooses them included; the median over rounds."""
    of_bagnet: float
    """Its share of the time that all patches take, the median over rounds."""


def compare_bagnets(
    bagnet: RunRequest, cnn: RunRequest, rules: Mapping[str, Rule], console: Console, rounds: int = 15
) -> list[BagNetRow]:
    """Train what is missing, and measure every row of the table side by side.

    Args:
        bagnet: The BagNet's run: stages `hr`, `pt` and `ft1`, with those that they need.
        cnn: The CNN's run, of which `hr` alone is trained.
        rules: The baselines that choose patches, by name; they get the S of PatchDrop.
        console: Progress.
        rounds: In how many the time is taken.

    Raises:
        RunError: A folder holds another run, or training diverged.
        DatasetError: The dataset is not as expected.
    """
    _train(bagnet, STAGES[: STAGES.index("ft1") + 1], console)
    _train(cnn, STAGES[:1], console)
    return _Comparison(bagnet, cnn, console).rows(rules, rounds)


def _train(request: RunRequest, stages: Sequence[str], console: Console) -> None:
    """Train the stages of a run that are missing, and go on with one that is not finished."""
    engine = _engine(request, console)
    for stage in stages:
        # The last in any case: it sees whether the folder holds this run.
        if stage == stages[-1] or not engine.is_done(stage):
            begun = (request.out / "config.json").is_file()
            train(replace(request, stage=stage, resume=begun), console)


def _engine(request: RunRequest, console: Console) -> Engine:
    device = pick_device(request.device)
    return Engine(
        folder=request.out,
        device=device,
        precision=request.recipe.precision,
        seed=request.seed,
        console=console,
    )


class RuleTuning:
    """Ft-1 of a baseline: the BagNet learns by cross-entropy on the patches that a rule buys; nothing else learns."""

    def __init__(self, bench: Bench, name: str, rule: Rule, sampled: int) -> None:
        recipe = bench.recipe.ft1
        self.bench, self.name, self.rule, self.sampled = bench, name, rule, sampled
        self.recipe = recipe
        self.epochs, self.batch_size, self.schedule = recipe.epochs, recipe.batch_size, recipe.schedule
        weights = {"params": list(bench.model.hr.parameters()), "lr": recipe.classifier_learning_rate}
        self.optimizer = build_optimizer("adam", [weights], 0.0)

    def train_mode(self) -> None:
        """The HR stream learns."""
        self.bench.only_training(self.bench.model.hr)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify what the rule buys of augmented views."""
        hr, lr = self.bench.views(batch, generator, self.recipe.min_area)
        logits = self.bench.model.hr_reader(hr)(self.rule(lr, self.sampled, generator))
        loss = F.cross_entropy(logits, batch.labels)
        loss = self.bench.taught(loss, F.log_softmax(logits, dim=1), hr, self.recipe.distill)
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss, "accuracy": hit_rate(logits, batch.labels)}

    def validate(self) -> dict[str, float]:
        """Accuracy with the rule's patches."""
        bench = self.bench
        masks = masks_of(self.rule, bench.val, self.sampled)
        return {"val_accuracy": correct(bench.model, bench.val, "hr", masks).float().mean().item()}


@torch.inference_mode()
def masks_of(rule: Rule, views: ViewedSplit, sampled: int) -> Tensor:
    """Return what a rule buys of every scene (N, P)."""
    generator = torch.Generator(views.lr.device).manual_seed(0)
    return torch.cat([rule(lr, sampled, generator) for lr in torch.split(views.lr, EVALUATION_BATCH)])


class _Comparison:
    """Two trained runs, opened to be measured on the test split."""

    def __init__(self, bagnet: RunRequest, cnn: RunRequest, console: Console) -> None:
        recipe = bagnet.recipe
        self.engine, self.of_cnn = _engine(bagnet, console), _engine(cnn, console)
        self.device = self.engine.device
        data = read_dataset(
            bagnet.dataset,
            bagnet.root,
            recipe.data,
            seed=bagnet.seed,
            reading=Reading(
                memory_gib=bagnet.memory_gib,
                skip_unreadable=bagnet.skip_unreadable,
                survey_file=bagnet.out / "survey.json",
                console=console,
            ),
            lr_root=bagnet.lr_root,
            card=recipe.card,
        )
        self.model, self.cnn = (
            PatchDrop(card_of(new_record(request, data, self.device), request.out.name)).to(self.device)
            for request in (bagnet, cnn)
        )
        # Seeds of the LR images' noise as in training.
        val, self.test = (
            view_split(split.to(self.device), recipe, seed=bagnet.seed + more)
            for more, split in ((1, data.val), (2, data.test))
        )
        self.train = data.train.to(self.device)
        self.engine.load(self.model, "hr")
        teacher = copy.deepcopy(self.model.hr).eval().requires_grad_(False)
        self.bench = Bench(model=self.model, recipe=recipe, val=val, teacher=teacher)

    def rows(self, rules: Mapping[str, Rule], rounds: int) -> list[BagNetRow]:
        """Return all rows, in the paper's order."""
        pt, _ = self._policy("pt")
        ft1, way = self._policy("ft1")
        self.engine.load(self.model, "hr")
        self.of_cnn.load(self.cnn, "hr")
        found = {BAGNET: self._all_patches(self.model), CNN: self._all_patches(self.cnn)}
        for name, rule in {**rules, "STN": self._stn()}.items():
            found[name] = self._rule(name, rule, round(pt.sampled), round(ft1.sampled))
        found[PATCHDROP] = (pt, ft1, way)
        ways = {name: way for name, (_, _, way) in found.items()}
        times = time_in_turns(ways, sum(len(hr) for hr, _ in self._timed()), rounds, self.device)
        return [
            BagNetRow(
                name=name,
                pt=pt,
                ft1=ft1,
                ms=median(times[name]),
                of_bagnet=median_ratio(times[name], times[BAGNET]),
            )
            for name, (pt, ft1, _) in found.items()
        ]

    def _all_patches(self, model: PatchDrop) -> _Found:
        measured = self._measured(model, None)
        return measured, measured, self._way(model, None)

    def _policy(self, stage: str) -> tuple[Measured, Way]:
        self.engine.load(self.model, stage)
        masks = (policy_probabilities(self.model, self.test) > 0.5).float()
        policy = for_inference(self.model)
        return self._measured(self.model, masks), self._way(
            self.model, lambda lr: policy.policy_logits(lr) > 0
        )

    def _stn(self) -> Rule:
        """Return the saliency network as a rule, trained if it is not."""
        self.engine.load(self.model, "pt")
        torch.manual_seed(self.engine.seed)
        sampler = SaliencySampler(self.model)
        stage = SaliencyStage(self.bench, sampler)
        if self.engine.is_done(stage.name):
            self.engine.load(sampler, stage.name)
        else:
            self.engine.fit(stage, sampler, self.train)
        return Salient(sampler.eval())

    def _rule(self, name: str, rule: Rule, before: int, after: int) -> _Found:
        """Measure what a rule buys on the classifier that the policy began with, then on one fine-tuned by the rule."""
        self.engine.load(self.model, "pt")
        pt = self._measured(self.model, masks_of(rule, self.test, before))
        stage = f"ft1-{name.lower()}"
        if self.engine.is_done(stage):
            self.engine.load(self.model, stage)
        else:
            self.engine.fit(RuleTuning(self.bench, stage, rule, after), self.model, self.train)
        ft1 = self._measured(self.model, masks_of(rule, self.test, after))
        draws = torch.Generator(self.device).manual_seed(0)
        return pt, ft1, self._way(self.model, partial(rule, sampled=after, generator=draws))

    def _measured(self, model: PatchDrop, masks: Tensor | None) -> Measured:
        with self.engine.autocast():
            right = correct(model, self.test, "hr", masks)
        sampled = model.grid.patches if masks is None else masks.sum(dim=1).mean().item()
        return Measured(accuracy=100 * right.float().mean().item(), sampled=float(sampled))

    def _way(self, model: PatchDrop, choose: Callable[[Tensor], Tensor] | None) -> Way:
        """Return what classifies all timed images, and chooses their patches if asked."""
        ready = for_inference(model)
        batches = self._timed()

        def work() -> None:
            for hr, lr in batches:
                ready.hr_logits(hr, None if choose is None else choose(lr))

        return work

    def _timed(self) -> list[tuple[Tensor, Tensor]]:
        """Return batches of HR and LR images of one size to take the time on."""
        size = min(AT_ONCE, len(self.test))
        batches = itertools.islice(self.test.split.in_order(size), min(TIMED, len(self.test)) // size)
        hr = [batch.images.float() / 255 for batch in batches]
        return list(zip(hr, torch.split(self.test.lr, size), strict=False))

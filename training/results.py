"""The rows of a run's table: every stage, its controls, what the mask-robust start buys, and the side channel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geozoom.doubt import Doubt, log_odds
from geozoom.errors import RunError
from geozoom.model import PatchDrop
from training import STAGES
from training.datasets import Split
from training.doubting import doubted_masks
from training.engine import Engine
from training.evaluate import (
    Row,
    Streams,
    ViewedSplit,
    answers,
    control_rows,
    correct,
    policy_probabilities,
    row,
    scout_answers,
    view_split,
)
from training.recalibrate import load_as_shipped
from training.recipe import Recipe
from training.rounds import in_rounds
from training.side_channel import read_by_hr_stream, read_linearly

POLICIES: dict[str, tuple[str, Streams]] = {
    "pt": ("Pt", "hr"),
    "ft1": ("Ft-1", "hr"),
    "ft2": ("Ft-2", "both"),
}
"""Stages that have a policy: their name in tables, and the streams that answer."""
ROUNDS = {"two rounds": 2, "four rounds": 4}
"""Ways to buy bit by bit, as `plan --catalog` does, and how often that is."""
_READER_SCENES = 20_000
"""Training scenes whose masks the reader of the side channel learns from, at most."""


@dataclass(kw_only=True)
class Results:
    """Measures what a run has, stage by stage, on one split."""

    engine: Engine
    """Holds the run's checkpoints."""
    model: PatchDrop
    """Takes the weights of one stage after the other."""
    views: ViewedSplit
    """The scenes that are classified."""
    train: Split
    """The training scenes, whose masks the side channel is learned from."""
    recipe: Recipe
    seed: int
    finished: PatchDrop | None = None
    """The finished run's model: what its LR stream's doubt means, and its scout."""
    _known: Tensor | None = None
    _learnt_from: ViewedSplit | None = None

    def begun(self) -> list[str]:
        """Return the stages that have a checkpoint, finished or not."""
        return [stage for stage in STAGES if self.engine.checkpoint(stage).is_file()]

    def known(self) -> Tensor | None:
        """Return the LR stream's logits (N, classes), which no later stage changes; None before stage lr."""
        if self._known is None and "lr" in self.begun():
            self.engine.load(self.model, "lr")
            self._known = answers(self.model, self.views, "lr")
        return self._known

    def masks(self, views: ViewedSplit | None = None) -> Tensor:
        """Return what the model's policy would buy (N, P): s above 0.5."""
        return (policy_probabilities(self.model, views or self.views) > 0.5).float()

    def rows(self) -> Iterator[Row]:
        """Yield the rows of all stages; the model is left with the weights of the last policy stage as it ships."""
        begun = self.begun()
        known = self.known()
        labels = self.views.split.labels
        if known is not None:
            yield row("LR-CNN", known.argmax(dim=1) == labels, 0.0)
        self.engine.load(self.model, "hr")
        yield row("HR-CNN", correct(self.model, self.views, "hr"), float(self.model.grid.patches))
        policies = [stage for stage in begun if stage in POLICIES]
        if {"ft1", "ft2"} & set(policies):
            commonest = labels == labels.mode().values
            yield row("commonest class", commonest, 0.0)
        for stage in policies:
            yield from self._policy_rows(stage)
        if "ft2" in begun and "robust" in begun:
            # The same controls on a classifier that learned from random masks, not from the policy's.
            load_as_shipped(self.engine, self.model, "ft2")
            total = round(self.masks().sum().item())
            self.engine.load(self.model, "robust")
            yield from self._controls("mask-robust + LR", "both", total)
        if policies:
            load_as_shipped(self.engine, self.model, policies[-1])

    def _policy_rows(self, stage: str) -> Iterator[Row]:
        name, streams = POLICIES[stage]
        recalibrated = load_as_shipped(self.engine, self.model, stage)
        masks = self.masks()
        yield row(name, self._correct(streams, masks), masks)
        yield from self._controls(name, streams, round(masks.sum().item()))
        if stage == "pt":
            return  # its classifier has learned from no mask of the policy's
        if recalibrated:
            load_as_shipped(self.engine, self.model, stage, recalibrated=False)
            yield row(f"{name} · as trained", self._correct(streams, masks), masks)
            load_as_shipped(self.engine, self.model, stage)
        if streams == "both":
            for way, buy in self._ways().items():
                spent = buy()
                yield row(f"{name} · {way}", self._correct(streams, spent), spent)
        if streams == "both" and self.model.card.fusion != "mixture":
            own = self.model.card
            self.model.card = replace(own, fusion="mixture", lr_temperature=1.0)  # the paper has none
            yield row(f"{name} · streams mixed by Eq. 7", self._correct(streams, masks), masks)
            self.model.card = own
        if len(self.views) > 1:  # who lend each other their patches
            alone = read_by_hr_stream(self.model, self.views, masks, self.seed)
            bought = masks.sum(dim=1).mean().item()
            yield replace(row(f"{name} · mask alone, HR stream", alone, 0.0), sampled=bought)
        learnt_from = self._training_scenes()
        lesson = (self.masks(learnt_from), learnt_from.split.labels)
        read = read_linearly(lesson, (masks, self.views.split.labels), len(self.model.card.classes))
        yield row(f"{name} · mask alone, linear reader", read, masks)
        # The policy's own masks, and what is gained on them before any fine-tuning by it.
        for before, what in (("hr", "HR-CNN"), ("robust", "mask-robust")):
            if before in self.begun():
                self.engine.load(self.model, before)
                yield row(f"{name} · its masks on {what}", self._correct(streams, masks), masks)

    def spent(self, way: str) -> Row:
        """Return the row of as many patches as Ft-2 buys, spent as `plan` does that asks somebody, or in rounds.

        Args:
            way: "classifier asked", "scout asked", or one of `ROUNDS`.

        Raises:
            RunError: The run has no finished model that can be asked so.
        """
        self.known()  # it loads another stage's weights
        load_as_shipped(self.engine, self.model, "ft2")
        ways = self._ways()
        if way not in ways:
            raise RunError(f"{self.engine.folder}: has no {_wanted(way)}")
        masks = ways[way]()
        return row(f"PatchDrop, {way}", self._correct("both", masks), masks)

    def _ways(self) -> dict[str, Callable[[], Tensor]]:
        """Return the ways to spend that the finished model knows, and what buys (N, P) so as much as the policy."""
        if self.finished is None:
            return {}
        card, known = self.finished.card, self._known
        s = policy_probabilities(self.model, self.views)
        total = int((s > 0.5).sum())
        ways: dict[str, Callable[[], Tensor]] = {}
        if card.doubt is not None and known is not None:
            ways["classifier asked"] = partial(doubted_masks, card.doubt, s, known, total)
        if card.scout_doubt is not None:
            ways["scout asked"] = partial(self._by_scout, self.finished, card.scout_doubt, s, total)
        doubts = card.doubts_in_rounds
        if doubts is not None and known is not None:
            unseen = log_odds(known.cpu().numpy())
            for way, rounds in ROUNDS.items():
                ways[way] = partial(in_rounds, self._sure, unseen, doubts, s, total, rounds)
        return ways

    def _sure(self, masks: Tensor) -> NDArray[np.float64]:
        """Return the log-odds (N,) of both streams' answers under masks (N, P)."""
        return log_odds(answers(self.model, self.views, "both", masks, self._known).cpu().numpy())

    def _by_scout(self, finished: PatchDrop, doubt: Doubt, s: Tensor, total: int) -> Tensor:
        return doubted_masks(doubt, s, scout_answers(finished, self.views), total)

    def _correct(self, streams: Streams, masks: Tensor) -> Tensor:
        return correct(self.model, self.views, streams, masks, self._known)

    def _controls(self, name: str, streams: Streams, total: int) -> list[Row]:
        return control_rows(name, self.model, self.views, streams, total, self.seed, self._known)

    def _training_scenes(self) -> ViewedSplit:
        if self._learnt_from is None:
            split = self.train
            if len(split) > _READER_SCENES:
                drawn = torch.randperm(len(split), generator=torch.Generator().manual_seed(self.seed))
                split = split.only(drawn[:_READER_SCENES].sort().values)
            self._learnt_from = view_split(split, self.recipe, seed=self.seed + 3)
        return self._learnt_from


def _wanted(way: str) -> str:
    """Return what a run needs for a way to spend, and how it comes to it."""
    if way in ROUNDS:
        return f"finished model that knows of {way}; finish it again (geozoom train --resume)"
    if way == "scout asked":
        return "scout; give the recipe scout.epochs above 0"
    return "finished model; go on with it"

"""When and where to zoom, told apart at equal money (METHOD §8), and accuracy against the mean S.

A policy gains by choosing scenes (when) and by choosing patches within a scene (where). Each is measured alone: the
policy's number of patches of each scene, spent on central ones; and the policy's patches, as many of every scene.
Beside them stand a spending that asks the LR stream how sure it is, as `plan --when classifier` does, and those in
rounds that look at what the ones before bought, as `plan --catalog` does, all fitted on the validation split.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geozoom.doubt import Doubt, log_odds
from geozoom.files import write_text, written_aside
from geozoom.model import PatchDrop
from training.baselines.rules import gate
from training.calibrate import fit_doubt, fit_doubts_with_hr, measure_gains
from training.doubting import doubted_masks
from training.evaluate import (
    Row,
    Streams,
    ViewedSplit,
    answers,
    centre_masks,
    correct_each,
    policy_probabilities,
    random_masks,
    row,
    spread_evenly,
)
from training.figures.canvas import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, blank
from training.nested import Nested
from training.recalibrate import load_as_shipped
from training.results import POLICIES, ROUNDS, Results
from training.rounds import in_rounds
from training.tables import as_markdown, as_plain

ITS_PATCHES = "where: its patches, equal spend"
CENTRAL_PATCHES = "neither: central patches, equal spend"
_STEPS = 16
"""Steps of the curve from nothing to all patches."""
LINES = {
    "policy": (BLUE, "o", "-"),
    "policy's patches, evenly": (PURPLE, "D", "--"),
    "fixed-centre": (GREEN, "s", "--"),
    "LR doubt, policy's patches": (SKY, "P", "-"),
    "two rounds, policy's patches": (BLACK, "*", "-"),
    "four rounds, policy's patches": (AMBER, "x", "-"),
    "LR entropy": (GREY, "v", "-."),
    "random": (ORANGE, "^", ":"),
}
"""Ways of spending, and how the curve shows them."""


@dataclass(frozen=True, kw_only=True)
class Spending:
    """A stage as it ships, and what it answers of every scene with each number of patches."""

    seed: int
    model: PatchDrop
    views: ViewedSplit
    known: Tensor | None
    """(N, classes) logits of the LR stream."""
    unseen: NDArray[np.float64] | None
    """(N,) their log-odds."""
    streams: Streams
    """Who answers."""
    s: Tensor
    """(N, P) the policy's probabilities."""
    doubts: tuple[Doubt, ...]
    """What doubt means where 0, 1, … P - 1 patches are there; none without an LR stream."""
    best: Nested
    """With the patches that the policy prefers."""
    central: Nested
    """With the patches nearest to the centre."""

    @classmethod
    def of_stage(cls, results: Results, val: ViewedSplit, stage: str = "ft2") -> Spending:
        """Read every scene with each number of its patches.

        Args:
            results: A run and the scenes that it is measured on.
            val: The validation split, on which it is fitted what the LR stream's doubt means.
            stage: One of `training.results.POLICIES`.
        """
        model, views, known, streams = _as_shipped(results, stage)
        s = policy_probabilities(model, views)
        central = _centrality(model).to(s.device).expand_as(s)
        return cls(
            seed=results.seed,
            model=model,
            views=views,
            known=known,
            unseen=None if known is None else log_odds(known.cpu().numpy()),
            streams=streams,
            s=s,
            doubts=() if known is None else _doubts(model, val),
            best=Nested.read(model, views, streams, s, known),
            central=Nested.read(model, views, streams, central, known),
        )

    def decompose(self) -> Iterator[Row]:
        """Yield a row for choosing when, where, both and neither, at the policy's S."""
        both = (self.s > 0.5).sum(dim=1)
        total = int(both.sum())
        even = self.evenly(total)
        ways = {
            "when and where": (self.best, both),
            "when: its spend, central patches": (self.central, both),
            ITS_PATCHES: (self.best, even),
            CENTRAL_PATCHES: (self.central, even),
        }
        if self.known is not None:
            gated = gate(even, self.known, self.model.grid.patches)
            ways["when by LR entropy, whole scenes"] = (self.central, gated)
            asked = self.asked(total)
            ways["when by LR doubt, central patches"] = (self.central, asked)
            ways["when by LR doubt, where: its patches"] = (self.best, asked)
            for way, rounds in ROUNDS.items():
                for where, read in (("central patches", self.central), ("where: its patches", self.best)):
                    ways[f"when in {way}, {where}"] = (read, self.in_rounds(total, rounds, read))
        for name, (read, counts) in ways.items():
            yield row(name, read.right_with(counts), counts.sum().item() / len(counts))

    def accuracy_by_spend(self) -> list[dict[str, float | str]]:
        """Return accuracy in percent for each way of spending and each mean S from none to all patches."""
        patches, scenes = self.model.grid.patches, len(self.views)
        rng = np.random.default_rng(self.seed)
        totals = [round(step * patches * scenes / _STEPS) for step in range(_STEPS + 1)]
        drawn = [
            random_masks(self.evenly(total).cpu(), self.model, rng).to(self.s.device) for total in totals
        ]
        between = correct_each(self.model, self.views, self.streams, drawn[1:-1], self.known)
        random = [self.best.right[:, 0], *between, self.best.right[:, -1]]
        rows: list[dict[str, float | str]] = []
        for total, by_chance in zip(totals, random, strict=True):
            ways = {way: read.right_with(counts) for way, (read, counts) in self._ways(total).items()}
            for way, right in {**ways, "random": by_chance}.items():
                accuracy = 100 * right.float().mean().item()
                rows.append({"way": way, "S": total / scenes, "accuracy": accuracy})
        return rows

    def _ways(self, total: int) -> dict[str, tuple[Nested, Tensor]]:
        """Return which patches each way buys but the random one, and how many (N,) of each scene."""
        even = self.evenly(total)
        ranked = self.s.flatten().argsort(descending=True, stable=True).argsort().view_as(self.s)
        gated = even if self.known is None else gate(even, self.known, self.model.grid.patches)
        return {
            "policy": (self.best, (ranked < total).sum(dim=1)),
            "policy's patches, evenly": (self.best, even),
            "fixed-centre": (self.central, even),
            "LR doubt, policy's patches": (self.best, self.asked(total)),
            **{
                f"{way}, policy's patches": (self.best, self.in_rounds(total, rounds, self.best))
                for way, rounds in ROUNDS.items()
            },
            "LR entropy": (self.central, gated),
        }

    def evenly(self, total: int) -> Tensor:
        """Return how many patches (N,) each scene gets of a total spread evenly."""
        rng = np.random.default_rng(self.seed)
        return spread_evenly(total, len(self.views), self.model.grid.patches, rng).to(self.s.device)

    def asked(self, total: int) -> Tensor:
        """Return how many (N,) where the LR stream is asked; evenly where there is none."""
        if self.known is None:
            return self.evenly(total)
        return doubted_masks(self.doubts[0], self.s, self.known, total).sum(dim=1)

    def in_rounds(self, total: int, rounds: int, read: Nested) -> Tensor:
        """Return how many (N,) in rounds of buying the patches that `read` has; evenly where nobody can be asked."""
        if self.unseen is None:
            return self.evenly(total)
        masks = in_rounds(read.sure_with, self.unseen, self.doubts, read.preference, total, rounds)
        return masks.sum(dim=1)


def write_decomposition(rows: list[Row], folder: Path, seed: int) -> None:
    """Write decomposition.md and decomposition.json, which say of which seed's run they are.

    Raises:
        OutputError: They cannot be written.
    """
    write_text(folder / "decomposition.md", f"{as_markdown(rows)}\nOf seed {seed}.\n")
    lines = [{"seed": seed} | line for line in as_plain(rows)]
    write_text(folder / "decomposition.json", json.dumps(lines, indent=2) + "\n")


def write_spend(rows: list[dict[str, float | str]], file: Path) -> None:
    """Draw accuracy against mean S as PNG and write its data beside it as CSV.

    Raises:
        OutputError: They cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(file.with_suffix(".csv"), text.getvalue())
    figure = blank(6.5, 4.2)
    axis = figure.subplots()
    for way, (colour, marker, line) in LINES.items():
        points = [(each["S"], each["accuracy"]) for each in rows if each["way"] == way]
        axis.plot(
            *zip(*points, strict=True), color=colour, marker=marker, markersize=4, linestyle=line, label=way
        )
    axis.set_xlabel("patches bought of a scene on the mean, S")
    axis.set_ylabel("accuracy %")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower right")
    with written_aside(file) as aside:
        figure.savefig(aside, dpi=150, format="png")


def summed_streams(results: Results) -> Row:
    """Return the row of the published code's own rule: Ft-2's policy, its streams' logits added without weights.

    METHOD §7: the public code adds the logits of the two streams where the paper mixes their probabilities (Eq. 7).
    """
    model, views, known, _ = _as_shipped(results, "ft2")
    if known is None:
        raise ValueError("a run without an LR stream has nothing to add")
    masks = (policy_probabilities(model, views) > 0.5).float()
    scores = answers(model, views, "hr", masks) + known
    return row("published code's rule", scores.argmax(dim=1) == views.split.labels, masks)


def _as_shipped(results: Results, stage: str) -> tuple[PatchDrop, ViewedSplit, Tensor | None, Streams]:
    """Return the model as a stage ships, the scenes, the LR stream's logits (N, classes) and what answers."""
    known = results.known()  # it loads another stage's weights
    load_as_shipped(results.engine, results.model, stage)
    return results.model, results.views, known, POLICIES[stage][1]


def _doubts(model: PatchDrop, val: ViewedSplit) -> tuple[Doubt, ...]:
    """Return what doubt means where 0, 1, … P - 1 patches are there, fitted on the validation split."""
    gains = measure_gains(model, val)
    return fit_doubt(gains), *fit_doubts_with_hr(gains)


def _centrality(model: PatchDrop) -> Tensor:
    """Return a preference (P,) in 0..1 for the patches nearest to the centre."""
    patches = model.grid.patches
    nearer = centre_masks(torch.arange(1, patches + 1), model)
    return nearer.sum(dim=0) / (patches + 1)

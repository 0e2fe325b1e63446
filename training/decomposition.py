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
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geozoom.doubt import Doubt
from geozoom.files import write_text, written_aside
from geozoom.model import PatchDrop
from training.baselines.rules import gate, top
from training.calibrate import fit_doubt, fit_doubts_with_hr, measure_gains
from training.doubting import doubted_masks
from training.evaluate import (
    Row,
    Streams,
    ViewedSplit,
    answers,
    centre_masks,
    correct,
    policy_probabilities,
    random_masks,
    row,
    spread_evenly,
)
from training.figures.canvas import AMBER, BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, blank
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


def decompose(results: Results, val: ViewedSplit, stage: str = "ft2") -> Iterator[Row]:
    """Yield a row for choosing when, where, both and neither, on the stage's own classifier at the policy's S.

    Args:
        results: A run and the scenes that it is measured on.
        val: The validation split, on which it is fitted what the LR stream's doubt means.
        stage: One of `training.results.POLICIES`.
    """
    model, views, known, streams = _as_shipped(results, stage)
    s = policy_probabilities(model, views)
    both = (s > 0.5).float()
    spent = both.sum(dim=1)
    even = _evenly(results, round(both.sum().item())).to(s.device)
    masks = {
        "when and where": both,
        "when: its spend, central patches": centre_masks(spent.cpu(), model).to(s.device),
        ITS_PATCHES: top(s, even),
        CENTRAL_PATCHES: centre_masks(even.cpu(), model).to(s.device),
    }
    if known is not None:
        gated = gate(even, known, model.grid.patches)
        masks["when by LR entropy, whole scenes"] = centre_masks(gated.cpu(), model).to(s.device)
        doubts = _doubts(model, val)
        total = round(both.sum().item())
        doubted = doubted_masks(doubts[0], s, known, total)
        masks["when by LR doubt, central patches"] = centre_masks(doubted.sum(dim=1).cpu(), model).to(
            s.device
        )
        masks["when by LR doubt, where: its patches"] = doubted
        central = _centrality(model).to(s.device).expand_as(s)
        for way, rounds in ROUNDS.items():
            for where, preference in (("central patches", central), ("where: its patches", s)):
                bought = in_rounds(model, views, known, doubts, preference, total, rounds)
                masks[f"when in {way}, {where}"] = bought
    for name, bought in masks.items():
        yield row(name, correct(model, views, streams, bought, known), bought)


def write_decomposition(rows: list[Row], folder: Path, seed: int) -> None:
    """Write decomposition.md and decomposition.json, which say of which seed's run they are.

    Raises:
        OutputError: They cannot be written.
    """
    write_text(folder / "decomposition.md", f"{as_markdown(rows)}\nOf seed {seed}.\n")
    lines = [{"seed": seed} | line for line in as_plain(rows)]
    write_text(folder / "decomposition.json", json.dumps(lines, indent=2) + "\n")


def accuracy_by_spend(results: Results, val: ViewedSplit, stage: str = "ft2") -> list[dict[str, float | str]]:
    """Return accuracy in percent for each way of spending and each mean S from none to all patches."""
    model, views, known, streams = _as_shipped(results, stage)
    s = policy_probabilities(model, views)
    patches, scenes = model.grid.patches, len(views)
    rng = np.random.default_rng(results.seed)
    doubts = None if known is None else _doubts(model, val)
    ranked = s.flatten().argsort(descending=True, stable=True).argsort().view_as(s)

    def spend(total: int) -> dict[str, Tensor]:
        """Return what each way buys (N, P)."""
        even = _evenly(results, total)
        gated = even if known is None else gate(even.to(s.device), known, patches).cpu()
        evenly = top(s, even.to(s.device))
        asked = evenly
        by_rounds = dict.fromkeys(ROUNDS, evenly)
        if doubts is not None and known is not None:
            asked = doubted_masks(doubts[0], s, known, total)
            for way, rounds in ROUNDS.items():
                by_rounds[way] = in_rounds(model, views, known, doubts, s, total, rounds)
        return {
            "policy": (ranked < total).float(),
            "policy's patches, evenly": evenly,
            "fixed-centre": centre_masks(even, model),
            "LR doubt, policy's patches": asked,
            **{f"{way}, policy's patches": masks for way, masks in by_rounds.items()},
            "LR entropy": centre_masks(gated, model),
            "random": random_masks(even, model, rng),
        }

    rows: list[dict[str, float | str]] = []
    for step in range(_STEPS + 1):
        total = round(step * patches * scenes / _STEPS)
        shared: float | None = None
        for way, masks in spend(total).items():
            if shared is None or step not in (0, _STEPS):
                right = correct(model, views, streams, masks.to(s.device), known)
                shared = 100 * right.float().mean().item()
            rows.append({"way": way, "S": total / scenes, "accuracy": shared})
    return rows


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


def _evenly(results: Results, total: int) -> Tensor:
    rng = np.random.default_rng(results.seed)
    return spread_evenly(total, len(results.views), results.model.grid.patches, rng)

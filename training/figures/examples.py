"""Figures 4 and 6: what a policy buys of example scenes, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.evaluate import answers, policy_probabilities
from training.figures.canvas import BLUE, ORANGE, blank, write_figure
from training.recalibrate import load_as_shipped
from training.results import POLICIES, Results

_EXAMPLES = 8
_ACROSS = 2
"""Scenes side by side."""
_GAP = 0.12
"""Between them, as a share of a picture's width."""
_VIEWS = ("LR", "HR, bought patches outlined", "HR as bought")


def draw_examples(results: Results, stage: str, file: Path) -> None:
    """Draw scenes of as many classes, drawn at random and not picked, with mask, label and answers."""
    model, views = results.model, results.views
    chosen = _chosen(views.split.labels, results.seed)
    load_as_shipped(results.engine, model, stage)
    name, streams = POLICIES[stage]
    s = policy_probabilities(model, views)[chosen]
    masks = (s > 0.5).float()
    known = results.known()
    load_as_shipped(results.engine, model, stage)
    few = views.of(chosen)
    found = answers(model, few, streams, masks, None if known is None else known[chosen]).argmax(dim=1)
    (batch,) = few.split.in_order(len(chosen))
    hr = (batch.images.float() / 255).cpu()
    down = -(-len(chosen) // _ACROSS)
    figure = blank(3.0 * 1.8 * _ACROSS, 2.45 * down, h_pad=0.28)
    widths = [*(1, 1, 1, _GAP) * _ACROSS][:-1]
    axes = figure.subplots(down, len(widths), squeeze=False, width_ratios=widths)
    for axis in axes.flat:
        axis.set_axis_off()
    rows: list[dict[str, Any]] = []
    classes = model.card.classes
    for number, scene in enumerate(chosen.tolist()):
        left = 4 * (number % _ACROSS)
        trio = axes[number // _ACROSS, left : left + 3]
        mask = masks[number].cpu()
        shown = [few.lr[number].cpu(), hr[number], _as_bought(hr[number], mask, results)]
        for axis, picture, title in zip(trio, shown, _VIEWS, strict=True):
            axis.imshow(picture.permute(1, 2, 0).float().numpy(), interpolation="nearest")
            if number < _ACROSS:
                axis.set_title(title, fontsize=8)
        _outline(trio[1], mask, hr.shape[-1], results)
        label, answer = classes[int(batch.labels[number])], classes[int(found[number])]
        alone = "" if known is None else classes[int(known[scene].argmax())]
        bought = int(mask.sum())
        right = answer == label
        said = f"{name} {answer} {'✓' if right else '✗'}"
        if alone:
            said = f"LR alone {alone} {'✓' if alone == label else '✗'},  {said}"
        caption = trio[1].text(
            0.5,
            -0.05,
            f"{label}, S = {bought}\n{said}",
            transform=trio[1].transAxes,
            ha="center",
            va="top",
            fontsize=8,
            parse_math=False,
            color="black" if right else ORANGE,
        )
        caption.set_in_layout(False)  # it may be wider than the picture that it stands under
        rows.append(
            {
                "file": few.split.files[number],
                "label": label,
                "lr_alone": alone,
                "answer": answer,
                "S": bought,
                "bought": " ".join(map(str, mask.nonzero().flatten().tolist())),
            }
        )
    write_figure(figure, file, rows)


def _chosen(labels: Tensor, seed: int) -> Tensor:
    """Return the indices of random scenes, each of another class while there are any."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    kinds = labels.cpu().numpy()[order]
    first = np.unique(kinds, return_index=True)[1]
    rest = np.setdiff1d(np.arange(len(order)), first)
    taken = order[np.concatenate([np.sort(first), rest])[:_EXAMPLES]]
    return torch.from_numpy(np.sort(taken)).to(labels.device)


def _as_bought(hr: Tensor, mask: Tensor, results: Results) -> Tensor:
    """Return the HR scene (3, H, W) with the mean colour in what was not bought, as the classifier sees it."""
    grid = results.model.grid
    tall, wide = hr.shape[-2] // grid.rows, hr.shape[-1] // grid.cols
    kept = mask.view(grid.rows, grid.cols).repeat_interleave(tall, 0).repeat_interleave(wide, 1)
    return torch.where(kept.bool(), hr, results.model.mean.cpu().view(3, 1, 1))


def _outline(axis: Any, mask: Tensor, side: int, results: Results) -> None:
    from matplotlib.patches import Rectangle

    grid = results.model.grid
    for patch in mask.nonzero().flatten().tolist():
        down, across = grid.window(patch, side, side)
        corner = (across.start - 0.5, down.start - 0.5)
        size = (across.stop - across.start, down.stop - down.start)
        axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor="white", linewidth=2.4))
        axis.add_patch(Rectangle(corner, *size, fill=False, edgecolor=BLUE, linewidth=1.2))

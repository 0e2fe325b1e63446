"""Figure 1a: accuracy as patches are dropped, in a random, a fixed and the learned order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.evaluate import Streams, correct, policy_probabilities
from training.figures.canvas import BLUE, GREEN, ORANGE, blank, write_figure
from training.recalibrate import load_as_shipped
from training.results import POLICIES, Results

_COUNTS = 8
"""Steps from all patches to none."""
_LINES = {"learned": (BLUE, "o", "-"), "fixed-centre": (GREEN, "s", "--"), "random": (ORANGE, "^", ":")}


def draw_dropping(results: Results, stage: str, file: Path) -> None:
    """Draw accuracy against dropped patches, of the HR-CNN (as in the paper) and of the stage's own classifier."""
    load_as_shipped(results.engine, results.model, stage)
    orders = _orders(results)
    name, streams = POLICIES[stage]
    own = f"{name}, {'both streams' if streams == 'both' else 'HR stream'}"
    panels: tuple[tuple[str, str, Streams], ...] = (
        ("HR-CNN, which has seen no mask", "hr", "hr"),
        (own, stage, streams),
    )
    rows: list[dict[str, Any]] = []
    figure = blank(9, 4)
    axes = figure.subplots(1, 2, sharey=True)
    patches = results.model.grid.patches
    for axis, (title, weights, answering) in zip(axes, panels, strict=True):
        load_as_shipped(results.engine, results.model, weights)
        drops = _accuracy(results, answering, orders)
        for order, points in drops.items():
            colour, marker, line = _LINES[order]
            axis.plot(
                list(points), list(points.values()), color=colour, marker=marker, linestyle=line, label=order
            )
            rows += [
                {"classifier": title, "order": order, "dropped": dropped, "accuracy": accuracy}
                for dropped, accuracy in points.items()
            ]
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"patches dropped, of {patches}")
        axis.set_xticks(list(drops["learned"]))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("accuracy %")
    axes[0].set_ylim(bottom=0)
    axes[0].legend(frameon=False, loc="lower left", title="order of dropping")
    write_figure(figure, file, rows)


def _orders(results: Results) -> dict[str, Tensor]:
    """Return for each order the rank (N, P) by which patches are kept: 0 is dropped last."""
    model, views = results.model, results.views
    s = policy_probabilities(model, views)
    learned = (-s).argsort(dim=1, stable=True).argsort(dim=1)
    centre = torch.from_numpy(model.grid.centre_order()).argsort()
    rng = np.random.default_rng(results.seed)
    random = rng.permuted(np.tile(np.arange(model.grid.patches), (len(views), 1)), axis=1)
    return {
        "learned": learned,
        "fixed-centre": centre.expand(len(views), -1).to(s.device),
        "random": torch.from_numpy(random).to(s.device),
    }


def _accuracy(results: Results, streams: Streams, orders: dict[str, Tensor]) -> dict[str, dict[int, float]]:
    """Return order → patches dropped → accuracy in percent; all orders share both ends."""
    patches = results.model.grid.patches
    found: dict[str, dict[int, float]] = {order: {} for order in orders}
    for kept in sorted({round(step * patches / _COUNTS) for step in range(_COUNTS + 1)}, reverse=True):
        shared: float | None = None
        for order, rank in orders.items():
            if shared is None or kept not in (0, patches):
                masks = (rank < kept).float()
                right = correct(results.model, results.views, streams, masks, results.known())
                shared = 100 * right.float().mean().item()
            found[order][patches - kept] = shared
    return found

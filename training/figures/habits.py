"""Figure 7: accuracy by the number of sampled patches, and how likely each place of the grid is to be sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from training.evaluate import correct, policy_probabilities, row
from training.figures.canvas import BLUE, GREY, HEAT, blank, write_figure
from training.recalibrate import load_as_shipped
from training.results import POLICIES, Results


def draw_habits(results: Results, stage: str, file: Path) -> None:
    """Draw what a stage's policy buys: how much where it is right, and where."""
    model = results.model
    load_as_shipped(results.engine, model, stage)
    name, streams = POLICIES[stage]
    s = policy_probabilities(model, results.views).float()
    masks = (s > 0.5).float()
    right = correct(model, results.views, streams, masks, results.known()).cpu()
    counts = masks.sum(dim=1).long().cpu()
    figure = blank(10.5, 4)
    by_count, probability, bought = figure.subplots(1, 3, width_ratios=(1.5, 1, 1))
    rows: list[dict[str, Any]] = []
    for count in sorted(set(counts.tolist())):
        measured = row(name, right[counts == count], float(count))
        value, (low, high) = measured.accuracy, measured.interval
        by_count.errorbar(
            count,
            value,
            yerr=[[max(0, value - low)], [max(0, high - value)]],
            color=BLUE,
            marker="o",
            capsize=3,
        )
        rows.append(
            {
                "what": "accuracy % of scenes with S patches",
                "at": str(count),
                "value": value,
                "scenes": measured.scenes,
            }
        )
    by_count.set_ylim(0, 112)
    for line in rows:
        by_count.annotate(
            str(line["scenes"]),
            (int(line["at"]), 106),
            ha="center",
            color=GREY,
            fontsize=7,
            rotation=90,
            va="center",
        )
    by_count.set_xlim(-0.7, model.grid.patches + 0.7)
    by_count.set_xticks(range(0, model.grid.patches + 1, max(1, model.grid.patches // 8)))
    by_count.set_yticks(range(0, 101, 20))
    by_count.set_xlabel("S, patches sampled of the scene (above: number of scenes)")
    by_count.set_ylabel("accuracy %")
    by_count.set_title(f"{name}: accuracy by S, 95% intervals", fontsize=10)
    by_count.grid(alpha=0.3)
    for axis, title, values in (
        (probability, "mean probability of each patch", s.mean(dim=0)),
        (bought, "share of scenes that buy it", masks.mean(dim=0)),
    ):
        places = values.cpu().numpy().reshape(model.grid.rows, model.grid.cols)
        picture = axis.imshow(places, cmap=HEAT, vmin=0, vmax=1)
        for (row_at, col), value in np.ndenumerate(places):
            axis.text(
                col,
                row_at,
                f"{value:.2f}",
                ha="center",
                va="center",
                color="white" if value < 0.55 else "black",
            )
            rows.append(
                {"what": title, "at": f"{row_at},{col}", "value": float(value), "scenes": len(counts)}
            )
        axis.set_title(title, fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.colorbar(picture, ax=[probability, bought], shrink=0.7)
    write_figure(figure, file, rows)

"""Scores as files: figures as JSON and CSV, the confusion matrix and the reliability plot as PNG."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geozoom.drawing import save_figure
from geozoom.files import check_folder, folder_written_aside
from geozoom.scores import BINS, Scores
from geozoom.tables import write_table

FILES = ("scores.json", "classes.csv", "confusion.png", "reliability.png")
_OURS = re.compile("|".join(map(re.escape, FILES)))
_NUMBERED = 30
"""Classes up to which the matrix holds its numbers."""


def write_scores(
    folder: Path, scores: Scores, summary: Mapping[str, Any], *, overwrite: bool = False
) -> None:
    """Write all of `FILES` into a folder, all of them or none.

    Args:
        folder: The folder; one that exists is replaced whole.
        scores: What to write.
        summary: What scores.json says: the totals and the scores.
        overwrite: Replace an existing folder, if it holds nothing but such files.

    Raises:
        OutputError: It exists and `overwrite` is not set, holds other files, or cannot be written.
    """
    check_scores_folder(folder, overwrite=overwrite)
    with folder_written_aside(folder) as aside:
        (aside / "scores.json").write_text(
            json.dumps(dict(summary), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        rows = scores.class_rows()
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        write_table(aside / "classes.csv", columns, name="classes", summary={})
        draw_confusion(scores, aside / "confusion.png")
        draw_reliability(scores, aside / "reliability.png")


def check_scores_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder before any work is done for it.

    Raises:
        OutputError: See `geozoom.files.check_folder`.
    """
    check_folder(folder, _OURS, "scores", overwrite=overwrite)


def draw_confusion(scores: Scores, path: Path) -> None:
    """Draw the confusion matrix: the share of each class's scenes (row) that gets each answer (column)."""
    from matplotlib.figure import Figure

    counts = scores.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = list(scores.classes)
    side = max(4.5, 2.2 + 0.3 * len(names))
    figure = Figure(figsize=(side + 1.6, side), layout="constrained")
    panel = figure.subplots()
    image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = 9 if len(names) <= _NUMBERED else 7
    panel.set_xticks(range(len(names)), names, rotation=90, fontsize=small, parse_math=False)
    panel.set_yticks(range(len(names)), names, fontsize=small, parse_math=False)
    panel.set_xlabel("answer")
    panel.set_ylabel("label")
    panel.set_title(
        f"{scores.scenes:,} scenes, {scores.accuracy:.1%} right; macro F1 {scores.macro_f1:.3f}",
        loc="left",
        fontsize=10,
    )
    if len(names) <= _NUMBERED:
        for row, col in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[row, col] > 0.55 else "black"
            panel.text(
                col, row, str(counts[row, col]), ha="center", va="center", fontsize=small - 1, color=colour
            )
    bar = figure.colorbar(image, ax=panel, fraction=0.04, pad=0.02)
    bar.set_label("share of the class's scenes")
    save_figure(figure, path, dpi=110)


def draw_reliability(scores: Scores, path: Path) -> None:
    """Draw accuracy against probability in equal bins, with the number of scenes in each below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 6), layout="constrained")
    panel, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    held = np.flatnonzero(scores.bin_count)
    panel.plot([0, 1], [0, 1], ":", color="#888888", label="as sure as right")
    panel.plot(
        scores.bin_probability[held],
        scores.bin_accuracy[held],
        "o-",
        color="#1f5fa8",
        markersize=5,
        label="this model",
    )
    panel.set_ylabel("share of answers that are right")
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    panel.grid(visible=True, color="#dddddd", linewidth=0.6)
    panel.legend(frameon=False, loc="upper left")  # a good model has answers at the right
    panel.set_title(
        f"{scores.scenes:,} scenes; expected calibration error {scores.ece:.3f} in {BINS} bins",
        loc="left",
        fontsize=10,
    )
    edges = np.arange(BINS) / BINS
    below.bar(edges, scores.bin_count, width=1 / BINS, align="edge", color="#9db9d9", edgecolor="white")
    below.set_xlabel("probability of the answer")
    below.set_ylabel("scenes")
    save_figure(figure, path, dpi=110)

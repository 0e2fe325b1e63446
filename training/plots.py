"""A run at a glance: accuracy, S and reward against the time it took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geozoom.files import written_aside

_PANELS = (
    ("accuracy %", ("accuracy", "val_accuracy"), 100.0),
    ("S", ("sampled", "val_sampled"), 1.0),
    ("reward", ("reward",), 1.0),
)
"""Title, metrics of the log, and what they are multiplied by."""
_TRAINING, _VALIDATION = "tab:orange", "tab:blue"


def draw_log(rows: list[dict[str, Any]], file: Path) -> None:
    """Draw the rows of a log, stage after stage, against the summed seconds of their epochs.

    Raises:
        OutputError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    minutes, total = [], 0.0
    for row in rows:
        total += row["seconds"] / 60
        minutes.append(total)
    figure = Figure(figsize=(9, 7))
    # Its labels are known: laying it out by their sizes takes as long as drawing it, at every stage's end.
    axes = figure.subplots(
        len(_PANELS),
        1,
        sharex=True,
        gridspec_kw={"left": 0.08, "right": 0.98, "bottom": 0.07, "top": 0.96, "hspace": 0.06},
    )
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    for axis, (title, metrics, factor) in zip(axes, _PANELS, strict=True):
        axis.set_ylabel(title)
        axis.grid(alpha=0.3)
        for stage in stages:
            for metric in metrics:
                points = [
                    (minute, factor * row[metric])
                    for minute, row in zip(minutes, rows, strict=True)
                    if row["stage"] == stage and metric in row
                ]
                if points:
                    axis.plot(
                        *zip(*points, strict=True),
                        color=_VALIDATION if metric.startswith("val_") else _TRAINING,
                        marker="." if len(points) < 3 else None,
                    )
    for stage in stages:
        begin = min(
            minute - row["seconds"] / 60
            for minute, row in zip(minutes, rows, strict=True)
            if row["stage"] == stage
        )
        for axis in axes:
            axis.axvline(begin, color="grey", linewidth=0.5)
        axes[0].annotate(stage, (begin, 1), xycoords=("data", "axes fraction"), va="bottom", fontsize=8)
    axes[0].plot([], [], color=_TRAINING, label="training scenes, augmented")
    axes[0].plot([], [], color=_VALIDATION, label="validation scenes")
    axes[0].legend(loc="lower right", fontsize=8)
    axes[-1].set_xlabel("minutes of training")
    axes[-1].set_xlim(left=0)
    with written_aside(file) as aside:
        figure.savefig(aside, dpi=110)

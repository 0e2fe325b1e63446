"""The paper's figures, drawn from a run's own measurements; each PNG has its data beside it as CSV."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from geozoom import files
from geozoom.files import folder_written_aside
from training.evaluate import Row
from training.evaluation import OpenedRun
from training.figures.comparison import ComparedRun, compared, draw_comparison, read_others, remarks
from training.figures.dropping import draw_dropping
from training.figures.examples import draw_examples
from training.figures.habits import draw_habits
from training.results import POLICIES

__all__ = ["check_folder", "draw_all", "read_others", "remarks"]

_NAMES = ("dropping", "examples", "comparison", "habits")
_OURS = re.compile(rf"({'|'.join(_NAMES)})\.(png|csv)")


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder for figures before any work is done for it.

    Raises:
        OutputError: See `geozoom.files.check_folder`.
    """
    files.check_folder(folder, _OURS, "figures", overwrite=overwrite)


def draw_all(opened: OpenedRun, rows: list[Row], others: Sequence[ComparedRun], folder: Path) -> list[Path]:
    """Draw every figure that the run has the stages for, into a folder that is written whole or not at all.

    Args:
        opened: The run, which is measured further for its figures.
        rows: What was measured of it.
        others: Finished runs that figure 5 compares it with.
        folder: Where the figures go.

    Returns:
        The pictures; none without a policy.

    Raises:
        OutputError: They cannot be written.
    """
    results = opened.results
    stages = [stage for stage in results.begun() if stage in POLICIES]
    if not stages:
        return []
    with folder_written_aside(folder) as aside, results.engine.autocast():
        draw_dropping(results, stages[-1], aside / "dropping.png")
        draw_examples(results, stages[-1], aside / "examples.png")
        draw_habits(results, stages[-1], aside / "habits.png")
        if others:
            draw_comparison([compared(opened, rows), *others], aside / "comparison.png")
        return [folder / file.name for file in sorted(aside.glob("*.png"))]

"""What all figures share: colours, a blank figure, and how a picture and its data are written."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geozoom.drawing import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette, which the colour-blind can tell apart; marks and lines differ too.
BLUE, ORANGE, GREEN, PURPLE, GREY, SKY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#666666", "#56b4e9"
BLACK, AMBER = "#000000", "#e69f00"
HEAT = "cividis"


def blank(width: float, height: float, h_pad: float = 0.04) -> Figure:
    """Return a figure of width × height inches, with `h_pad` inches above and below each panel."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=h_pad))


def write_figure(figure: Figure, file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a figure as PNG, and its data beside it as CSV."""
    save_figure(figure, file, dpi=150)
    with file.with_suffix(".csv").open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
            for row in rows
        )

"""A table of points as a file: CSV, JSON or a picture."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geozoom.files import check_output, write_text, written_aside

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".csv", ".json", ".png", ".svg")


def write_points(
    path: Path | str,
    *,
    columns: Sequence[str],
    content: dict[str, Any],
    draw: Callable[[Axes], None],
    overwrite: bool,
) -> None:
    """Write points; the suffix says how: .csv, .json, .png or .svg.

    Args:
        path: File to write.
        columns: The points' columns, in order.
        content: All of it as plain values: its "points" are the rows, its "price_list" the picture's title.
        draw: Draws the points on axes.
        overwrite: Replace an existing file.

    Raises:
        OutputError: The file exists and `overwrite` is not set, its folder cannot be written, or the suffix is not
            known.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite, suffixes=SUFFIXES)
    if path.suffix.lower() == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(content["points"])
        write_text(path, text.getvalue())
    elif path.suffix.lower() == ".json":
        write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    else:
        _draw(path, content["price_list"], draw)


def _draw(path: Path, title: str, draw: Callable[[Axes], None]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import StrMethodFormatter

    figure = Figure(figsize=(8, 5), layout="constrained")
    panel = figure.subplots()
    draw(panel)
    panel.set_xlim(left=0)
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.grid(visible=True, color="#dddddd", linewidth=0.6)
    panel.legend(frameon=False, loc="lower right")
    panel.set_title(title, fontsize=9, loc="left", parse_math=False)
    with written_aside(path) as aside:
        figure.savefig(aside, dpi=130)

"""Table 3 as Markdown, CSV and JSON, with the published figures beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from geozoom.features import Column
from geozoom.files import write_text
from geozoom.tables import write_table
from training.comparing.bagnet import BAGNET, CNN, PATCHDROP, BagNetRow

PUBLISHED: Mapping[str, tuple[float, float, float, float, float]] = {
    BAGNET: (85.6, 16, 85.6, 16, 192),
    CNN: (92.3, 16, 92.3, 16, 77),
    "Fixed-H": (67.7, 10, 86.3, 9, 98),
    "Fixed-V": (68.3, 10, 86.2, 9, 98),
    "Stochastic": (49.1, 10, 83.1, 9, 98),
    "STN": (67.5, 10, 86.8, 9, 112),
    PATCHDROP: (77.4, 9.5, 92.7, 8.5, 98),
}
"""Of CIFAR-10: accuracy and S of Pt and of Ft-1, and milliseconds per image on an i7-7700K."""
_FIGURES = ("pt_accuracy", "pt_sampled", "ft1_accuracy", "ft1_sampled", "ms_per_image")


def as_columns(rows: list[BagNetRow], dataset: str) -> dict[str, Column]:
    """Return the table column by column; the paper's figures are beside it where they are of this dataset."""
    measured = [(row.pt.accuracy, row.pt.sampled, row.ft1.accuracy, row.ft1.sampled, row.ms) for row in rows]
    columns: dict[str, Column] = {"row": [row.name for row in rows]}
    for at, name in enumerate(_FIGURES):
        columns[name] = [round(figures[at], 2 if at < 4 else 4) for figures in measured]
    columns["share_of_bagnet"] = [round(row.of_bagnet, 3) for row in rows]
    if dataset == "cifar10":
        for at, name in enumerate(_FIGURES):
            columns[f"paper_{name}"] = [PUBLISHED[row.name][at] for row in rows]
    return columns


def as_markdown(rows: list[BagNetRow], dataset: str) -> str:
    """Return the table as Markdown."""
    columns = as_columns(rows, dataset)
    lines = [list(columns), ["---"] * len(columns), *zip(*columns.values(), strict=True)]
    lines[0] = ["", *(name.replace("_", " ") for name in list(columns)[1:])]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def as_rich(rows: list[BagNetRow], dataset: str) -> Table:
    """Return the table for a terminal."""
    columns = as_columns(rows, dataset)
    table = Table()
    for name in columns:
        heading = "" if name == "row" else name.replace("_", " ")
        table.add_column(heading, justify="left" if name == "row" else "right", no_wrap=name == "row")
    for line in zip(*columns.values(), strict=True):
        table.add_row(*map(str, line))
    return table


def write(folder: Path, rows: list[BagNetRow], dataset: str, summary: Mapping[str, Any]) -> None:
    """Write table3.md, table3.csv and table3.json, in place of older ones.

    Raises:
        OutputError: The folder cannot be written.
    """
    columns = as_columns(rows, dataset)
    write_text(folder / "table3.md", as_markdown(rows, dataset))
    for suffix in (".csv", ".json"):
        write_table(folder / f"table3{suffix}", columns, name="rows", summary=summary, overwrite=True)

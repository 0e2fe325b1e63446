"""The results table of a run, for people (Markdown) and for programs (JSON)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from geozoom.files import write_text
from training.evaluate import Row


def as_plain(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the table as plain values for JSON."""
    return [asdict(row) | {"interval": row.interval} for row in rows]


def as_markdown(rows: list[Row]) -> str:
    """Return the table as Markdown; the interval is Wilson's at 95%."""
    lines = [
        "| | accuracy % | 95% interval | S |",
        "|---|---|---|---|",
        *(
            f"| {row.name} | {row.accuracy:.1f} | {row.interval[0]:.1f}–{row.interval[1]:.1f} "
            f"| {row.sampled:.2f} |"
            for row in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def as_rich(rows: list[Row], title: str) -> Table:
    """Return the table for a terminal."""
    table = Table(title=title)
    table.add_column("")
    for heading in ("accuracy %", "95% interval", "S"):
        table.add_column(heading, justify="right")
    for row in rows:
        low, high = row.interval
        table.add_row(row.name, f"{row.accuracy:.1f}", f"{low:.1f}-{high:.1f}", f"{row.sampled:.2f}")
    return table


def write_table(folder: Path, rows: list[Row]) -> None:
    """Write table.md and table.json into a run's folder."""
    write_text(folder / "table.json", json.dumps(as_plain(rows), indent=2) + "\n")
    write_text(folder / "table.md", as_markdown(rows))

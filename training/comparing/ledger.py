"""What the rows of a table measured, kept as they come, so that the same command goes on where it was stopped."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geozoom.errors import RunError
from geozoom.files import write_text


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What one column of one row measured with one seed."""

    accuracy: float
    """In percent."""
    sampled: float
    """S."""
    scenes: int


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row, measured with one seed."""

    cells: dict[str, Cell]
    """By column."""
    parameters: int
    """Of the networks that the row needs to answer."""
    training_s: float
    """Seconds of training that it takes, what it begins with included."""
    took_s: float
    """Seconds until it was measured, what was there already not counted."""


@dataclass(kw_only=True)
class Ledger:
    """The entries of a table, by seed and row."""

    file: Path
    entries: dict[tuple[int, str], Entry] = field(default_factory=dict)

    @classmethod
    def open(cls, file: Path) -> Ledger:
        """Read a ledger, or begin one.

        Raises:
            RunError: The file is damaged.
        """
        if not file.is_file():
            return cls(file=file)
        try:
            rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
            entries = {
                (row.pop("seed"), row.pop("row")): Entry(
                    cells={column: _cell(**cell) for column, cell in row.pop("cells").items()}, **row
                )
                for row in rows
            }
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{file}: cannot be read; delete it, and all rows are measured again ({error})"
            ) from error
        return cls(file=file, entries=entries)

    def add(self, seed: int, row: str, entry: Entry) -> None:
        """Take in an entry and write the ledger.

        Raises:
            OutputError: It cannot be written.
        """
        self.entries[seed, row] = entry
        rows = [{"seed": at, "row": name} | asdict(each) for (at, name), each in self.entries.items()]
        write_text(self.file, json.dumps(rows, indent=2) + "\n")

    def lasted(self, row: str) -> float | None:
        """Return how long a row took last, with whatever seed; None if it never was measured."""
        known = [entry.took_s for (_, name), entry in self.entries.items() if name == row]
        return known[-1] if known else None


def _cell(accuracy: float, sampled: float, scenes: int) -> Cell:
    """Return a cell of what a file says, which must be numbers."""
    return Cell(accuracy=float(accuracy), sampled=float(sampled), scenes=int(scenes))

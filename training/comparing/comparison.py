"""What a table of several runs is asked for, and what comes of it: mean and deviation over seeds."""

from __future__ import annotations

import csv
import io
import json
import os
import statistics
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geozoom.errors import RunError
from geozoom.files import sweep, write_text
from training.alone import alone_in
from training.parallel import processes
from training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TableRequest:
    """What `geozoom table` was asked to do."""

    dataset: str
    """One of `training.DATASETS`."""
    root: Path
    out: Path
    """Folder of the table; every run has one in it."""
    recipe: Recipe
    """Of every run, but for what the rows vary."""
    recipe_name: str
    seeds: tuple[int, ...]
    rows: tuple[str, ...] | None = None
    """results: the rows to make, in that order; None for all."""
    policy: Path | None = None
    """hard-positives: the policy of the row PatchDrop; None trains one."""
    device: str = "auto"
    lr_root: Path | None = None
    skip_unreadable: bool = False
    memory_gib: float = 8.0


@dataclass(frozen=True, kw_only=True)
class ComparedRow:
    """One way, run with several seeds."""

    name: str
    accuracy: tuple[float, ...]
    """Percent of the test scenes, by seed."""
    published: float | None = None
    """What the paper states for the dataset, in percent."""

    @property
    def mean(self) -> float:
        """Mean accuracy over the seeds in percent."""
        return statistics.fmean(self.accuracy)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds (n - 1) in points; None of one seed."""
        return statistics.stdev(self.accuracy) if len(self.accuracy) > 1 else None


@dataclass(frozen=True, kw_only=True)
class Compared(ABC):
    """A table of the paper."""

    title: str
    about: tuple[str, ...]
    """What a reader must know, a sentence each."""

    @abstractmethod
    def headings(self) -> tuple[str, ...]:
        """Return what stands above the cells."""

    @abstractmethod
    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows as text."""

    @abstractmethod
    def plain(self) -> list[dict[str, Any]]:
        """Return the rows as plain values, all with the same keys."""

    def write(self) -> str:
        """Return it as Markdown."""
        headings = self.headings()
        lines = [headings, ("---",) * len(headings), *self.cells()]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        return f"# {self.title}\n\n{table}\n" + "".join(f"{sentence}\n" for sentence in self.about)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {"title": self.title, "about": list(self.about), "rows": self.plain()}

    def keep(self, folder: Path) -> None:
        """Write table.md, table.csv and table.json.

        Raises:
            OutputError: They cannot be written.
        """
        rows = self.plain()
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(folder / "table.md", self.write())
        write_text(folder / "table.csv", text.getvalue())
        write_text(folder / "table.json", json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")


@dataclass(frozen=True, kw_only=True)
class Comparison(Compared):
    """A table of one accuracy for each row and seed."""

    rows: tuple[ComparedRow, ...]
    seeds: tuple[int, ...]
    scenes: int
    """Test scenes."""
    published: str | None = None
    """Of which networks the published figures are; None without any."""

    def cells(self) -> list[tuple[str, ...]]:
        """Return name, mean ± deviation, each seed's accuracy and the published one of every row, as text."""
        return [
            (
                row.name,
                f"{row.mean:.2f}" + ("" if row.deviation is None else f" ± {row.deviation:.2f}"),
                ", ".join(f"{value:.2f}" for value in row.accuracy),
                "–" if row.published is None else f"{row.published:.1f}",
            )
            for row in self.rows
        ]

    def headings(self) -> tuple[str, ...]:
        """Return what stands above the cells."""
        seeds = ", ".join(map(str, self.seeds))
        published = "published" if self.published is None else f"published ({self.published})"
        return "", "accuracy %", f"seed {seeds}", published

    def plain(self) -> list[dict[str, Any]]:
        """Return the rows as plain values."""
        return [
            {
                "name": row.name,
                "accuracy": list(row.accuracy),
                "mean": row.mean,
                "deviation": row.deviation,
                "published": row.published,
            }
            for row in self.rows
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return super().to_dict() | {
            "seeds": list(self.seeds),
            "scenes": self.scenes,
            "published": self.published,
        }


@contextmanager
def working_in(out: Path) -> Iterator[None]:
    """Hold a table's folder; of processes that `torchrun` started the first does.

    Raises:
        RunError: It is a file, or the folder of one run; or another process works in it.
    """
    _check_out(out)
    leads = processes() == 1 or os.environ.get("RANK", "0") == "0"
    with alone_in(out) if leads else nullcontext():
        if (out / "table.md").is_file():
            sweep(out, below=False)
        yield


def _check_out(out: Path) -> None:
    """Refuse a folder that is not a table's, before hours of work."""
    if out.is_file():
        raise RunError(f"{out}: is a file; name a folder for the table and its runs")
    if (out / "config.json").is_file():
        raise RunError(f"{out}: is the folder of one run; name another for the table and its runs")

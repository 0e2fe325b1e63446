"""What a table of several runs is asked for, and what comes of it: mean and deviation over seeds."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geozoom.errors import RunError
from geozoom.files import write_text
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
class Comparison:
    """A table."""

    title: str
    about: tuple[str, ...]
    """What a reader must know, a sentence each."""
    rows: tuple[ComparedRow, ...]
    seeds: tuple[int, ...]
    scenes: int
    """Test scenes."""
    published: str | None = None
    """Of which networks the published figures are; None without any."""

    def cells(self) -> list[tuple[str, str, str, str]]:
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

    def headings(self) -> tuple[str, str, str, str]:
        """Return what stands above the cells."""
        seeds = ", ".join(map(str, self.seeds))
        published = "published" if self.published is None else f"published ({self.published})"
        return "", "accuracy %", f"seed {seeds}", published

    def write(self) -> str:
        """Return it as Markdown."""
        lines = [self.headings(), ("---",) * 4, *self.cells()]
        table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
        return f"# {self.title}\n\n{table}\n" + "".join(f"{sentence}\n" for sentence in self.about)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "title": self.title,
            "about": list(self.about),
            "seeds": list(self.seeds),
            "scenes": self.scenes,
            "published": self.published,
            "rows": [
                {
                    "name": row.name,
                    "accuracy": list(row.accuracy),
                    "mean": row.mean,
                    "deviation": row.deviation,
                    "published": row.published,
                }
                for row in self.rows
            ],
        }

    def keep(self, folder: Path) -> None:
        """Write table.md and table.json.

        Raises:
            OutputError: They cannot be written.
        """
        write_text(folder / "table.md", self.write())
        write_text(folder / "table.json", json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")


def check_out(out: Path) -> None:
    """Refuse a folder that is not a table's, before hours of work.

    Raises:
        RunError: It is a file, or the folder of one run.
    """
    if out.is_file():
        raise RunError(f"{out}: is a file; name a folder for the table and its runs")
    if (out / "config.json").is_file():
        raise RunError(f"{out}: is the folder of one run; name another for the table and its runs")

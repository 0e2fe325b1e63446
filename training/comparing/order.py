"""Where the rows of Tables 1 and 2 stand in another order than the paper's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

from training.baselines.masked import Column
from training.comparing.ledger import Cell, Entry
from training.comparing.published import PUBLISHED
from training.comparing.results_table import COLUMNS


@dataclass(frozen=True, kw_only=True)
class Departure:
    """A row that the paper states above another, and that is not above it here."""

    column: Column | None
    """None where both rows have the same figure in every column."""
    better: str
    """The paper's better row."""
    worse: str
    accuracy: tuple[float, float]
    """Of the paper's better and worse row here: means over the seeds that both were measured with, in percent."""
    error: float
    """Standard error in points of the difference of two such shares of as many scenes, were each row's its own.

    All rows and seeds have the same test scenes: it is too large for a pair on one seed, and says nothing of seeds.
    """

    @property
    def level(self) -> bool:
        """Whether they are apart by no more than that error."""
        return self.accuracy[1] - self.accuracy[0] <= self.error


def departures(entries: Mapping[tuple[int, str], Entry], dataset: str) -> Iterator[Departure]:
    """Yield every pair of rows that is in another order than in the paper's table of a dataset.

    Where the paper has no such table, the order is what all of its tables agree on.

    Args:
        entries: What was measured, by seed and row.
        dataset: One of `training.DATASETS`.
    """
    tables = [PUBLISHED[dataset]] if dataset in PUBLISHED else list(PUBLISHED.values())
    for at, column in enumerate(COLUMNS):
        for better, worse in permutations(tables[0], 2):
            if not all(table[better][at][0] > table[worse][at][0] for table in tables):
                continue
            once = all(_constant(table[name]) for table in tables for name in (better, worse))
            if once and at:
                continue
            pairs = [
                (entry.cells[column], entries[seed, worse].cells[column])
                for (seed, name), entry in entries.items()
                if name == better and (seed, worse) in entries
            ]
            if not pairs:
                continue
            first, second = (
                statistics.fmean(cell.accuracy for cell in cells) for cells in zip(*pairs, strict=True)
            )
            if first > second:
                continue
            yield Departure(
                column=None if once else column,
                better=better,
                worse=worse,
                accuracy=(first, second),
                error=math.sqrt(statistics.fmean(_variance(one) + _variance(other) for one, other in pairs)),
            )


def _constant(cells: tuple[tuple[float, float], ...]) -> bool:
    return len(set(cells)) == 1


def _variance(cell: Cell) -> float:
    """Return the variance of an accuracy, in points squared."""
    return cell.accuracy * (100 - cell.accuracy) / cell.scenes

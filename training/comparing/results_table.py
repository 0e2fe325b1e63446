"""How Tables 1 and 2 are shown: rows × columns, each a mean over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from training.baselines.masked import Column
from training.comparing.comparison import Compared
from training.comparing.ledger import Entry

COLUMNS: dict[Column, str] = {"pt": "Pt", "ft1": "Ft-1", "ft2": "Ft-2"}
ROWS = {
    "lr-cnn": "LR-CNN",
    "srgan": "SRGAN",
    "kd": "KD",
    "pcn": "PCN",
    "hr-cnn": "HR-CNN",
    "fixed-h": "Fixed-H",
    "fixed-v": "Fixed-V",
    "stochastic": "Stochastic",
    "stn": "STN",
    "fixed-centre": "Fixed-centre",
    "lr-entropy": "LR-entropy gating",
    "published-code": "PatchDrop, logits added",
    "patchdrop": "PatchDrop",
    "patchdrop-classifier": "PatchDrop, classifier asked",
    "patchdrop-scout": "PatchDrop, scout asked",
    "patchdrop-rounds": "PatchDrop, two rounds",
    "patchdrop-four-rounds": "PatchDrop, four rounds",
}
"""Names of the rows, in the table's order."""


@dataclass(frozen=True, kw_only=True)
class ResultsTable(Compared):
    """Rows × columns, each a mean over seeds."""

    entries: dict[tuple[int, str], Entry]
    published: dict[str, tuple[tuple[float, float], ...]]

    def _of(self, name: str) -> list[Entry]:
        return [entry for (_, each), entry in self.entries.items() if each == name]

    def headings(self) -> tuple[str, ...]:
        """Return what stands above the cells."""
        columns = [text for title in COLUMNS.values() for text in (f"{title} %", "S")]
        return "", *columns, "seeds", "parameters", "training", *(["published"] if self.published else [])

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows as text."""
        lines: list[tuple[str, ...]] = []
        for name, title in ROWS.items():
            found = self._of(name)
            if not found:
                continue
            texts: list[str] = []
            for column in COLUMNS:
                cells = [entry.cells[column] for entry in found if column in entry.cells]
                texts += (
                    [
                        _spread([cell.accuracy for cell in cells]),
                        f"{_mean(cell.sampled for cell in cells):.1f}",
                    ]
                    if cells
                    else ["–", "–"]
                )
            line = [
                title,
                *texts,
                str(len(found)),
                f"{found[0].parameters / 1e6:.2f} M",
                f"{_mean(entry.training_s for entry in found) / 60:.0f} min",
            ]
            if self.published:
                stated = self.published.get(name)
                line.append(
                    "–" if stated is None else " / ".join(f"{value:.1f} ({s:g})" for value, s in stated)
                )
            lines.append(tuple(line))
        return lines

    def plain(self) -> list[dict[str, Any]]:
        """Return a row for each row, seed and column."""
        stated: dict[tuple[str, str], tuple[float | None, float | None]] = {
            (name, column): cell
            for name, cells in self.published.items()
            for column, cell in zip(COLUMNS, cells, strict=True)
        }
        nothing = (None, None)
        return [
            {
                "row": name,
                "seed": seed,
                "column": column,
                "accuracy": round(cell.accuracy, 4),
                "S": round(cell.sampled, 4),
                "scenes": cell.scenes,
                "parameters": entry.parameters,
                "training_s": round(entry.training_s, 1),
                "published_accuracy": stated.get((name, column), nothing)[0],
                "published_S": stated.get((name, column), nothing)[1],
            }
            for (seed, name), entry in sorted(
                self.entries.items(), key=lambda item: (list(ROWS).index(item[0][1]), item[0][0])
            )
            for column, cell in entry.cells.items()
        ]


def _mean(values: Iterable[float]) -> float:
    return statistics.fmean(values)


def _spread(values: Sequence[float]) -> str:
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.1f}"

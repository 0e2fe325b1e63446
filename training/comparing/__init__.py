"""The paper's tables that need several runs: one module for each, behind one command."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from training.comparing.bagnet import compare_bagnets
from training.comparing.comparison import Compared, TableRequest
from training.comparing.hard_positives import compare_hard_positives
from training.comparing.results import compare_results

__all__ = ["TABLES", "Compared", "TableRequest"]

TABLES: dict[str, Callable[[TableRequest, Console], Compared | None]] = {
    "results": compare_results,
    "bagnet": compare_bagnets,
    "hard-positives": compare_hard_positives,
}
"""What makes each table that `geozoom table --table` knows; None from a process that does not lead its team."""

"""The paper's tables that need several runs: one module for each, behind one command."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from training.comparing.comparison import Comparison, TableRequest
from training.comparing.hard_positives import compare_hard_positives

__all__ = ["TABLES", "Comparison", "TableRequest"]

TABLES: dict[str, Callable[[TableRequest, Console], Comparison | None]] = {
    "hard-positives": compare_hard_positives,
}
"""What makes each table that `geozoom table --table` knows; None from a process that does not lead its team."""

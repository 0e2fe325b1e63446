"""The page of `geozoom plan --report`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geozoom.cli import options

if TYPE_CHECKING:
    from geozoom.curve import Curve
    from geozoom.orders import Plan

_F = TypeVar("_F", bound=Callable[..., Any])


def report_option(command: _F) -> _F:
    """Add --report."""
    return click.option(
        "--report",
        type=click.Path(path_type=Path),
        help="HTML page to write besides the orders: map, orders, budget curve and prices, in one file that needs "
        "no network.",
    )(command)


def check(report: Path, *, overwrite: bool) -> None:
    """Refuse a page before any work is done for it.

    Raises:
        OutputError: See `geozoom.files.check_output`.
    """
    from geozoom.files import check_output
    from geozoom.page import PAGE_SUFFIXES

    check_output(report, overwrite=overwrite, suffixes=PAGE_SUFFIXES)


def write(report: Path, plan: Plan, curve: Curve, *, overwrite: bool) -> None:
    """Write the page of a plan.

    Raises:
        OutputError: It cannot be written.
        TileError: A tile can no longer be read for its picture.
    """
    from geozoom.page import page_data, write_page

    command = shlex.join(["geozoom", *sys.argv[1:]])
    data = page_data(plan, curve=curve, today=options.today(), command=command)
    write_page(report, data, overwrite=overwrite)

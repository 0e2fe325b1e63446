"""Options of the commands that read a dataset of scenes: train, evaluate and table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--lr-root",
        type=click.Path(path_type=Path),
        help="fmow: folder of fMoW-Sentinel, for real LR images instead of simulated ones.",
    ),
    click.option(
        "--skip-unreadable", is_flag=True, help="Leave out images that cannot be read, instead of stopping."
    ),
    click.option(
        "--memory",
        type=click.FloatRange(min=0),
        default=8.0,
        show_default=True,
        metavar="GIB",
        help="Hold a dataset in memory up to this size; a larger one is read as it is needed, with the same result.",
    ),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
)


def reading_options(command: _F) -> _F:
    """Add --lr-root, --skip-unreadable, --memory and --device."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command

"""Memory that does not suffice, answered with one sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import torch

from geozoom.errors import RunError

_Item = TypeVar("_Item")


@contextmanager
def out_of_memory(answer: str) -> Iterator[None]:
    """Answer memory that does not suffice with one sentence.

    Raises:
        RunError: Says `answer`.
    """
    try:
        yield
    except RuntimeError as error:
        # On a CPU it has no class of its own.
        if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
            raise RunError(answer) from error
        raise


def moving(name: str, device: torch.device) -> AbstractContextManager[None]:
    """Answer a dataset that does not fit on a device with what to do, as `out_of_memory`."""
    return out_of_memory(
        f"{name} does not fit in the memory of {device}; give a smaller --memory to stream it"
    )


def within_memory(items: Iterable[_Item], answer: str) -> Iterator[_Item]:
    """Yield items; memory that does not suffice to fetch one is answered as by `out_of_memory`."""
    with out_of_memory(answer):
        yield from items

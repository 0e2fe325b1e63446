"""One process at a time in the folder of a run or a table: two would write over each other's records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geozoom.errors import RunError
from geozoom.files import sweep

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, made where it is missing, as long as the block lasts; one that stays empty is removed again.

    What processes that were killed left half-written in it is swept out. The system lets go of it when the process
    ends, however that ends. A file system that knows no locks holds nobody off, nor does a system without POSIX's.

    Raises:
        RunError: Another process holds it, or it cannot be created.
    """
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = None if fcntl is None else os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be created or opened ({error.strerror}); choose another --out"
        ) from error
    try:
        if held is not None:
            _lock(held, folder)
        sweep(folder)
        yield
    finally:
        if held is not None:
            os.close(held)
        for each in made:
            with suppress(OSError):  # something was written
                each.rmdir()


def _lock(held: int, folder: Path) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunError(
            f"{folder}: another process works in it; wait until it has finished, or use another --out"
        ) from error
    except OSError:
        return  # this file system has no locks

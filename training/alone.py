"""One process at a time in the folder of a run or a table: two would write over each other's records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from geozoom.errors import RunError

try:
    import fcntl
except ImportError:  # no POSIX system
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder, made where it is missing, as long as the block lasts; one that stays empty is removed again.

    The system lets go of it when the process ends, however that ends. Held are off the processes of this machine: most
    network drives lock no folders, nor do systems without POSIX's locks.

    Raises:
        RunError: Another process holds it, or it cannot be created.
    """
    try:
        made = [each for each in (folder, *folder.parents) if not each.exists()]
        held = _held(folder)
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be created or opened ({error.strerror}); choose another --out"
        ) from error
    try:
        yield
    finally:
        for each in made:
            with suppress(OSError):  # something was written
                each.rmdir()
        if held is not None:
            with suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_UN)  # a forked child has the descriptor, too
            os.close(held)


def _held(folder: Path) -> int | None:
    """Make a folder and return a descriptor by which it is locked; None where there are no locks."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            return None
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(held)
            raise RunError(
                f"{folder}: another process works in it; wait until it has finished, or use another --out"
            ) from error
        except OSError:  # this file system has none
            return held
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), folder.stat()):
                return held
        os.close(held)  # who held it before has removed it in the meantime

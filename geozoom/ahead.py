"""Reading ahead: an iterator that works in a thread while its consumer works on what it has."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")
_POLL_S = 0.1
"""How often a full queue asks whether anybody still wants what it holds."""


def read_ahead(make: Callable[[], Iterator[_T]], depth: int) -> Iterator[_T]:
    """Yield what `make()` yields, with up to `depth` items made ahead in a thread.

    The iterator is made, run and closed in that thread, so that files it opens stay in one thread. What
    it raises is raised here, in its place; when the consumer stops early, the thread is stopped too.
    """
    ready: queue.Queue[_Made[_T]] = queue.Queue(maxsize=depth)
    stopped = threading.Event()
    thread = threading.Thread(target=_work, args=(make, ready, stopped), name="read-ahead", daemon=True)
    thread.start()
    try:
        while (made := ready.get()).error is None and made.items:
            yield from made.items
        if made.error is not None:
            raise made.error
    finally:
        stopped.set()
        thread.join()


@dataclass(frozen=True, kw_only=True)
class _Made(Generic[_T]):
    """One item, an error, or neither: the end."""

    items: tuple[_T, ...] = ()
    error: BaseException | None = None


def _work(make: Callable[[], Iterator[_T]], ready: queue.Queue[_Made[_T]], stopped: threading.Event) -> None:
    try:
        for item in make():
            _put(_Made(items=(item,)), ready, stopped)
            if stopped.is_set():
                return
        _put(_Made(), ready, stopped)
    except BaseException as error:  # noqa: BLE001 (raised again where the consumer is)
        _put(_Made(error=error), ready, stopped)


def _put(made: _Made[_T], ready: queue.Queue[_Made[_T]], stopped: threading.Event) -> None:
    while not stopped.is_set():
        with suppress(queue.Full):
            ready.put(made, timeout=_POLL_S)
            return

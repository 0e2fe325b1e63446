"""Choices for several budgets beside each other, in a process for each core: one choice keeps one core busy."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection

from geozoom.offer import AtOnce, Offer
from geozoom.ordering import Solver
from geozoom.patches import Patches
from geozoom.prices import PriceList
from geozoom.purchase import Purchase

Made = tuple[Purchase, Patches, float]
"""What is bought, the patches whose rows it names, and the seconds that the choice took."""

_FEWEST_CELLS = 10_000
"""Fewer are chosen from in less time than processes take to start."""
_MOST_CELLS = 8_000_000
"""Cells of all processes' copies together: half a gigabyte for every two million, beside 150 MB a process."""
_MOST_WORKERS = 61
"""Windows waits for no more."""


def purchase_each(
    offer: Offer, prices: PriceList, budgets_cents: Sequence[int], solver: Solver, workers: int
) -> dict[int, Made]:
    """Choose orders under every budget for itself, in processes beside each other.

    Args:
        offer: What can be ordered.
        prices: What an order is billed, and which polygons the vendor takes.
        budgets_cents: What may be spent, in cents.
        solver: "exact" solves small cases alone, for which no process is started.
        workers: Most processes; fewer where there are many cells. They start Python anew: a script that asks for
            several must guard its own work by `if __name__ == "__main__"`.

    Returns:
        What was made of each budget; nothing where one process is as quick, or several could not be had.

    Raises:
        GeozoomError: As of `Offer.purchase`.
    """
    if not isinstance(offer, AtOnce) or offer.cells < _FEWEST_CELLS or solver == "exact":
        return {}
    workers = min(workers, len(budgets_cents), _MOST_CELLS // offer.cells, _MOST_WORKERS)
    if workers < 2:
        return {}
    try:
        return _beside_each_other(offer, prices, budgets_cents, solver, workers)
    except (BrokenProcessPool, MemoryError, OSError, ImportError, NotImplementedError):
        return {}  # killed, or not to be started here: one choice at a time takes less


def _beside_each_other(
    offer: Offer, prices: PriceList, budgets_cents: Sequence[int], solver: Solver, workers: int
) -> dict[int, Made]:
    # A fork would copy the locks of torch's threads as they are at that moment.
    spawning = multiprocessing.get_context("spawn")
    theirs, ours = spawning.Pipe(duplex=False)
    # What is sent at a process's start blocks this one until it is read, so that offers go with the tasks.
    pool = ProcessPoolExecutor(workers, mp_context=spawning, initializer=_begin, initargs=(theirs,))
    with theirs, pool, ours:  # once `ours` is closed, or this process has gone, they end
        with _no_ctrl_c():
            made = [pool.submit(_purchase, offer, prices, cents, solver) for cents in budgets_cents]
        return {cents: each.result() for cents, each in zip(budgets_cents, made, strict=True)}


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Start processes that Ctrl-C leaves alone: it reaches all of a terminal, and the first one ends the others."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(first: Connection) -> None:
    """Prepare a process that ends when the other end of this pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it could not be masked
    threading.Thread(target=_end_with, args=(first,), name="end-with-first", daemon=True).start()


def _end_with(first: Connection) -> None:
    first.poll(None)
    os._exit(1)


def _purchase(offer: Offer, prices: PriceList, budget_cents: int, solver: Solver) -> Made:
    began = time.perf_counter()
    return (*offer.purchase(prices, budget_cents, solver), time.perf_counter() - began)

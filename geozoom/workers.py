"""Choices for several budgets beside each other, a process for each: one choice keeps one core busy."""

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

from geozoom.offer import AtOnce, Offer
from geozoom.ordering import Solver
from geozoom.patches import Patches
from geozoom.prices import PriceList
from geozoom.purchase import Purchase

Made = tuple[Purchase, Patches, float]
"""What is bought, the patches whose rows it names, and the seconds that the choice took."""
_FEWEST_CELLS = 10_000
"""Fewer are chosen from in less time than processes take to start."""
_MOST_CELLS = 2_000_000
"""Every process has a copy, and takes half a gigabyte for a choice of so many."""

_shared: tuple[Offer, PriceList, Solver] | None = None


def purchase_each(
    offer: Offer, prices: PriceList, budgets_cents: Sequence[int], solver: Solver, workers: int
) -> dict[int, Made]:
    """Choose orders under every budget for itself, in processes beside each other.

    Args:
        offer: What can be ordered.
        prices: What an order is billed, and which polygons the vendor takes.
        budgets_cents: What may be spent, in cents.
        solver: "exact" proves the optimum of small cases.
        workers: Most processes. They start Python anew: a script that asks for several must guard its own work
            by `if __name__ == "__main__"`.

    Returns:
        What was made of each budget; nothing where one process is as quick or memory is short for several.

    Raises:
        GeozoomError: As of `Offer.purchase`.
    """
    workers = min(workers, len(budgets_cents))
    shareable = isinstance(offer, AtOnce) and _FEWEST_CELLS <= offer.cells <= _MOST_CELLS
    if workers < 2 or not shareable:
        return {}
    others = multiprocessing.active_children()
    # A fork would copy the locks of torch's threads as they are at that moment.
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=spawning, initializer=_begin, initargs=(offer, prices, solver)
    ) as pool:
        try:
            with _no_ctrl_c():
                made = pool.map(_purchase, budgets_cents)
            return dict(zip(budgets_cents, made, strict=True))
        except BrokenProcessPool:
            return {}  # one was killed, as a rule for want of memory
        except BaseException:
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise


@contextmanager
def _no_ctrl_c() -> Iterator[None]:
    """Hold Ctrl-C back, for good in processes that are started here: it reaches every process of a terminal."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(offer: Offer, prices: PriceList, solver: Solver) -> None:
    global _shared  # noqa: PLW0603 (sent once to a process, not with every budget)
    # Where it could not be held back; the first process ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _shared = offer, prices, solver
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the first one ends, were it killed: the queue between them would not say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _purchase(budget_cents: int) -> Made:
    if _shared is None:
        raise RuntimeError("a worker is asked before it was told what there is to buy")
    began = time.perf_counter()
    offer, prices, solver = _shared
    return (*offer.purchase(prices, budget_cents, solver), time.perf_counter() - began)

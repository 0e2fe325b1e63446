"""Orders are taken back one by one, and their money is spent anew where that buys more. Pure, no I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.fast import Draft
from geozoom.ordering.rest import spend_rest
from geozoom.prices import PriceList

_WORK = 600_000
"""Cells that are looked at in all: so many exchanges on a lattice that they take seconds."""
_MOST = 8
_GAIN = 1e-6
"""Share of its value that a plan must gain to count as better: more than sums in another order differ by."""


def exchange(draft: Draft, prices: PriceList, budget_cents: int) -> Draft:
    """Return the plan, or a better one: without one of its orders, whose money buys others on all free ground.

    The order that is worth least for its bill goes first. What was packed for the whole budget was packed
    at once; an order alone finds ground between the others that they do not need.

    Args:
        draft: The plan, which stays as it is.
        prices: What an order is billed, and the polygons that the vendor takes.
        budget_cents: What may be spent in all.
    """
    cells = sum(regions.lattice.value.size for regions in draft.regions)
    best, kept = draft, 0
    for _ in range(min(_MOST, _WORK // max(1, cells))):
        worth = _worth(best, prices)
        if kept == len(worth):
            break
        trial = best.copy()
        _take_back(trial, int(np.argsort(worth, kind="stable")[kept]))
        spend_rest(trial, prices, budget_cents)
        if trial.value > best.value * (1 + _GAIN):
            best, kept = trial, 0
        else:
            kept += 1
    return best


def _worth(draft: Draft, prices: PriceList) -> NDArray[np.float64]:
    """Return the value per cent of every order, lattice by lattice."""
    bills = np.concatenate(draft.bills(prices))
    values = np.concatenate([regions.value[1:] for regions in draft.regions])
    return np.asarray(values / np.maximum(bills, 1))


def _take_back(draft: Draft, order: int) -> None:
    """Drop one order, counted through all lattices."""
    for regions in draft.regions:
        if order < regions.count:
            regions.keep(np.arange(regions.count) != order)
            return
        order -= regions.count

"""Orders are taken back one by one, and their money is spent anew where that buys more. Pure, no I/O."""

from __future__ import annotations

import numpy as np

from geozoom.ordering.draft import Draft
from geozoom.ordering.rest import spend_rest
from geozoom.prices import PriceList

_MOST = 12
_WORK = 600_000
"""Cells that are looked at in all: so many exchanges on a lattice that they take seconds."""
_MOST_CELLS = 200_000
"""Cells of all lattices up to which orders are exchanged."""
_MOST_ORDERS = 60
"""The same for orders: one of many is worth little."""
_GAIN = 1e-6
"""Share of its value that a plan must gain to count as better: more than sums in another order differ by."""


def exchange(draft: Draft, prices: PriceList, budget_cents: int) -> Draft:
    """Return the plan, or a better one: without one of its orders, whose money buys others on all free ground.

    Orders are tried in turn from the one that is worth least for its bill, until none of them is worth exchanging.
    What was packed for the whole budget was packed at once; an order alone finds ground between the others that
    they do not need.

    Args:
        draft: The plan, which stays as it is.
        prices: What an order is billed, and the polygons that the vendor takes.
        budget_cents: What may be spent in all.
    """
    cells = sum(regions.lattice.value.size for regions in draft.regions)
    if cells > _MOST_CELLS or sum(regions.count for regions in draft.regions) > _MOST_ORDERS:
        return draft
    best, turn, in_vain = draft, 0, 0
    for _ in range(min(_MOST, _WORK // max(1, cells))):
        worth = best.worth(prices)
        if in_vain >= len(worth):
            break
        trial = best.copy()
        trial.keep(np.arange(len(worth)) != np.argsort(worth, kind="stable")[turn % len(worth)])
        spend_rest(trial, prices, budget_cents)
        if trial.value > best.value * (1 + _GAIN):
            best, in_vain = trial, 0  # the next in worth has taken the turn of the one that went
        else:
            turn, in_vain = turn + 1, in_vain + 1
    return best

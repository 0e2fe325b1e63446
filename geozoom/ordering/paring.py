"""Orders for all that is wanted, pared down to what a budget pays for. Pure NumPy, no I/O.

A budget that pays for most of what is wanted is better spent by leaving the worst of it out than by putting orders
together from the best of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from geozoom.ordering.draft import Draft
from geozoom.ordering.fast import afford, spend
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.mending import mend
from geozoom.ordering.outlines import corner_counts
from geozoom.ordering.shapes import CellLimits
from geozoom.ordering.sizing import free_area_dm2
from geozoom.ordering.wanted import all_wanted
from geozoom.prices import PriceList

_PARTS = (1.5, 2.0, 3.0)
"""Sizes of parts that are tried, in orders that are no dearer than the smallest one."""
_BRIDGE = (2,)
"""Gaps that are bridged: parts that are near each other need few."""
_UNBOUNDED = 2**31
_BISECTIONS = 12
_SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of the threshold at which all orders are paid for: below it fewer of them are, which are larger."""
_SWEEPS = 60
"""Sweeps at most at one threshold: each takes a ring of cells off."""


def in_parts(lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList) -> Iterator[Draft]:
    """Yield orders that hold all cells wanted, in parts of a size, one size after the other.

    Vendors limit the corners of an order: several orders follow what is wanted more closely than a large one, for no
    more money as long as each is above the minimum. Where corners are free, orders are as large as they come. Nothing
    is yielded for vendors to whose rules orders cannot keep cell by cell.

    Args:
        lattices: The cells.
        limits: The vendor's rules in cells of each lattice.
        prices: What an order is billed.
    """
    if not all(limit.plain for limit in limits):
        return
    crowded = all(limit.most_corners < _UNBOUNDED for limit in limits)
    units = [_unit(lattice, limit, prices) for lattice, limit in zip(lattices, limits, strict=True)]
    for parts in _PARTS if crowded else (_UNBOUNDED,):
        yield Draft(
            regions=[
                all_wanted(
                    lattice,
                    replace(limit, most_dm2=min(limit.most_dm2, int(parts * unit))),
                    prices,
                    free_area_dm2(prices, limit.least_dm2),
                    bridges=_BRIDGE,
                )
                for lattice, limit, unit in zip(lattices, limits, units, strict=True)
            ]
        ).within(limits)


def _unit(lattice: Lattice, limit: CellLimits, prices: PriceList) -> int:
    """Return the area of an order no dearer than the smallest, or of one that uses its corners, if that is larger."""
    wanted = lattice.value > 0
    area = int(lattice.areas[wanted].sum(dtype=np.int64))
    corners = int(corner_counts(wanted.astype(np.int32), 1)[0]) if area else 0
    closely = area * limit.most_corners // max(1, corners)
    return max(free_area_dm2(prices, limit.least_dm2), limit.least_dm2, closely, 1)


def pare(draft: Draft, prices: PriceList, budget_cents: int) -> Draft:
    """Return orders without the cells on their rims that are worth least, so that the budget pays for them.

    Little is taken off and the worst orders are left out, or more is taken off and all of them stay.

    Args:
        draft: Orders that cost more; they stay as they are.
        prices: What an order is billed.
        budget_cents: What may be spent.

    Returns:
        What is worth most of what several thresholds leave; perhaps nothing.
    """
    threshold = _threshold(draft, prices, budget_cents)
    found = []
    for share in _SHARES:
        pared = draft.copy()
        _take_off(pared, prices, share * threshold)
        afford(pared, prices, budget_cents)
        spend(pared, prices, budget_cents)
        found.append(pared)
    return max(found, key=lambda each: each.value)


def _threshold(draft: Draft, prices: PriceList, budget_cents: int) -> float:
    """Return the worth of a dm² below which cells go until the budget pays for all orders, or as many as may go."""
    densest = [
        float(regions.lattice.value.max(initial=0)) / int(np.min(regions.lattice.area_dm2))
        for regions in draft.regions
        if regions.count
    ]
    low, high = 0.0, 2 * max(densest, default=0.0)
    for _ in range(_BISECTIONS):
        threshold = (low + high) / 2
        pared = draft.copy()
        _take_off(pared, prices, threshold)
        if pared.cost(prices) > budget_cents:
            low = threshold
        else:
            high = threshold
    return high


def _take_off(draft: Draft, prices: PriceList, threshold: float) -> None:
    """Take cells off the rims of orders that are worth less a dm² than a threshold, down to what a minimum pays for."""
    for regions in draft.regions:
        least = regions.limits.least_dm2
        floor = max(free_area_dm2(prices, least), least)
        for _ in range(_SWEEPS):
            every = np.full(regions.count + 1, threshold)
            if not regions.drop(every, np.maximum(0, regions.area - floor)):
                break
        mend(regions)
        regions.keep(~regions.refused())

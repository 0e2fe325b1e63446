"""Orders made better cell by cell: poor cells make room for rich ones.

The area stays what the minimum pays for, and beyond it a cell joins that is worth its price. Pure NumPy, no I/O.
"""

from __future__ import annotations

import numpy as np

from geozoom.ordering.regions import Regions

_CROWD = 2.0
"""How fast the price of a corner follows the share of the corners that an order uses."""
_TRIMMING = 40
_SETTLING = 6
"""Sweeps at most that trim and that fill up."""
_FULL = 0.97
"""Share of the corners allowed that orders are steered to, where corners are short."""


def refine(regions: Regions, *, free_dm2: int, price: float, sweeps: int) -> None:
    """Improve all orders of a lattice at the price of money.

    An order below `free_dm2` grows for nothing; at it, cells swap; beyond it, a cell must be worth its price.
    The threshold of each order moves until its area is what is free, or the threshold is the price.

    Args:
        regions: The orders, changed in place.
        free_dm2: Area that the minimum pays for.
        price: Value that a dm² must have beyond it.
        sweeps: How often every cell of the rims is looked at.
    """
    most = min(regions.limits.most_dm2, 2**62)
    free = min(free_dm2, most)
    threshold = np.minimum(price, 0.5 * regions.value / np.maximum(regions.area, 1))
    corner = np.zeros(regions.count + 1)
    usual = regions.value / np.maximum(regions.area, 1) * float(np.mean(regions.lattice.area_dm2))
    for sweep in range(sweeps):
        priced = corner if corner.any() else None
        regions.add(threshold, most - regions.area, corner=priced)
        # Below its smallest area the vendor would refuse an order.
        spare = np.maximum(0, regions.area - regions.limits.least_dm2)
        regions.drop(threshold, spare, corner=priced)
        crowded = regions.corners / (regions.limits.most_corners * _FULL) - 1
        corner = np.clip(corner + _CROWD * usual * np.clip(crowded, -0.2, 0.2), 0, usual)
        excess = (regions.area - free) / max(free, 1)
        pace = 2.0 / (1 + sweep) ** 0.5
        threshold = np.clip(threshold * np.exp(pace * np.clip(excess, -0.5, 0.5)), 0, price)
        threshold = np.maximum(threshold, 1e-3 * price)
    settle(regions, free_dm2=free_dm2, price=price)


def settle(regions: Regions, *, free_dm2: int, price: float) -> None:
    """Trim what is beyond the free area and not worth its price, then fill up to it."""
    free = min(free_dm2, regions.limits.most_dm2)
    every = np.full(regions.count + 1, price)
    # A part of a cell beyond what is free is billed, too: the last cell goes if what stays is enough.
    cell = int(np.max(regions.lattice.area_dm2))
    down_to = max(free - cell + 1, regions.limits.least_dm2)
    for _ in range(_TRIMMING):
        above = regions.area > free
        if not regions.drop(every, np.where(above, np.maximum(0, regions.area - down_to), 0)):
            break
    nothing = np.zeros(regions.count + 1)
    for _ in range(_SETTLING):
        if not regions.add(nothing, np.maximum(0, free - regions.area), ahead=0.0):
            break

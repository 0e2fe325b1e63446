"""Orders that touch become one where the vendor bills that less. Pure, no I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.covering import whole
from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import violations
from geozoom.prices import PriceList

_ATTEMPTS = 4000
"""Pairs that are tried, best first."""


def merge(regions: Regions, prices: PriceList, *, attempts: int = _ATTEMPTS) -> None:
    """Merge orders that touch and that are billed less together, as long as the vendor takes them.

    Args:
        regions: The orders of a lattice, changed in place.
        prices: What an order is billed.
        attempts: Pairs that are tried in all.
    """
    refused: set[tuple[int, int, int, int]] = set()
    while attempts > 0 and regions.count > 1:
        pairs = _touching(regions.inner, regions.count)
        areas = regions.area[pairs]
        saved = prices.bills_cents(areas).sum(axis=1) - prices.bills_cents(areas.sum(axis=1))
        hopeful = np.flatnonzero((saved > 0) & (areas.sum(axis=1) <= regions.limits.most_dm2))
        hopeful = hopeful[np.argsort(-saved[hopeful], kind="stable")]
        boxes = ndimage.find_objects(regions.inner)
        # Numbers change as orders merge; their first cells and areas tell them apart.
        first = _first_cells(regions.inner, regions.count)
        done: set[int] = set()
        for one, other in pairs[hopeful].tolist():
            key = (
                int(first[one]),
                int(regions.area[one]),
                int(first[other]),
                int(regions.area[other]),
            )
            if attempts <= 0 or one in done or other in done or key in refused:
                continue
            attempts -= 1
            if _merged(regions, prices, one, other, boxes):
                done |= {one, other}
            else:
                refused.add(key)
        if not done:
            return
        regions.recount()


def _first_cells(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Return the first flat cell of each label, (count + 1,)."""
    cells = np.flatnonzero(labels)
    first = np.zeros(count + 1, dtype=np.int64)
    # Of values assigned to one place the last one stays.
    first[labels.reshape(-1)[cells[::-1]]] = cells[::-1]
    return first


def _touching(labels: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Return the pairs of labels that share a side, (n, 2)."""
    keys = []
    for one, other in ((labels[:-1], labels[1:]), (labels[:, :-1], labels[:, 1:])):
        meets = (one != other) & (one > 0) & (other > 0)
        low, high = np.minimum(one[meets], other[meets]), np.maximum(one[meets], other[meets])
        keys.append(low.astype(np.int64) * (count + 1) + high)
    return np.stack(np.divmod(np.unique(np.concatenate(keys)), count + 1), axis=-1)


def _merged(
    regions: Regions, prices: PriceList, one: int, other: int, boxes: list[tuple[slice, slice]]
) -> bool:
    """Merge two orders if that is billed less and the vendor takes it; tell whether it is done."""
    lattice = regions.lattice
    window = tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(boxes[one - 1], boxes[other - 1], strict=True)
    )
    labels = regions.inner[window]
    both = (labels == one) | (labels == other)
    region = whole(both, lattice.barred[window] | ((labels > 0) & ~both))
    area = int(lattice.areas[window][region].sum())
    apart = int(prices.bills_cents(regions.area[[one, other]]).sum())
    if any(violations(region, area, regions.limits)) or int(prices.bills_cents(np.array([area]))[0]) >= apart:
        return False
    labels[region] = one
    return True

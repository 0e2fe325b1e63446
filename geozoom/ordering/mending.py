"""Orders that are too small, too narrow or too thin for their box grow over free cells. Pure, no I/O.

An order that is too small gains single cells; one that is still refused becomes what is free of a box around
it, at the place where most of the box is free and worth most.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.covering import Mask, Window, whole
from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import violations

_PLACES = 6
"""Places of a box that are tried."""
_LARGER = (1.0, 1.15, 1.4, 2.0)
"""Sides of a box that are tried, as multiples of the least."""


def mend(regions: Regions) -> None:
    """Let every order that is less than the vendor takes grow until it is taken, where there is room.

    Args:
        regions: The orders of a lattice, changed in place; of those in each other's way some are dropped.
    """
    limits = regions.limits
    if not limits.rectangles:
        _fill_up(regions)
        while (small := regions.area[1:] < limits.least_dm2).sum() > 1:
            # They are in each other's way: half of them make room, those that are worth least.
            kept = ~small
            stuck = np.flatnonzero(small)
            stuck = stuck[np.argsort(-regions.value[1:][stuck], kind="stable")]
            kept[stuck[: len(stuck) // 2]] = True
            regions.keep(kept)
            _fill_up(regions)
    refused = np.flatnonzero(regions.refused()) + 1
    if not len(refused):
        return
    boxes = ndimage.find_objects(regions.inner)
    changed = False
    for label in refused.tolist():
        changed |= _into_a_box(regions, label, boxes[label - 1])
    if changed:
        regions.recount()


def _fill_up(regions: Regions) -> None:
    """Add the best cells beside orders that are below the smallest area."""
    limits = regions.limits
    cell = int(np.max(regions.lattice.area_dm2))
    # Worthless cells join, too.
    anything = np.full(regions.count + 1, -1.0)
    while True:
        lacking = limits.least_dm2 - regions.area
        room = np.where(lacking > 0, np.minimum(lacking + cell - 1, limits.most_dm2 - regions.area), 0)
        if not (room[1:] > 0).any() or not regions.add(anything, np.maximum(room, 0), ahead=0.0):
            return


def _into_a_box(regions: Regions, label: int, box: Window) -> bool:
    """Make a refused order what is free of a box that holds it; tell whether one is found that is taken."""
    lattice, limits = regions.lattice, regions.limits
    sizes = _sizes(regions, box)
    if not sizes or not _may_hold(regions, label, _reach(regions, box, *np.max(sizes, axis=0).tolist())):
        return False
    for tall, wide in sizes:
        for window in _places(regions, label, box, tall, wide):
            free, own = _free(regions, label, window)
            region = _one_part(free, own)
            if region is None:
                continue
            area = int(lattice.areas[window][region].sum())
            if not any(violations(region, area, limits)):
                inner = regions.inner[window]
                inner[own] = 0
                inner[region] = label
                return True
    return False


def _sizes(regions: Regions, box: Window) -> list[tuple[int, int]]:
    """Return the heights and widths of boxes to try around an order, in cells; none if it is too large for any."""
    limits, cell = regions.limits, float(np.mean(regions.lattice.area_dm2))
    own_tall, own_wide = (side.stop - side.start for side in box)
    if own_tall > limits.most_rows or own_wide > limits.most_cols:
        return []
    rows, cols = regions.lattice.shape
    most_rows, most_cols = min(limits.most_rows, rows), min(limits.most_cols, cols)
    sizes: dict[tuple[int, int], None] = {}  # a set that keeps its order
    for larger in _LARGER:
        tall = min(most_rows, max(own_tall, int(np.ceil(limits.least_rows * larger))))
        wide = min(most_cols, max(own_wide, int(np.ceil(limits.least_cols * larger))))
        while tall * wide * cell < limits.least_dm2 * larger and (tall < most_rows or wide < most_cols):
            if tall < most_rows and (tall <= wide or wide == most_cols):
                tall += 1
            else:
                wide += 1
        sizes[tall, wide] = None
    return list(sizes)


def _reach(regions: Regions, box: Window, tall: int, wide: int) -> Window:
    """Return all that boxes of a size around an order may hold."""
    down, across = (
        slice(max(0, side.stop - long), min(most, side.start + long))
        for side, long, most in zip(box, (tall, wide), regions.lattice.shape, strict=True)
    )
    return down, across


def _free(regions: Regions, label: int, window: Window) -> tuple[Mask, Mask]:
    """Return the cells of a window that an order has or may have, and those that it has."""
    inner = regions.inner[window]
    own = inner == label
    return own | ((inner == 0) & ~regions.lattice.barred[window]), own


def _may_hold(regions: Regions, label: int, window: Window) -> bool:
    """Tell whether an order and all that is free beside it are as much as the vendor takes at least."""
    limits = regions.limits
    free, own = _free(regions, label, window)
    part = _holding(free, own)
    tall, wide = (int(np.ptp(np.flatnonzero(part.any(axis=axis)))) + 1 for axis in (1, 0))
    enough = tall >= limits.least_rows and wide >= limits.least_cols
    return enough and int(regions.lattice.areas[window][part].sum()) >= limits.least_dm2


def _places(regions: Regions, label: int, box: Window, tall: int, wide: int) -> list[Window]:
    """Return the best windows of a size around a box: most of them free, then worth most."""
    around = _reach(regions, box, tall, wide)
    tops = np.arange(around[0].start, around[0].stop - tall + 1)
    lefts = np.arange(around[1].start, around[1].stop - wide + 1)
    if not len(tops) or not len(lefts):
        return []
    free, _ = _free(regions, label, around)
    value = np.where(free, regions.lattice.value[around], 0)
    blocked, worth = np.rint(_sums(~free, tall, wide)).ravel(), _sums(value, tall, wide)
    limits = regions.limits
    cell = float(np.mean(regions.lattice.area_dm2))
    ranked = np.lexsort((-worth.ravel(), blocked))[:_PLACES]
    needed = 0 if not limits.rectangles else tall * wide
    ranked = ranked[tall * wide - blocked[ranked] >= max(needed, (limits.least_dm2 - 1) / cell * 0.99)]
    down, across = np.divmod(ranked, worth.shape[1])
    return [
        np.s_[tops[row] : tops[row] + tall, lefts[col] : lefts[col] + wide]
        for row, col in zip(down.tolist(), across.tolist(), strict=True)
    ]


def _sums(array: NDArray[np.generic], tall: int, wide: int) -> NDArray[np.float64]:
    """Return the sum over the window of a size at every place."""
    table = np.pad(np.cumsum(np.cumsum(array, axis=0, dtype=np.float64), axis=1), ((1, 0), (1, 0)))
    upper, lower = table[:-tall], table[tall:]
    return np.asarray(lower[:, wide:] - lower[:, :-wide] - upper[:, wide:] + upper[:, :-wide])


def _one_part(free: Mask, own: Mask) -> Mask | None:
    """Return the part of what is free that holds an order, whole, or None if it is not."""
    region = whole(_holding(free, own), ~free)
    return region if (region & own).sum() == own.sum() else None


def _holding(free: Mask, own: Mask) -> Mask:
    """Return the part of what is free that holds an order's first cell."""
    parts, _ = ndimage.label(free)
    return np.asarray(parts == parts[tuple(np.argwhere(own)[0])], dtype=np.bool_)

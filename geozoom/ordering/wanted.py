"""Orders that hold all cells wanted, for as little as several ways to bridge the gaps find. Pure, no I/O."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from geozoom.ordering.covering import Mask, cover
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.mending import mend
from geozoom.ordering.merging import merge
from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import CellLimits
from geozoom.ordering.sizing import cheapest_bill
from geozoom.ordering.tiling import Tiling
from geozoom.prices import PriceList

BRIDGES = (0, 1, 2, 3, 5, 8, 13, 21)
"""Half widths in cells of the gaps that are bridged, up to the side that a minimum pays for."""


def all_wanted(
    lattice: Lattice,
    limits: CellLimits,
    prices: PriceList,
    free_dm2: int,
    wanted: Mask | None = None,
    bridges: tuple[int, ...] = BRIDGES,
) -> Regions:
    """Return orders that hold all cells that are worth something, as far as that is possible.

    Args:
        lattice: The cells.
        limits: The vendor's rules in cells.
        prices: What an order is billed.
        free_dm2: Area that is billed no more than the smallest order.
        wanted: (rows, cols) the cells wanted, if not all that are worth something.
        bridges: Half widths in cells of the gaps that are bridged, by turns; those beyond the side that a
            minimum pays for are left out.
    """
    if wanted is None:
        wanted = lattice.value > 0
    rows, cols = lattice.shape
    cheapest = cheapest_bill(prices, limits.least_dm2)
    best: tuple[tuple[int, int], Regions] | None = None
    side = (max(free_dm2, limits.least_dm2) / float(np.mean(lattice.area_dm2))) ** 0.5 if rows * cols else 0
    for reach in (0,) if limits.rectangles else (each for each in bridges if each < max(side, BRIDGES[6])):
        regions = Regions(lattice, limits, np.zeros((rows + 2, cols + 2), dtype=np.int32))
        _include(regions, prices, free_dm2, _bridged(lattice, wanted, reach))
        met: set[int] = set()  # orders that give way to each other by turns would do so for ever
        while (missing := left_out(regions, wanted)) and missing not in met:
            met.add(missing)
            _join(regions)
            _include(regions, prices, free_dm2, wanted & (regions.inner == 0))
        merge(regions, prices)
        _trim(regions, free_dm2)
        rank = left_out(regions, wanted), int(prices.bills_cents(regions.area[1:]).sum())
        if best is None or rank < best[0]:
            best = rank, regions
        if best[0] <= (0, cheapest):
            break  # nothing is left out, and no order is billed less
    assert best is not None
    return best[1]


def left_out(regions: Regions, wanted: Mask) -> int:
    """Return the number of cells wanted that are in no order."""
    return int(np.count_nonzero(wanted & (regions.inner == 0)))


def _include(regions: Regions, prices: PriceList, free_dm2: int, mask: Mask) -> None:
    """Make orders of a mask, over cells that are in none."""
    lattice, limits = regions.lattice, regions.limits
    taken = lattice.barred | (regions.inner > 0)
    if limits.rectangles:
        new = Tiling(lattice, limits, prices, free_dm2, mask, taken).labels()
    else:
        new = cover(mask, lattice, limits, taken if taken.any() else None)
    added = new > 0
    regions.inner[added] = new[added] + regions.count
    regions.recount()
    mend(regions)
    regions.keep(~regions.refused())


def _bridged(lattice: Lattice, wanted: Mask, reach: int) -> Mask:
    """Return the cells wanted and those of the gaps between them that are at most twice the reach wide."""
    if not reach:
        return wanted
    square = np.ones((2 * reach + 1, 2 * reach + 1), dtype=bool)
    inner = np.s_[2 * reach : -2 * reach, 2 * reach : -2 * reach]
    closed_up = ndimage.binary_closing(np.pad(wanted, 2 * reach), square)[inner]
    return np.asarray(closed_up & ~lattice.barred)


def _join(regions: Regions) -> None:
    """Let cells that are wanted join the orders beside them."""
    if regions.limits.rectangles:
        return
    # What is worth nothing does not join at this threshold.
    nothing = np.zeros(regions.count + 1)
    while regions.add(nothing, np.maximum(0, regions.limits.most_dm2 - regions.area), ahead=0.0):
        pass


def _trim(regions: Regions, free_dm2: int) -> None:
    """Let worthless cells go that are billed."""
    limits, worth = regions.limits, regions.lattice.value
    if not limits.plain or limits.least_rows > 1 or limits.least_cols > 1 or not regions.count:
        return
    # Below what the least of the cells wanted is worth.
    least = float(worth[worth > 0].min()) / float(np.max(regions.lattice.area_dm2))
    threshold = np.full(regions.count + 1, least / 2)
    while regions.drop(threshold, np.maximum(0, regions.area - max(free_dm2, limits.least_dm2))):
        pass

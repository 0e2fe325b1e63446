"""Orders of a choice made smaller or larger by some cells. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.choice import OrderChoice
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.outlines import Rings, outlines
from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import cell_limits
from geozoom.prices import PriceList

_AROUND = 2
"""Cells around an order in which it may grow."""


def adjusted(
    choice: OrderChoice, lattices: Sequence[Lattice], prices: PriceList, change_dm2: Mapping[int, int]
) -> OrderChoice:
    """Return a choice in which some orders lose their worst cells or gain the best beside them, if they can.

    They stay whole and keep to extent and vertices; that they are not too small is for the caller to see, who knows
    what their polygons measure.

    Args:
        choice: The orders.
        lattices: The cells that it was made of.
        prices: What an order is billed, and the polygons that the vendor takes.
        change_dm2: By how much each of some orders is to grow at least, by index; below 0, to shrink.
    """
    cells = np.split(choice.cells, choice.offsets[1:-1])
    rings = [choice.rings.ring(index) for index in range(len(choice))]
    area, value = choice.area_dm2.copy(), choice.value.copy()
    for index, change in change_dm2.items():
        at = int(choice.lattice[index])
        lattice = lattices[at]
        rows, cols = np.divmod(cells[index], lattice.shape[1])
        top, left = max(0, int(rows.min()) - _AROUND), max(0, int(cols.min()) - _AROUND)
        window = np.s_[top : int(rows.max()) + _AROUND + 1, left : int(cols.max()) + _AROUND + 1]
        taken = np.zeros(lattice.shape, dtype=bool) if lattice.closed is None else lattice.closed.copy()
        if change > 0:
            for other in np.flatnonzero(choice.lattice == at).tolist():
                taken.reshape(-1)[cells[other]] = other != index
        held, own = _changed(lattice, prices, window, (rows - top, cols - left), taken[window], change)
        row, col = np.nonzero(held)
        cells[index] = (row + top) * lattice.shape[1] + col + left
        rings[index] = outlines(held.astype(np.int32), 1).ring(0) + np.array([left, top], dtype=np.int32)
        area[index], value[index] = own.area[1], own.value[1]
    return replace(
        choice,
        cells=np.concatenate(cells),
        offsets=np.r_[0, np.cumsum([len(own) for own in cells])].astype(np.int64),
        rings=Rings(
            points=np.concatenate(rings),
            offsets=np.r_[0, np.cumsum([len(ring) for ring in rings])].astype(np.int64),
        ),
        area_dm2=area,
        cost_cents=prices.bills_cents(area),
        value=value,
    )


def _changed(
    lattice: Lattice,
    prices: PriceList,
    window: tuple[slice, slice],
    held: tuple[NDArray[np.int64], NDArray[np.int64]],
    taken: NDArray[np.bool_],
    change: int,
) -> tuple[NDArray[np.bool_], Regions]:
    """Return the cells (rows, cols) of a window that an order holds after a change, and the order."""
    part = Lattice(
        value=np.where(taken, np.float32(0), lattice.value[window]),
        area_dm2=lattice.areas[window],
        cell_km=lattice.cell_km,
        closed=taken,
    )
    labels = np.zeros(part.shape, dtype=np.int32)
    labels[held] = 1
    regions = Regions(part, cell_limits(prices.shape, part), np.pad(labels, 1))
    # Cells are whole: the last one may change more than was asked.
    slack = abs(change) + int(part.area_dm2.max()) - 1
    if change < 0:
        anything = 2 * float((part.value / part.area_dm2).max()) + 1e-12
        regions.drop(np.full(2, anything), np.array([0, slack]))
    else:
        slack = max(0, min(slack, regions.limits.most_dm2 - int(regions.area[1])))
        regions.add(np.full(2, -1.0), np.array([0, slack]), ahead=0.0)
    return regions.inner == 1, regions

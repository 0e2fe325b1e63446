"""Many small lattices side by side on few large ones, with closed cells between them. Pure NumPy, no I/O.

What is worked out for whole lattices at once takes about as long for ten thousand small ones as for one large
one, if they lie on one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.lattice import Lattice
from geozoom.ordering.outlines import Rings
from geozoom.ordering.shapes import limits_of
from geozoom.rules import ShapeRules

_LARGEST = 2**18
"""Lattices of more cells stay by themselves."""


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A lattice that holds others, or is one of them."""

    lattice: Lattice
    owners: NDArray[np.int64]
    """(n,) the lattices that lie on it."""
    corners: NDArray[np.int64]
    """(n, 2) the row and the column at which each begins."""
    owner: NDArray[np.int32] | None
    """(rows, cols) the place in `owners` of the lattice that a cell belongs to; None if there is one only."""

    def places(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the place in `owners` of each flat cell's lattice."""
        if self.owner is None:
            return np.zeros(len(cells), dtype=np.int64)
        return self.owner.reshape(-1)[cells].astype(np.int64)


def sheets(lattices: Sequence[Lattice], rules: ShapeRules) -> list[Sheet]:
    """Lay small lattices side by side; those whose cells the vendor's widths see alike share a sheet.

    Args:
        lattices: The lattices.
        rules: The vendor's rules.
    """
    alike: dict[object, list[int]] = defaultdict(list)
    for index, lattice in enumerate(lattices):
        small = 0 < lattice.value.size <= _LARGEST
        alike[_seen(rules, lattice) if small else index].append(index)
    return [
        _shelved(lattices, members) if len(members) > 1 else _alone(lattices, members[0])
        for members in alike.values()
    ]


def _seen(rules: ShapeRules, lattice: Lattice) -> tuple[int, ...]:
    """Return a vendor's widths in cells, as if lattices had no end."""
    limits = limits_of(rules, (2**31, 2**31), lattice.cell_km)
    return limits.least_rows, limits.least_cols, limits.most_rows, limits.most_cols


def _alone(lattices: Sequence[Lattice], index: int) -> Sheet:
    return Sheet(
        lattice=lattices[index],
        owners=np.array([index]),
        corners=np.zeros((1, 2), dtype=np.int64),
        owner=None,
    )


def _shelved(lattices: Sequence[Lattice], members: list[int]) -> Sheet:
    """Lay lattices in rows, the tallest first, with a closed cell between neighbours."""
    shapes = np.array([lattices[index].shape for index in members])
    width = int(max(shapes[:, 1].max(), np.sqrt(np.prod(shapes + 1, axis=1).sum())))
    ranked = np.argsort(-shapes[:, 0], kind="stable")
    corners = np.zeros_like(shapes)
    top = left = shelf = 0
    for place in ranked.tolist():
        tall, wide = shapes[place].tolist()
        if left and left + wide > width:
            top, left, shelf = top + shelf + 1, 0, 0
        corners[place] = top, left
        left, shelf = left + wide + 1, max(shelf, tall)
    rows, cols = top + shelf, width
    value = np.zeros((rows, cols), dtype=np.float32)
    closed = np.ones((rows, cols), dtype=bool)
    owner = np.zeros((rows, cols), dtype=np.int32)
    sizes = {int(lattices[index].area_dm2.flat[0]) for index in members}
    alike = len(sizes) == 1 and all(lattices[index].area_dm2.size == 1 for index in members)
    usual = int(np.median([lattices[index].area_dm2.flat[0] for index in members]))
    area = np.full((1, 1) if alike else (rows, cols), usual, dtype=np.int64)
    for place, index in enumerate(members):
        (down, across), (tall, wide) = corners[place].tolist(), shapes[place].tolist()
        cut = np.s_[down : down + tall, across : across + wide]
        value[cut], closed[cut], owner[cut] = lattices[index].value, lattices[index].barred, place
        if not alike:
            area[cut] = lattices[index].areas
    cell_km = lattices[members[0]].cell_km
    return Sheet(
        lattice=Lattice(value=value, area_dm2=area, cell_km=cell_km, closed=closed),
        owners=np.array(members),
        corners=corners,
        owner=owner,
    )


@dataclass(frozen=True, kw_only=True)
class Places:
    """Orders on their own lattices, in columns."""

    lattice: NDArray[np.int64]
    cells: NDArray[np.int64]
    offsets: NDArray[np.int64]
    rings: Rings
    ranked: NDArray[np.int64]
    """Where each order was before."""


def apart(
    laid: Sequence[Sheet],
    lattices: Sequence[Lattice],
    *,
    sheet: NDArray[np.int64],
    cells: NDArray[np.int64],
    offsets: NDArray[np.int64],
    rings: Rings,
) -> Places:
    """Return orders on sheets as orders on the lattices that lie on them, lattice by lattice.

    Args:
        laid: The sheets.
        lattices: The lattices.
        sheet: (K,) the sheet of each order.
        cells: Flat indices into the sheets of each order's cells, one order after the other.
        offsets: (K + 1,) order k has cells[offsets[k]:offsets[k + 1]].
        rings: The orders' outlines in corners of their sheets.
    """
    count = len(sheet)
    lattice, moved = np.zeros(count, dtype=np.int64), np.zeros((count, 2), dtype=np.int64)
    for index, each in enumerate(laid):
        mine = np.flatnonzero(sheet == index)
        place = each.places(cells[offsets[mine]])
        lattice[mine], moved[mine] = each.owners[place], each.corners[place]
    ranked = np.argsort(lattice, kind="stable")
    wide_before = np.array([each.lattice.shape[1] for each in laid], dtype=np.int64)
    wide_after = np.array([each.shape[1] for each in lattices], dtype=np.int64)
    order = np.repeat(np.arange(count), np.diff(offsets))
    row, col = np.divmod(cells, wide_before[sheet[order]])
    own = (row - moved[order, 0]) * wide_after[lattice[order]] + col - moved[order, 1]
    around = np.repeat(np.arange(count), np.diff(rings.offsets))
    points = (rings.points - moved[around][:, ::-1]).astype(np.int32)
    taken, starts = _ranked(offsets, ranked)
    corners, ring_starts = _ranked(rings.offsets, ranked)
    return Places(
        lattice=lattice[ranked],
        cells=own[taken],
        offsets=starts,
        rings=Rings(points=points[corners], offsets=ring_starts),
        ranked=ranked,
    )


def _ranked(
    offsets: NDArray[np.int64], ranked: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the entries of ranges in another order of the ranges, and the new offsets."""
    lengths = np.diff(offsets)[ranked]
    starts = np.r_[0, np.cumsum(lengths)].astype(np.int64)
    entries = np.repeat(offsets[:-1][ranked] - starts[:-1], lengths) + np.arange(starts[-1])
    return entries, starts

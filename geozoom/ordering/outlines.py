"""Outlines of labelled regions on a lattice, as rings of lattice corners. Pure NumPy, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Rings:
    """One closed outline for each region, all in one array."""

    points: NDArray[np.int32]
    """(n, 2) columns and rows (x, y) of lattice corners; on a north-up map rings run counter-clockwise."""
    offsets: NDArray[np.int64]
    """(K + 1,) ring k is points[offsets[k]:offsets[k + 1]], its first point not repeated."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def ring(self, index: int) -> NDArray[np.int32]:
        """Return the outline of one region, (n, 2)."""
        return self.points[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True, kw_only=True)
class _Corners:
    """The corners of all regions, in columns."""

    region: NDArray[np.int64]
    row: NDArray[np.int64]
    col: NDArray[np.int64]


def corner_counts(labels: NDArray[np.int32], regions: int) -> NDArray[np.int64]:
    """Return the number of corners of regions 1..K of a label array, (K,)."""
    return np.bincount(_corners(labels).region, minlength=regions + 1)[1:].astype(np.int64)


def are_whole(labels: NDArray[np.int32], regions: int) -> NDArray[np.bool_]:
    """Tell which regions 1..K of a label array are whole, given that each is one part, (K,).

    The corners that turn outwards are four more than those that turn inwards, and none is met twice.
    """
    padded = np.pad(labels, 1)
    quads = np.stack(
        [quad.ravel() for quad in (padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:])]
    )
    quads = quads[:, (quads != quads[0]).any(axis=0)]
    turns, met_twice = np.zeros(regions + 1, dtype=np.int64), np.zeros(regions + 1, dtype=np.int64)
    for which, cells in enumerate(quads):
        own = quads == cells
        held = own.sum(axis=0)
        first = (cells > 0) & ~own[:which].any(axis=0)
        turns += np.bincount(cells[first & (held == 1)], minlength=regions + 1)
        turns -= np.bincount(cells[first & (held == 3)], minlength=regions + 1)
        meets = first & (held == 2) & (own[0] == own[3])
        met_twice += np.bincount(cells[meets], minlength=regions + 1)
    return np.asarray(((turns == 4) & (met_twice == 0))[1:])


def outlines(labels: NDArray[np.int32], regions: int) -> Rings:
    """Return the outlines of regions 1..K of a label array (rows, cols), in which 0 is none.

    Every region must be whole (see `geozoom.ordering.lattice`): then each lattice corner is met once by a ring, and in
    every row and every column its corners pair up in their order.

    Raises:
        ValueError: A region is empty or not whole.
    """
    corners = _corners(labels)
    count = np.bincount(corners.region, minlength=regions + 1)[1:]
    if len(corners.region) == 0 and regions == 0:
        return Rings(points=np.zeros((0, 2), np.int32), offsets=np.zeros(1, np.int64))
    if (count == 0).any():
        raise ValueError("a region without cells has no outline")
    along = _partners(corners.region, corners.row, corners.col)
    across = _partners(corners.region, corners.col, corners.row)
    following = across[along]
    # Corners come by region, row and column: the first of a region is the left end of its uppermost side.
    # Going right from there would be clockwise on a north-up map, so that rings are read against it.
    first = np.r_[0, np.cumsum(count)[:-1]]
    left = _distance_to(first, following)
    offsets = np.r_[0, np.cumsum(count)]
    # Every second corner is on the way; each one's partner along its row comes just after it.
    on_way = left >= 0
    around = count[corners.region[on_way] - 1]
    steps = offsets[corners.region[on_way] - 1] + (around - 2 * left[on_way]) % around
    at = np.full(len(left), -1)
    at[on_way], at[along[on_way]] = steps, steps + 1
    if (np.sort(at) != np.arange(len(at))).any():
        raise ValueError("a region is not one part without holes")
    points = np.empty((len(at), 2), dtype=np.int32)
    points[at, 0], points[at, 1] = corners.col, corners.row
    return Rings(points=_reversed(points, offsets), offsets=offsets.astype(np.int64))


def _corners(labels: NDArray[np.int32]) -> _Corners:
    """Find the lattice corners around which an odd number of the four cells belong to a region."""
    padded = np.pad(labels, 1)
    quads = (padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:])
    mixed = (quads[0] != quads[1]) | (quads[0] != quads[2])
    mixed |= quads[0] != quads[3]
    places = np.flatnonzero(mixed)
    cells = np.stack([quad.ravel()[places] if quad.flags.c_contiguous else quad[mixed] for quad in quads])
    regions, found = [], []
    for which in range(4):
        own = cells[which]
        new = own > 0
        for earlier in range(which):
            new &= cells[earlier] != own
        odd = new & ((cells == own).sum(axis=0) % 2 == 1)
        regions.append(own[odd].astype(np.int64))
        found.append(places[odd])
    region, place = np.concatenate(regions), np.concatenate(found)
    ranked = np.lexsort((place, region))
    row, col = np.divmod(place[ranked], labels.shape[1] + 1)
    return _Corners(region=region[ranked], row=row, col=col)


def _partners(region: NDArray[np.int64], line: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the other end of each corner's side on its line: corners of a region pair up in their order."""
    ranked = np.lexsort((at, line, region))
    partner = np.empty(len(ranked), dtype=np.int64)
    partner[ranked[0::2]], partner[ranked[1::2]] = ranked[1::2], ranked[0::2]
    return partner


def _distance_to(first: NDArray[np.int64], following: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the steps from each node to the chosen one of its cycle; -1 on cycles without one.

    Pointer doubling: after n rounds every pointer has leapt 2ⁿ nodes, or stands at a chosen one.
    """
    leap = following.copy()
    leap[first] = first
    steps = np.ones(len(leap), dtype=np.int64)
    steps[first] = 0
    ends = np.zeros(len(leap), dtype=bool)
    ends[first] = True
    arrived = 0
    while arrived < (now := int(ends[leap].sum())):
        arrived = now
        steps += steps[leap]
        leap = leap[leap]
    return np.where(ends[leap], steps, -1)


def _reversed(points: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.int32]:
    """Turn every ring around."""
    ring = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return np.asarray(points[offsets[ring] + offsets[ring + 1] - 1 - np.arange(len(points))])

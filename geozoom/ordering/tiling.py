"""Masks of cells covered by rectangles that do not overlap, for vendors that take convex polygons only.

Ground is cut in two by straight lines, again and again, as long as that lowers the bill or a rectangle is too
large or holds closed cells. Every piece of ground keeps room for the smallest rectangle that the vendor takes,
so that a rectangle that is too small grows in its own piece. Pure, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.lattice import Lattice
from geozoom.ordering.shapes import CellLimits
from geozoom.prices import PriceList

_WIDE = 16
"""Pieces of more areas than this that a minimum pays for are cut near their middle, which is quick."""
_LOST = 1e15
"""Cents that a cell is worth that is wanted: more than any bill."""

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""First row, row after the last, first column, column after the last."""


@dataclass
class Tiling:
    """Rectangles that hold a mask, in the making."""

    lattice: Lattice
    limits: CellLimits
    prices: PriceList
    free_dm2: int
    """Area that is billed no more than the smallest order."""
    mask: Mask
    closed: Mask
    _shut: NDArray[np.int64] = field(init=False)
    _areas: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self._shut, self._areas = _table(self.closed), _table(self.lattice.areas)

    def labels(self) -> NDArray[np.int32]:
        """Return the rectangles as labels 1..K of the cells, (rows, cols); 0 is none."""
        labels = np.zeros(self.mask.shape, dtype=np.int32)
        if not self.mask.any():
            return labels
        rows, cols = self.mask.shape
        _, boxes = self._best((0, rows, 0, cols))
        for number, (top, bottom, left, right) in enumerate(boxes, start=1):
            labels[top:bottom, left:right] = number
        return labels

    def _best(self, ground: Box) -> tuple[float, list[Box]]:
        """Return the cheapest rectangles found for a piece of ground, and what they are billed."""
        top, bottom, left, right = ground
        mask = self.mask[top:bottom, left:right]
        rows = np.flatnonzero(mask.any(axis=1))
        if not len(rows):
            return 0.0, []
        cols = np.flatnonzero(mask.any(axis=0))
        tight = (top + int(rows[0]), top + int(rows[-1]) + 1, left + int(cols[0]), left + int(cols[-1]) + 1)
        one = self._within(ground, tight)
        cost = np.inf if one is None else self._bill(_sum(self._areas, one))
        alone = [] if one is None else [one]
        if one is not None and _sum(self._areas, one) <= self.free_dm2:
            return cost, alone
        cut = self._line(ground, tight, must=one is None)
        if cut is None:
            return (_LOST * int(mask.sum()) if one is None else cost), alone
        axis, line = cut
        halves = (
            ((top, line, left, right), (line, bottom, left, right))
            if axis == 0
            else ((top, bottom, left, line), (top, bottom, line, right))
        )
        found = [self._best(half) for half in halves]
        both = found[0][0] + found[1][0]
        return (both, found[0][1] + found[1][1]) if both < cost else (cost, alone)

    def _bill(self, area_dm2: int) -> float:
        return float(self.prices.bills_cents(np.array([area_dm2], dtype=np.int64))[0])

    def _within(self, ground: Box, tight: Box) -> Box | None:
        """Return the smallest rectangle on a piece of ground that the vendor takes and that holds a box."""
        limits = self.limits
        top, bottom, left, right = ground
        tall, wide = max(tight[1] - tight[0], limits.least_rows), max(tight[3] - tight[2], limits.least_cols)
        most_tall, most_wide = min(limits.most_rows, bottom - top), min(limits.most_cols, right - left)
        cell = float(np.mean(self.lattice.area_dm2))
        sizes = []
        for height in range(tall, most_tall + 1):
            width = max(wide, int(np.ceil(limits.least_dm2 * (1 + 1e-3) / cell / height - 1e-9)))
            if width <= most_wide:
                sizes.append((height * width, abs(height - width), height, width))
            if width == wide:
                break
        for _, _, height, width in sorted(sizes):
            firsts = np.arange(max(top, tight[1] - height), min(tight[0], bottom - height) + 1)
            lefts = np.arange(max(left, tight[3] - width), min(tight[2], right - width) + 1)
            shut = _sums(self._shut, firsts, lefts, height, width)
            area = _sums(self._areas, firsts, lefts, height, width)
            good = np.argwhere((shut == 0) & (limits.least_dm2 <= area) & (area <= limits.most_dm2))
            if len(good):
                first, beside = int(firsts[good[0, 0]]), int(lefts[good[0, 1]])
                return first, first + height, beside, beside + width
        return None

    def _line(self, ground: Box, tight: Box, *, must: bool) -> tuple[int, int] | None:
        """Return the axis and the line of the cut that leaves the cheapest two boxes, or None if there is none."""
        top, bottom, left, right = tight
        mask = self.mask[top:bottom, left:right]
        cell = float(np.mean(self.lattice.area_dm2))
        found: list[tuple[float, float, int, int]] = []
        for axis, least in ((0, self.limits.least_rows), (1, self.limits.least_cols)):
            lines = mask if axis == 0 else mask.T
            size = len(lines)
            places = np.arange(1, size)
            start, end = (ground[0], ground[1]) if axis == 0 else (ground[2], ground[3])
            at = places + (top if axis == 0 else left)
            depth = (ground[3] - ground[2]) if axis == 0 else (ground[1] - ground[0])
            room = np.minimum(at - start, end - at)
            # A straight cut must leave room on both sides; where closed cells are in the way, any cut may help.
            fits = (room >= least) & (room * depth * cell >= self.limits.least_dm2)
            if must and not fits.any():
                fits[:] = True
            if mask.size * cell > _WIDE * max(self.free_dm2, cell):
                fits &= abs(2 * places - size) <= max(1, size // 2)
            if not fits.any():
                continue
            cells = np.stack([_prefix(lines)[:-1], _prefix(lines[::-1])[:-1][::-1]])
            areas = (cells * cell).astype(np.int64)
            least_dm2 = max(1, self.limits.least_dm2)
            bills = self.prices.bills_cents(np.maximum(areas, least_dm2)).sum(axis=0)
            off = abs(2 * places - size) / size
            best = np.lexsort((off[fits], bills[fits]))[0]
            found.append((float(bills[fits][best]), float(off[fits][best]), axis, int(at[fits][best])))
        if not found:
            return None
        _, _, axis, line = min(found)
        return axis, line


def _prefix(lines: Mask) -> NDArray[np.int64]:
    """Return the number of cells of the box around the mask in the first 1, 2, … lines."""
    size, across = lines.shape
    held = lines.any(axis=1)
    first = np.minimum.accumulate(np.where(held, lines.argmax(axis=1), across))
    last = np.maximum.accumulate(np.where(held, across - lines[:, ::-1].argmax(axis=1), 0))
    depth = np.maximum.accumulate(np.where(held, np.arange(1, size + 1), 0)) - int(held.argmax())
    return np.asarray(np.maximum(0, last - first) * np.maximum(0, depth), dtype=np.int64)


def _table(array: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return sums over all boxes from the first corner."""
    summed = np.zeros((array.shape[0] + 1, array.shape[1] + 1), dtype=np.int64)
    np.cumsum(np.cumsum(array, axis=0, dtype=np.int64), axis=1, out=summed[1:, 1:])
    return summed


def _sum(table: NDArray[np.int64], box: Box) -> int:
    top, bottom, left, right = box
    return int(table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left])


def _sums(
    table: NDArray[np.int64], tops: NDArray[np.int64], lefts: NDArray[np.int64], tall: int, wide: int
) -> NDArray[np.int64]:
    """Return the sums over the boxes of a size at every pair of a first row and a first column."""
    down, across = tops[:, None], lefts[None]
    return np.asarray(
        table[down + tall, across + wide]
        - table[down, across + wide]
        - table[down + tall, across]
        + table[down, across]
    )

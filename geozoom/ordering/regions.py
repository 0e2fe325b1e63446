"""Orders on a lattice that gain and lose cells, all of them at once.

Every cell on an order's rim may leave it and every cell beside it may join, as long as the order stays whole.
Cells of one parity of row and column do not see each other in their 3 × 3 neighbourhoods, so that a quarter
of all moves happens at once. Pure NumPy, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.lattice import CORNERS_ADDED, SIMPLE, Lattice
from geozoom.ordering.moves import Floats, Integers, beside_open, codes, phases, places, within
from geozoom.ordering.outlines import corner_counts
from geozoom.ordering.shapes import CellLimits

AHEAD = 0.7
"""Weight of the best cell that joining a cell opens the way to."""
_MOST_CORNERS = 4
"""A single cell changes the number of corners by no more."""
_MARGIN = 4
"""Moves that are looked at for every one that there is money for."""


@dataclass
class Regions:
    """The orders of one lattice, changed in place; columns are indexed by label, 0 being none."""

    lattice: Lattice
    limits: CellLimits
    labels: NDArray[np.int32]
    """(rows + 2, cols + 2) the order of each cell, with a border of none."""
    area: Integers = field(init=False)
    value: Floats = field(init=False)
    corners: Integers = field(init=False)
    first: Integers = field(init=False)
    last: Integers = field(init=False)
    """(K + 1, 2) first and last row and column that an order may reach."""

    def __post_init__(self) -> None:
        closed = self.lattice.closed
        self._open = None if closed is None else np.pad(~closed, 1)
        self._all_areas = self.lattice.areas
        self.recount()

    def recount(self) -> None:
        """Number the orders anew and work out all columns from the labels."""
        inner = self.inner
        held = inner > 0
        own = inner[held]
        present = np.bincount(own) > 0
        count = int(present.sum())
        if count < len(present) - 1:
            own = np.cumsum(present, dtype=np.int32)[own]
            inner[held] = own
        # bincount adds in float64, which holds areas exactly up to 2⁵³ dm².
        self.area = np.bincount(own, self.lattice.areas[held], minlength=count + 1).astype(np.int64)
        self.value = np.bincount(own, self.lattice.value[held], minlength=count + 1).astype(np.float64)
        self.corners = np.r_[0, corner_counts(inner, count)]
        self.first, self.last = self._reaches(count)

    @property
    def inner(self) -> NDArray[np.int32]:
        """(rows, cols) the labels without their border."""
        return self.labels[1:-1, 1:-1]

    @property
    def count(self) -> int:
        """K, the number of orders."""
        return len(self.area) - 1

    def _reaches(self, count: int) -> tuple[Integers, Integers]:
        """Return how far each order may reach: the vendor's largest box, around what it covers now."""
        shape = np.array(self.inner.shape)
        first, beyond = self._boxes(count)
        most = np.array([self.limits.most_rows, self.limits.most_cols])
        spare = most - (beyond - first)
        first = np.r_[[[0, 0]], first - spare // 2]
        first = np.maximum(0, np.minimum(first, shape - most))
        return first, first + most - 1

    def _boxes(self, count: int) -> tuple[Integers, Integers]:
        """Return the first row and column of every order's box and those beyond its last, each (K, 2)."""
        if not count:
            return np.zeros((0, 2), dtype=np.int64), np.zeros((0, 2), dtype=np.int64)
        boxes = [
            (down.start, across.start, down.stop, across.stop)
            for down, across in ndimage.find_objects(self.inner, max_label=count)
        ]
        found = np.array(boxes, dtype=np.int64)
        return found[:, :2], found[:, 2:]

    def add(
        self,
        threshold: Floats,
        slack: Integers,
        *,
        corner: Floats | None = None,
        ahead: float = AHEAD,
        most: int | None = None,
    ) -> int:
        """Let cells join that are worth more than their order's threshold; return how many did.

        Args:
            threshold: (K + 1,) least value per dm² of a cell that joins each order.
            slack: (K + 1,) area that each order may gain at most, in dm².
            corner: (K + 1,) what each corner more costs an order, in value.
            ahead: Weight of the best free cell that joining opens the way to.
            most: Most area that all orders together may gain.
        """
        wide = self.labels.shape[1]
        flat = self.labels.reshape(-1)
        shut = np.append(np.inf, threshold[1:])
        shut[slack <= 0] = np.inf
        moved = 0
        for phase in phases(self._outer_rim(), wide):
            if most is not None and most <= 0:
                break
            cells, beside, side, least = beside_open(phase, flat, shut, wide)
            if not len(cells):
                continue
            near = flat[beside]
            own = near[np.arange(len(cells)), side]
            area, value = self._areas(cells), self._values(cells)
            gain = value - least * area
            if ahead:
                onward = self._values(beside)
                onward[near > 0] = 0
                with np.errstate(invalid="ignore"):
                    gain = gain + ahead * np.maximum(0, onward.max(axis=1) - least * area)
            good = np.flatnonzero(gain > 0 if corner is None else gain + _MOST_CORNERS * corner[own] > 0)
            if not len(good):
                continue
            if most is not None:
                # Many more than can be had need no closer look.
                enough = _MARGIN * (most // max(1, int(area.min(initial=1))) + 16)
                if len(good) > enough:
                    good = good[np.argpartition(-gain[good], enough)[:enough]]
            code = codes(flat, cells[good], own[good], wide)
            good, code = good[SIMPLE[code]], code[SIMPLE[code]]
            if corner is not None:
                gain[good] -= corner[own[good]] * CORNERS_ADDED[code]
                code = code[gain[good] > 0]
                good = good[gain[good] > 0]
            inside = self._reachable(cells[good], own[good])
            good, code = good[inside], code[inside]
            joins = within(
                own[good], gain[good], CORNERS_ADDED[code], self.limits.most_corners - self.corners
            )
            good, code = good[joins], code[joins]
            joins = within(own[good], gain[good], area[good], slack)
            good, code = good[joins], code[joins]
            if most is not None and len(good):
                best = np.argsort(-gain[good] / area[good], kind="stable")
                best = best[np.cumsum(area[good[best]]) <= most]
                good, code = good[best], code[best]
                most -= int(area[good].sum())
            flat[cells[good]] = own[good]
            self._count(own[good], area[good], value[good], CORNERS_ADDED[code])
            slack = slack - np.bincount(own[good], area[good], minlength=len(slack)).astype(np.int64)
            shut[slack <= 0] = np.inf
            moved += len(good)
        return moved

    def drop(self, threshold: Floats, slack: Integers, *, corner: Floats | None = None) -> int:
        """Let cells go that are worth less than their order's threshold; return how many did.

        Args:
            threshold: (K + 1,) least value per dm² of a cell that stays in each order.
            slack: (K + 1,) area that each order may lose at most, in dm².
            corner: (K + 1,) what each corner more costs an order, in value.
        """
        wide = self.labels.shape[1]
        flat = self.labels.reshape(-1)
        moved = 0
        for cells in phases(self._inner_rim(), wide):
            own = flat[cells]
            area, value = self._areas(cells), self._values(cells)
            gain = threshold[own] * area - value
            hope = gain if corner is None else gain + _MOST_CORNERS * corner[own]
            good = np.flatnonzero((hope > 0) & (slack[own] > 0))
            if not len(good):
                continue
            code = codes(flat, cells[good], own[good], wide)
            good, code = good[SIMPLE[code]], code[SIMPLE[code]]
            if corner is not None:
                gain[good] += corner[own[good]] * CORNERS_ADDED[code]
                code = code[gain[good] > 0]
                good = good[gain[good] > 0]
            # Corners first: moves that they forbid must not use up the area.
            goes = within(
                own[good], gain[good], -CORNERS_ADDED[code], self.limits.most_corners - self.corners
            )
            good, code = good[goes], code[goes]
            goes = within(own[good], gain[good] / area[good], area[good], slack)
            good, code = good[goes], code[goes]
            flat[cells[good]] = 0
            self._count(own[good], -area[good], -value[good], -CORNERS_ADDED[code])
            slack = slack - np.bincount(own[good], area[good], minlength=len(slack)).astype(np.int64)
            moved += len(good)
        return moved

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop whole orders; those that stay are numbered anew in their order.

        Args:
            kept: (K,) whether each order stays.
        """
        number = np.zeros(len(kept) + 1, dtype=np.int32)
        number[1:][kept] = np.arange(1, int(kept.sum()) + 1)
        self.labels = number[self.labels]
        stay = np.r_[True, kept]
        self.area, self.value, self.corners = self.area[stay], self.value[stay], self.corners[stay]
        self.first, self.last = self.first[stay], self.last[stay]

    def refused(self) -> NDArray[np.bool_]:
        """Tell which orders the vendor would not take as they are, (K,)."""
        limits = self.limits
        area, corners = self.area[1:], self.corners[1:]
        tall, wide, cells = self.extents()
        taken = (limits.least_dm2 <= area) & (area <= limits.most_dm2) & (corners <= limits.most_corners)
        taken &= (limits.least_rows <= tall) & (tall <= limits.most_rows)
        taken &= (limits.least_cols <= wide) & (wide <= limits.most_cols)
        taken &= cells >= limits.box_share * tall * wide
        if limits.rectangles:
            taken &= cells == tall * wide
        return ~taken

    def extents(self) -> tuple[Integers, Integers, Integers]:
        """Return the height and the width of every order's box and its number of cells, each (K,)."""
        first, beyond = self._boxes(self.count)
        inner = self.inner
        tall, wide = (beyond - first).T
        return tall, wide, np.bincount(inner[inner > 0], minlength=self.count + 1)[1:]

    def _outer_rim(self) -> Integers:
        """Return the free cells beside an order."""
        taken = self.labels > 0
        rim = np.zeros_like(taken)
        rim[1:-1, 1:-1] = taken[:-2, 1:-1] | taken[2:, 1:-1]
        rim[1:-1, 1:-1] |= taken[1:-1, :-2]
        rim[1:-1, 1:-1] |= taken[1:-1, 2:]
        rim &= ~taken
        if self._open is not None:
            rim &= self._open
        return np.flatnonzero(rim)

    def _inner_rim(self) -> Integers:
        """Return the cells of orders with a side to something else."""
        rim = np.zeros(self.labels.shape, dtype=bool)
        here = self.inner
        rim[1:-1, 1:-1] = (here != self.labels[:-2, 1:-1]) | (here != self.labels[2:, 1:-1])
        rim[1:-1, 1:-1] |= here != self.labels[1:-1, :-2]
        rim[1:-1, 1:-1] |= here != self.labels[1:-1, 2:]
        rim &= self.labels > 0
        return np.flatnonzero(rim)

    def _areas(self, cells: Integers) -> Integers:
        if self.lattice.area_dm2.size == 1:
            return np.full(len(cells), self.lattice.area_dm2.flat[0], dtype=np.int64)
        row, col = places(cells, self.labels.shape[1])
        return np.asarray(self._all_areas[row - 1, col - 1], dtype=np.int64)

    def _values(self, cells: Integers) -> Floats:
        """Return the values of cells of the padded lattice; the border is worth nothing."""
        return self.lattice.padded[cells].astype(np.float64)

    def _reachable(self, cells: Integers, own: NDArray[np.int32]) -> NDArray[np.bool_]:
        inside = np.ones(len(cells), dtype=bool)
        for axis, at in enumerate(places(cells, self.labels.shape[1])):
            inside &= (at > self.first[own, axis]) & (at <= self.last[own, axis] + 1)  # of the padded lattice
        return inside

    def _count(
        self, own: NDArray[np.int32], area: Integers, value: Floats, corners: NDArray[np.int8]
    ) -> None:
        size = len(self.area)
        self.area += np.bincount(own, area, minlength=size).astype(np.int64)
        self.value += np.bincount(own, value, minlength=size)
        self.corners += np.bincount(own, corners, minlength=size).astype(np.int64)

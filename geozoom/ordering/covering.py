"""Masks of cells made into regions that hold them: whole, without closed cells, no larger than a vendor takes.

Holes are filled where nothing in them is closed; else the region is cut in two through the hole, by a straight
line. What is too large, too wide or has too many corners is cut likewise, so that pieces are as large as they
may be and what is left over lies at an end, where it can grow. Pure, no I/O.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.lattice import Lattice
from geozoom.ordering.outlines import are_whole, corner_counts
from geozoom.ordering.shapes import CellLimits

_LARGEST_BLOCK = 32
"""Cells along a block; regions with too many corners are rounded off to blocks up to this."""

Mask = NDArray[np.bool_]
Window = tuple[slice, slice]
_Piece = tuple[Window, Mask]
"""A window of the lattice and the cells of it that belong to a region."""


def whole(mask: Mask, closed: Mask | None = None) -> Mask:
    """Return the least regions around a mask whose outlines do not touch themselves and hold no holes.

    Cells are only added. Parts stay apart; each 4-connected part of the result is whole on its own, unless
    that takes closed cells.

    Args:
        mask: (rows, cols) the cells of the regions.
        closed: (rows, cols) cells that are never added.
    """
    grown = mask.copy()
    while True:
        before = int(grown.sum())
        # Outside is what is reached from beyond the lattice by sides alone.
        outside, count = ndimage.label(np.pad(~grown, 1, constant_values=True))
        keeps = np.zeros(count + 1, dtype=bool)
        keeps[outside[0, 0]] = True
        if closed is not None:
            keeps[outside[1:-1, 1:-1][closed]] = True
        keeps[0] = False
        grown = ~keeps[outside[1:-1, 1:-1]]
        # Of two cells that meet in a corner alone, the two beside them join.
        one = grown[:-1, :-1] & grown[1:, 1:] & ~grown[:-1, 1:] & ~grown[1:, :-1]
        other = grown[:-1, 1:] & grown[1:, :-1] & ~grown[:-1, :-1] & ~grown[1:, 1:]
        for quads, places in (
            (one, (np.s_[:-1, 1:], np.s_[1:, :-1])),
            (other, (np.s_[:-1, :-1], np.s_[1:, 1:])),
        ):
            for place in places:
                grown[place] |= quads if closed is None else quads & ~closed[place]
        if int(grown.sum()) == before:
            return np.asarray(grown, dtype=np.bool_)


def coarse(mask: Mask, block: int) -> Mask:
    """Return every block of block × block cells that a mask touches."""
    rows, cols = mask.shape
    padded = np.pad(mask, ((0, -rows % block), (0, -cols % block)))
    touched = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block).any(
        axis=(1, 3)
    )
    return np.repeat(np.repeat(touched, block, axis=0), block, axis=1)[:rows, :cols]


def cover(mask: Mask, lattice: Lattice, limits: CellLimits, closed: Mask | None) -> NDArray[np.int32]:
    """Return whole regions that hold a mask, within all of a vendor's upper limits, as labels 1..K; 0 is none.

    They may be too small, too narrow or too thin for their box: growing mends that.

    Args:
        mask: (rows, cols) the cells wanted, none of them closed.
        lattice: The lattice.
        limits: The vendor's rules in cells.
        closed: (rows, cols) cells that no region may hold.
    """
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.int32)
    grown = _rounded(whole(mask, closed), limits, closed)
    labels, count = ndimage.label(grown)
    labels = labels.astype(np.int32)
    boxes = ndimage.find_objects(labels)
    refused = ~are_whole(labels, count) if closed is not None else np.zeros(count, dtype=bool)
    areas = np.bincount(labels.ravel(), lattice.areas.ravel(), minlength=count + 1)[1:]
    refused |= (areas > limits.most_dm2) | (corner_counts(labels, count) > limits.most_corners)
    for number, box in enumerate(boxes):
        tall, wide = (side.stop - side.start for side in box)
        refused[number] |= tall > limits.most_rows or wide > limits.most_cols
    waiting: list[_Piece] = []
    for number in np.flatnonzero(refused).tolist():
        region = labels[boxes[number]] == number + 1
        labels[boxes[number]][region] = 0
        waiting.append((boxes[number], region))
    while waiting:
        box, region = waiting.pop()
        line = _line(region, lattice.areas[box], limits)
        if line is None:
            count += 1
            labels[box][region] = count
        else:
            waiting.extend(_cut(box, region, mask, *line))
    numbers = np.unique(labels)
    anew = np.zeros(count + 1, dtype=np.int32)
    anew[numbers[numbers > 0]] = np.arange(1, int((numbers > 0).sum()) + 1)
    return np.asarray(anew[labels])


def _rounded(grown: Mask, limits: CellLimits, closed: Mask | None) -> Mask:
    """Round regions with too many corners off to larger and larger blocks."""
    block = 1
    while block < _LARGEST_BLOCK:
        labels, count = ndimage.label(grown)
        crowded = np.flatnonzero(corner_counts(labels, count) > limits.most_corners)
        if not len(crowded):
            break
        block *= 2
        boxes = ndimage.find_objects(labels)
        grown = grown.copy()
        for number in crowded.tolist():
            top, left = (side.start // block * block for side in boxes[number])
            window = np.s_[top : boxes[number][0].stop + block, left : boxes[number][1].stop + block]
            grown[window] |= coarse(labels[window] == number + 1, block)
        if closed is not None:
            grown &= ~closed
        grown = whole(grown, closed)
    return grown


def _line(region: Mask, areas: NDArray[np.integer[Any]], limits: CellLimits) -> tuple[int, int] | None:
    """Return the axis and the place of the line that a region is to be cut by, or None if it may stay."""
    tall, wide = region.shape
    if tall > limits.most_rows:
        return 0, limits.most_rows
    if wide > limits.most_cols:
        return 1, limits.most_cols
    axis = 0 if tall >= wide else 1
    area = np.where(region, areas, 0).sum(axis=1 - axis)
    if int(area.sum()) > limits.most_dm2 and region.size > 1:
        fits = int(np.searchsorted(np.cumsum(area), limits.most_dm2, side="right"))
        return axis, min(max(fits, 1), region.shape[axis] - 1)
    if not are_whole(region.astype(np.int32), 1)[0]:
        return _through_trouble(region, axis)
    if int(corner_counts(region.astype(np.int32), 1)[0]) > limits.most_corners:
        return axis, region.shape[axis] // 2
    return None


def _through_trouble(region: Mask, axis: int) -> tuple[int, int]:
    """Return the line nearest to the middle along an axis that opens a hole, or parts cells that meet in a corner."""
    outside, _ = ndimage.label(np.pad(~region, 1, constant_values=True))
    lines = [
        edge - 1
        for number, hole in enumerate(ndimage.find_objects(outside), start=1)
        if number != outside[0, 0]
        for edge in (hole[axis].start, hole[axis].stop)
    ]
    one = region[:-1, :-1] & region[1:, 1:] & ~region[:-1, 1:] & ~region[1:, :-1]
    other = region[:-1, 1:] & region[1:, :-1] & ~region[:-1, :-1] & ~region[1:, 1:]
    lines += (np.nonzero(one | other)[axis] + 1).tolist()
    return axis, min(lines, key=lambda line: abs(2 * line - region.shape[axis]))


def _cut(box: Window, region: Mask, mask: Mask, axis: int, line: int) -> list[_Piece]:
    """Cut a region by a line across an axis; keep the pieces that hold cells wanted."""
    found: list[_Piece] = []
    for first, last in ((0, line), (line, region.shape[axis])):
        cut = (slice(first, last), slice(None)) if axis == 0 else (slice(None), slice(first, last))
        parts, _ = ndimage.label(region[cut])
        for number, inner in enumerate(ndimage.find_objects(parts), start=1):
            down = box[0].start + (first if axis == 0 else 0) + inner[0].start
            across = box[1].start + (first if axis == 1 else 0) + inner[1].start
            piece = parts[inner] == number
            place = np.s_[down : down + piece.shape[0], across : across + piece.shape[1]]
            if (piece & mask[place]).any():
                found.append((place, piece))
    return found

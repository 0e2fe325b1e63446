"""Which polygons a vendor takes, and masks of cells made into regions that it takes. Pure, no I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.lattice import Lattice, is_whole
from geozoom.ordering.outlines import corner_counts
from geozoom.prices import DM2_PER_KM2
from geozoom.rules import ShapeRules

_LARGEST_BLOCK = 32
"""Cells along a block beyond which regions become boxes."""
_MENDED_BY_ROUNDING = {"too small", "too narrow", "too many vertices", "not convex", "too thin for its box"}

_Piece = tuple[tuple[slice, slice], NDArray[np.bool_]]
"""A window of the lattice and the cells of it that belong to a region."""


@dataclass(frozen=True, kw_only=True)
class CellLimits:
    """A vendor's rules in cells of one lattice."""

    least_dm2: int
    most_dm2: int
    least_rows: int
    least_cols: int
    most_rows: int
    most_cols: int
    most_corners: int
    rectangles: bool
    box_share: float

    @property
    def plain(self) -> bool:
        """Whether growing by single cells can keep to the rules: nothing but size, extent and corners."""
        return not self.rectangles and self.box_share == 0


def cell_limits(rules: ShapeRules, lattice: Lattice) -> CellLimits:
    """Express a vendor's rules in cells of a lattice.

    Args:
        rules: The rules.
        lattice: The cells that orders are made of.
    """
    rows, cols = lattice.shape
    height, width = lattice.cell_km

    def most(limit: Decimal | None, side: float, cells: int) -> int:
        return cells if limit is None else min(cells, int(float(limit) / side + 1e-9))

    def least(side: float) -> int:
        return 1 if rules.min_width_km is None else max(1, math.ceil(float(rules.min_width_km) / side - 1e-9))

    corners = 2**31 if rules.max_vertices is None else rules.max_vertices
    return CellLimits(
        least_dm2=0 if rules.min_km2 is None else math.ceil(rules.min_km2 * DM2_PER_KM2),
        most_dm2=2**62 if rules.max_km2 is None else int(rules.max_km2 * DM2_PER_KM2),
        least_rows=least(height),
        least_cols=least(width),
        most_rows=most(rules.max_height_km, height, rows),
        most_cols=most(rules.max_width_km, width, cols),
        most_corners=corners,
        rectangles=rules.convex or corners < 6,
        box_share=0.0 if rules.min_box_share is None else float(rules.min_box_share),
    )


def violations(mask: NDArray[np.bool_], area_dm2: int, limits: CellLimits) -> list[str]:
    """Return what a vendor would refuse a region of cells for, as short words; none if it would take it."""
    if not mask.any():
        return ["empty"]
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    tall, wide = int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1
    cells = int(mask.sum())
    corners = int(corner_counts(mask.astype(np.int32), 1)[0])
    found = {
        "parts or holes": not is_whole(mask),
        "too small": area_dm2 < limits.least_dm2,
        "too large": area_dm2 > limits.most_dm2,
        "too narrow": tall < limits.least_rows or wide < limits.least_cols,
        "too tall": tall > limits.most_rows,
        "too wide": wide > limits.most_cols,
        "too many vertices": corners > limits.most_corners,
        "not convex": limits.rectangles and cells < tall * wide,
        "too thin for its box": cells < limits.box_share * tall * wide,
    }
    return [words for words, broken in found.items() if broken]


def whole(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the least regions around a mask whose outlines do not touch themselves and hold no holes.

    Cells are only added. Parts stay apart; each 4-connected part of the result is whole on its own.
    """
    grown = mask.copy()
    while True:
        # Outside is what is reached from beyond the lattice by sides alone.
        outside, _ = ndimage.label(np.pad(~grown, 1, constant_values=True))
        filled = (outside != outside[0, 0])[1:-1, 1:-1]
        # Of two cells that meet in a corner alone, the two beside them join.
        one = filled[:-1, :-1] & filled[1:, 1:] & ~filled[:-1, 1:] & ~filled[1:, :-1]
        other = filled[:-1, 1:] & filled[1:, :-1] & ~filled[:-1, :-1] & ~filled[1:, 1:]
        if not one.any() and not other.any():
            return np.asarray(filled, dtype=np.bool_)
        grown = filled
        grown[:-1, 1:] |= one
        grown[:-1, :-1] |= other


def coarse(mask: NDArray[np.bool_], block: int) -> NDArray[np.bool_]:
    """Return every block of block × block cells that a mask touches."""
    rows, cols = mask.shape
    padded = np.pad(mask, ((0, -rows % block), (0, -cols % block)))
    touched = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block).any(
        axis=(1, 3)
    )
    return np.repeat(np.repeat(touched, block, axis=0), block, axis=1)[:rows, :cols]


def acceptable(
    mask: NDArray[np.bool_],
    areas: NDArray[np.int64],
    limits: CellLimits,
    closed: NDArray[np.bool_] | None = None,
) -> NDArray[np.int32]:
    """Return regions that hold a mask and that a vendor takes, as labels 1..K of the cells; 0 is none.

    Regions are filled, and rounded off to larger and larger blocks while a rule is broken that this can
    mend, at last to boxes; those that meet become one. What is still refused is split along its longer axis,
    again and again: a straight cut leaves whole regions, and opens those around closed cells. A piece that is
    too small by then is left to grow (`geozoom.ordering.refining.enlarge`).

    Args:
        mask: (rows, cols) the cells wanted.
        areas: (rows, cols) area of each cell in square decimetres.
        limits: The vendor's rules in cells.
        closed: (rows, cols) cells that no region may hold; none of the mask.
    """
    if not mask.any():
        return np.zeros(mask.shape, dtype=np.int32)
    grown = whole(mask)
    block = 1
    while True:
        broken = _broken(grown, areas, limits)
        if not broken:
            break
        block *= 2
        for box, region in broken:
            if limits.rectangles or block > _LARGEST_BLOCK:
                grown[box] = True
            else:
                top, left = (side.start // block * block for side in box)
                wide = np.s_[top : box[0].stop + block, left : box[1].stop + block]
                alone = np.zeros_like(grown[wide])
                inside = np.s_[
                    box[0].start - top : box[0].stop - top, box[1].start - left : box[1].stop - left
                ]
                alone[inside] = region
                grown[wide] |= coarse(alone, block)
        before = int(grown.sum())
        grown = whole(grown)
        # Boxes that no longer change are as round as they get: what is refused then is split below.
        if block > _LARGEST_BLOCK * 2 and int(grown.sum()) == before and _all_boxes(grown):
            break
    if closed is not None:
        grown &= ~closed
    labels = np.zeros(mask.shape, dtype=np.int32)
    regions, count = ndimage.label(grown)
    waiting = [
        (box, regions[box] == number) for number, box in enumerate(ndimage.find_objects(regions), start=1)
    ]
    count = 0
    while waiting:
        box, region = waiting.pop()
        problems = violations(region, int(areas[box][region].sum()), limits)
        if not problems or (problems == ["too small"] and limits.plain):
            count += 1
            labels[box][region] = count
        elif region.size > 1 and ("too small" not in problems or "parts or holes" in problems):
            waiting.extend(_halves(box, region, mask, limits))
    return labels


def _broken(grown: NDArray[np.bool_], areas: NDArray[np.int64], limits: CellLimits) -> list[_Piece]:
    """Return the regions that break a rule which rounding off may mend."""
    regions, _ = ndimage.label(grown)
    found: list[_Piece] = []
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        region = regions[box] == number
        problems = set(violations(region, int(areas[box][region].sum()), limits))
        if problems & _MENDED_BY_ROUNDING and not (region.all() and region.shape == grown.shape):
            found.append((box, region))
    return found


def _all_boxes(grown: NDArray[np.bool_]) -> bool:
    regions, _ = ndimage.label(grown)
    boxes = ndimage.find_objects(regions)
    return sum(int(grown[box].size) for box in boxes) == int(grown.sum())


def _halves(
    box: tuple[slice, slice], region: NDArray[np.bool_], mask: NDArray[np.bool_], limits: CellLimits
) -> list[_Piece]:
    """Cut a region across its longer axis, through a hole or in the middle; keep the pieces that hold cells wanted."""
    axis = 0 if region.shape[0] >= region.shape[1] else 1
    middle = region.shape[axis] // 2
    around, holes = ndimage.label(np.pad(~region, 1, constant_values=True))
    if holes > 1:
        # The ground beyond the region is labelled first.
        sizes = np.bincount(around.ravel())[2:]
        at = np.flatnonzero((around[1:-1, 1:-1] == 2 + int(sizes.argmax())).any(axis=1 - axis))
        middle = (int(at[0]) + int(at[-1]) + 1) // 2
    found: list[_Piece] = []
    for first, last in ((0, middle), (middle, region.shape[axis])):
        cut = (slice(first, last), slice(None)) if axis == 0 else (slice(None), slice(first, last))
        parts, _ = ndimage.label(region[cut])
        for number, inner in enumerate(ndimage.find_objects(parts), start=1):
            down = box[0].start + (first if axis == 0 else 0) + inner[0].start
            across = box[1].start + (first if axis == 1 else 0) + inner[1].start
            piece = parts[inner] == number
            place = np.s_[down : down + piece.shape[0], across : across + piece.shape[1]]
            wanted = piece & mask[place]
            if not wanted.any():
                continue
            if limits.rectangles:
                rows, cols = np.flatnonzero(wanted.any(axis=1)), np.flatnonzero(wanted.any(axis=0))
                piece = piece[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
                down, across = down + int(rows[0]), across + int(cols[0])
                place = np.s_[down : down + piece.shape[0], across : across + piece.shape[1]]
            found.append((place, piece))
    return found

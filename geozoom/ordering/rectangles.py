"""Orders that are rectangles of a lattice, for vendors that take convex polygons only. Pure, no I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.lattice import Lattice
from geozoom.ordering.shapes import CellLimits

_SHAPES = 9
"""Ratios of height to width that are tried, from flat to upright."""
_WORST_RATIO = 4.0


def _table(array: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return sums over all rectangles from the first corner."""
    summed = np.zeros((array.shape[0] + 1, array.shape[1] + 1))
    np.cumsum(np.cumsum(array, axis=0, dtype=np.float64), axis=1, out=summed[1:, 1:])
    return summed


def _sums(table: NDArray[np.float64], tall: int, wide: int) -> NDArray[np.float64]:
    """Return the sum over the rectangle of one size at every place."""
    upper, lower = table[:-tall], table[tall:]
    return np.asarray(lower[:, wide:] - lower[:, :-wide] - upper[:, wide:] + upper[:, :-wide])


def sizes(lattice: Lattice, limits: CellLimits, free_dm2: int) -> list[tuple[int, int]]:
    """Return heights and widths in cells that just fill an area, or the smallest that the vendor takes."""
    rows, cols = min(limits.most_rows, lattice.shape[0]), min(limits.most_cols, lattice.shape[1])
    cell = float(np.mean(lattice.area_dm2))
    units = max(1.0, free_dm2 / cell)
    found = set()
    for ratio in np.geomspace(1 / _WORST_RATIO, _WORST_RATIO, _SHAPES):
        tall = int(np.clip(round((units * ratio) ** 0.5), limits.least_rows, rows))
        wide = int(np.clip(units / tall + 1e-9, max(1, limits.least_cols), cols))
        tall = int(np.clip(units / wide + 1e-9, limits.least_rows, rows))
        # The vendor's smallest area may ask for one line more than the minimum pays for.
        while tall * wide * cell < limits.least_dm2 * (1 + 1e-3) and (tall < rows or wide < cols):
            tall, wide = (
                (tall + 1, wide) if tall < rows and (tall <= wide or wide >= cols) else (tall, wide + 1)
            )
        small_enough = tall * wide * cell <= limits.most_dm2 * (1 - 1e-3) or tall * wide == 1
        if tall >= limits.least_rows and wide >= limits.least_cols and small_enough:
            found.add((tall, wide))
    return sorted(found)


def pack_rectangles(
    lattice: Lattice, limits: CellLimits, *, free_dm2: int, wanted_dm2: float, rounds: int = 6
) -> NDArray[np.int32]:
    """Pack rectangles of the size that a minimum pays for where value is dense.

    Args:
        lattice: The cells.
        limits: The vendor's rules in cells.
        free_dm2: Area that a minimum pays for.
        wanted_dm2: Total area to pack, about.
        rounds: How often places are looked for around those taken.

    Returns:
        (rows, cols) labels 1..K, 0 for none.
    """
    labels = np.zeros(lattice.shape, dtype=np.int32)
    count, packed = 0, 0.0
    cell = float(np.mean(lattice.area_dm2))
    for _ in range(rounds):
        value, taken = _table(np.where(labels > 0, 0, lattice.value)), _table((labels > 0) | lattice.barred)
        places = []
        for tall, wide in sizes(lattice, limits, free_dm2):
            worth = _sums(value, tall, wide) / max(tall * wide * cell, free_dm2)
            worth[_sums(taken, tall, wide) > 0] = 0
            # Only the best place within half a rectangle: the others would overlap it.
            peak = worth == ndimage.maximum_filter(worth, (tall // 2 + 1, wide // 2 + 1), mode="constant")
            top, left = np.nonzero(peak & (worth > 0))
            places.append(
                np.column_stack(
                    [worth[top, left], top, left, np.full(len(top), tall), np.full(len(top), wide)]
                )
            )
        every = np.concatenate(places) if places else np.zeros((0, 5))
        every = every[np.argsort(-every[:, 0], kind="stable")]
        before = count
        for top, left, tall, wide in every[:, 1:].astype(np.int64).tolist():
            cut = np.s_[top : top + tall, left : left + wide]
            if labels[cut].any():
                continue
            count += 1
            labels[cut] = count
            packed += max(tall * wide * cell, free_dm2)
            if packed >= wanted_dm2:
                return labels
        if count == before:
            break
    return labels

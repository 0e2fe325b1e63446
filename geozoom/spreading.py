"""Boxes that lie anywhere on a lattice, spread over the cells that they cover. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geozoom.cells import CellGrid

_TOUCHED = 1e-6
"""Share of a cell below which a box does not cover it."""


def spread(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    cells: CellGrid,
    closed: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the cells that boxes cover, patch by patch, where each begins, and the share of the box in each.

    Args:
        low: (n, 2) column and row of each box's least corner, in cells.
        high: (n, 2) of its greatest.
        cells: The grid.
        closed: Cells left out; what lies in them is shared out among the others.
    """
    first = np.floor(low + _TOUCHED).astype(np.int64)
    count = np.maximum(1, np.ceil(high - _TOUCHED).astype(np.int64) - first)
    total = count.prod(axis=1)
    box = np.repeat(np.arange(len(low)), total)
    place = np.arange(len(box)) - np.repeat(np.cumsum(total) - total, total)
    col, row = first[box, 0] + place % count[box, 0], first[box, 1] + place // count[box, 0]
    share = np.ones(len(box))
    for axis, at in enumerate((col, row)):
        inside = np.minimum(high[box, axis], at + 1) - np.maximum(low[box, axis], at)
        share *= np.clip(inside, 0, None)
    covered = row * cells.cols + col
    if closed is not None:
        kept = ~closed.reshape(-1)[covered]
        box, covered, share = box[kept], covered[kept], share[kept]
    whole = np.bincount(box, share, minlength=len(low))
    starts = np.searchsorted(box, np.arange(len(low)))
    return covered, starts, (share / np.where(whole > 0, whole, 1)[box]).astype(np.float32)

"""Which cells of a lattice are marked, a bit each: a granule has 30 million of them, and a mosaic many granules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class BitMask:
    """A mask (rows, cols) of an eighth of its size, which is read in parts."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.shape = mask.shape
        """Rows and columns."""
        self._bits = np.packbits(mask, axis=1)

    def at(self, row: NDArray[Any], col: NDArray[Any]) -> NDArray[np.bool_]:
        """Return whether cells are marked, given as rows and columns of any one shape, all of them on the lattice."""
        return np.asarray(self._bits[row, col >> 3] >> (7 - (col & 7)) & 1, dtype=bool)

    def window(self, top: int, left: int, rows: int, cols: int) -> NDArray[np.bool_]:
        """Return a part of the mask (rows, cols); what of it lies beyond the lattice is not marked."""
        found = np.zeros((rows, cols), dtype=bool)
        first, last = max(0, top), min(self.shape[0], top + rows)
        begin, end = max(0, left), min(self.shape[1], left + cols)
        if first < last and begin < end:
            lines = np.unpackbits(self._bits[first:last, begin // 8 : -(-end // 8)], axis=1)
            skip = begin % 8
            found[first - top : last - top, begin - left : end - left] = lines[:, skip : skip + end - begin]
        return found

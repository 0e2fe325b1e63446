"""Which cells of a lattice are marked, a bit each: a granule has 30 million of them, and a mosaic many granules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class BitMask:
    """A mask (rows, cols) of an eighth of its size."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.shape = mask.shape
        """Rows and columns."""
        self._bits = np.packbits(mask, axis=1)

    def at(self, row: NDArray[Any], col: NDArray[Any]) -> NDArray[np.bool_]:
        """Return whether cells are marked, given as rows and columns of any one shape, all of them on the lattice."""
        return np.asarray(self._bits[row, col >> 3] >> (7 - (col & 7)) & 1, dtype=bool)

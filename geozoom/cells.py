"""Cells of equal size on the pixels of a tile: where they lie and what ground they cover."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class CellGrid:
    """Rows and columns of cells from one point of a tile on, in its pixels."""

    rows: int
    cols: int
    left: float
    """Pixel column of the grid's corner."""
    top: float
    """Pixel row of it."""
    width: float
    """Pixels across a cell."""
    height: float
    """Pixels down a cell."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.cols

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.rows * self.cols

    @property
    def middle_rows(self) -> NDArray[np.float64]:
        """(rows,) pixel rows of the cells' centres."""
        return np.asarray(self.top + self.height * (np.arange(self.rows) + 0.5), dtype=np.float64)

    @property
    def middle_cols(self) -> NDArray[np.float64]:
        """(cols,) pixel columns of the cells' centres."""
        return np.asarray(self.left + self.width * (np.arange(self.cols) + 0.5), dtype=np.float64)

    def corners_px(self, points: NDArray[np.integer[Any] | np.floating[Any]]) -> NDArray[np.float64]:
        """Return pixel columns and rows (..., 2) of corners, given as columns and rows of corners (..., 2)."""
        corner, side = np.array([self.left, self.top]), np.array([self.width, self.height])
        return np.asarray(corner + points * side, dtype=np.float64)

    def widened(self, rows: int, cols: int) -> CellGrid:
        """Return a grid of at least so many rows and columns around this one."""
        above, before = max(0, rows - self.rows) // 2, max(0, cols - self.cols) // 2
        return CellGrid(
            rows=max(rows, self.rows),
            cols=max(cols, self.cols),
            left=self.left - before * self.width,
            top=self.top - above * self.height,
            width=self.width,
            height=self.height,
        )

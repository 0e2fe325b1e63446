"""Cells of a tile on a rectangular lattice, and which single cells a region may gain or lose.

A region of cells is whole when it is 4-connected and all cells outside it are 4-connected too (those beyond
the lattice counted in). Then its outline is one ring that never touches itself: no parts, no holes, and no
two cells that meet in a corner alone. A cell is simple when adding or removing it keeps a whole region
whole, which its eight neighbours decide; `SIMPLE` tells. Pure NumPy, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
"""The eight neighbours in the order of a code's bits: clockwise from the upper left; odd ones share a side."""


@dataclass(frozen=True, kw_only=True)
class Lattice:
    """The cells of one tile.

    Raises:
        ValueError: Values are negative or not finite, areas are below 1, the shapes differ, or a closed cell is
            worth something.
    """

    value: NDArray[np.float32]
    """(rows, cols) what each cell is worth; 0 where it is missing or worthless."""
    area_dm2: NDArray[np.integer[Any]]
    """Area of each cell in square decimetres, in any shape that broadcasts to (rows, cols), and of any width: sums of
    them take 64 bits."""
    cell_km: tuple[float, float]
    """Height and width of a cell."""
    closed: NDArray[np.bool_] | None = None
    """(rows, cols) ground that no order may hold, as it is owned already; None is none."""

    def __post_init__(self) -> None:
        if self.value.ndim != 2:
            raise ValueError(f"values have {self.value.ndim} axes; a lattice has rows and columns")
        if np.broadcast_shapes(self.value.shape, self.area_dm2.shape) != self.value.shape:
            raise ValueError(f"areas {self.area_dm2.shape} do not fit the values {self.value.shape}")
        # The sum is not finite if a value is not, without an array of its own.
        if not np.isfinite(self.value.sum(dtype=np.float64)) or self.value.min(initial=0) < 0:
            raise ValueError("a cell's value is negative or not finite")
        if self.area_dm2.min(initial=1) < 1:
            raise ValueError("a cell's area is below 1 dm²")
        if self.closed is not None and self.closed.shape != self.value.shape:
            raise ValueError(f"closed cells {self.closed.shape} do not fit the values {self.value.shape}")
        if self.closed is not None and self.value[self.closed].any():
            raise ValueError("a closed cell is worth something")

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, cols = self.value.shape
        return rows, cols

    @cached_property
    def padded(self) -> NDArray[np.float32]:
        """The values with a border of worthless cells, flat: made once, for all plans that are tried."""
        return np.pad(self.value, 1).reshape(-1)

    @property
    def areas(self) -> NDArray[np.integer[Any]]:
        """(rows, cols) area of each cell, read-only."""
        return np.broadcast_to(self.area_dm2, self.value.shape)

    @property
    def barred(self) -> NDArray[np.bool_]:
        """(rows, cols) the closed cells, read-only."""
        return np.broadcast_to(np.False_, self.value.shape) if self.closed is None else self.closed


def _quads(code: int) -> list[tuple[bool, bool, bool]]:
    """Return the neighbours of the four 2 × 2 blocks around a cell: side, corner, side."""
    bit = [bool(code >> place & 1) for place in range(8)]
    return [(bit[place - 1], bit[place], bit[(place + 1) % 8]) for place in range(0, 8, 2)]


def _runs(code: int, inside: bool) -> int:
    """Count the 4-connected groups of ring neighbours, in or out of the region, that share a side with the cell."""
    bit = [bool(code >> place & 1) == inside for place in range(8)]
    if all(bit):
        return 1
    start = bit.index(False)
    groups = 0
    reached = False
    for step in range(1, 9):
        place = (start + step) % 8
        if not bit[place]:
            reached = False
        elif place % 2 and not reached:
            groups, reached = groups + 1, True
    return groups


def _is_simple(code: int) -> bool:
    pinched = any(
        (corner and not before and not after) or (before and after and not corner)
        for before, corner, after in _quads(code)
    )
    return not pinched and _runs(code, inside=True) == 1 and _runs(code, inside=False) == 1


def _corners_added(code: int) -> int:
    """Return by how much the number of corners grows when the cell joins."""
    return sum(((1 + sum(quad)) % 2) - (sum(quad) % 2) for quad in _quads(code))


SIMPLE: NDArray[np.bool_] = np.array([_is_simple(code) for code in range(256)])
"""(256,) whether a cell is simple, by the code of its neighbours that are inside."""
CORNERS_ADDED: NDArray[np.int8] = np.array([_corners_added(code) for code in range(256)], dtype=np.int8)
"""(256,) corners that a cell adds to a region on joining it, by the same code."""


def is_whole(mask: NDArray[np.bool_]) -> bool:
    """Tell whether a region is one part without holes whose outline does not touch itself."""
    from scipy import ndimage

    padded = np.pad(mask, 1)
    return int(ndimage.label(padded)[1]) == 1 and int(ndimage.label(~padded)[1]) == 1

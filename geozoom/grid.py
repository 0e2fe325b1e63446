"""The patch grid: patch ids, pixel windows, masks and map footprints. Pure NumPy, no I/O.

Patches are numbered row-major from the top left, as in the paper: on a 4 × 4 grid, patch 5 is the
second of the second row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

Affine6 = tuple[float, float, float, float, float, float]
"""A geotransform in rasterio's order (a, b, c, d, e, f): x = a·col + b·row + c, y = d·col + e·row + f."""


@dataclass(frozen=True, kw_only=True)
class PatchGrid:
    """A scene cut into `rows` × `cols` equal patches without overlap (paper §3).

    Raises:
        ValueError: A count is below 1.
    """

    rows: int = 4
    """Patches from top to bottom."""
    cols: int = 4
    """Patches from left to right."""

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise ValueError(f"a patch grid needs at least 1 × 1 patches, not {self.rows} × {self.cols}")

    @property
    def patches(self) -> int:
        """P, the number of patches of a scene."""
        return self.rows * self.cols

    def row_col(self, patch: Integers) -> tuple[Integers, Integers]:
        """Return the row and the column of each patch id in 0..P-1."""
        return patch // self.cols, patch % self.cols

    def window(self, patch: int, height: int, width: int) -> tuple[slice, slice]:
        """Return the pixel rows and columns of a patch in a scene of height × width pixels.

        Raises:
            ValueError: The patch id is not on the grid, or the grid does not divide the scene.
        """
        if not 0 <= patch < self.patches:
            raise ValueError(f"patch {patch} is not on a grid of {self.patches} patches")
        if height % self.rows or width % self.cols:
            raise ValueError(
                f"a scene of {height} × {width} px cannot be cut into {self.rows} × {self.cols} equal patches"
            )
        row, col = divmod(patch, self.cols)
        tall, wide = height // self.rows, width // self.cols
        return slice(row * tall, (row + 1) * tall), slice(col * wide, (col + 1) * wide)

    def centre_order(self) -> Integers:
        """Return all patch ids from the scene's centre outwards; ties in row-major order."""
        rows, cols = np.divmod(np.arange(self.patches), self.cols)
        distance = np.hypot(
            (rows + 0.5) / self.rows - 0.5,
            (cols + 0.5) / self.cols - 0.5,
        )
        return np.argsort(distance.round(9), kind="stable").astype(np.int64)

    def corners_px(
        self, scene_row: Integers, scene_col: Integers, scene_px: float, patch: Integers
    ) -> Floats:
        """Return patch corners in the pixel space of the scenes' tile.

        Args:
            scene_row: (N,) lattice row of each patch's scene.
            scene_col: (N,) lattice column of each patch's scene.
            scene_px: Side of a scene in tile pixels; a patch may cover a fraction of a pixel.
            patch: (N,) patch ids.

        Returns:
            (N, 4, 2) columns and rows (x, y), counter-clockwise on a north-up map:
            lower left, lower right, upper right, upper left.
        """
        return self.corners_in(lattice_windows(scene_row, scene_col, scene_px), patch)

    def corners_in(self, windows: Floats, patch: Integers) -> Floats:
        """Return the corners (N, 4, 2) of patches (N,) in windows (N, 4), each of its own; as `corners_px`."""
        row, col = self.row_col(patch)
        x, y, width, height = windows.T
        top, bottom = y + height * (row / self.rows), y + height * ((row + 1) / self.rows)
        left, right = x + width * (col / self.cols), x + width * ((col + 1) / self.cols)
        return np.stack(
            [
                np.stack([left, bottom], axis=-1),
                np.stack([right, bottom], axis=-1),
                np.stack([right, top], axis=-1),
                np.stack([left, top], axis=-1),
            ],
            axis=-2,
        )


def lattice_windows(scene_row: Integers, scene_col: Integers, scene_px: float) -> Floats:
    """Return the windows (N, 4) of scenes on a lattice: left, top, width and height in pixels."""
    side = np.full(len(scene_row), float(scene_px))
    return np.column_stack([scene_px * scene_col, scene_px * scene_row, side, side])


def to_map(corners_px: Floats, transform: Affine6) -> Floats:
    """Carry (..., 2) pixel columns and rows through the affine into map coordinates (..., 2)."""
    a, b, c, d, e, f = transform
    col, row = corners_px[..., 0], corners_px[..., 1]
    return np.stack([a * col + b * row + c, d * col + e * row + f], axis=-1)


def area_weights(parts: int, pixels: int) -> Floats:
    """Return (parts, pixels): the share of each of `parts` equal lengths that each pixel covers.

    Rows sum to 1, whether or not the pixels divide evenly.
    """
    return span_weights(parts, 0, pixels, slice(0, pixels))


def span_weights(parts: int, start: float, length: float, pixels: slice) -> Floats:
    """Return (parts, n): the share of each of `parts` equal parts of a span that each of n pixels covers.

    Rows sum to 1 where the pixels cover the whole span, to less where it reaches beyond them.
    """
    edges = start + np.arange(parts + 1) * length / parts
    pixel = np.arange(pixels.start, pixels.stop)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return np.asarray(np.clip(overlap, 0, None) * parts / length, dtype=np.float64)

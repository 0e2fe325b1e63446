"""Where one tile's pixels lie on another one's, for tiles that may show the same place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from geozoom.footprints import points_to_lonlat
from geozoom.grid import PatchGrid, to_map
from geozoom.mesh import Mesh
from geozoom.scenes import lattice_shape
from geozoom.tiles import Tile

INSET = 0.02
"""Corners of a patch are looked up this share of its side inside it, since neighbours share edges."""
_SAME = 0.005
"""Share of a patch's side by which lattices of patches may differ and still be one."""
_MESH_NODES = 64
_AROUND = 1.1
"""Tiles are taken for caps of the globe larger by this factor than their corners and sides say."""


def patch_rows_cols(tile: Tile, grid: PatchGrid, scene_px: int) -> tuple[int, int]:
    """Return the rows and columns of a tile's lattice of patches."""
    rows, cols = lattice_shape(tile, scene_px)
    return rows * grid.rows, cols * grid.cols


class PixelMaps:
    """Maps from tiles to others that may show a place of theirs, made when they are asked for."""

    def __init__(self, tiles: Sequence[Tile], scene_px: int) -> None:
        self._tiles = tiles
        self._px = scene_px
        self.near = _near(tiles, scene_px)
        """Of each tile the others that may show a place of it."""
        self._made: dict[tuple[int, int], PixelMap | None] = {}

    def onto(self, tile: int, other: int) -> PixelMap | None:
        """Return the map from a tile's pixels to another's, or None if they do not overlap."""
        if (tile, other) not in self._made:
            mine = self._tiles[tile]
            self._made[tile, other] = pixel_map(
                mine,
                self._tiles[other],
                (0.0, mine.height + self._px),
                (0.0, mine.width + self._px),
                self._px,
            )
        return self._made[tile, other]


def _near(tiles: Sequence[Tile], scene_px: int) -> list[list[int]]:
    """Return of each tile the others that may show a place of it."""
    centres, reaches = [], []
    for tile in tiles:
        across, down = np.meshgrid(*(np.linspace(0, end, 5) for end in (tile.width, tile.height)))
        lon, lat = np.radians(points_to_lonlat(tile, np.stack([across, down], axis=-1).reshape(-1, 2))).T
        globe = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)
        middle = globe[len(globe) // 2]
        centres.append(middle)
        overhang = 2 * scene_px / min(tile.width, tile.height)
        reaches.append((_AROUND + overhang) * np.linalg.norm(globe - middle, axis=-1).max())
    found: list[list[int]] = []
    for index in range(len(tiles)):
        distance = np.linalg.norm(np.array(centres) - centres[index], axis=-1)
        near = np.flatnonzero(distance <= np.array(reaches) + reaches[index])
        found.append([other for other in near.tolist() if other != index])
    return found


class PixelMap:
    """Pixels of one tile → pixels of another, interpolated on a mesh (the map is smooth)."""

    def __init__(
        self, mesh: Mesh, row: NDArray[np.float64], col: NDArray[np.float64], other: Tile, overhang: int
    ) -> None:
        self._mesh = mesh
        self._at = (row, col)
        self._size = (other.height + overhang, other.width + overhang)

    def apply(
        self, row: NDArray[np.float64], col: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the other tile's pixel rows and columns (…) of this one's (…)."""
        at_row, at_col = (self._mesh.at(values, row, col) for values in self._at)
        return at_row, at_col

    def on_lattice(
        self, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return `apply` of every pair of pixel rows (N,) and columns (M,), (N, M) each."""
        at_row, at_col = (self._mesh.on_lattice(values, rows, cols) for values in self._at)
        return at_row, at_col

    def shift(self, side: NDArray[np.float64]) -> tuple[int, int] | None:
        """Return by how many patches (rows, columns) of a side the other lattice is shifted, if by whole ones."""
        found = []
        for at, here, along in zip(self._at, self._mesh.nodes(), side, strict=True):
            moved = (at - here) / along
            whole = round(float(moved.mean()))
            if np.abs(moved - whole).max() > _SAME:
                return None
            found.append(whole)
        return found[0], found[1]

    def may_touch(self, top: NDArray[np.int64], left: NDArray[np.int64], side: int) -> NDArray[np.bool_]:
        """Return which squares (N,) of a tile's pixels may reach the other tile: nearly all are far from it."""
        corners = np.array([(0, 0), (0, side), (side, 0), (side, side)], dtype=np.float64)
        reached = self.apply(top[:, None] + corners[:, 0], left[:, None] + corners[:, 1])
        touching = np.ones(len(top), dtype=bool)
        for at, size in zip(reached, self._size, strict=True):
            # A pixel of margin: the sides of a square may bend on their way into another CRS.
            touching &= (at.max(axis=1) >= -1) & (at.min(axis=1) <= size + 1)
        return touching


def _coefficients(transform: Affine) -> tuple[float, float, float, float, float, float]:
    a, b, c, d, e, f = transform[:6]
    return a, b, c, d, e, f


def pixel_map(
    tile: Tile, other: Tile, rows: tuple[float, float], cols: tuple[float, float], overhang: int
) -> PixelMap | None:
    """Return the map from some rows and columns of `tile` to `other`, or None if they do not overlap.

    Args:
        tile: The tile.
        other: The other one.
        rows: First and last pixel row of the tile.
        cols: First and last pixel column.
        overhang: Pixels by which scenes may reach beyond the other tile.
    """
    mesh = Mesh(rows, cols, _MESH_NODES)
    row, col = mesh.nodes()
    mapped = to_map(np.stack([col, row], axis=-1), _coefficients(tile.transform))
    x, y = mapped[..., 0], mapped[..., 1]
    if tile.crs != other.crs:
        x, y = Transformer.from_crs(tile.crs, other.crs, always_xy=True).transform(x, y)
    if other.crs.is_geographic:
        # One meridian is -180° to some tiles and 180° to others.
        middle, _ = other.transform @ (other.width / 2, other.height / 2)
        x = x - 360 * np.round((x - middle) / 360)
    at = to_map(np.stack([x, y], axis=-1), _coefficients(~other.transform))[..., ::-1]
    if not np.isfinite(at).all():
        return None  # too far apart for one of the two CRSs
    apart = (at.max(axis=(0, 1)) < 0) | (
        at.min(axis=(0, 1)) > (other.height + overhang, other.width + overhang)
    )
    return None if apart.any() else PixelMap(mesh, at[..., 0], at[..., 1], other, overhang)

"""Where one tile's pixels lie on another one's, for tiles that may show the same place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from geozoom.footprints import points_to_lonlat
from geozoom.grid import PatchGrid, to_map
from geozoom.ground import turned
from geozoom.mesh import Mesh
from geozoom.scenes import lattice_shape
from geozoom.tiles import Tile

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
        self.near = near_tiles(tiles, scene_px)
        """Of each tile the others that may show a place of it."""
        self._made: dict[tuple[int, int], PixelMap | None] = {}

    def onto(self, tile: int, other: int) -> PixelMap | None:
        """Return the map from a tile's pixels to another's, or None if they do not overlap."""
        if (tile, other) not in self._made:
            self._made[tile, other] = _pixel_map(self._tiles[tile], self._tiles[other], self._px)
        return self._made[tile, other]


def near_tiles(tiles: Sequence[Tile], scene_px: int) -> list[list[int]]:
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
    everywhere = np.array(centres)
    for index in range(len(tiles)):
        distance = np.linalg.norm(everywhere - centres[index], axis=-1)
        near = np.flatnonzero(distance <= np.array(reaches) + reaches[index])
        found.append([other for other in near.tolist() if other != index])
    return found


class PixelMap:
    """Pixels of one tile → pixels of another, interpolated on a mesh (the map is smooth)."""

    def __init__(self, mesh: Mesh, row: NDArray[np.float64], col: NDArray[np.float64], other: Tile) -> None:
        self._mesh = mesh
        self._at = (row, col)
        self._size = (other.height, other.width)

    def apply(
        self, row: NDArray[np.float64], col: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the other tile's pixel rows and columns (…) of this one's (…)."""
        at_row, at_col = (self._mesh.at(values, row, col) for values in self._at)
        return at_row, at_col

    def may_touch(self, top: NDArray[np.int64], left: NDArray[np.int64], side: int) -> NDArray[np.bool_]:
        """Return which squares (N,) of a tile's pixels may reach the other tile: nearly all are far from it."""
        corners = np.array([(0, 0), (0, side), (side, 0), (side, side)], dtype=np.float64)
        reached = self.apply(top[:, None] + corners[:, 0], left[:, None] + corners[:, 1])
        touching = np.ones(len(top), dtype=bool)
        for at, size in zip(reached, self._size, strict=True):
            # A pixel of margin: the sides of a square may bend on their way into another CRS.
            touching &= (at.max(axis=1) >= -1) & (at.min(axis=1) <= size + 1)
        return touching


def coefficients(transform: Affine) -> tuple[float, float, float, float, float, float]:
    """Return a transform as `to_map` takes it."""
    a, b, c, d, e, f = transform[:6]
    return a, b, c, d, e, f


def _pixel_map(tile: Tile, other: Tile, scene_px: int) -> PixelMap | None:
    """Return the map from `tile` to `other`, or None if they do not overlap."""
    mesh = Mesh((0, tile.height + scene_px), (0, tile.width + scene_px), _MESH_NODES)
    row, col = mesh.nodes()
    mapped = to_map(np.stack([col, row], axis=-1), coefficients(tile.transform))
    x, y = mapped[..., 0], mapped[..., 1]
    if tile.crs != other.crs:
        x, y = Transformer.from_crs(tile.crs, other.crs, always_xy=True).transform(x, y)
    at = to_map(np.stack([near_tile(x, other), y], axis=-1), coefficients(~other.transform))[..., ::-1]
    if not np.isfinite(at).all():
        return None  # too far apart for one of the two CRSs
    apart = (at.max(axis=(0, 1)) < 0) | (at.min(axis=(0, 1)) > (other.height, other.width))
    return None if apart.any() else PixelMap(mesh, at[..., 0], at[..., 1], other)


def near_tile(x: NDArray[np.float64], tile: Tile) -> NDArray[np.float64]:
    """Return eastings or longitudes as a tile names them: one meridian is -180° to some and 180° to others."""
    if not tile.crs.is_geographic:
        return x
    middle, _ = tile.transform @ (tile.width / 2, tile.height / 2)
    return turned(x, middle)

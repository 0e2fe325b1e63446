"""Tiles that show the same place: which one is planned, so that no place is bought twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from geozoom.bitmask import BitMask
from geozoom.footprints import points_to_lonlat
from geozoom.grid import PatchGrid, to_map
from geozoom.mesh import Mesh
from geozoom.tiles import Tile

OverlapRule = Literal["latest", "clearest", "first", "all"]
"""Which tile is planned where tiles overlap: the latest, the one with least clouds and missing data, the
first by name, or all of them."""
_INSET = 0.02
"""Corners of a patch are looked up this share of its side inside it, since neighbours share edges."""
_MESH_NODES = 64
_AROUND = 1.1
"""Tiles are taken for caps of the globe larger by this factor than their corners and sides say."""


def ranked(tiles: Sequence[Tile], rule: OverlapRule) -> list[int]:
    """Return the indices of tiles, best first; ties go by name.

    Raises:
        TileError: A tile that has to be looked into cannot be read.
    """
    numbers = range(len(tiles))
    if rule == "latest":
        return sorted(numbers, key=lambda at: (_age(tiles[at]), tiles[at].path))
    if rule == "clearest":
        unusable = [sum(share or 0.0 for share in tile.sampled_shares()) for tile in tiles]
        return sorted(numbers, key=lambda at: (unusable[at], tiles[at].path))
    return sorted(numbers, key=lambda at: tiles[at].path)


def _age(tile: Tile) -> float:
    """Return a number that is smaller for later tiles; undated ones come last."""
    return float("inf") if tile.source.acquired is None else -tile.source.acquired.timestamp()


class Claims:
    """Which patches of the tiles so far are planned, for tiles that come later to ask: one tile after the other."""

    def __init__(self, tiles: Sequence[Tile], grid: PatchGrid, scene_px: int) -> None:
        self._tiles = tiles
        self._grid = grid
        self._px = scene_px
        self._maps: dict[tuple[int, int], _PixelMap] = {}
        self._near = _near(tiles, scene_px)
        self._done: dict[int, BitMask] = {}
        self._refused: dict[int, BitMask] = {}
        self._tile: int | None = None
        self._claims: NDArray[np.bool_] | None = None
        """What the tile whose turn it is has claimed, and below what it was refused."""
        self._refusals: NDArray[np.bool_] | None = None
        self._undated: set[int] = set()
        """Tiles without a date that gave way to others without."""

    @property
    def settled_by_name(self) -> tuple[str, ...]:
        """Names of tiles without a date that gave way to others without: of these, names decide which is planned."""
        return tuple(self._tiles[tile].name for tile in sorted(self._undated))

    @property
    def refused(self) -> dict[int, BitMask]:
        """Of each tile the patches (rows, cols), on its lattice of patches, that another tile had claimed."""
        self._turn(None)
        return self._refused

    def leave(
        self, tile: int, row: NDArray[np.int64], col: NDArray[np.int64], present: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Claim what nobody has claimed of a tile's scenes; return which are left, (n,), and their patches.

        Args:
            tile: Index of the tile; tiles ranked higher have had their turn.
            row: (N,) lattice rows of its scenes.
            col: (N,) lattice columns.
            present: (N, P) patches that can be bought.
        """
        if not self._near[tile]:
            return np.arange(len(row)), present
        self._turn(tile)
        taken = self.taken(tile, row, col)
        free = present & ~taken
        kept = np.flatnonzero(free.any(axis=1) | ~taken.any(axis=1))
        self._claims = self._marked(self._claims, tile, row[kept], col[kept], free[kept])
        if taken.any():
            self._refusals = self._marked(self._refusals, tile, row, col, taken)
        return kept, free[kept]

    def _turn(self, tile: int | None) -> None:
        """Put away what the tile before has claimed, when another one's turn begins."""
        if self._tile is not None and self._tile != tile:
            for kept, mask in ((self._done, self._claims), (self._refused, self._refusals)):
                if mask is not None:
                    kept[self._tile] = BitMask(mask)
            self._claims = self._refusals = None
        self._tile = tile

    def taken(self, tile: int, row: NDArray[np.int64], col: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which patches (N, P) of a tile's scenes touch a patch that another tile has claimed.

        Args:
            tile: Index of the tile.
            row: (N,) lattice rows of its scenes.
            col: (N,) lattice columns.
        """
        found = np.zeros((len(row), self._grid.patches), dtype=bool)
        for other in tuple(self._near[tile]):
            claimed = self._done.get(other)
            if claimed is None or (onto := self._onto(tile, other)) is None:
                continue
            near = np.flatnonzero(onto.may_touch(row * self._px, col * self._px, self._px))
            for down in (_INSET, 1 - _INSET):
                for across in (_INSET, 1 - _INSET):
                    at_row, at_col = onto.apply(*self._points(row[near], col[near], down, across))
                    i = np.floor(at_row * self._grid.rows / self._px).astype(np.int64)
                    j = np.floor(at_col * self._grid.cols / self._px).astype(np.int64)
                    inside = (i >= 0) & (i < claimed.shape[0]) & (j >= 0) & (j < claimed.shape[1])
                    touched = inside & claimed.at(np.where(inside, i, 0), np.where(inside, j, 0))
                    found[near] |= touched
                    if touched.any() and all(self._tiles[at].source.acquired is None for at in (tile, other)):
                        self._undated.add(tile)
        return found

    def _marked(
        self,
        marked: NDArray[np.bool_] | None,
        tile: int,
        row: NDArray[np.int64],
        col: NDArray[np.int64],
        patches: NDArray[np.bool_],
    ) -> NDArray[np.bool_]:
        """Return a mask with the patches (N, P) of scenes marked as they are."""
        if marked is None:
            shape = self._tiles[tile]
            rows, cols = -(-shape.height // self._px), -(-shape.width // self._px)
            marked = np.zeros((rows * self._grid.rows, cols * self._grid.cols), dtype=bool)
        patch_row, patch_col = np.divmod(np.arange(self._grid.patches), self._grid.cols)
        i = row[:, None] * self._grid.rows + patch_row
        j = col[:, None] * self._grid.cols + patch_col
        marked[i, j] = patches
        return marked

    def _points(
        self, row: NDArray[np.int64], col: NDArray[np.int64], down: float, across: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return pixel rows and columns (N, P) of a point in every patch."""
        patch_row, patch_col = np.divmod(np.arange(self._grid.patches), self._grid.cols)
        rows = self._px * (row[:, None] + (patch_row + down) / self._grid.rows)
        cols = self._px * (col[:, None] + (patch_col + across) / self._grid.cols)
        return rows, cols

    def _onto(self, tile: int, other: int) -> _PixelMap | None:
        if (tile, other) not in self._maps:
            onto = _pixel_map(self._tiles[tile], self._tiles[other], self._px)
            if onto is None:
                self._near[tile].remove(other)
                return None
            self._maps[tile, other] = onto
        return self._maps[tile, other]


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


class _PixelMap:
    """Pixels of one tile → pixels of another, interpolated on a mesh (the map is smooth)."""

    def __init__(self, mesh: Mesh, row: NDArray[np.float64], col: NDArray[np.float64], other: Tile) -> None:
        self._mesh = mesh
        self._at = (row, col)
        self._size = (other.height, other.width)

    def apply(
        self, row: NDArray[np.float64], col: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def _coefficients(transform: Affine) -> tuple[float, float, float, float, float, float]:
    a, b, c, d, e, f = transform[:6]
    return a, b, c, d, e, f


def _pixel_map(tile: Tile, other: Tile, scene_px: int) -> _PixelMap | None:
    """Return the map from `tile` to `other`, or None if they do not overlap."""
    mesh = Mesh((0, tile.height + scene_px), (0, tile.width + scene_px), _MESH_NODES)
    row, col = mesh.nodes()
    mapped = to_map(np.stack([col, row], axis=-1), _coefficients(tile.transform))
    x, y = mapped[..., 0], mapped[..., 1]
    if tile.crs != other.crs:
        x, y = Transformer.from_crs(tile.crs, other.crs, always_xy=True).transform(x, y)
    at = to_map(np.stack([x, y], axis=-1), _coefficients(~other.transform))[..., ::-1]
    if not np.isfinite(at).all():
        return None  # too far apart for one of the two CRSs
    apart = (at.max(axis=(0, 1)) < 0) | (at.min(axis=(0, 1)) > (other.height, other.width))
    return None if apart.any() else _PixelMap(mesh, at[..., 0], at[..., 1], other)

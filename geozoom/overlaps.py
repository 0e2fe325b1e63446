"""Tiles that show the same place: which one is planned, so that no place is bought twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geozoom.bitmask import BitMask
from geozoom.grid import PatchGrid
from geozoom.hosts import Hosts
from geozoom.pixelmaps import PixelMaps, patch_rows_cols
from geozoom.tiles import Tile

OverlapRule = Literal["latest", "clearest", "first", "all"]
"""Which tile is planned where tiles overlap: the latest, the one with least clouds and missing data (those of which
nothing says where clouds are come last), the first by name, or all of them."""
_INSET = 0.02
"""Corners of a patch are looked up this share of its side inside it, since neighbours share edges."""


def ranked(tiles: Sequence[Tile], rule: OverlapRule) -> list[int]:
    """Return the indices of tiles, best first; ties go by name.

    Raises:
        TileError: A tile that has to be looked into cannot be read.
    """
    numbers = range(len(tiles))
    if rule == "latest":
        return sorted(numbers, key=lambda at: (_age(tiles[at]), tiles[at].path))
    if rule == "clearest":
        return sorted(numbers, key=lambda at: (_unusable(tiles[at]), tiles[at].path))
    return sorted(numbers, key=lambda at: tiles[at].path)


def _unusable(tile: Tile) -> tuple[bool, float]:
    """Return whether nothing says where a tile's clouds are, and the share of it that is missing or clouded."""
    missing, clouded = tile.sampled_shares()
    return clouded is None, missing + (1 - missing) * (clouded or 0.0)


def _age(tile: Tile) -> float:
    """Return a number that is smaller for later tiles; undated ones come last."""
    return float("inf") if tile.source.acquired is None else -tile.source.acquired.timestamp()


def settle(
    tiles: Sequence[Tile], ranking: Sequence[int], grid: PatchGrid, scene_px: int
) -> tuple[Claims, Hosts]:
    """Return what settles, of places that several tiles show, which tile is planned and on whose cells is ordered.

    Args:
        tiles: The tiles.
        ranking: Their indices, best first.
        grid: The patch grid of a scene.
        scene_px: Side of a scene in LR pixels.

    Raises:
        TileError: A tile's coordinates do not lie in its CRS.
    """
    maps = PixelMaps(tiles, scene_px)
    return Claims(tiles, maps, grid, scene_px), Hosts(tiles, ranking, maps.near, grid, scene_px)


class Claims:
    """Which patches of the tiles so far are planned, for tiles that come later to ask: one tile after the other."""

    def __init__(self, tiles: Sequence[Tile], maps: PixelMaps, grid: PatchGrid, scene_px: int) -> None:
        self._tiles = tiles
        self._grid = grid
        self._px = scene_px
        self._maps = maps
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
        if not self._maps.near[tile]:
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
        for other in self._maps.near[tile]:
            claimed = self._done.get(other)
            if claimed is None or (onto := self._maps.onto(tile, other)) is None:
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
            marked = np.zeros(patch_rows_cols(self._tiles[tile], self._grid, self._px), dtype=bool)
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

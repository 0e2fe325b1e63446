"""Tiles that show the same place: which one is planned, so that no place is bought twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geozoom.bitmask import BitMask
from geozoom.grid import PatchGrid
from geozoom.pixelmaps import INSET, PixelMaps, patch_rows_cols
from geozoom.tiles import Tile

OverlapRule = Literal["latest", "clearest", "first", "all"]
"""Which tile is planned where tiles overlap: the latest, the one with least clouds and missing data, the
first by name, or all of them."""


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
        self._maps = PixelMaps(tiles, scene_px)
        self._done: dict[int, BitMask | None] = {}
        """What tiles that had their turn have claimed."""
        self._tile: int | None = None
        self._claims: NDArray[np.bool_] | None = None
        """What the tile whose turn it is has claimed."""
        self._undated: set[int] = set()
        """Tiles without a date that gave way to others without."""

    @property
    def settled_by_name(self) -> tuple[str, ...]:
        """Names of tiles without a date that gave way to others without: of these, names decide which is planned."""
        return tuple(self._tiles[tile].name for tile in sorted(self._undated))

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
        self._claim(tile, row[kept], col[kept], free[kept])
        return kept, free[kept]

    def _turn(self, tile: int) -> None:
        """Put away what the tile before has claimed, when another one's turn begins."""
        if self._tile is not None and self._tile != tile:
            self._done[self._tile] = None if self._claims is None else BitMask(self._claims)
            self._claims = None
        self._tile = tile

    def taken(self, tile: int, row: NDArray[np.int64], col: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which patches (N, P) of a tile's scenes touch a patch that another tile has claimed.

        So do those that lie on the edge of another tile's lattice: no order of either holds them whole.

        Args:
            tile: Index of the tile.
            row: (N,) lattice rows of its scenes.
            col: (N,) lattice columns.
        """
        found = np.zeros((len(row), self._grid.patches), dtype=bool)
        for other, claimed in self._done.items():
            if other not in self._maps.near[tile] or (onto := self._maps.onto(tile, other)) is None:
                continue
            rows, cols = patch_rows_cols(self._tiles[other], self._grid, self._px)
            near = np.flatnonzero(onto.may_touch(row * self._px, col * self._px, self._px))
            corners_inside = np.zeros((len(near), self._grid.patches), dtype=np.int8)
            for down in (INSET, 1 - INSET):
                for across in (INSET, 1 - INSET):
                    at_row, at_col = onto.apply(*self._points(row[near], col[near], down, across))
                    i = np.floor(at_row * self._grid.rows / self._px).astype(np.int64)
                    j = np.floor(at_col * self._grid.cols / self._px).astype(np.int64)
                    inside = (i >= 0) & (i < rows) & (j >= 0) & (j < cols)
                    corners_inside += inside
                    if claimed is None:
                        continue
                    touched = inside & claimed.at(np.where(inside, i, 0), np.where(inside, j, 0))
                    found[near] |= touched
                    if touched.any() and all(self._tiles[at].source.acquired is None for at in (tile, other)):
                        self._undated.add(tile)
            found[near] |= (corners_inside > 0) & (corners_inside < 4)
        return found

    def _claim(
        self, tile: int, row: NDArray[np.int64], col: NDArray[np.int64], patches: NDArray[np.bool_]
    ) -> None:
        """Mark patches (N, P) of scenes of the tile whose turn it is."""
        if self._claims is None:
            self._claims = np.zeros(patch_rows_cols(self._tiles[tile], self._grid, self._px), dtype=bool)
        patch_row, patch_col = np.divmod(np.arange(self._grid.patches), self._grid.cols)
        i = row[:, None] * self._grid.rows + patch_row
        j = col[:, None] * self._grid.cols + patch_col
        self._claims[i, j] = patches

    def _points(
        self, row: NDArray[np.int64], col: NDArray[np.int64], down: float, across: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return pixel rows and columns (N, P) of a point in every patch."""
        patch_row, patch_col = np.divmod(np.arange(self._grid.patches), self._grid.cols)
        rows = self._px * (row[:, None] + (patch_row + down) / self._grid.rows)
        cols = self._px * (col[:, None] + (patch_col + across) / self._grid.cols)
        return rows, cols

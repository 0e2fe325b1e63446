"""On whose cells a place is ordered that several tiles show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geozoom.cells import CellGrid
from geozoom.grid import PatchGrid, to_map
from geozoom.patches import Patches
from geozoom.pixelmaps import coefficients, near_tile, patch_rows_cols
from geozoom.tiles import Tile

_SAME = 0.005
"""Share of a patch's side by which lattices of patches may differ and still be one."""


class Hosts:
    """On which tile's cells each place is ordered: of tiles whose lattices are parts of one, the best that shows it.

    Two dates of a place, and neighbours in one zone, are such tiles. The best one's orders hold what the others are
    planned for where it has clouds, so that none is laid around another's, and orders of two such tiles share no
    ground. Tiles whose lattices lie across each other order on their own cells, as orders on others' would cut patches
    apart. A cell is a patch of a tile's lattice.
    """

    def __init__(
        self,
        tiles: Sequence[Tile],
        ranking: Sequence[int],
        near: Sequence[Sequence[int]],
        grid: PatchGrid,
        scene_px: int,
    ) -> None:
        """See whose lattices are parts of one.

        Args:
            tiles: The tiles.
            ranking: Their indices, best first.
            near: Of each tile the others that may show a place of it.
            grid: The patch grid of a scene.
            scene_px: Side of a scene in LR pixels.
        """
        self._sizes = [patch_rows_cols(tile, grid, scene_px) for tile in tiles]
        place = np.argsort(np.array(ranking))
        side = scene_px / np.array([grid.rows, grid.cols])
        self._better: list[dict[int, tuple[int, int]]] = []
        """Of each tile the better ones, best first, and what to add to its rows and columns to have theirs."""
        self._worse: list[dict[int, tuple[int, int]]] = [{} for _ in tiles]
        for tile, around in enumerate(near):
            better = sorted(
                (other for other in around if place[other] < place[tile]), key=lambda other: place[other]
            )
            shifts = {other: lattice_shift(tiles[tile], tiles[other], side) for other in better}
            self._better.append({other: shift for other, shift in shifts.items() if shift is not None})
            for other, (down, across) in self._better[-1].items():
                self._worse[other][tile] = -down, -across

    def some(self, tile: int) -> bool:
        """Tell whether patches of a tile may be ordered on another one's cells."""
        return bool(self._better[tile])

    def of(self, tile: int, row: NDArray[np.int32], col: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the tile (n,) on whose cells patches are ordered.

        Args:
            tile: Index of the patches' own tile.
            row: (n,) their rows on its lattice of patches.
            col: (n,) their columns.
        """
        found = np.full(len(row), tile, dtype=np.int32)
        for other, (down, across) in self._better[tile].items():
            rows, cols = self._sizes[other]
            i, j = row + down, col + across
            found[(found == tile) & (i >= 0) & (i < rows) & (j >= 0) & (j < cols)] = other
        return found

    def of_all(self, patches: Patches, grid: PatchGrid) -> NDArray[np.int32]:
        """Return the tile (N,) on whose cells each of some patches is ordered."""
        found = patches.tile
        for tile, better in enumerate(self._better):
            if better and len(mine := np.flatnonzero(patches.tile == tile)):
                found = found.copy() if found is patches.tile else found
                found[mine] = self.of(tile, *patches.places(mine, grid))
        return found

    def guests(self, host: int) -> list[int]:
        """Return the tiles whose patches may be ordered on a tile's cells."""
        return list(self._worse[host])

    def cells(
        self, tile: int, host: int, row: NDArray[np.int32], col: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the rows and columns (n,) on a host's lattice of patches of a tile's that are ordered there."""
        down, across = (0, 0) if host == tile else self._better[tile][host]
        return row + np.int32(down), col + np.int32(across)

    def closed(self, tile: int, cells: CellGrid) -> NDArray[np.bool_] | None:
        """Return the cells (rows, cols) of a tile that are other tiles' to order, or None if none is.

        A grid may reach beyond its tile's lattice, onto those of tiles that are worse.
        """
        if not self._better[tile] and not self._worse[tile]:
            return None
        closed = np.zeros(cells.shape, dtype=bool)
        for other, shift in self._worse[tile].items():
            closed[self._lattice(other, cells, shift)] = True
        closed[self._lattice(tile, cells, (0, 0))] = False
        for other, shift in self._better[tile].items():
            closed[self._lattice(other, cells, shift)] = True
        return closed

    def _lattice(self, tile: int, cells: CellGrid, shift: tuple[int, int]) -> tuple[slice, slice]:
        """Return which rows and columns of cells lie on a tile's lattice, to which theirs are shifted so."""
        rows, cols = self._sizes[tile]
        top = round(cells.top / cells.height) + shift[0]
        left = round(cells.left / cells.width) + shift[1]
        return slice(max(0, -top), max(0, rows - top)), slice(max(0, -left), max(0, cols - left))


def places_on(
    patches: Patches, mine: NDArray[np.integer[Any]], tile: int, grid: PatchGrid, hosts: Hosts | None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the rows and columns (n,), on a tile's lattice of patches, of candidates that are ordered on its cells.

    Args:
        patches: Candidates.
        mine: (n,) which of them.
        tile: Index of the tile; some of them may be another one's.
        grid: The patch grid of a scene.
        hosts: Says how others' lattices are shifted; None if all are the tile's own.
    """
    row, col = patches.places(mine, grid)
    if hosts is not None:
        for guest in hosts.guests(tile):
            theirs = patches.tile[mine] == guest
            row[theirs], col[theirs] = hosts.cells(guest, tile, row[theirs], col[theirs])
    return row, col


def lattice_shift(tile: Tile, other: Tile, side: NDArray[np.float64]) -> tuple[int, int] | None:
    """Return by how many patches (rows, columns) of a side another tile's lattice is shifted, if by whole ones."""
    if tile.crs != other.crs:
        return None
    corners = np.array([(col, row) for col in (0, tile.width) for row in (0, tile.height)], dtype=np.float64)
    x, y = to_map(corners, coefficients(tile.transform)).T
    turned = near_tile(x.mean(keepdims=True), other) - x.mean()
    there = to_map(np.stack([x + turned, y], axis=-1), coefficients(~other.transform))
    moved = (there - corners)[:, ::-1] / side
    whole = np.round(moved.mean(axis=0))
    if np.abs(moved - whole).max() > _SAME:
        return None
    down, across = whole.astype(int).tolist()
    return down, across

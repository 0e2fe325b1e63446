"""On whose cells a place is ordered that several tiles show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geozoom.cells import CellGrid
from geozoom.grid import PatchGrid
from geozoom.patches import Patches
from geozoom.pixelmaps import INSET, PixelMap, PixelMaps, patch_rows_cols, pixel_map
from geozoom.tiles import Tile

_FAR = np.iinfo(np.int32).max
_PART = 2**18
"""Patches whose corners are looked up together."""
_BAND = 512
"""Rows of cells that are looked at together."""

Indices = NDArray[np.integer[Any]]


class Hosts:
    """On which tile's cells each place is ordered: of the tiles that show it, the one that is ranked highest.

    Its orders hold what other tiles are planned for where it has clouds, too, so that orders of two tiles share no
    ground and none is laid around another's. A cell is a patch of a tile's lattice.
    """

    def __init__(self, tiles: Sequence[Tile], ranking: Sequence[int], grid: PatchGrid, scene_px: int) -> None:
        """See which tiles may show the same place.

        Args:
            tiles: The tiles.
            ranking: Their indices, best first.
            grid: The patch grid of a scene.
            scene_px: Side of a scene in LR pixels.

        Raises:
            TileError: A tile's coordinates do not lie in its CRS.
        """
        self._tiles = tiles
        self._px = scene_px
        self._side = np.array([scene_px / grid.rows, scene_px / grid.cols])
        self._sizes = [patch_rows_cols(tile, grid, scene_px) for tile in tiles]
        self._maps = PixelMaps(tiles, scene_px)
        self._shifts: dict[tuple[int, int], tuple[int, int] | None] = {}
        place = np.argsort(np.array(ranking))
        self._better = [
            sorted((other for other in near if place[other] < place[tile]), key=lambda other: place[other])
            for tile, near in enumerate(self._maps.near)
        ]

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
        for other in self._better[tile]:
            own = np.flatnonzero(found == tile)
            if len(own) and (onto := self._maps.onto(tile, other)) is not None:
                found[own[self._inside(tile, other, onto, row[own], col[own])]] = other
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
        return [tile for tile in sorted(self._maps.near[host]) if host in self._better[tile]]

    def shift(self, tile: int, host: int) -> tuple[int, int] | None:
        """Return what to add to rows and columns of a tile's patches to have those of a host's cells.

        None where the two lattices lie across each other.
        """
        if tile == host:
            return 0, 0
        if (tile, host) not in self._shifts:
            onto = self._maps.onto(tile, host)
            self._shifts[tile, host] = None if onto is None else onto.shift(self._side)
        return self._shifts[tile, host]

    def boxes(
        self, tile: int, host: int, row: NDArray[np.int32], col: NDArray[np.int32]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the least and the greatest corner (n, 2: column, row) of patches in cells of their host's lattice.

        Args:
            tile: Index of the patches' own tile.
            host: Index of the tile on whose cells they are ordered.
            row: (n,) their rows on their tile's lattice of patches.
            col: (n,) their columns.
        """
        onto = self._maps.onto(tile, host)
        if onto is None:
            raise ValueError(f"tiles {tile} and {host} share no place")
        rows, cols = self._sizes[host]
        low, high = np.empty((len(row), 2)), np.empty((len(row), 2))
        for part, corners in self._corners(onto, row, col, 0.0):
            low[part], high[part] = corners.min(axis=1), corners.max(axis=1)
        return np.clip(low, 0, (cols, rows)), np.clip(high, 0, (cols, rows))

    def cells(
        self, tile: int, host: int, row: NDArray[np.int32], col: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the rows and columns (n,) of the host's cells in which patches have their centres; as `boxes`."""
        shift = self.shift(tile, host)
        if shift is not None:
            return row + np.int32(shift[0]), col + np.int32(shift[1])
        low, high = self.boxes(tile, host, row, col)
        at_col, at_row = ((low + high) / 2).astype(np.int32).T
        return at_row, at_col

    def closed(self, tile: int, cells: CellGrid) -> NDArray[np.bool_] | None:
        """Return the cells (rows, cols) of a tile that touch what is ordered on another one's, or None if none does."""
        closed: NDArray[np.bool_] | None = None
        for other in self._better[tile]:
            if self._maps.onto(tile, other) is not None:
                touched = self._touched(tile, other, cells)
                closed = touched if closed is None else closed | touched
        return closed

    def _inside(
        self, tile: int, other: int, onto: PixelMap, row: NDArray[np.int32], col: NDArray[np.int32]
    ) -> NDArray[np.bool_]:
        """Return which patches (n,) lie on another tile's lattice."""
        rows, cols = self._sizes[other]
        shift = self.shift(tile, other)
        if shift is not None:
            i, j = row + shift[0], col + shift[1]
            return (i >= 0) & (i < rows) & (j >= 0) & (j < cols)
        inside = np.empty(len(row), dtype=bool)
        for part, corners in self._corners(onto, row, col, INSET):
            inside[part] = ((corners >= 0) & (corners < (cols, rows))).all(axis=(1, 2))
        return inside

    def _corners(
        self, onto: PixelMap, row: NDArray[np.int32], col: NDArray[np.int32], inset: float
    ) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Yield some of the patches, and their corners (m, 4, 2: column, row), or points a little inside.

        Corners are counted in cells of the other tile.
        """
        down, across = np.array([(at, to) for at in (inset, 1 - inset) for to in (inset, 1 - inset)]).T
        high, wide = self._side
        for first in range(0, len(row), _PART):
            part = slice(first, first + _PART)
            at_row, at_col = onto.apply((row[part, None] + down) * high, (col[part, None] + across) * wide)
            yield part, np.stack([at_col / wide, at_row / high], axis=-1)

    def _touched(self, tile: int, other: int, cells: CellGrid) -> NDArray[np.bool_]:
        """Return the cells (rows, cols) of a tile that touch another one's lattice."""
        rows, cols = self._sizes[other]
        shift = self.shift(tile, other)
        if shift is not None:
            found = np.zeros(cells.shape, dtype=bool)
            top = round(cells.top / cells.height) + shift[0]
            left = round(cells.left / cells.width) + shift[1]
            found[max(0, -top) : max(0, rows - top), max(0, -left) : max(0, cols - left)] = True
            return found
        right, bottom = cells.corners_px(np.array([cells.cols, cells.rows]))
        onto = pixel_map(
            self._tiles[tile],
            self._tiles[other],
            (cells.top, float(bottom)),
            (cells.left, float(right)),
            self._px,
        )
        if onto is None:
            return np.zeros(cells.shape, dtype=bool)
        high, wide = self._side
        across = np.arange(cells.cols + 1, dtype=np.float64)
        bands = []
        for first in range(0, cells.rows, _BAND):
            down = np.arange(first, min(first + _BAND, cells.rows) + 1, dtype=np.float64)
            at_row, at_col = onto.on_lattice(
                cells.top + down * cells.height, cells.left + across * cells.width
            )
            inside = (at_row > INSET * high) & (at_row < (rows - INSET) * high)
            inside &= (at_col > INSET * wide) & (at_col < (cols - INSET) * wide)
            bands.append(inside[:-1, :-1] | inside[:-1, 1:] | inside[1:, :-1] | inside[1:, 1:])
        return np.concatenate(bands)


@dataclass(frozen=True, kw_only=True)
class Placed:
    """Candidates and where they lie on the lattice of the tile on whose cells they are ordered."""

    rows: Indices
    """(n,) which candidates: first the k that are one cell each, then those that lie anywhere."""
    row: NDArray[np.int32]
    """(k,) rows of the cells."""
    col: NDArray[np.int32]
    """(k,) columns of them."""
    low: NDArray[np.float64]
    """(n - k, 2) least column and row of the others, in cells."""
    high: NDArray[np.float64]
    """(n - k, 2) greatest column and row."""

    @property
    def first(self) -> tuple[int, int]:
        """The first row and column of all cells."""
        least = np.floor(self.low.min(axis=0, initial=np.inf))
        return (
            int(min(least[1], self.row.min(initial=_FAR))),
            int(min(least[0], self.col.min(initial=_FAR))),
        )

    @property
    def last(self) -> tuple[int, int]:
        """The last row and column of them."""
        most = np.ceil(self.high.max(axis=0, initial=0)) - 1
        return int(max(most[1], self.row.max(initial=0))), int(max(most[0], self.col.max(initial=0)))


def place(patches: Patches, mine: Indices, tile: int, grid: PatchGrid, hosts: Hosts | None) -> Placed:
    """Find where candidates lie on the lattice of the tile on whose cells they are ordered.

    Args:
        patches: Candidates.
        mine: (n,) which of them, of any tiles.
        tile: Index of the tile on whose cells.
        grid: The patch grid of a scene.
        hosts: Says where other tiles' patches lie there; None if all are its own.
    """
    row, col = patches.places(mine, grid)
    low, high = [np.zeros((0, 2))], [np.zeros((0, 2))]
    apart: list[Indices] = []
    for other in () if hosts is None else hosts.guests(tile):
        theirs = np.flatnonzero(patches.tile[mine] == other)
        if hosts is None or not len(theirs):
            continue
        shift = hosts.shift(other, tile)
        if shift is not None:
            row[theirs] += np.int32(shift[0])
            col[theirs] += np.int32(shift[1])
            continue
        least, most = hosts.boxes(other, tile, row[theirs], col[theirs])
        low.append(least)
        high.append(most)
        apart.append(theirs)
    if apart:
        loose = np.concatenate(apart)
        single = np.delete(np.arange(len(mine)), loose)
        mine, row, col = mine[np.append(single, loose)], row[single], col[single]
    return Placed(rows=mine, row=row, col=col, low=np.concatenate(low), high=np.concatenate(high))

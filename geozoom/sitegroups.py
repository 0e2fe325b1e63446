"""Which tiles' sites are ordered together: of tiles whose lattices are parts of one, those whose orders might meet.

Two dates of a place and neighbours in one zone are such tiles. On lattices of their own, an order around a site of one
and an order around a site of the other could hold the same ground, and both would be billed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from geozoom.grid import PatchGrid, to_map
from geozoom.hosts import lattice_shift
from geozoom.pixelmaps import coefficients
from geozoom.tiles import Tile

_MOST_CELLS = 2**26
"""Cells up to which tiles are put together, about as many as two granules have."""
_MOST_BETWEEN = 1.5
"""How many times the cells of its tiles a group may have: what lies between them takes time and holds nothing."""

Shift = tuple[int, int]
"""What is added to the rows and columns of one lattice to have those of another."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A part of a lattice of patches; what it ends with belongs to it no more."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> int:
        """Number of cells."""
        return (self.bottom - self.top) * (self.right - self.left)

    def moved(self, shift: Shift) -> Box:
        """Return it as another lattice counts its rows and columns."""
        down, across = shift
        return Box(
            top=self.top + down, left=self.left + across, bottom=self.bottom + down, right=self.right + across
        )

    def meets(self, other: Box) -> bool:
        """Tell whether two parts of one lattice share a cell."""
        return max(self.top, other.top) < min(self.bottom, other.bottom) and max(self.left, other.left) < min(
            self.right, other.right
        )

    def around(self, other: Box) -> Box:
        """Return the least part that holds both."""
        return Box(
            top=min(self.top, other.top),
            left=min(self.left, other.left),
            bottom=max(self.bottom, other.bottom),
            right=max(self.right, other.right),
        )


@dataclass(frozen=True, kw_only=True)
class TileGroup:
    """Tiles whose sites are ordered on the cells of one of them."""

    host: int
    """Index of that one."""
    shifts: dict[int, Shift]
    """Of every tile of the group what its rows and columns of patches lack to the host's."""
    reach: Box
    """On the host's lattice, where their orders may lie."""
    cells: int
    """Of all tiles together."""

    def joined(self, other: TileGroup, shift: Shift) -> TileGroup:
        """Return this group with another one, given what that one's lattice lacks to this one's."""
        down, across = shift
        theirs = {tile: (row + down, col + across) for tile, (row, col) in other.shifts.items()}
        return TileGroup(
            host=self.host,
            shifts=self.shifts | theirs,
            reach=self.reach.around(other.reach.moved(shift)),
            cells=self.cells + other.cells,
        )


def group_tiles(
    tiles: Sequence[Tile], reach: Mapping[int, Box], grid: PatchGrid, scene_px: int
) -> list[TileGroup]:
    """Put tiles together whose orders might hold the same ground, as far as their cells stay few enough.

    Args:
        tiles: The tiles.
        reach: Of each tile that has candidates where its orders may lie, on its own lattice of patches.
        grid: The patch grid of a scene.
        scene_px: Side of a scene in LR pixels.
    """
    side = scene_px / np.array([grid.rows, grid.cols])
    groups = [
        TileGroup(host=tile, shifts={tile: (0, 0)}, reach=box, cells=box.size)
        for tile, box in sorted(reach.items())
    ]
    while True:
        merged = _merged(tiles, groups, side)
        if len(merged) == len(groups):
            return groups
        groups = merged


def _merged(
    tiles: Sequence[Tile], groups: list[TileGroup], side: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> list[TileGroup]:
    """Return the groups, some that meet put together."""
    made = dict(enumerate(groups))
    for one, other in _near(tiles, groups, side):
        if one not in made or other not in made:
            continue  # looked at again when all is put together
        first, second = made[one], made[other]
        shift = lattice_shift(tiles[second.host], tiles[first.host], side)
        if shift is None or not first.reach.meets(second.reach.moved(shift)):
            continue
        joined = first.joined(second, shift)
        most = min(_MOST_BETWEEN * joined.cells, max(_MOST_CELLS, first.reach.size, second.reach.size))
        if joined.reach.size <= most:
            made[one] = joined
            del made[other]
    return list(made.values())


def _near(
    tiles: Sequence[Tile], groups: Sequence[TileGroup], side: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> Iterator[tuple[int, int]]:
    """Yield pairs of groups, the first before the second, whose boxes meet on the map of one CRS."""
    boxes = []
    for group in groups:
        reach, tile = group.reach, tiles[group.host]
        corners = np.array(
            [(col, row) for row in (reach.top, reach.bottom) for col in (reach.left, reach.right)]
        )
        boxes.append(shapely.MultiPoint(to_map(corners * side[::-1], coefficients(tile.transform))).envelope)
    for one, other in np.sort(shapely.STRtree(boxes).query(boxes, predicate="intersects").T).tolist():
        if one < other and tiles[groups[one].host].crs == tiles[groups[other].host].crs:
            yield one, other

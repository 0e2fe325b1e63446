"""Candidate patches → lattices of cells that orders are made of, a lattice for each tile.

Where scenes lie on a lattice, a cell is a patch. Patches of sites lie anywhere: their value is spread over the
cells that they cover, and one is bought where a single order holds all of these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geozoom.area import Area
from geozoom.bitmask import BitMask
from geozoom.hosts import Hosts
from geozoom.land import Ground, Indices, Land, cell_km, corner, index_type, room, stretch_of
from geozoom.patches import Patches
from geozoom.rules import ShapeRules
from geozoom.sitegroups import Box, TileGroup, group_tiles
from geozoom.sites import SitesOnTiles
from geozoom.spreading import spread
from geozoom.tiles import Tile

if TYPE_CHECKING:
    from geozoom.card import ModelCard  # torch comes with it, which workers need not load


def lay_grounds(
    tiles: Sequence[Tile],
    patches: Patches,
    card: ModelCard,
    shape: ShapeRules,
    *,
    sites: SitesOnTiles | None = None,
    owned: Area | None = None,
    refused: Mapping[int, BitMask],
    hosts: Hosts | None = None,
) -> list[Ground]:
    """Lay a lattice on every tile on whose cells there are candidate patches.

    Args:
        tiles: The tiles.
        patches: The candidates, tile by tile.
        card: Says how large a patch is.
        shape: What the vendor takes: lattices hold at least one order.
        sites: The scenes, if they do not lie on a lattice.
        owned: Ground that must not be bought again.
        refused: Of tiles (rows, cols) the patches of the tile's lattice that another tile shows and is
            planned for.
        hosts: On which tile's cells each patch is ordered; None if each is on its own tile's.

    Raises:
        TileError: A tile's coordinates do not lie in its CRS.
    """
    if sites is not None:
        return _site_grounds(tiles, patches, card, shape, sites, owned)
    grounds = []
    host = patches.tile if hosts is None else hosts.of_all(patches, card.grid)
    for index, tile in enumerate(tiles):
        # A granule has tens of millions of both patches and cells, and 2³¹ of neither.
        mine = np.flatnonzero(host == index).astype(index_type(len(patches)))
        if len(mine):
            land = Land(
                tile=tile, index=index, card=card, owned=owned, refused=refused.get(index), hosts=hosts
            )
            grounds.append(land.lay(patches, mine, shape))
    return grounds


def _site_grounds(
    tiles: Sequence[Tile],
    patches: Patches,
    card: ModelCard,
    shape: ShapeRules,
    sites: SitesOnTiles,
    owned: Area | None,
) -> list[Ground]:
    """Lay a lattice for every group of tiles whose orders of sites might hold the same ground."""
    reach = {}
    for index in np.unique(patches.tile).tolist():
        low, high = _boxes(patches, np.flatnonzero(patches.tile == index), card, sites)
        down, across = room(shape, cell_km(tiles[index], card))
        top, left = np.floor(low.min(axis=0))[::-1].astype(int).tolist()
        bottom, right = np.ceil(high.max(axis=0))[::-1].astype(int).tolist()
        reach[index] = Box(top=top - down, left=left - across, bottom=bottom + down, right=right + across)
    grounds = []
    for group in group_tiles(tiles, reach, card.grid, card.lr_px):
        land = Land(
            tile=tiles[group.host], index=group.host, card=card, owned=owned, refused=None, hosts=None
        )
        stretch = max(stretch_of(tiles[tile]) for tile in group.shifts)
        grounds.append(_spread_out(land, patches, shape, sites, group, stretch))
    return grounds


def _spread_out(
    land: Land,
    patches: Patches,
    shape: ShapeRules,
    sites: SitesOnTiles,
    group: TileGroup,
    stretch: float,
) -> Ground:
    """Lay a lattice over the candidates of a group's sites, whose value is spread over the cells that they cover."""
    mine = np.flatnonzero(np.isin(patches.tile, list(group.shifts))).astype(index_type(len(patches)))
    low, high = _boxes(patches, mine, land.card, sites)
    shift = np.array([group.shifts[tile] for tile in patches.tile[mine].tolist()])[:, ::-1]
    low, high = low + shift, high + shift
    first = (math.floor(low[:, 1].min()), math.floor(low[:, 0].min()))
    last = (math.ceil(high[:, 1].max()) - 1, math.ceil(high[:, 0].max()) - 1)
    cells = land.cells_between(first, last).widened(*room(shape, land.cell_km))
    top, left = corner(cells)
    closed = land.closed_of(cells)
    value = np.zeros(cells.shape, dtype=np.float32)
    covered, starts, share = spread(low - (left, top), high - (left, top), cells, closed)
    counts = np.diff(np.append(starts, len(covered)))
    np.add.at(value.reshape(-1), covered, share * np.repeat(patches.value[mine], counts))
    return land.ground(mine, cells, value, covered, closed, starts, stretch)


def _boxes(
    patches: Patches, mine: Indices, card: ModelCard, sites: SitesOnTiles
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return columns and rows (n, 2) of the least and the greatest corners of sites' patches, in their tile's cells."""
    grid, px = card.grid, card.lr_px
    side = (px / grid.cols, px / grid.rows)
    corners = grid.corners_in(sites.windows[patches.scene_row[mine]], patches.patch[mine].astype(np.int64))
    return corners.min(axis=1) / side, corners.max(axis=1) / side

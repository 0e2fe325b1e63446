"""Where patches lie: windows on their tiles, areas and footprints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from geozoom.card import ModelCard
from geozoom.footprints import patch_areas_m2, to_lonlat
from geozoom.grid import lattice_windows
from geozoom.patches import Patches
from geozoom.sites import SitesOnTiles
from geozoom.tiles import Tile

PATCHES_AT_ONCE = 2**20
"""Patches of which windows and areas are worked out at once; whole granules of them would fill memory."""
MOST_SHARED = 0.02
"""Patches of two sites that share more than this of their ground are one place, and bought once."""


def scene_windows(
    patches: Patches, rows: NDArray[np.int64], card: ModelCard, sites: SitesOnTiles | None
) -> NDArray[np.float64]:
    """Return the window of each patch's scene on its tile, (n, 4), for some rows (n,) of the patches."""
    if sites is not None:
        return sites.windows[patches.scene_row[rows]]
    return lattice_windows(
        patches.scene_row[rows].astype(np.int64), patches.scene_col[rows].astype(np.int64), card.lr_px
    )


def _by_tile(tiles: Sequence[Tile], patches: Patches) -> Iterator[tuple[Tile, NDArray[np.int64]]]:
    """Yield rows of the patches of each tile, some at once."""
    for index, tile in enumerate(tiles):
        mine = np.flatnonzero(patches.tile == index)
        for start in range(0, len(mine), PATCHES_AT_ONCE):
            yield tile, mine[start : start + PATCHES_AT_ONCE]


def areas_dm2(
    tiles: Sequence[Tile], patches: Patches, card: ModelCard, sites: SitesOnTiles | None = None
) -> NDArray[np.int64]:
    """Return the area of each patch on WGS84, (N,), in whole square decimetres."""
    areas = np.empty(len(patches), dtype=np.int64)
    for tile, rows in _by_tile(tiles, patches):
        windows = scene_windows(patches, rows, card, sites)
        areas[rows] = np.rint(100 * patch_areas_m2(tile, card.grid, windows, patches.patch[rows]))
    return areas


def footprints(
    tiles: Sequence[Tile], patches: Patches, card: ModelCard, sites: SitesOnTiles | None = None
) -> NDArray[np.float64]:
    """Return patch footprints (N, 4, 2): longitude and latitude, counter-clockwise.

    Raises:
        TileError: A tile's coordinates do not lie in its CRS.
    """
    corners = np.empty((len(patches), 4, 2))
    for tile, rows in _by_tile(tiles, patches):
        windows = scene_windows(patches, rows, card, sites)
        corners[rows] = to_lonlat(tile, card.grid.corners_in(windows, patches.patch[rows].astype(np.int64)))
    return corners


def first_of_each_place(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the patches of sites, given their footprints (N, 4, 2), that share no ground with one before."""
    # Those across the antimeridian lie beyond both ends of the map.
    across = np.flatnonzero(np.ptp(corners[..., 0], axis=1) > 180)
    east, west = corners.copy(), corners[across].copy()
    east[across, :, 0] %= 360
    west[..., 0] = east[across, :, 0] - 360
    rings = shapely.polygons(np.concatenate([east, west]))
    patch = np.concatenate([np.arange(len(corners)), across])
    later, earlier = shapely.STRtree(rings).query(rings, predicate="intersects")
    pairs = patch[later] > patch[earlier]
    later, earlier = later[pairs], earlier[pairs]
    shared = shapely.area(shapely.intersection(rings[later], rings[earlier]))
    same = shared > MOST_SHARED * np.minimum(shapely.area(rings[later]), shapely.area(rings[earlier]))
    kept = np.ones(len(corners), dtype=bool)
    for one, other in sorted(zip(patch[later[same]].tolist(), patch[earlier[same]].tolist(), strict=True)):
        kept[one] &= not kept[other]
    return np.flatnonzero(kept)

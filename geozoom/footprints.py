"""Pixel corners of a tile → rings in WGS84 and their geodesic areas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from geozoom.errors import TileError
from geozoom.grid import to_map
from geozoom.ground import lonlat
from geozoom.tiles import Tile

_GEOD = Geod(ellps="WGS84")


def to_lonlat(tile: Tile, corners_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Carry pixel corners (N, 4, 2) through a tile's affine and CRS into WGS84.

    Returns:
        (N, 4, 2) longitude and latitude, counter-clockwise whichever way the tile is turned.

    Raises:
        TileError: The tile's coordinates do not lie in its CRS.
    """
    a, b, c, d, e, f = tile.transform[:6]
    mapped = to_map(corners_px, (a, b, c, d, e, f))
    lon, lat = lonlat(tile.path, tile.crs, mapped[..., 0], mapped[..., 1], TileError)
    return counter_clockwise(np.stack([lon, lat], axis=-1))


def counter_clockwise(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn around the rings (N, 4, 2) that a south-up or mirrored tile made clockwise."""
    x, y = corners[..., 0], corners[..., 1]
    # Longitudes of a ring that crosses the antimeridian are compared on one side of it.
    x = np.where(np.ptp(x, axis=1, keepdims=True) > 180, x % 360, x)
    doubled = np.sum(x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y, axis=1)
    turned = corners.copy()
    turned[doubled < 0] = corners[doubled < 0][:, ::-1]
    return turned


def areas_dm2(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the geodesic area of each ring (N, 4, 2) on WGS84, in whole square decimetres."""
    square_metres = [abs(_GEOD.polygon_area_perimeter(ring[:, 0], ring[:, 1])[0]) for ring in corners]
    return np.rint(np.asarray(square_metres, dtype=np.float64) * 100).astype(np.int64)

"""Outlines of orders on a tile's cells → the polygons that are written and billed."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from geozoom.features import ORDER_DECIMALS
from geozoom.footprints import points_to_lonlat
from geozoom.ground import on_one_side
from geozoom.land import Ground
from geozoom.ordering import Rings
from geozoom.rules import ShapeRules
from geozoom.tiles import Tile

LONGEST_SIDE_KM = 5.0
"""Longer sides get points between: a straight line of a map is none in longitude and latitude."""
_BEND_KM = 0.001
"""By which a side may bend away from its cells, which towards the poles shorter ones do."""
_EIGHT_RADII_KM = 8 * 6371.0
_SHORTEST_SIDE_KM = 0.25
"""Shorter sides are left as they are, at the poles too."""
_GEOD = Geod(ellps="WGS84")


def order_rings(tile: Tile, ground: Ground, rings: Rings, shape: ShapeRules) -> list[NDArray[np.float64]]:
    """Return the outlines of orders on one tile as closed rings (n, 2) of longitude and latitude.

    They are counter-clockwise and rounded as they are written.

    Args:
        tile: The tile.
        ground: Its cells.
        rings: Outlines in corners of its lattice.
        shape: A vendor's rules; long sides get no points between where it allows no more vertices.

    Raises:
        TileError: The tile's coordinates do not lie in its CRS.
    """
    if not len(rings):
        return []
    lat = np.abs(points_to_lonlat(tile, ground.cells.corners_px(rings.points))[:, 1])
    farthest = np.maximum.reduceat(lat, rings.offsets[:-1])
    outlines = [
        _divided(rings.ring(index), ground, shape, _longest_km(farthest[index]))
        for index in range(len(rings))
    ]
    points = ground.cells.corners_px(np.concatenate(outlines))
    lonlat = points_to_lonlat(tile, points).round(ORDER_DECIMALS)
    ends = np.cumsum([len(outline) for outline in outlines])
    found = []
    for ring in np.split(lonlat, ends[:-1]):
        ring[:, 0] = on_one_side(ring[:, 0])
        turned = ring if signed_area_m2(ring) > 0 else ring[::-1]
        found.append(np.concatenate([turned, turned[:1]]))
    return found


def signed_area_m2(ring: NDArray[np.float64]) -> float:
    """Return the geodesic area of a ring (n, 2) on WGS84, above 0 if it is counter-clockwise."""
    area, _ = _GEOD.polygon_area_perimeter(ring[:, 0], ring[:, 1])
    return float(area)


def area_dm2(ring: NDArray[np.float64]) -> int:
    """Return the geodesic area of a ring (n, 2) on WGS84 in whole square decimetres."""
    return round(100 * abs(signed_area_m2(ring)))


def _longest_km(lat: float) -> float:
    """Return the longest side that bends by no more than it may: a chord of a parallel by length² · tan(lat) / 8R."""
    longest = math.sqrt(_BEND_KM * _EIGHT_RADII_KM / max(math.tan(math.radians(lat)), 1e-9))
    return min(LONGEST_SIDE_KM, max(_SHORTEST_SIDE_KM, longest))


def _divided(
    outline: NDArray[np.int32], ground: Ground, shape: ShapeRules, longest_km: float
) -> NDArray[np.float64]:
    """Return an outline (n, 2) with points between those that lie far apart."""
    following = np.roll(outline, -1, axis=0)
    high, wide = ground.lattice.cell_km
    length = np.abs(following - outline) @ np.array([wide, high])
    pieces = np.maximum(1, np.ceil(length / longest_km)).astype(np.int64)
    most = shape.max_vertices
    if most is not None and pieces.sum() > most:  # less finely, then
        pieces = np.maximum(1, np.ceil(length / LONGEST_SIDE_KM)).astype(np.int64)
    # Straight sides that bend by a hair are not convex.
    if (pieces == 1).all() or shape.convex or (most is not None and pieces.sum() > most):
        return outline.astype(np.float64)
    side = np.repeat(np.arange(len(outline)), pieces)
    step = np.arange(len(side)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return np.asarray(outline[side] + (following - outline)[side] * (step / pieces[side])[:, None])

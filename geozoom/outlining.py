"""Outlines of orders on a tile's cells → the polygons that are written and billed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from geozoom.features import COORDINATE_DECIMALS
from geozoom.footprints import points_to_lonlat
from geozoom.grounds import Ground
from geozoom.ordering import Rings
from geozoom.rules import ShapeRules
from geozoom.tiles import Tile

LONGEST_SIDE_KM = 5.0
"""Longer sides get points between: a straight line of a map is none in longitude and latitude."""
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
    outlines = [_divided(rings.ring(index), ground, shape) for index in range(len(rings))]
    if not outlines:
        return []
    points = ground.cells.corners_px(np.concatenate(outlines))
    lonlat = points_to_lonlat(tile, points).round(COORDINATE_DECIMALS)
    ends = np.cumsum([len(outline) for outline in outlines])
    found = []
    for ring in np.split(lonlat, ends[:-1]):
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


def _divided(outline: NDArray[np.int32], ground: Ground, shape: ShapeRules) -> NDArray[np.float64]:
    """Return an outline (n, 2) with points between those that lie far apart."""
    following = np.roll(outline, -1, axis=0)
    high, wide = ground.lattice.cell_km
    length = np.abs(following - outline) @ np.array([wide, high])
    pieces = np.maximum(1, np.ceil(length / LONGEST_SIDE_KM)).astype(np.int64)
    most = shape.max_vertices
    # Straight sides that bend by a hair are not convex.
    if (pieces == 1).all() or shape.convex or (most is not None and pieces.sum() > most):
        return outline.astype(np.float64)
    side = np.repeat(np.arange(len(outline)), pieces)
    step = np.arange(len(side)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    return np.asarray(outline[side] + (following - outline)[side] * (step / pieces[side])[:, None])


def unwrapped(ring: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a ring whose longitudes go on beyond 180° where they would leap to the other side."""
    lon = ring[0, 0] + (ring[:, 0] - ring[0, 0] + 180) % 360 - 180
    return np.column_stack([lon, ring[:, 1]])


def extent_km(ring: NDArray[np.float64]) -> tuple[float, float]:
    """Return how far a ring (n, 2) reaches from west to east and from south to north, in kilometres."""
    lon, lat = unwrapped(ring).T
    middle = [(lon.min() + lon.max()) / 2, (lat.min() + lat.max()) / 2]
    _, _, across = _GEOD.inv(lon.min(), middle[1], lon.max(), middle[1])
    _, _, up = _GEOD.inv(middle[0], lat.min(), middle[0], lat.max())
    return float(across) / 1000, float(up) / 1000


def refusals(ring: NDArray[np.float64], shape: ShapeRules) -> Sequence[str]:
    """Return what a vendor would refuse a polygon for, measured on the polygon as it is written.

    Args:
        ring: (n, 2) longitude and latitude, closed, counter-clockwise.
        shape: The vendor's rules.
    """
    km2 = area_dm2(ring) / 1e8
    wide, high = extent_km(ring)
    vertices = len(ring) - 1
    problems = []
    if shape.min_km2 is not None and km2 < float(shape.min_km2):
        problems.append(f"{km2:.6f} km² is less than the smallest order of {shape.min_km2} km²")
    if shape.max_km2 is not None and km2 > float(shape.max_km2):
        problems.append(f"{km2:.6f} km² is more than the largest order of {shape.max_km2} km²")
    if shape.min_width_km is not None and min(wide, high) < float(shape.min_width_km):
        problems.append(f"{min(wide, high):.3f} km is narrower than {shape.min_width_km} km")
    if shape.max_width_km is not None and wide > float(shape.max_width_km):
        problems.append(f"{wide:.3f} km from west to east is more than {shape.max_width_km} km")
    if shape.max_height_km is not None and high > float(shape.max_height_km):
        problems.append(f"{high:.3f} km from south to north is more than {shape.max_height_km} km")
    if shape.max_vertices is not None and vertices > shape.max_vertices:
        problems.append(f"{vertices} vertices are more than {shape.max_vertices}")
    if shape.convex and not _is_convex(ring):
        problems.append("it is not convex")
    if shape.min_box_share is not None:
        share = km2 / (wide * high)
        if share < float(shape.min_box_share):
            problems.append(f"it fills {share:.3f} of its bounding box, less than {shape.min_box_share}")
    return problems


def _is_convex(ring: NDArray[np.float64]) -> bool:
    sides = np.diff(unwrapped(ring), axis=0)
    after = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0]
    # Written with 7 decimals, a straight line turns by a hair.
    return bool((turns >= -np.hypot(*sides.T) * 10.0**-COORDINATE_DECIMALS * 2).all())

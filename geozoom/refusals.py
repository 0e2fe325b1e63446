"""What a vendor would refuse a polygon for, measured on the polygon as it is written. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from geozoom.rules import ShapeRules

_GEOD = Geod(ellps="WGS84")
_DECIMALS = 7
"""Decimals of written coordinates: a straight line turns by a hair."""


def area_km2(ring: NDArray[np.float64]) -> float:
    """Return the geodesic area of a ring (n, 2) of longitude and latitude on WGS84."""
    area, _ = _GEOD.polygon_area_perimeter(ring[:, 0], ring[:, 1])
    return abs(float(area)) / 1e6


def extent_km(ring: NDArray[np.float64]) -> tuple[float, float]:
    """Return how far a ring (n, 2) reaches from west to east and from south to north, in kilometres."""
    (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
    lon, lat = (west + east) / 2, (south + north) / 2
    _, _, across = _GEOD.inv(west, lat, east, lat)
    _, _, up = _GEOD.inv(lon, south, lon, north)
    return float(across) / 1000, float(up) / 1000


def refusals(ring: NDArray[np.float64], rules: ShapeRules) -> list[str]:
    """Return what a vendor would refuse a polygon for, a phrase each.

    Args:
        ring: (n, 2) longitude and latitude (WGS84), closed, counter-clockwise, not across the antimeridian.
        rules: The vendor's rules.
    """
    km2 = area_km2(ring)
    wide, high = extent_km(ring)
    vertices = len(ring) - 1
    problems = []
    if rules.min_km2 is not None and km2 < float(rules.min_km2):
        problems.append(f"{km2:.8f} km² is less than the smallest order of {rules.min_km2:f} km²")
    if rules.max_km2 is not None and km2 > float(rules.max_km2):
        problems.append(f"{km2:.6f} km² is more than the largest order of {rules.max_km2:f} km²")
    if rules.min_width_km is not None and min(wide, high) < float(rules.min_width_km):
        problems.append(f"{min(wide, high):.3f} km is narrower than {rules.min_width_km} km")
    if rules.max_width_km is not None and wide > float(rules.max_width_km):
        problems.append(f"{wide:.3f} km from west to east is more than {rules.max_width_km} km")
    if rules.max_height_km is not None and high > float(rules.max_height_km):
        problems.append(f"{high:.3f} km from south to north is more than {rules.max_height_km} km")
    if rules.max_vertices is not None and vertices > rules.max_vertices:
        problems.append(f"{vertices} vertices are more than {rules.max_vertices}")
    if rules.convex and not is_convex(ring):
        problems.append("it is not convex")
    if rules.min_box_share is not None and km2 / (wide * high) < float(rules.min_box_share):
        problems.append(
            f"it fills {km2 / (wide * high):.3f} of its bounding box, less than {rules.min_box_share}"
        )
    return problems


def is_convex(ring: NDArray[np.float64]) -> bool:
    """Return whether a closed, counter-clockwise ring (n, 2) never turns right."""
    sides = np.diff(ring, axis=0)
    after = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0]
    return bool((turns >= -np.hypot(*sides.T) * 2 * 10.0**-_DECIMALS).all())

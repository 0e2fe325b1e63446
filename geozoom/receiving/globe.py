"""Polygons in longitude and latitude: cut at the antimeridian, laid out equal in area, and how far apart."""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Geod, Transformer
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from geozoom.polygons import polygons_of

_GEOD = Geod(ellps="WGS84")
_TO_EQUAL_AREA = Transformer.from_crs("EPSG:4326", "EPSG:6933", always_xy=True)
"""Lambert's cylinder on WGS84: equal in area everywhere, whatever it does to shapes."""


def cut_at_antimeridian(polygon: BaseGeometry) -> BaseGeometry:
    """Return a polygon valid, and in two parts if its longitudes leap from 180 to -180."""
    west, _, east, _ = polygon.bounds
    if east - west <= 180:
        return polygons_of(np.array([shapely.make_valid(polygon)], dtype=object))

    def on_one_side(lonlats: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack([lonlats[:, 0] % 360, lonlats[:, 1]])

    joined = shapely.make_valid(shapely.transform(polygon, on_one_side))
    parts = [
        shapely.intersection(joined, shapely.box(0, -90, 180, 90)),
        translate(shapely.intersection(joined, shapely.box(180, -90, 360, 90)), -360),
    ]
    return polygons_of(np.array(parts, dtype=object))


def equal_area(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    """Carry geometries to a plane on which areas are those on the ground, in square metres."""

    def carry(lonlats: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(_TO_EQUAL_AREA.transform(lonlats[:, 0], lonlats[:, 1]))

    return np.asarray(shapely.transform(geometries, carry), dtype=np.object_)


def distance_km(one: BaseGeometry, other: BaseGeometry) -> float:
    """Return about how far two geometries are from each other on the ground, 0 where they meet."""
    nearest = math.inf
    for shift in (-360, 0, 360):
        line = shapely.shortest_line(translate(one, shift), other)
        (lon0, lat0), (lon1, lat1) = shapely.get_coordinates(line)
        _, _, metres = _GEOD.inv(lon0, lat0, lon1, lat1)
        nearest = min(nearest, metres / 1000)
    return nearest


def km_text(km: float) -> str:
    """Return a distance for people to read: three digits, and all of them where there are more."""
    return f"{km:,.0f}" if km >= 100 else f"{km:.3g}"

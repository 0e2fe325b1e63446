"""Features carried to longitude and latitude, where edges bend, leap at the antimeridian and end at poles."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from geozoom.errors import VectorError
from geozoom.polygons import Geometries, polygons_of

if TYPE_CHECKING:
    import geopandas

Carry = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Carries points (N, 2) from one CRS to another."""

_SEGMENT_M = 1000.0
"""Edges of a projected CRS are cut into pieces of this length: they stay within 2 cm of where they were."""
_NEAR_POLE_M = ((125_000.0, 50.0), (1_000.0, 5.0))
"""How near a pole edges are cut into how long pieces, as the longitude along them changes faster there."""
_POLE_M = 0.1
"""How near a pole an outline says nothing of its longitude."""
_FARTHEST_M = 1e8
"""Coordinates beyond it lie nowhere on the globe in any CRS, whatever zone number stands before their eastings."""
_DATUM_DEG = 5.0
"""Longitudes in two geographic CRS are nearer to each other than this, unless one has poles of its own."""
_SLACK_DEG = 0.01
"""By how much longitudes and latitudes may lie off the globe: outlines of global rasters end a little beyond a pole."""
_WORLD = shapely.box(-180, -90, 180, 90)


def in_wgs84(path: Path | str, frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Return features in WGS84; polygons of a projected CRS keep their place between vertices and are cut at 180°.

    Args:
        path: Where they are from, for people.
        frame: Features in a CRS of their own.

    Raises:
        VectorError: Coordinates do not lie in that CRS, as of a GeoJSON in metres that does not name its own.
    """
    off_crs = VectorError(f"{path}: holds coordinates that do not lie in its CRS; correct them")
    given = shapely.get_coordinates(frame.geometry.to_numpy())
    if frame.crs.is_geographic:
        if not (np.abs(given) <= (np.array([360, 90]) + _SLACK_DEG) * _degree(frame.crs)).all():
            raise VectorError(
                f"{path}: its coordinates are no longitudes and latitudes; give those, or a format that holds its CRS"
            )
    elif not (np.abs(given) <= _FARTHEST_M * _metre(frame.crs)).all():
        raise off_crs
    placed = frame.to_crs("EPSG:4326")
    shapes = _on_their_side(frame, placed) if frame.crs.is_geographic else _carried(frame)
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise off_crs
    return placed.set_geometry(shapes)


def _metre(crs: CRS) -> float:
    """Return how long a metre is in the unit of a projected CRS."""
    return 1 / float(crs.axis_info[0].unit_conversion_factor)


def _degree(crs: CRS) -> float:
    """Return how long a degree is in the unit of a geographic CRS."""
    return math.radians(1) / float(crs.axis_info[0].unit_conversion_factor)


def _carried(frame: geopandas.GeoDataFrame) -> Geometries:
    """Return features of a projected CRS in WGS84."""
    shapes = _bent(frame.geometry.to_numpy(), _poles(frame.crs), _metre(frame.crs))
    to_wgs84 = Transformer.from_crs(frame.crs, "EPSG:4326", always_xy=True)

    def carry(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(to_wgs84.transform(xy[:, 0], xy[:, 1]))

    carried = np.asarray(shapely.transform(shapes, carry), dtype=np.object_)
    west, _, east, _ = shapely.bounds(carried).T
    polygonal = frame.geometry.geom_type.isin(["Polygon", "MultiPolygon"]).to_numpy()
    for index in np.flatnonzero(polygonal & (east - west >= 180)).tolist():
        carried[index] = _cut_at_antimeridian(shapes[index], carry)
    return carried


def _on_their_side(frame: geopandas.GeoDataFrame, placed: geopandas.GeoDataFrame) -> Geometries:
    """Return features of a geographic CRS in WGS84, without the leaps at 180° that a change of datum brings in."""
    shapes = placed.geometry.to_numpy()
    given = shapely.get_coordinates(frame.geometry.to_numpy())[:, 0] / _degree(frame.crs)
    lonlats = shapely.get_coordinates(shapes)
    turns = np.round((given - lonlats[:, 0]) / 360)
    lonlats[:, 0] += 360 * turns
    if not turns.any() or not (np.abs(given - lonlats[:, 0]) < _DATUM_DEG).all():
        return np.asarray(shapes, dtype=np.object_)
    return np.asarray(shapely.set_coordinates(shapes.copy(), lonlats), dtype=np.object_)


def _poles(crs: CRS) -> list[shapely.Point]:
    """Return the poles of the globe in a projected CRS, those that have a place in it."""
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform([0, 0], [90, -90])
    return [shapely.Point(at) for at in zip(x, y, strict=True) if np.isfinite(at).all()]


def _bent(shapes: Geometries, poles: list[shapely.Point], metre: float) -> Geometries:
    """Return shapes of a projected CRS with vertices along their edges, and with none at a pole."""
    bent = shapely.segmentize(shapes, _SEGMENT_M * metre)
    for pole in poles:
        away = shapely.distance(shapely.boundary(shapes), pole)
        for within, segment in _NEAR_POLE_M:
            near = away < within * metre
            bent[near] = shapely.segmentize(bent[near], segment * metre)
        # An outline through a pole goes through all longitudes at once: it is led around it instead.
        over = away < _POLE_M * metre
        bent[over] = shapely.difference(shapely.make_valid(bent[over]), pole.buffer(2 * _POLE_M * metre))
    return np.asarray(bent, dtype=np.object_)


def _cut_at_antimeridian(shape: BaseGeometry, carry: Carry) -> BaseGeometry:
    """Return polygons of a projected CRS in longitude and latitude, of which none leaps from 180° to -180°."""
    whole = []
    parts = shapely.get_parts(shapely.get_parts(shape))
    for part in parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON]:
        outline, *holes = (_enclosed(ring, carry) for ring in (part.exterior, *part.interiors))
        whole.append(shapely.difference(outline, shapely.union_all(holes)))
    return polygons_of(np.array(whole, dtype=object))


def _enclosed(ring: shapely.LinearRing, carry: Carry) -> BaseGeometry:
    """Return what a ring of short edges encloses on the globe, cut at the antimeridian."""
    lon, lat = carry(shapely.get_coordinates(ring)).T
    lon = np.unwrap(lon, period=360)
    turned = lon[-1] - lon[0]
    if abs(turned) > 180:  # it goes around a pole, up to which all longitudes are enclosed
        pole = 90.0 if (turned > 0) == ring.is_ccw else -90.0
        lon, lat = np.append(lon, [lon[-1], lon[0]]), np.append(lat, [pole, pole])
    around = polygons_of(np.array([shapely.make_valid(shapely.Polygon(np.column_stack([lon, lat])))]))
    first, last = (math.floor((side + 180) / 360) for side in (lon.min(), lon.max()))
    pieces = [shapely.intersection(translate(around, -360 * turn), _WORLD) for turn in range(first, last + 1)]
    return polygons_of(np.array(pieces, dtype=object))

"""Polygons out of geometries of any kind."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

Geometries = NDArray[np.object_]


def polygons_of(geometries: Geometries) -> BaseGeometry:
    """Return the union of all polygons in some geometries, without the lines that making valid leaves."""
    parts = shapely.get_parts(shapely.get_parts(geometries))  # collections may hold multipolygons
    return shapely.union_all(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON])

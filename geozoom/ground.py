"""Distances on the ground: what a pixel measures there, and a CRS in which metres are metres."""

from __future__ import annotations

import math

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import ProjError

from geozoom.errors import GeozoomError

_GEOD = Geod(ellps="WGS84")
_EDGE_DEG = 1e-8
"""How near the antimeridian a point lies on it: a millimetre, to which orders are written."""
_UTM_LIMITS = (-80.0, 84.0)
"""Latitudes between which UTM is defined; UPS takes over at the poles."""


def measured_gsd_m(
    name: str,
    crs: CRS,
    transform: Affine,
    width: int,
    height: int,
    problem: type[GeozoomError],
    at: tuple[float, float] = (0.5, 0.5),
) -> tuple[float, float]:
    """Return the size of a raster's pixel on the ground, across and down, in metres.

    Measured along geodesics: EPSG:3857 and degrees are no measure of the ground.

    Args:
        name: The raster's name in messages.
        crs: CRS of the raster.
        transform: Its pixels to `crs`.
        width: Its columns.
        height: Its rows.
        problem: Type of the error raised.
        at: Where to measure, as shares of width and height; its centre if not given.

    Raises:
        GeozoomError: Of type `problem`: the raster does not lie in its CRS, or has no extent.
    """
    col, row = width * at[0], height * at[1]
    x, y = zip(*(transform @ point for point in ((col, row), (col + 1, row), (col, row + 1))), strict=True)
    lon, lat = lonlat(name, crs, np.array(x), np.array(y), problem)
    _, _, metres = _GEOD.inv([lon[0]] * 2, [lat[0]] * 2, lon[1:], lat[1:])
    across, down = float(metres[0]), float(metres[1])
    if not (math.isfinite(across) and math.isfinite(down) and across > 0 and down > 0):
        raise problem(f"{name}: its geotransform has no extent; correct its georeference")
    return across, down


def gsd_spread(
    name: str, crs: CRS, transform: Affine, width: int, height: int, problem: type[GeozoomError]
) -> float:
    """Return the largest relative difference between a pixel at the centre and one at a corner."""
    centre = measured_gsd_m(name, crs, transform, width, height, problem)
    corners = [
        measured_gsd_m(name, crs, transform, width, height, problem, (across, down))
        for across in (0.0, 1.0)
        for down in (0.0, 1.0)
    ]
    return max(
        abs(side / middle - 1) for corner in corners for side, middle in zip(corner, centre, strict=True)
    )


def local_crs(
    name: str, crs: CRS, transform: Affine, width: int, height: int, problem: type[GeozoomError]
) -> CRS:
    """Return the UTM zone of a raster's centre, or UPS near the poles."""
    x, y = transform @ (width / 2, height / 2)
    (lon,), (lat,) = lonlat(name, crs, np.array([x]), np.array([y]), problem)
    south = lat < 0
    if not _UTM_LIMITS[0] <= lat <= _UTM_LIMITS[1]:
        return CRS.from_epsg(32761 if south else 32661)
    zone = int(((lon + 180) % 360) // 6) + 1
    return CRS.from_epsg((32700 if south else 32600) + zone)


def lonlat(
    name: str,
    crs: CRS,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    problem: type[GeozoomError],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Carry map coordinates to longitude in -180..180 and latitude.

    Raises:
        GeozoomError: Of type `problem`: they do not lie in their CRS.
    """
    try:
        lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(x, y, errcheck=True)
    except ProjError as error:
        raise problem(
            f"{name}: its coordinates do not lie in its CRS ({error}); correct its georeference"
        ) from error
    # WGS84 rasters across the antimeridian go on beyond 180°.
    return turned(lon, 0.0), lat


def on_one_side(lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return longitudes of rings (..., n) in -180..180 whose points on the antimeridian are named as the others are."""
    on_edge = 180 - np.abs(lon) < _EDGE_DEG
    east = ((lon > 0) & ~on_edge).any(axis=-1, keepdims=True)
    west = ((lon < 0) & ~on_edge).any(axis=-1, keepdims=True)
    side = np.where(east, 180.0, -180.0)
    return np.asarray(np.where(on_edge & (east != west), side, lon))


def turned(lon: NDArray[np.float64], middle: float) -> NDArray[np.float64]:
    """Return longitudes as one names them that has a middle: within 180° of it, by whole turns."""
    with np.errstate(invalid="ignore"):  # what lies outside its CRS is infinite
        return np.asarray(lon - 360 * np.round((lon - middle) / 360))

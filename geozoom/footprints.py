"""Pixel corners of a tile → rings in WGS84 and their geodesic areas."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from geozoom.cells import CellGrid
from geozoom.errors import TileError
from geozoom.grid import PatchGrid, to_map
from geozoom.ground import lonlat, on_one_side
from geozoom.mesh import Mesh
from geozoom.tiles import Tile

MESH_NODES = 128
"""Nodes along each side of a tile at which the area of a pixel is measured."""
_GEOD = Geod(ellps="WGS84")


def to_lonlat(tile: Tile, corners_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Carry pixel corners (N, 4, 2) through a tile's affine and CRS into WGS84.

    Returns:
        (N, 4, 2) longitude and latitude, counter-clockwise whichever way the tile is turned.

    Raises:
        TileError: The tile's coordinates do not lie in its CRS.
    """
    corners = points_to_lonlat(tile, corners_px)
    corners[..., 0] = on_one_side(corners[..., 0])
    return counter_clockwise(corners)


def window_corners(tile: Tile, windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the corners (N, 4, 2) of windows (N, 4: left, top, width, height in pixels), as `to_lonlat`."""
    whole = PatchGrid(rows=1, cols=1)
    return to_lonlat(tile, whole.corners_in(windows, np.zeros(len(windows), dtype=np.int64)))


def points_to_lonlat(tile: Tile, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
    """Carry pixel columns and rows (..., 2) through a tile's affine and CRS into WGS84.

    Raises:
        TileError: The tile's coordinates do not lie in its CRS.
    """
    a, b, c, d, e, f = tile.transform[:6]
    mapped = to_map(points_px, (a, b, c, d, e, f))
    lon, lat = lonlat(tile.path, tile.crs, mapped[..., 0], mapped[..., 1], TileError)
    return np.stack([lon, lat], axis=-1)


def counter_clockwise(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn around the rings (N, 4, 2) that a south-up or mirrored tile made clockwise."""
    x, y = corners[..., 0], corners[..., 1]
    # Longitudes of a ring that crosses the antimeridian are compared on one side of it.
    x = np.where(np.ptp(x, axis=1, keepdims=True) > 180, x % 360, x)
    doubled = np.sum(x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y, axis=1)
    turned = corners.copy()
    turned[doubled < 0] = corners[doubled < 0][:, ::-1]
    return turned


def patch_areas_m2(
    tile: Tile,
    grid: PatchGrid,
    windows: NDArray[np.float64],
    patch: NDArray[np.integer[Any]],
) -> NDArray[np.float64]:
    """Return the area of patches on WGS84, (N,), in square metres.

    A patch is small and the area of a pixel changes slowly over a tile: it is measured on a mesh of nodes
    by an equal-area projection, and interpolated between them (within 10⁻⁶ of the geodesic area).

    Args:
        tile: The tile.
        grid: The patch grid of a scene.
        windows: (N, 4) left, top, width and height of each patch's scene in pixels.
        patch: (N,) patch ids.

    Raises:
        TileError: The tile's coordinates do not lie in its CRS.
    """
    left, top, width, height = windows.T
    row = top + height * ((patch // grid.cols + 0.5) / grid.rows)
    col = left + width * ((patch % grid.cols + 0.5) / grid.cols)
    mesh = Mesh(_reach(row, tile.height), _reach(col, tile.width), MESH_NODES)
    per_pixel = mesh.at(_pixel_areas_m2(tile, *mesh.nodes()), row, col)
    return np.asarray(per_pixel * (height / grid.rows) * (width / grid.cols), dtype=np.float64)


def cell_areas_dm2(tile: Tile, cells: CellGrid) -> NDArray[np.int64]:
    """Return the area of a tile's cells on WGS84, (rows, cols), in whole square decimetres.

    Raises:
        TileError: The tile's coordinates do not lie in its CRS.
    """
    rows, cols = cells.middle_rows, cells.middle_cols
    mesh = Mesh(_reach(rows, tile.height), _reach(cols, tile.width), MESH_NODES)
    per_pixel = mesh.on_lattice(_pixel_areas_m2(tile, *mesh.nodes()), rows, cols)
    per_pixel *= 100 * cells.width * cells.height
    return np.rint(per_pixel, out=per_pixel).astype(np.int64)


def pixel_area_range_m2(tile: Tile, rows: int, cols: int) -> tuple[float, float]:
    """Return the areas on WGS84 of the smallest and the largest of so many rows and columns of a tile's pixels.

    Raises:
        TileError: The tile's coordinates do not lie in its CRS.
    """
    mesh = Mesh((0.0, float(rows)), (0.0, float(cols)), MESH_NODES)
    found = _pixel_areas_m2(tile, *mesh.nodes())
    return float(found.min()), float(found.max())


def _reach(at: NDArray[np.float64], size: int) -> tuple[float, float]:
    """Return the ends of a tile's side, or of what is asked for beyond it where a scene overhangs it."""
    return min(0.0, float(at.min(initial=0.0))), max(float(size), float(at.max(initial=0.0)))


def _pixel_areas_m2(tile: Tile, row: NDArray[np.float64], col: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area on WGS84 of a pixel centred on each of some points of a tile."""
    corners = np.stack(
        [
            np.stack([col + across, row + down], axis=-1)
            for across, down in ((-1, -1), (1, -1), (1, 1), (-1, 1))
        ],
        axis=-2,
    )  # of two pixels' side, which keeps digits
    a, b, c, d, e, f = tile.transform[:6]
    mapped = to_map(corners, (a, b, c, d, e, f))
    lon, lat = lonlat(tile.path, tile.crs, mapped[..., 0], mapped[..., 1], TileError)
    lon = np.where(np.ptp(lon, axis=-1, keepdims=True) > 180, lon % 360, lon)
    # Lambert's equal-area cylinder by hand: authalic latitude, and longitude as it is.
    e2 = _GEOD.es
    sine = np.sin(np.radians(lat))
    root = np.sqrt(e2)
    height = (sine / (1 - e2 * sine**2) + np.arctanh(root * sine) / root) * (1 - e2) / 2
    y = height * _GEOD.a**2
    x = np.radians(lon)
    # Around a corner of its own: products of coordinates on the globe would cost the last digits.
    x, y = x - x[..., :1], y - y[..., :1]
    doubled = np.sum(x * np.roll(y, -1, axis=-1) - np.roll(x, -1, axis=-1) * y, axis=-1)
    return np.asarray(np.abs(doubled) / 2 / 4, dtype=np.float64)

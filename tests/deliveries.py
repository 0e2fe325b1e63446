"""Orders on known ground, and rasters delivered for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from pyproj import Transformer

from tests.conftest import ORIGIN, UTM33, WriteRaster, smooth_noise

GSD = 0.5
"""Of what is ordered, in metres."""
PATCH_PX = 40
"""A patch of 20 m in pixels of `GSD`."""


def to_wgs84(geometry: shapely.Geometry, crs: str = UTM33) -> Any:
    """Carry a geometry to longitude and latitude."""
    transformer = Transformer.from_crs(crs, 4326, always_xy=True)
    return shapely.transform(geometry, lambda xy: np.column_stack(transformer.transform(*xy.T)))


def square(left: float, top: float, width: float, height: float) -> shapely.Polygon:
    """Return a rectangle, in metres east and south of the origin."""
    x, y = ORIGIN[0] + left, ORIGIN[1] - top
    return shapely.box(x, y - height, x + width, y)


def write_orders(
    path: Path,
    patches: Sequence[tuple[int, int, int]],
    *,
    crs: str = UTM33,
    polygons: dict[int, shapely.Polygon] | None = None,
    **changes: Any,
) -> Path:
    """Write a plan of 20 m patches (order, row, column), of format 2 if orders have polygons."""
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(to_wgs84(square(20 * col, 20 * row, 20, 20), crs)),
            "properties": {
                "tile": "t.tif",
                "scene": f"{row // 4},{col // 4}",
                "scene_row": row // 4,
                "scene_col": col // 4,
                "patch": row % 4 * 4 + col % 4,
                "order": order,
            },
        }
        for order, row, col in patches
    ]
    orders: list[dict[str, Any]] = [{"order": number} for number in sorted({each[0] for each in patches})]
    for order in orders:
        if polygons:
            order["geometry"] = shapely.geometry.mapping(to_wgs84(polygons[order["order"]], crs))
    plan = {"format": 2 if polygons else 1, "model": {"hr_gsd_m": GSD}, "orders": orders} | changes
    path.write_text(json.dumps({"type": "FeatureCollection", "geozoom": plan, "features": features}))
    return path


def four_by_four(order: int = 1, left: int = 0) -> list[tuple[int, int, int]]:
    """Return the patches of a whole scene as one order."""
    return [(order, row, left + col) for row in range(4) for col in range(4)]


def deliver(
    write_raster: WriteRaster,
    name: str,
    left: float = 0,
    top: float = 0,
    width: float = 80,
    height: float = 80,
    *,
    gsd: float = GSD,
    **changes: Any,
) -> Path:
    """Write a raster over a rectangle, in metres east and south of the origin."""
    rows, cols = round(height / gsd), round(width / gsd)
    seed = sum(name.encode())
    values: dict[str, Any] = {
        "transform": Affine(gsd, 0, ORIGIN[0] + left, 0, -gsd, ORIGIN[1] - top),
        "pixels": (smooth_noise(3, rows, cols, seed) * 254 + 1).astype(np.uint8),
    }
    return write_raster(name, **(values | changes))

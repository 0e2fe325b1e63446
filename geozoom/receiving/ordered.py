"""What was ordered: the ground of each order and of each of its patches."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from geozoom.bought import read_frame
from geozoom.errors import OrdersError, first_line
from geozoom.features import GEOJSON_SUFFIXES
from geozoom.orderfile import NO_PLAN
from geozoom.receiving.globe import cut_at_antimeridian

FORMATS = (1, 2)
"""Formats of plans that are read; from 2 on, an order has a polygon of its own."""


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """The orders of a plan, on the ground; all geometries in longitude and latitude (WGS84)."""

    source: str
    """The file."""
    order: NDArray[np.int64]
    """(M,) the number of each order, rising."""
    ground: NDArray[np.object_]
    """(M,) its polygon, or the union of its patches where the plan has none."""
    patch_order: NDArray[np.int64]
    """(N,) the number of each patch's order."""
    patch_name: NDArray[np.str_]
    """(N,) tile, scene and patch, as in "tile.tif 3,4 15"."""
    patch_ground: NDArray[np.object_]
    """(N,) its polygon."""
    hr_gsd_m: float | None
    """The HR pixel that the plan's model was trained on, where the format of the file says it."""


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a file holds, as it holds it."""

    format: int | None = None
    """None where the format of the file does not say it."""
    rows: Sequence[Mapping[str, Any]]
    """Properties of the patches."""
    patches: Sequence[BaseGeometry]
    polygons: Mapping[int, BaseGeometry] | None
    """Order → its own polygon, or None of a format in which orders have none."""
    hr_gsd_m: float | None = None


def read_ordered(path: Path) -> Ordered:
    """Read the orders of a plan from any format that `geozoom plan` writes.

    Raises:
        OrdersError: The file is missing, no plan of a known format, orders nothing, or holds orders without their
            patches or patches without their orders.
    """
    try:
        plan = _geojson(path) if path.suffix.lower() in GEOJSON_SUFFIXES and path.is_file() else _table(path)
        found = _ordered(path, plan) if plan.format in (None, *FORMATS) else None
    except (*NO_PLAN, shapely.errors.ShapelyError) as error:
        raise OrdersError(
            f"{path}: not orders that `geozoom plan` wrote ({type(error).__name__}: {first_line(error)}); plan again"
        ) from error
    if found is None:
        raise OrdersError(
            f"{path}: is a plan of format {plan.format}, and this version of geozoom reads formats "
            f"{' and '.join(map(str, FORMATS))}; ingest with the version that planned"
        )
    if not len(found.order):
        raise OrdersError(f"{path}: orders nothing, so nothing can have been delivered for it")
    return found


def _geojson(path: Path) -> _Plan:
    content = json.loads(path.read_text(encoding="utf-8"))
    plan = content["geozoom"]
    gsd = plan["model"].get("hr_gsd_m")
    return _Plan(
        format=plan["format"],
        rows=[feature["properties"] for feature in content["features"]],
        patches=[shapely.geometry.shape(feature["geometry"]) for feature in content["features"]],
        polygons={int(each["order"]): shapely.geometry.shape(each["geometry"]) for each in plan["orders"]}
        if plan["format"] == FORMATS[-1]
        else None,
        hr_gsd_m=None if gsd is None else float(gsd),
    )


def _table(path: Path) -> _Plan:
    frame = read_frame(path).to_crs("EPSG:4326")
    rows = frame.drop(columns=frame.geometry.name).to_dict("records")
    return _Plan(rows=rows, patches=list(frame.geometry), polygons=_order_layer(path))


def _ordered(path: Path, plan: _Plan) -> Ordered:
    patch_order = np.array([row["order"] for row in plan.rows], dtype=np.int64)
    if plan.polygons is not None:
        _check_whole(path, set(patch_order.tolist()), set(plan.polygons))
    names = [f"{row['tile']} {row['scene']} {row['patch']}" for row in plan.rows]
    patches = shapely.make_valid(np.array([None, *plan.patches], dtype=object)[1:])
    numbers = np.unique(patch_order)
    ground = [
        shapely.union_all(patches[patch_order == number])
        if plan.polygons is None
        else cut_at_antimeridian(plan.polygons[number])
        for number in numbers.tolist()
    ]
    if any(each is None or each.is_empty for each in (*ground, *patches)):
        raise ValueError("an order or a patch without ground")
    return Ordered(
        source=str(path),
        order=numbers,
        ground=np.array([None, *ground], dtype=object)[1:],
        patch_order=patch_order,
        patch_name=np.array(names, dtype=np.str_),
        patch_ground=patches,
        hr_gsd_m=plan.hr_gsd_m,
    )


def _check_whole(path: Path, of_patches: set[int], of_polygons: set[int]) -> None:
    """Refuse orders without their patches, and patches without their order: someone took out the one alone."""
    for lost, held, missing in (
        (of_patches - of_polygons, "patches", "polygon"),
        (of_polygons - of_patches, "a polygon", "patches"),
    ):
        if lost:
            raise OrdersError(
                f"{path}: holds {held} of order {min(lost)}, but not its {missing}; take out both, or plan again"
            )


def _order_layer(path: Path) -> dict[int, BaseGeometry] | None:
    """Return the polygons of the layer "orders", which GeoPackages of format 2 hold beside the patches."""
    import geopandas

    layers = set(geopandas.list_layers(path)["name"]) if path.suffix.lower() == ".gpkg" else set()
    if not {"orders", "patches"} <= layers:
        return None  # format 1 called its patches "orders"
    frame = geopandas.read_file(path, layer="orders").to_crs("EPSG:4326")
    if "order" not in frame.columns:
        raise OrdersError(f"{path}: its layer 'orders' has lost the column 'order'; plan again")
    return dict(zip(frame["order"].tolist(), frame.geometry, strict=True))

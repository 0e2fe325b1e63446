"""The orders of a plan's file: polygons, with what the plan says of each."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from geozoom.errors import OrdersError, first_line
from geozoom.features import GEOJSON_SUFFIXES, ORDER_DECIMALS
from geozoom.figures import CENT
from geozoom.refusals import area_km2

SAME_AREA = 1e-3
"""Share of an area by which a polygon may differ from what was planned and be the same: coordinates are rounded."""
PATCH_COLUMNS = frozenset({"tile", "scene", "patch", "probability", "cost_share", "order"})
"""Columns by which a table of a plan's patches is known."""
_FORMAT = 2
_LAYER = "orders"
_HEAD = 4096
"""Bytes within which a plan says that it is one."""
_MARK = re.compile(rb'"geozoom"\s*:\s*\{\s*"format"\s*:')
"""How it says so, also where it was indented."""
NO_PLAN = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, OSError, RecursionError)
"""What reading raises where the content is not as plans have it."""


@dataclass(frozen=True, kw_only=True)
class OrderPolygon:
    """What a vendor is asked for in one go: one polygon without holes."""

    id: int
    """Its number in the plan."""
    tile: str
    """The LR tile that it lies on."""
    patches: int
    """Number of patches wanted in it."""
    area_km2: float
    """Its area by the plan."""
    billed_km2: float
    """Area that is billed, at least the price list's minimum."""
    cost: Decimal
    """The bill by the plan, in the plan's currency."""
    value: float
    """What the patches add, in the plan's unit."""
    violations: tuple[str, ...]
    """What the plan says that its own vendor would refuse it for."""
    ring: NDArray[np.float64]
    """(n, 2) longitude and latitude (WGS84), closed, counter-clockwise."""

    @property
    def covered_km2(self) -> float:
        """The area of the polygon itself, by the WGS84 ellipsoid."""
        return area_km2(self.ring)

    @property
    def has_other_area(self) -> bool:
        """Whether the polygon covers another area than the plan says, so that it is not the one that was billed."""
        return abs(self.covered_km2 - self.area_km2) > SAME_AREA * self.area_km2

    @property
    def geometry(self) -> dict[str, Any]:
        """The polygon as a GeoJSON geometry."""
        return {"type": "Polygon", "coordinates": [self.ring.tolist()]}

    @property
    def crosses_antimeridian(self) -> bool:
        """Whether it goes on at -180 where it reaches 180."""
        return bool((np.abs(np.diff(self.ring[:, 0])) > 180).any())


@dataclass(frozen=True, kw_only=True)
class OrderPolygons:
    """The orders of a plan."""

    source: str
    """The file."""
    name: str
    """Its name without suffix."""
    orders: tuple[OrderPolygon, ...]
    prices: Mapping[str, Any] | None
    """`PriceList.facts` of the plan, or None where the format of the file does not hold them."""

    @property
    def currency(self) -> str:
        """The currency of the bills, or nothing where it is not known."""
        return "" if self.prices is None else str(self.prices["currency"])


def is_plan(path: Path | str) -> bool:
    """Tell whether a file is a plan that holds its orders' polygons: GeoJSON or GeoPackage of `geozoom plan`."""
    path = Path(path)
    try:
        if path.suffix.lower() in GEOJSON_SUFFIXES:
            with path.open("rb") as file:
                return _MARK.search(file.read(_HEAD)) is not None
        if path.suffix.lower() == ".gpkg" and path.is_file():
            import geopandas

            return {"orders", "patches"} <= set(geopandas.list_layers(path)["name"])
    except (OSError, RuntimeError):
        pass  # whoever reads it says what is wrong
    return False


def read_order_polygons(path: Path, *, empty_ok: bool = False) -> OrderPolygons:
    """Read the orders of a plan from GeoJSON or GeoPackage.

    Args:
        path: The file; "-" is GeoJSON from stdin.
        empty_ok: Take a plan that orders nothing, too.

    Raises:
        OrdersError: The file is missing, no plan, of an older format, orders nothing, or its polygons are none.
    """
    if str(path) != "-" and not path.is_file():
        raise OrdersError(f"{path}: no such orders file; write one with `geozoom plan`")
    suffix = path.suffix.lower()
    if str(path) != "-" and suffix not in (*GEOJSON_SUFFIXES, ".gpkg"):
        raise OrdersError(
            f"{path}: orders' polygons are not read from {suffix or 'a file without suffix'}; give the plan as "
            ".geojson or .gpkg"
        )
    try:
        rows, prices = _geopackage(path) if suffix == ".gpkg" else _geojson(path)
        orders = tuple(_order(path, row) for row in rows)
    except (*NO_PLAN, shapely.errors.ShapelyError) as error:
        raise OrdersError(
            f"{path}: not a plan that `geozoom plan` wrote ({type(error).__name__}: {first_line(error)}); "
            "plan again"
        ) from error
    if len({order.id for order in orders}) < len(orders):
        raise OrdersError(f"{path}: two orders have the same number; plan again")
    if not orders and not empty_ok:
        raise OrdersError(
            f"{path}: the plan buys nothing, so there is nothing to export; plan with more budget"
        )
    name = "orders" if str(path) == "-" else path.stem
    return OrderPolygons(source=str(path), name=name, orders=orders, prices=prices)


def _geojson(path: Path) -> tuple[list[dict[str, Any]], Mapping[str, Any]]:
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    plan = json.loads(text)["geozoom"]
    if plan["format"] != _FORMAT:
        raise OrdersError(
            f"{path}: is a plan of format {plan['format']}, and orders are read from format {_FORMAT}; plan again "
            "with this version of geozoom"
        )
    prices = plan["price_list"]
    if not isinstance(prices["currency"], str):
        raise TypeError("the price list's currency is no text")
    rows = [row | {"geometry": shapely.geometry.shape(row["geometry"])} for row in plan["orders"]]
    return rows, prices


def _geopackage(path: Path) -> tuple[list[dict[str, Any]], None]:
    import geopandas

    try:
        frame = geopandas.read_file(path, layer=_LAYER)
    except RuntimeError as error:  # pyogrio's errors for files and layers
        raise OrdersError(
            f"{path}: cannot be read as a plan's GeoPackage ({first_line(error)}); plan again"
        ) from error
    missing = {"order", "patches", "billed_km2", "cost"}.difference(frame.columns)
    if missing:
        raise OrdersError(
            f"{path}: its layer {_LAYER!r} holds no orders, but features without {', '.join(sorted(missing))}, as an "
            "older geozoom wrote it; plan again"
        )
    rows: list[dict[str, Any]] = frame.to_crs("EPSG:4326").to_dict("records")
    return rows, None


def _order(path: Path, row: Mapping[str, Any]) -> OrderPolygon:
    number = int(row["order"])
    if number < 1:
        raise ValueError(f"an order with the number {number}")
    cost = Decimal(str(row["cost"])).quantize(CENT)
    if not all(math.isfinite(figure) for figure in (row["area_km2"], row["billed_km2"], row["value"], cost)):
        raise ValueError(f"a figure of order {number} is not finite")
    return OrderPolygon(
        id=number,
        tile=str(row["tile"]),
        patches=int(row["patches"]),
        area_km2=float(row["area_km2"]),
        billed_km2=float(row["billed_km2"]),
        cost=cost,
        value=float(row["value"]),
        violations=_phrases(row.get("violations")),
        ring=_ring(path, number, row["geometry"]),
    )


def _phrases(value: Any) -> tuple[str, ...]:
    """Return violations, which a GeoPackage holds as one text."""
    if isinstance(value, str):
        return (value,) if value.strip("[] ") else ()
    return () if value is None else tuple(str(each) for each in value)


def _ring(path: Path, number: int, geometry: BaseGeometry | None) -> NDArray[np.float64]:
    """Return the outline of an order's polygon, (n, 2)."""
    if geometry is None or geometry.geom_type != "Polygon" or geometry.is_empty or geometry.interiors:
        kind = "no geometry" if geometry is None else geometry.geom_type
        raise OrdersError(
            f"{path}: order {number} is not one polygon without holes ({kind}), as plans hold them; plan again"
        )
    ring: NDArray[np.float64] = shapely.get_coordinates(geometry.exterior).round(ORDER_DECIMALS)
    if not (np.isfinite(ring).all() and (np.abs(ring) <= (180, 90)).all()):
        raise OrdersError(f"{path}: order {number} does not lie in longitude and latitude; plan again")
    # A ring across the antimeridian leaps there, and which way it turns is told by its parts only.
    leaps = (np.abs(np.diff(ring[:, 0])) > 180).any()
    return ring if leaps or geometry.exterior.is_ccw else ring[::-1]

"""Orders as vendors want them: a pure module for each, orders in, request bodies or text out. Nothing is ever sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import shapely

from geozoom.errors import ExportError
from geozoom.exports import airbus, kml, planet, skyfi, stapi, up42, wkt
from geozoom.exports.request import Endpoint, Kind
from geozoom.orderfile import OrderPolygon, OrderPolygons
from geozoom.refusals import refusals
from geozoom.rules import ONE_POLYGON, ShapeRules

ENDPOINTS: dict[str, tuple[Endpoint, ...]] = {
    "stapi": stapi.ENDPOINTS,
    "up42": up42.ENDPOINTS,
    "planet": planet.ENDPOINTS,
    "airbus": airbus.ENDPOINTS,
    "skyfi": skyfi.ENDPOINTS,
}
"""Where request bodies go, by vendor."""
DOCUMENTS: dict[str, Callable[[Sequence[OrderPolygon], str], str]] = {
    "wkt": lambda orders, _: wkt.document(orders),
    "kml": kml.document,
}
"""Formats that hold all orders in one text."""


def endpoints(vendor: str, kind: Kind) -> tuple[Endpoint, ...]:
    """Return the endpoints of a vendor that estimate, or that take orders."""
    return tuple(each for each in ENDPOINTS[vendor] if each.kind == kind)


def check(plan: OrderPolygons, rules: ShapeRules = ONE_POLYGON, vendor: str = "") -> None:
    """Refuse orders that a vendor would refuse.

    Raises:
        ExportError: There is one; a line for each problem.
    """
    found = [
        f"{plan.source}: order {order.id} {problem}"
        for order in plan.orders
        for problem in _problems(order, rules, vendor)
    ]
    if found:
        raise ExportError("\n".join(found))


def _problems(order: OrderPolygon, rules: ShapeRules, vendor: str) -> Iterator[str]:
    if order.crosses_antimeridian:
        yield (
            "crosses the antimeridian, where one polygon would be read as going around the world; plan its sides "
            "on their own, with --aoi"
        )
        return
    corners = order.ring[:-1]
    if len(np.unique(corners, axis=0)) < len(corners):
        yield "has duplicate vertices, which vendors refuse; plan again"
    elif not shapely.is_valid(shapely.Polygon(order.ring)):
        yield f"is no valid polygon ({shapely.is_valid_reason(shapely.Polygon(order.ring))}); plan again"
    limits = _toml(rules)
    for refusal in refusals(order.ring, rules):
        yield f"is none that {vendor} takes: {refusal}; plan with a price list whose [shape] says {limits}"


def _toml(rules: ShapeRules) -> str:
    """Return the rules that are set, as a price list says them."""
    values = (
        ("min_km2", rules.min_km2),
        ("max_width_km", rules.max_width_km),
        ("max_height_km", rules.max_height_km),
        ("max_vertices", rules.max_vertices),
    )
    said = [
        f"{key} = {value}" if isinstance(value, int) else f'{key} = "{value:f}"'
        for key, value in values
        if value is not None
    ]
    return ", ".join([*said, "convex = true"] if rules.convex else said)

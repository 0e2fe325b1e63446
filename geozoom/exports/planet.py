"""Planet: archive images clipped to an order (Orders API), which has no estimate, and tasking orders with their price.

Bodies: https://docs.planet.com/develop/apis/orders/sources/ and, of tasking and its pricing preview,
https://docs.planet.com/develop/apis/tasking/reference. Polygons for the clip tool ("up to 500 vertices", one
square metre at least): https://support.planet.com/hc/en-us/articles/6075850477213.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from geozoom.exports.request import Details, Endpoint, Kind, utc
from geozoom.orderfile import OrderPolygon
from geozoom.rules import ONE_POLYGON, ShapeRules

CLIP_RULES = ShapeRules(max_vertices=500, min_km2=Decimal("0.000001"))


def scenes(order: OrderPolygon, details: Details) -> dict[str, Any]:
    """Return the order of archive images, clipped to the polygon."""
    product = {
        "item_ids": list(details.images_of(order)),
        "item_type": details.item_type,
        "product_bundle": details.bundle,
    }
    return {
        "name": details.title(order),
        "source_type": "scenes",
        "products": [product],
        "tools": [{"clip": {"aoi": order.geometry}}],
    }


def tasking(order: OrderPolygon, details: Details) -> dict[str, Any]:
    """Return the request for a new image, or for its price.

    Contract and product are those of the API key if they are not said.
    """
    body: dict[str, Any] = {
        "name": details.title(order),
        "geometry": order.geometry,
        "start_time": utc(details.start),
        "end_time": utc(details.end),
    }
    if details.contract is not None:
        body["pl_number"] = details.contract
    if details.product is not None:
        body["product"] = details.product
    return body


def _tasking(kind: Kind, what: str, post: str) -> Endpoint:
    return Endpoint(
        vendor="Planet",
        kind=kind,
        what=what,
        post=post,
        needs=("start", "end"),
        may=("product", "contract"),
        rules=lambda _: ONE_POLYGON,
        body=tasking,
    )


ENDPOINTS = (
    Endpoint(
        vendor="Planet",
        kind="order",
        what="an order of archive imagery, clipped",
        post="https://api.planet.com/compute/ops/orders/v2",
        needs=("images", "item_type", "bundle"),
        rules=lambda _: CLIP_RULES,
        body=scenes,
    ),
    _tasking("estimate", "the price of tasking", "https://api.planet.com/tasking/v2/pricing/"),
    _tasking("order", "a tasking order", "https://api.planet.com/tasking/v2/orders/"),
)

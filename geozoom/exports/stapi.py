"""STAPI, the Sensor Tasking API that several vendors speak.

Bodies are those of https://github.com/stapi-spec/stapi-spec (order and opportunity requests) as its model
stapi-pydantic 0.1 reads them. What a product can filter by is in its queryables; clouds are `eo:cloud_cover`,
as in the specification's examples.
"""

from __future__ import annotations

from typing import Any

from geozoom.exports.request import Details, Endpoint, utc
from geozoom.orderfile import OrderPolygon
from geozoom.rules import ONE_POLYGON


def opportunities(order: OrderPolygon, details: Details) -> dict[str, Any]:
    """Return the request for what could be captured of an order."""
    body: dict[str, Any] = {
        "datetime": f"{utc(details.start)}/{utc(details.end)}",
        "geometry": order.geometry,
    }
    if details.max_cloud_percent is not None:
        body["filter"] = {"op": "<=", "args": [{"property": "eo:cloud_cover"}, details.max_cloud_percent]}
    return body


def order_request(order: OrderPolygon, details: Details) -> dict[str, Any]:
    """Return the request that places an order."""
    return opportunities(order, details) | {"order_parameters": dict(details.params)}


ENDPOINTS = (
    Endpoint(
        vendor="STAPI",
        kind="estimate",
        what="what could be captured (opportunities)",
        post="/products/{product}/opportunities",
        needs=("product", "start", "end"),
        may=("max_cloud",),
        rules=lambda _: ONE_POLYGON,
        body=opportunities,
    ),
    Endpoint(
        vendor="STAPI",
        kind="order",
        what="a tasking order",
        post="/products/{product}/orders",
        needs=("product", "start", "end"),
        may=("max_cloud", "params"),
        rules=lambda _: ONE_POLYGON,
        body=order_request,
    ),
)

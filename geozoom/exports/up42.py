"""UP42: one body for the estimate and for the order, of archive images or of new ones.

The body is that of https://docs.up42.com/developers/api-orders/order and of the vendor's own SDK
(https://github.com/up42/up42-py, `order_template.BatchOrderTemplate`). Which `params` a data product takes says
`GET /orders/schema/{data_product_id}`. Polygons: https://docs.up42.com/data/geometry/rules.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from geozoom.errors import DetailsError
from geozoom.exports.request import Details, Endpoint, Kind, utc
from geozoom.orderfile import OrderPolygon
from geozoom.rules import ShapeRules

RULES = ShapeRules(max_vertices=999)
"""Duplicate vertices and self-intersections are refused for every vendor."""
_POST: dict[Kind, str] = {
    "estimate": "https://api.up42.com/v2/orders/estimate",
    "order": "https://api.up42.com/v2/orders?workspaceId=WORKSPACE (with the id of your own workspace)",
}


def archive(order: OrderPolygon, details: Details) -> dict[str, Any]:
    """Return the request for the part of an archive image that an order covers."""
    return _body(order, details, {"id": details.image_of(order)})


def tasking(order: OrderPolygon, details: Details) -> dict[str, Any]:
    """Return the request for a new image.

    Raises:
        DetailsError: The share of clouds is no whole per cent, which is what UP42 counts in.
    """
    params: dict[str, Any] = {"acquisitionStart": utc(details.start), "acquisitionEnd": utc(details.end)}
    percent = details.max_cloud_percent
    if percent is not None:
        if not isinstance(percent, int):
            raise DetailsError(f"UP42 takes clouds in whole per cent, and {percent}% is none; round it")
        params["cloudCoverage"] = percent
    return _body(order, details, params)


def _body(order: OrderPolygon, details: Details, params: dict[str, Any]) -> dict[str, Any]:
    try:
        UUID(details.product)
    except ValueError as error:
        raise DetailsError(
            f"{details.product!r} is no id of an UP42 data product; it is a UUID, as `GET /data-products` lists them"
        ) from error
    twice = sorted(params.keys() & details.params.keys())
    if twice:
        raise DetailsError(f"the parameter {twice[0]!r} is said already, by another option; leave it out")
    feature = {"type": "Feature", "properties": {}, "geometry": order.geometry}
    return {
        "dataProduct": details.product,
        "displayName": details.title(order),
        "params": params | dict(details.params),
        "featureCollection": {"type": "FeatureCollection", "features": [feature]},
    }


def _endpoints(kind: Kind) -> tuple[Endpoint, Endpoint]:
    return (
        Endpoint(
            vendor="UP42",
            kind=kind,
            what=f"an {kind} of archive imagery",
            post=_POST[kind],
            needs=("product", "images"),
            may=("params",),
            rules=lambda _: RULES,
            body=archive,
        ),
        Endpoint(
            vendor="UP42",
            kind=kind,
            what=f"an {kind} of tasking",
            post=_POST[kind],
            needs=("product", "start", "end"),
            may=("max_cloud", "params"),
            rules=lambda _: RULES,
            body=tasking,
        ),
    )


ENDPOINTS = _endpoints("estimate") + _endpoints("order")

"""SkyFi: orders of archive images. Prices of archive images are in the search results; there is no estimate.

Body: `POST /order-archive` of https://app.skyfi.com/platform-api. The polygon is WKT, convex, of 500 vertices at most:
https://dev.to/skyfi_support_/what-is-an-area-of-interest-aoi-in-the-skyfi-api-and-how-do-i-specify-it-3m2a.
Smallest and largest area are each image's own (`minSqKm`, `maxSqKm`).
"""

from __future__ import annotations

from typing import Any

from geozoom.exports.request import Details, Endpoint
from geozoom.exports.wkt import polygon
from geozoom.orderfile import OrderPolygon
from geozoom.rules import ShapeRules

RULES = ShapeRules(max_vertices=500, convex=True)


def archive(order: OrderPolygon, details: Details) -> dict[str, Any]:
    """Return the order of the part of an archive image that the polygon covers."""
    return {"aoi": polygon(order), "archiveId": details.image_of(order), "label": details.title(order)}


ENDPOINTS = (
    Endpoint(
        vendor="SkyFi",
        kind="order",
        what="an order of archive imagery",
        post="https://app.skyfi.com/platform-api/order-archive",
        needs=("images",),
        rules=lambda _: RULES,
        body=archive,
    ),
)

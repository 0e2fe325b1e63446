"""Orders as well-known text (OGC 06-103r4): longitude before latitude, a polygon a line."""

from __future__ import annotations

from collections.abc import Sequence

import shapely

from geozoom.features import ORDER_DECIMALS
from geozoom.orderfile import OrderPolygon


def polygon(order: OrderPolygon) -> str:
    """Return an order's polygon."""
    return str(shapely.to_wkt(shapely.Polygon(order.ring), rounding_precision=ORDER_DECIMALS))


def document(orders: Sequence[OrderPolygon]) -> str:
    """Return a polygon a line, in the plan's order; names have no place in it."""
    return "".join(f"{polygon(order)}\n" for order in orders)

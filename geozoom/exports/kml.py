"""Orders as KML 2.2 (OGC 07-147r2): a placemark each, with what the plan says of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from geozoom.features import ORDER_DECIMALS
from geozoom.orderfile import OrderPolygon

_ILLEGAL = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write."""


def document(orders: Sequence[OrderPolygon], name: str) -> str:
    """Return the document; `name` is what viewers list it under."""
    root = Element("kml", xmlns="http://www.opengis.net/kml/2.2")
    inner = SubElement(root, "Document")
    SubElement(inner, "name").text = _legal(name)
    for order in orders:
        _placemark(inner, order)
    indent(root, " ")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{tostring(root, encoding="unicode")}\n'


def _placemark(parent: Element, order: OrderPolygon) -> None:
    placemark = SubElement(parent, "Placemark")
    SubElement(placemark, "name").text = f"order {order.id}"
    # KML 2.2 wants ExtendedData before the geometry.
    data = SubElement(placemark, "ExtendedData")
    for key, value in (
        ("tile", order.tile),
        ("patches", order.patches),
        ("area_km2", order.area_km2),
        ("billed_km2", order.billed_km2),
        ("cost", order.cost),
        ("value", order.value),
    ):
        SubElement(SubElement(data, "Data", name=key), "value").text = _legal(str(value))
    outer = SubElement(SubElement(placemark, "Polygon"), "outerBoundaryIs")
    corners = " ".join(
        f"{lon:.{ORDER_DECIMALS}f},{lat:.{ORDER_DECIMALS}f}" for lon, lat in order.ring.tolist()
    )
    SubElement(SubElement(outer, "LinearRing"), "coordinates").text = corners


def _legal(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)

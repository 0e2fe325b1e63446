"""Orders as KML 2.2 (OGC 07-147r2): a placemark each, with what the plan says of it."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from geozoom.orderfile import OrderPolygon


def document(orders: Sequence[OrderPolygon], name: str) -> str:
    """Return the document; `name` is what viewers list it under."""
    root = Element("kml", xmlns="http://www.opengis.net/kml/2.2")
    inner = SubElement(root, "Document")
    SubElement(inner, "name").text = name
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
        SubElement(SubElement(data, "Data", name=key), "value").text = str(value)
    outer = SubElement(SubElement(placemark, "Polygon"), "outerBoundaryIs")
    corners = " ".join(f"{lon:.7f},{lat:.7f}" for lon, lat in order.ring.tolist())
    SubElement(SubElement(outer, "LinearRing"), "coordinates").text = corners

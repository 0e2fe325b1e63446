"""The page itself: template, style, script and data in one HTML file that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geozoom.files import check_output, write_text
from geozoom.page.contents import PageData
from geozoom.page.curve_svg import curve_svg
from geozoom.page.packing import decimal_column, exact_column, packed

PAGE_SUFFIXES = (".html", ".htm")
_TEMPLATE = files("geozoom.page") / "template"
_SCRIPTS = (
    "columns.js",
    "words.js",
    "ground.js",
    "outlines.js",
    "map.js",
    "figures.js",
    "table.js",
    "page.js",
)
"""In the order in which they need one another."""
_PIXEL_PARTS = 16
"""Patches and rings are placed to this part of a pixel: better than a screen shows."""
_DIGITS = 4
"""Of the largest patch's figures; smaller ones have the same number of decimals."""
_COLOURS = 64
"""Of plasma: perceptually uniform, readable without red or green, and strange to every landscape."""
_FIRST_COLOUR = 0.12
"""Its darkest part is hard to see on dark soil and water."""
_OUTLIERS = 1.0
"""Per cent of the patches at either end of the colour scale that share its last colour."""
_LOSSLESS_PX = 500_000
"""Pictures of at most as many pixels, which one looks at enlarged, are kept as they are."""


def write_page(path: Path | str, data: PageData, *, overwrite: bool = False) -> None:
    """Write a page, whole or not at all.

    Raises:
        OutputError: The file exists and `overwrite` is not set, its folder cannot be written, or the suffix
            is neither .html nor .htm.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite, suffixes=PAGE_SUFFIXES)
    write_text(path, page_html(data))


def page_html(data: PageData) -> str:
    """Return the page as text."""
    style = (_TEMPLATE / "page.css").read_text(encoding="utf-8")
    bodies = "".join((_TEMPLATE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{bodies}}})();\n'
    heads, columns = _columns(data)
    gap = data.gap
    words = {
        "title": "Imagery order plan" + (f", {data.prices.name}" if data.prices.name else ""),
        "prices_name": data.prices.name,
        "cost": f"{data.cost:,.2f}",
        "currency": data.currency,
        "budget_line": "no budget set"
        if data.budget is None
        else f"of {data.budget:,.2f} budget, {data.budget - data.cost:,.2f} left",
        "value": f"{data.value:,.1f}",
        "value_unit": data.value_unit,
        "gap": "No bound is known."
        if gap is None
        else f"No plan for this money has a benefit above {data.bound:,.1f} (gap {gap:.1%}).",
        "orders": f"{len(data.orders):,}",
        "patches": f"{len(data.patches):,}",
        "terms": data.prices.terms,
        "source": data.prices.source,
        "dated": data.prices.dated,
        "trust": data.prices.trust,
        "note": data.prices.note or "none",
        "model": data.model,
        "model_data": data.model_data,
        "command": data.command or "none: made through Python",
        "version": data.version,
    }
    facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in data.facts.items())
    warnings = "".join(f"<li>{escape(text)}</li>" for text in data.warnings)
    return Template((_TEMPLATE / "page.html").read_text(encoding="utf-8")).substitute(
        {name: escape(text) for name, text in words.items()},
        style=style,
        style_hash=_hash(style),
        script=script,
        script_hash=_hash(script),
        facts=facts,
        warnings=f'<ul class="warnings" aria-label="Before you sign">{warnings}</ul>' if warnings else "",
        curve=_curve(data),
        # Nothing in a block of JSON may look like markup to the parser of HTML.
        contents=json.dumps(_contents(data, heads), ensure_ascii=False).replace("<", "\\u003c"),
        columns=columns,
    )


def _curve(data: PageData) -> str:
    drawn = curve_svg(data)
    if not drawn:
        return '<p class="quiet">No budget curve was made.</p>'
    unit = escape(data.value_unit)
    dots = "Each dot is the best plan found for a budget, at its bill."
    return f'{drawn}<p class="quiet">Benefit: {unit}. {dots}</p>'


def _hash(text: str) -> str:
    """Return what the Content-Security-Policy calls a script or a style by: only these run."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _sorted(data: PageData) -> NDArray[np.int64]:
    """Return the patches tile by tile, and neighbours beside each other, which packs well."""
    patches = data.patches
    return np.lexsort((patches.box[:, 0], patches.box[:, 1], patches.order, patches.tile))


def _columns(data: PageData) -> tuple[list[dict[str, Any]], str]:
    patches, rows = data.patches, _sorted(data)
    edges = np.rint(patches.box[rows] * _PIXEL_PARTS)
    position = {order.id: index for index, order in enumerate(data.orders)}
    ids, inverse = np.unique(patches.order[rows], return_inverse=True)
    orders = np.array([position[number] for number in ids.tolist()], dtype=np.int64)[inverse]
    rings = [ring for order in data.orders for _, ring in order.rings]
    points = np.concatenate([np.empty((0, 2)), *rings])
    return packed(
        [
            exact_column("left", edges[:, 0] / _PIXEL_PARTS, 1 / _PIXEL_PARTS),
            exact_column("top", edges[:, 1] / _PIXEL_PARTS, 1 / _PIXEL_PARTS),
            exact_column("width", (edges[:, 2] - edges[:, 0]) / _PIXEL_PARTS, 1 / _PIXEL_PARTS),
            exact_column("height", (edges[:, 3] - edges[:, 1]) / _PIXEL_PARTS, 1 / _PIXEL_PARTS),
            exact_column("order", orders),
            decimal_column("value", patches.value[rows], digits=_DIGITS, smooth=False),
            decimal_column("probability", patches.probability[rows], digits=_DIGITS, smooth=False),
            decimal_column("areaM2", patches.area_km2[rows] * 1e6, digits=_DIGITS),
            decimal_column("costShare", patches.cost_share[rows], digits=_DIGITS),
            exact_column("ringX", points[:, 0], 1 / _PIXEL_PARTS),
            exact_column("ringY", points[:, 1], 1 / _PIXEL_PARTS),
        ]
    )


def _contents(data: PageData, heads: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the script is told besides the columns."""
    import matplotlib as mpl

    value = data.patches.value
    low, high = np.percentile(value, [_OUTLIERS, 100 - _OUTLIERS]).tolist() if len(value) else (0.0, 1.0)
    palette = mpl.colormaps["plasma"](np.linspace(_FIRST_COLOUR, 1, _COLOURS), bytes=True)
    counts = np.bincount(data.patches.tile, minlength=len(data.tiles))
    return {
        "currency": data.currency,
        "valueUnit": data.value_unit,
        "columns": heads,
        "colours": palette[:, :3].tolist(),
        "scale": {
            "low": low,
            "high": high,
            "clippedLow": bool((value < low).any()),
            "clippedHigh": bool((value > high).any()),
        },
        "tiles": [
            {
                "name": tile.name,
                "width": tile.width,
                "height": tile.height,
                "pixelM": tile.pixel_m,
                "corners": tile.corners.round(6).tolist(),
                "patches": int(count),
                "picture": _picture(tile.picture),
            }
            for tile, count in zip(data.tiles, counts.tolist(), strict=True)
        ],
        "orders": [
            {
                "id": order.id,
                "tile": order.tile,
                "patches": order.patches,
                "areaKm2": float(order.area_km2),
                "billedKm2": float(order.billed_km2),
                "cost": float(order.cost),
                "value": order.value,
                "rings": [{"tile": tile, "points": len(ring)} for tile, ring in order.rings],
            }
            for order in data.orders
        ],
    }


def _picture(picture: NDArray[np.uint8]) -> str:
    """Return RGBA (H, W, 4) as the data URI of a WebP picture."""
    from PIL import Image

    file = io.BytesIO()
    lossless = picture.shape[0] * picture.shape[1] <= _LOSSLESS_PX
    Image.fromarray(picture).save(file, "WEBP", lossless=lossless, quality=80, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"

"""The layers of a plan as tables: patches, orders and scenes, and the style that colours them in QGIS."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args
from xml.etree import ElementTree as ET

import numpy as np

from geozoom.features import polygons
from geozoom.footprints import window_corners
from geozoom.placement import scene_windows
from geozoom.sites import SITES_LAYER, WINDOW, SitesOnTiles

if TYPE_CHECKING:
    import geopandas

    from geozoom.orders import Plan

Layer = Literal["patches", "orders", "scenes"]
LAYERS: tuple[Layer, ...] = get_args(Layer)
_RAMP = ("#0d0887", "#7e03a8", "#cc4778", "#f89540", "#f0f921")
"""matplotlib's plasma: even in lightness, and told apart by the colour-blind."""


def layer_frame(plan: Plan, layer: Layer) -> geopandas.GeoDataFrame:
    """Return one layer of a plan in EPSG:4326.

    "patches" are what is wanted; "orders" are the polygons that the vendor is asked for; "scenes" are those of
    which something is bought.
    """
    if layer == "patches":
        return plan.to_geodataframe()
    return _orders(plan) if layer == "orders" else _scenes(plan)


def _orders(plan: Plan) -> geopandas.GeoDataFrame:
    import geopandas
    import shapely

    orders = plan.orders
    columns = {
        "order": [order.id for order in orders],
        "tile": [order.tile for order in orders],
        "patches": [order.patches for order in orders],
        "area_km2": [float(order.area_km2) for order in orders],
        "billed_km2": [float(order.billed_km2) for order in orders],
        "cost": [float(order.cost) for order in orders],
        "currency": [plan.prices.currency for _ in orders],
        "value": [round(order.value, 6) for order in orders],
        "vertices": [order.vertices for order in orders],
        "violations": ["; ".join(order.violations) for order in orders],
    }
    polygons = [shapely.Polygon(order.ring) for order in orders]
    return geopandas.GeoDataFrame(columns, geometry=polygons, crs="EPSG:4326")


def _scenes(plan: Plan) -> geopandas.GeoDataFrame:
    """Return the scenes with what is bought of each."""
    import geopandas
    import shapely

    patches = plan.patches
    places = np.column_stack([patches.tile, patches.scene_row, patches.scene_col])
    places, first, own = np.unique(places, axis=0, return_index=True, return_inverse=True)
    own = own.reshape(-1)
    corners = np.empty((len(places), 4, 2))
    windows = scene_windows(patches, first, plan.card, plan.sites)
    for index, tile in enumerate(plan.tiles):
        mine = np.flatnonzero(places[:, 0] == index)
        corners[mine] = window_corners(tile, windows[mine])
    names = [tile.name for tile in plan.tiles]
    site = plan.site
    columns = {
        "tile": [names[index] for index in places[:, 0].tolist()],
        "scene": [f"{row},{col}" for _, row, col in places.tolist()] if site is None else site[first],
        "patches": np.bincount(own, minlength=len(places)),
        "value": np.bincount(own, patches.value, minlength=len(places)).round(9),
        "cost_share": np.bincount(own, plan.columns()["cost_share"], minlength=len(places)).round(6),
    }
    shapes = polygons(corners) if len(places) else np.zeros(0, dtype=object)
    return geopandas.GeoDataFrame(columns, geometry=shapely.make_valid(shapes), crs="EPSG:4326")


def _sites(plan: Plan, sites: SitesOnTiles) -> geopandas.GeoDataFrame:
    """Return all sites that were planned, whether or not something of them is bought."""
    import geopandas
    import shapely

    planned = sites.planned()
    columns = {name: [site[name] for site in planned] for name in (planned[0] if planned else ())}
    windows = np.array(columns.pop("window", []), dtype=np.float64).reshape(-1, 4)
    corners = np.empty((len(planned), 4, 2))
    for tile in plan.tiles:
        mine = np.flatnonzero(np.array(columns.get("tile", [])) == tile.name)
        corners[mine] = window_corners(tile, windows[mine])
    columns |= {name: windows[:, at].tolist() for at, name in enumerate(WINDOW)}
    shapes = polygons(corners) if len(planned) else np.zeros(0, dtype=object)
    return geopandas.GeoDataFrame(columns, geometry=shapely.make_valid(shapes), crs="EPSG:4326")


def write_geopackage(plan: Plan, path: Path) -> None:
    """Write all layers into one GeoPackage, with a style for each that QGIS takes by itself."""
    frames = {layer: layer_frame(plan, layer) for layer in LAYERS}
    for layer, frame in frames.items():
        # An empty table has no geometry type of its own.
        frame.to_file(path, layer=layer, driver="GPKG", geometry_type=None if len(frame) else "Polygon")
    if plan.sites is not None:
        _sites(plan, plan.sites).to_file(path, layer=SITES_LAYER, driver="GPKG", geometry_type="Polygon")
    top = float(frames["patches"]["value"].max()) if len(plan) else 1.0
    with sqlite3.connect(path) as database:
        _write_styles(database, top)
    database.close()


def _write_styles(database: sqlite3.Connection, top: float) -> None:
    """Write the table in which QGIS looks for the styles of a GeoPackage's layers."""
    database.execute(
        "CREATE TABLE layer_styles (id INTEGER PRIMARY KEY AUTOINCREMENT, f_table_catalog TEXT, f_table_schema TEXT, "
        "f_table_name TEXT, f_geometry_column TEXT, styleName TEXT, styleQML TEXT, styleSLD TEXT, "
        "useAsDefault BOOLEAN, description TEXT, owner TEXT, ui TEXT, "
        "update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))"
    )
    styles = {
        "patches": _graduated("value", top),
        "orders": _single("#e6007e", fill="0,0,0,0", width="0.66"),
        "scenes": _single("#888888", fill="0,0,0,0", width="0.15"),
    }
    for layer, style in styles.items():
        database.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, 'geom', 'geozoom', ?, '', 1, "
            "'what geozoom plan wrote', '')",
            (layer, style),
        )
    # A table that is not listed is none of the GeoPackage's.
    database.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, last_change) VALUES "
        "('layer_styles', 'attributes', 'layer_styles', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))"
    )


def _graduated(column: str, top: float) -> str:
    """Return QGIS's style for equal steps of a column from 0 up."""
    root, renderer = _document(
        {"type": "graduatedSymbol", "attr": column, "graduatedMethod": "GraduatedColor"}
    )
    ranges, symbols = ET.SubElement(renderer, "ranges"), ET.SubElement(renderer, "symbols")
    for index, colour in enumerate(_RAMP):
        low, high = (top * step / len(_RAMP) for step in (index, index + 1))
        label = f"{low:.3g} to {high:.3g}"
        attributes = {"lower": f"{low:.9f}", "upper": f"{high:.9f}", "label": label, "symbol": str(index)}
        ET.SubElement(ranges, "range", attributes | {"render": "true"})
        _symbol(symbols, str(index), fill=_rgba(colour, 190), outline="0,0,0,0", width="0")
    return ET.tostring(root, encoding="unicode")


def _single(outline: str, *, fill: str, width: str) -> str:
    """Return QGIS's style for one outline."""
    root, renderer = _document({"type": "singleSymbol"})
    _symbol(ET.SubElement(renderer, "symbols"), "0", fill=fill, outline=_rgba(outline, 255), width=width)
    return ET.tostring(root, encoding="unicode")


def _document(renderer: dict[str, str]) -> tuple[ET.Element, ET.Element]:
    root = ET.Element("qgis", {"version": "3.28.0", "styleCategories": "Symbology"})
    return root, ET.SubElement(root, "renderer-v2", renderer | {"enableorderby": "0", "symbollevels": "0"})


def _symbol(parent: ET.Element, name: str, *, fill: str, outline: str, width: str) -> None:
    symbol = ET.SubElement(
        parent, "symbol", {"type": "fill", "name": name, "alpha": "1", "clip_to_extent": "1"}
    )
    layer = ET.SubElement(
        symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"}
    )
    options = ET.SubElement(layer, "Option", {"type": "Map"})
    values = {
        "color": fill,
        "style": "no" if fill.endswith(",0") else "solid",
        "outline_color": outline,
        "outline_style": "no" if outline.endswith(",0") else "solid",
        "outline_width": width,
        "outline_width_unit": "MM",
    }
    for key, value in values.items():
        ET.SubElement(options, "Option", {"name": key, "type": "QString", "value": value})


def _rgba(colour: str, alpha: int) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"{red},{green},{blue},{alpha}"

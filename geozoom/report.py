"""Pictures of plans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pandas.api.types import is_numeric_dtype  # type: ignore[import-untyped]

from geozoom.bands import ReadOptions
from geozoom.bought import read_frame
from geozoom.drawing import save_figure
from geozoom.errors import OrdersError, some_of
from geozoom.files import check_output, written_aside
from geozoom.orderfile import is_plan, read_order_polygons
from geozoom.pictures import picture_of
from geozoom.tiles import open_tiles
from geozoom.vectors import PixelSpace

if TYPE_CHECKING:
    import geopandas

PICTURE_SUFFIXES = (".png", ".svg")
_LONGEST_PX = 2048
"""Most pixels of a tile's side that are drawn; a panel of a PNG has about half as many."""


def draw_plan(
    orders: Path | str,
    lr: Sequence[str | Path],
    output: Path | str,
    *,
    options: ReadOptions | None = None,
    overwrite: bool = False,
) -> tuple[str, ...]:
    """Draw the patches of a plan over its LR tiles, coloured by probability, and its orders, a panel per tile.

    Returns:
        Names of tiles of which the plan buys patches and that are not among `lr`.

    Raises:
        OrdersError: The orders cannot be read, or are of none of the tiles.
        TileError: LR tiles cannot be used.
        OutputError: The picture cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    orders, output = Path(orders), Path(output)
    check_output(output, overwrite=overwrite, suffixes=PICTURE_SUFFIXES)
    frame = _read_patches(orders)
    ordered = read_order_polygons(orders).orders if len(frame) and is_plan(orders) else ()
    tiles, _ = open_tiles([str(path) for path in lr], options or ReadOptions(), None, 1)
    named = set(frame["tile"]) if len(frame) else set()
    absent = tuple(sorted(named - {tile.name for tile in tiles}))
    if absent and len(absent) == len(named):
        raise OrdersError(
            f"{orders}: orders patches on {some_of(absent)}, and none of that is among the LR tiles; give --lr the "
            "tiles of the plan"
        )
    heights = [tile.height * tile.gsd_m[1] / (tile.width * tile.gsd_m[0]) for tile in tiles]
    figure = Figure(figsize=(10, 8.6 * sum(heights) + 0.4 * len(tiles)), layout="constrained")
    panels = figure.subplots(len(tiles), 1, squeeze=False, height_ratios=heights)[:, 0]
    shown = None
    for tile, panel in zip(tiles, panels, strict=True):
        panel.imshow(
            picture_of(tile, _LONGEST_PX),
            interpolation="nearest",
            extent=(0, tile.width, tile.height, 0),  # a pixel begins at its number, as in `PixelSpace`
            aspect=tile.gsd_m[1] / tile.gsd_m[0],
        )
        mine = frame[frame["tile"] == tile.name] if len(frame) else frame
        title = f"{tile.name}: nothing bought"
        if len(mine):
            space = PixelSpace(tile)
            rings = [np.asarray(polygon.exterior.coords) for polygon in mine.geometry.explode()]
            corners = [space.points(ring[:, :2]) for ring in rings]
            shown = mpl.collections.PolyCollection(corners, cmap="plasma", alpha=0.75, linewidths=0)
            shown.set_array(mine.geometry.explode().index.map(mine["probability"]).to_numpy())
            shown.set_clim(0.5 if frame["probability"].min() >= 0.5 else 0, 1)
            panel.add_collection(shown)
            title = f"{tile.name}: {len(mine):,} patches, {mine['cost_share'].sum():,.2f}"
            # An order may hold patches of several tiles that show its place.
            held = set(mine["order"].tolist()) if ordered else set()
            outlines = [space.points(order.ring[:, :2]) for order in ordered if order.id in held]
            panel.add_collection(
                mpl.collections.PolyCollection(
                    outlines, facecolors="none", edgecolors="white", linewidths=0.9
                )
            )
        panel.set_title(title, fontsize=10, loc="left", parse_math=False)
        panel.set_xlim(0, tile.width)
        panel.set_ylim(tile.height, 0)
        panel.set_axis_off()
    if shown is not None:
        figure.colorbar(shown, ax=panels.tolist(), label="probability", shrink=0.6, aspect=30, pad=0.01)
    with written_aside(output) as aside:
        save_figure(figure, aside, dpi=110)
    return absent


def _read_patches(orders: Path) -> geopandas.GeoDataFrame:
    """Return the patches of a plan, with all that is drawn of them.

    Raises:
        OrdersError: The file is missing or not what `plan` wrote.
    """
    frame = read_frame(orders)
    if not len(frame):
        return frame
    numbers = {"probability", "cost_share"}
    if (
        not {"tile", *numbers} <= set(frame.columns)
        or not frame["tile"].map(lambda name: isinstance(name, str)).all()
        or not all(is_numeric_dtype(frame[name]) and np.isfinite(frame[name]).all() for name in numbers)
        or not frame.geom_type.isin(["Polygon", "MultiPolygon"]).all()
    ):
        raise OrdersError(f"{orders}: not orders that `geozoom plan` wrote; plan again")
    return frame

"""Areas of the user's, to plan in or owned already: which patches lie in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from geozoom.cells import CellGrid
from geozoom.errors import VectorError
from geozoom.grid import PatchGrid
from geozoom.orderfile import PATCH_COLUMNS, is_plan, read_order_polygons
from geozoom.polygons import Geometries, polygons_of
from geozoom.receiving.catalog import is_catalog, usable_ground
from geozoom.receiving.globe import cut_at_antimeridian
from geozoom.tiles import Tile
from geozoom.vectors import PixelSpace, read_vectors

_OF_PATCHES = (".fgb", ".parquet")
"""Formats in which a plan is its patches alone."""


@dataclass(frozen=True, kw_only=True)
class Area:
    """Polygons in longitude and latitude; a patch lies in them where its centre does."""

    geometry: BaseGeometry
    _on_tiles: dict[str, tuple[float, BaseGeometry]] = field(default_factory=dict)
    """Of tiles, by path, how far beyond them the area was looked at, in km, and what of it lies there, in pixels."""

    def __or__(self, other: Area) -> Area:
        """Return what lies in either."""
        return Area(geometry=shapely.union(self.geometry, other.geometry))

    def patches(
        self, tile: Tile, grid: PatchGrid, scene_px: int, first: int, rows: int, left: int, cols: int
    ) -> NDArray[np.bool_]:
        """Return which patches of a part of the lattice lie in the area, (rows · cols, P)."""
        inside = self.cells(
            tile,
            CellGrid(
                rows=rows * grid.rows,
                cols=cols * grid.cols,
                left=left * scene_px,
                top=first * scene_px,
                width=scene_px / grid.cols,
                height=scene_px / grid.rows,
            ),
        )
        cut = inside.reshape(rows, grid.rows, cols, grid.cols).transpose(0, 2, 1, 3)
        return cut.reshape(rows * cols, grid.patches)

    def cells(self, tile: Tile, cells: CellGrid) -> NDArray[np.bool_]:
        """Return which cells of a tile have their centre in the area, (rows, cols)."""
        right, bottom = cells.corners_px(np.array([cells.cols, cells.rows]))
        beyond_px = max(0.0, -cells.left, -cells.top, right - tile.width, bottom - tile.height)
        on_tile = self._on(tile, beyond_px * max(tile.gsd_m) / 1000)
        if on_tile.is_empty or not shapely.intersects(
            on_tile, shapely.box(cells.left, cells.top, right, bottom)
        ):
            return np.zeros(cells.shape, dtype=bool)
        transform = Affine.translation(cells.left, cells.top) @ Affine.scale(cells.width, cells.height)
        found = rasterize([(on_tile, 1)], out_shape=cells.shape, transform=transform, dtype="uint8")
        return np.asarray(found, dtype=bool)

    def patches_in(self, tile: Tile, grid: PatchGrid, windows: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which patches of windows (N, 4) on a tile's pixels lie in the area, (N, P)."""
        left, top, width, height = (side[:, None] for side in windows.T)
        row, col = grid.row_col(np.arange(grid.patches))
        on_tile = self._on(tile)
        shapely.prepare(on_tile)
        x = left + width * ((col + 0.5) / grid.cols)
        y = top + height * ((row + 0.5) / grid.rows)
        return np.asarray(shapely.contains_xy(on_tile, x, y))

    def touches(self, tile: Tile) -> bool:
        """Tell whether some of the area lies on a tile."""
        return bool(shapely.intersects(self._on(tile), shapely.box(0, 0, tile.width, tile.height)))

    def _on(self, tile: Tile, beyond_km: float = 0.0) -> BaseGeometry:
        """Return what of the area lies around a tile, as far beyond it as is asked for, in its pixels."""
        reach_km, found = self._on_tiles.get(tile.path, (-1.0, None))
        if found is None or reach_km < beyond_km:
            space = PixelSpace(tile)
            if space.reach_km < beyond_km:
                space = PixelSpace(tile, beyond_km)
            reach_km, found = space.reach_km, space.area(self.geometry)
            self._on_tiles[tile.path] = reach_km, found
        return found


def read_area(*paths: Path | str, owned: bool = False) -> Area:
    """Read an area from the polygons of files of any vector format; of a plan it is the ordered ground.

    Args:
        paths: The files.
        owned: It is ground that one has: a plan that ordered nothing adds nothing to it, and one that does not hold
            its orders does not tell.

    Raises:
        VectorError: A file cannot be used.
        OrdersError: A plan cannot be read.
        CatalogError: A catalog of `geozoom ingest` cannot be read, or none of its deliveries counts as delivered.
    """
    parts = []
    for path in paths:
        if is_plan(path):
            parts.append(_ordered_ground(Path(path)))
            if parts[-1].is_empty and not owned:
                raise VectorError(f"{path}: the plan orders nothing, and shows no area; give another file")
            continue
        shapes = usable_ground(Path(path)) if is_catalog(path) else _polygons(path, owned=owned)
        # Each part by itself: making a multipolygon valid takes what two of its parts share for a hole.
        parts.append(polygons_of(shapely.make_valid(shapely.get_parts(shapes))))
        if parts[-1].is_empty:
            raise VectorError(f"{path}: its polygons have no area; correct them")
    return Area(geometry=shapely.union_all(parts))


def _ordered_ground(path: Path) -> BaseGeometry:
    """Return all ground that a plan ordered: what is delivered is more than the patches wanted of it."""
    orders = read_order_polygons(path, empty_ok=True).orders
    return shapely.union_all([cut_at_antimeridian(shapely.Polygon(order.ring)) for order in orders])


def _polygons(path: Path | str, *, owned: bool) -> Geometries:
    """Return the polygons of a vector file in WGS84.

    Raises:
        VectorError: The file cannot be used, or is a plan in a format that does not hold what one owns by it.
    """
    frame = read_vectors(path, ("Polygon", "MultiPolygon"))
    if owned and Path(path).suffix.lower() in _OF_PATCHES and set(frame.columns) >= PATCH_COLUMNS:
        raise VectorError(
            f"{path}: holds a plan's patches, and not its orders, which cover more ground; give the plan as .geojson "
            "or .gpkg"
        )
    return np.asarray(frame.geometry.to_numpy(), dtype=np.object_)

"""An area of interest: which patches of a tile's lattice lie in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from geozoom.errors import VectorError
from geozoom.grid import PatchGrid
from geozoom.tiles import Tile
from geozoom.vectors import PixelSpace, polygons_of, read_vectors


@dataclass(frozen=True, kw_only=True)
class AreaOfInterest:
    """Polygons in longitude and latitude; a patch lies in them where its centre does."""

    geometry: BaseGeometry
    _on_tiles: dict[str, BaseGeometry] = field(default_factory=dict)

    def patches(
        self, tile: Tile, grid: PatchGrid, scene_px: int, first: int, rows: int, left: int, cols: int
    ) -> NDArray[np.bool_]:
        """Return which patches of a part of the lattice lie in the area, (rows · cols, P)."""
        if tile.path not in self._on_tiles:
            self._on_tiles[tile.path] = PixelSpace(tile).area(self.geometry)
        on_tile = self._on_tiles[tile.path]
        inside = np.zeros((rows * grid.rows, cols * grid.cols), dtype=np.uint8)
        strip = shapely.box(
            left * scene_px, first * scene_px, (left + cols) * scene_px, (first + rows) * scene_px
        )
        if not on_tile.is_empty and shapely.intersects(on_tile, strip):
            transform = Affine.translation(left * scene_px, first * scene_px) @ Affine.scale(
                scene_px / grid.cols, scene_px / grid.rows
            )
            inside = rasterize([(on_tile, 1)], out_shape=inside.shape, transform=transform, dtype="uint8")
        cut = inside.reshape(rows, grid.rows, cols, grid.cols).transpose(0, 2, 1, 3)
        return cut.reshape(rows * cols, grid.patches).astype(bool)


def read_area(path: Path | str) -> AreaOfInterest:
    """Read an area of interest from polygons in any vector format.

    Raises:
        VectorError: The file cannot be used.
    """
    frame = read_vectors(path, ("Polygon", "MultiPolygon"))
    geometry = polygons_of(shapely.make_valid(frame.geometry.to_numpy()))
    if geometry.is_empty:
        raise VectorError(f"{path}: its polygons have no area; correct them")
    return AreaOfInterest(geometry=geometry)

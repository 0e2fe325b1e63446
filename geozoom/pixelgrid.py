"""The grid of pixels on which a tile's scenes are laid out: the raster's own, or one at the model's GSD."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.crs import CRS as RasterioCRS
from rasterio.errors import RasterioError
from rasterio.warp import calculate_default_transform

from geozoom.bands import ReadOptions
from geozoom.errors import TileError
from geozoom.ground import gsd_spread, local_crs
from geozoom.warping import placed_by_gcps

GSD_TOLERANCE = 0.02
"""Largest relative difference from the model's LR GSD at which a tile keeps its own pixels."""
GSD_RANGE = (0.4, 2.5)
"""Ratios of a tile's GSD to the model's between which a tile is resampled; outside it is refused."""


@dataclass(frozen=True, kw_only=True)
class PixelGrid:
    """A grid of pixels on the map."""

    crs: CRS
    transform: Affine
    """Pixels to `crs`."""
    width: int
    height: int


def own_grid(name: str, dataset: Any, options: ReadOptions, nodata: float | None) -> tuple[PixelGrid, bool]:
    """Return the grid of a raster's pixels, and whether its ground control points made it.

    Raises:
        TileError: It has no CRS, or its control points place it nowhere.
    """
    if dataset.crs is not None or not dataset.gcps[0] or dataset.gcps[1] is None:
        crs = _crs(name, dataset, options)
        grid = PixelGrid(crs=crs, transform=dataset.transform, width=dataset.width, height=dataset.height)
        return grid, False
    try:
        with placed_by_gcps(dataset, nodata) as placed:
            crs = CRS.from_user_input(placed.crs)
            grid = PixelGrid(crs=crs, transform=placed.transform, width=placed.width, height=placed.height)
            return grid, True
    except RasterioError as error:
        raise TileError(
            f"{name}: its ground control points place it nowhere ({error}); warp it first"
        ) from error


def model_grid(name: str, own: PixelGrid, gsd: tuple[float, float], lr_gsd_m: float) -> PixelGrid:
    """Return a tile's own grid if its pixels measure what the model's do, else one on which they do.

    Raises:
        TileError: They are too large or too small to be resampled.
    """
    ratios = [side / lr_gsd_m for side in gsd]
    if not all(GSD_RANGE[0] <= ratio <= GSD_RANGE[1] for ratio in ratios):
        raise TileError(
            f"{name}: its pixels are {gsd[0]:.2f} × {gsd[1]:.2f} m on the ground, and the model takes "
            f"{GSD_RANGE[0] * lr_gsd_m:g} to {GSD_RANGE[1] * lr_gsd_m:g} m; resample it or use another model"
        )
    if gsd_spread(name, own.crs, own.transform, own.width, own.height, TileError) > GSD_TOLERANCE:
        # Degrees and EPSG:3857 shrink towards the poles: over a large tile only a local CRS keeps metres.
        crs = local_crs(name, own.crs, own.transform, own.width, own.height, TileError)
        left, bottom, right, top = _bounds(own)
        try:
            transform, width, height = calculate_default_transform(
                RasterioCRS.from_wkt(own.crs.to_wkt()),
                RasterioCRS.from_wkt(crs.to_wkt()),
                own.width,
                own.height,
                left,
                bottom,
                right,
                top,
                resolution=lr_gsd_m,
            )
        except RasterioError as error:
            raise TileError(f"{name}: cannot be brought to {crs.name} ({error}); warp it first") from error
        return PixelGrid(crs=crs, transform=transform, width=width, height=height)
    if all(abs(ratio - 1) <= GSD_TOLERANCE for ratio in ratios):
        return own
    width, height = (
        max(1, round(size * ratio)) for size, ratio in zip((own.width, own.height), ratios, strict=True)
    )
    return replace(
        own, transform=own.transform @ Affine.scale(1 / ratios[0], 1 / ratios[1]), width=width, height=height
    )


def _bounds(grid: PixelGrid) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a grid's four corners."""
    corners = [grid.transform @ (col, row) for col in (0, grid.width) for row in (0, grid.height)]
    x, y = zip(*corners, strict=True)
    return min(x), min(y), max(x), max(y)


def _crs(name: str, dataset: Any, options: ReadOptions) -> CRS:
    if dataset.crs is not None:
        return CRS.from_user_input(dataset.crs)
    if options.assume_crs is None:
        raise TileError(f"{name}: has no CRS; say it with --assume-crs, for example EPSG:32633")
    try:
        return CRS.from_user_input(options.assume_crs)
    except CRSError as error:
        raise TileError(f"--assume-crs {options.assume_crs}: not a CRS ({error})") from error

"""LR tiles: what a source is, checked before any work, and its pixels on the model's grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geozoom.bands import ReadOptions, choose_bands, find_mask_band
from geozoom.calibration import Calibration, Display, calibrate
from geozoom.cloudcover import check_cover
from geozoom.clouds import CloudMask
from geozoom.errors import TileError
from geozoom.ground import measured_gsd_m
from geozoom.pixelgrid import PixelGrid, model_grid, own_grid
from geozoom.products import Source, find_sources
from geozoom.products.source import is_there
from geozoom.rasters import Pixels, open_raster, read_rgb
from geozoom.virtual import tagged
from geozoom.warping import on_grid, placed_by_gcps, with_one_nodata

SAMPLED_PX = 1024
"""A tile's shares of missing and clouded pixels are counted on at most this many rows and columns."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One LR source, on the pixel grid on which its scenes are laid out."""

    source: Source
    """What it is on disk."""
    bands: tuple[int, int, int]
    """1-based red, green and blue."""
    mask_band: int | None
    """1-based band that is 0 where data is missing, or None."""
    calibration: Calibration
    """Digital numbers to RGB."""
    grid: PixelGrid
    """At the model's GSD."""
    placed_by: str
    """CRS of the raster on disk, or of its ground control points, as WKT."""
    by_gcps: bool
    """True if only ground control points place the raster."""
    gsd_m: tuple[float, float]
    """Ground sample distance of the raster as it is on disk, across and down, in metres."""
    regridded: bool
    """True if the raster's own grid is not at the model's GSD."""
    nodata: float | None
    """Digital number that means no data, where the user or the product says so."""
    untagged_zeros: bool
    """True if nothing in the raster marks missing data, so that zeros may be just that."""
    clouds: CloudMask | None
    """Where clouds are, or None if nothing says so."""

    @property
    def path(self) -> str:
        """As the user gave it."""
        return self.source.name

    @property
    def name(self) -> str:
        """File name without its folder; of a URL without its query, which may hold a key and changes."""
        path = self.path.replace("\\", "/")
        if "://" in path:
            path = path.partition("?")[0].partition("#")[0]
        return PurePosixPath(path).name

    @property
    def resampled(self) -> bool:
        """True if the pixels on disk are resampled to `grid`."""
        return self.regridded or self.by_gcps

    @property
    def crs(self) -> CRS:
        """CRS of the grid."""
        return self.grid.crs

    @property
    def transform(self) -> Affine:
        """Pixels of the grid to `crs`."""
        return self.grid.transform

    @property
    def width(self) -> int:
        """Columns at the model's GSD."""
        return self.grid.width

    @property
    def height(self) -> int:
        """Rows at the model's GSD."""
        return self.grid.height

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open the raster on the tile's grid, for reading windows.

        Raises:
            TileError: It can no longer be opened.
        """
        with ExitStack() as stack:
            dataset = stack.enter_context(open_raster(self.source.dataset, TileError, self.path))
            if self.by_gcps:
                dataset = stack.enter_context(placed_by_gcps(dataset, self.nodata))
            if self.regridded:
                nodata = None if self.by_gcps else self.nodata  # the warp before has seen to it
                dataset = stack.enter_context(with_one_nodata(dataset, self.placed_by, nodata))
                dataset = stack.enter_context(self._warped(dataset, self.placed_by, nodata))
            yield dataset

    @contextmanager
    def open_clouds(self, shape: tuple[int, int] | None = None) -> Iterator[Any]:
        """Open the cloud mask on the tile's grid, or thinned to so many rows and columns.

        Raises:
            TileError: It can no longer be opened.
        """
        if self.clouds is None:
            raise ValueError(f"{self.path}: has no cloud mask")
        with (
            open_raster(self.clouds.dataset, TileError, classes=True) as dataset,
            self._warped(dataset, dataset.crs.to_wkt(), None, nearest=True, shape=shape) as warped,
        ):
            yield warped

    def _warped(
        self,
        dataset: Any,
        crs: str,
        nodata: float | None,
        *,
        nearest: bool = False,
        shape: tuple[int, int] | None = None,
    ) -> Any:
        rows, cols = shape or (self.height, self.width)
        try:
            return on_grid(
                dataset,
                crs=crs,
                to_crs=self.crs.to_wkt(),
                transform=self.transform @ Affine.scale(self.width / cols, self.height / rows),
                width=cols,
                height=rows,
                nodata=nodata,
                nearest=nearest,
            )
        except RasterioError as error:
            raise TileError(
                f"{self.path}: cannot be resampled ({error}); correct its georeference"
            ) from error

    def read(
        self,
        dataset: Any,
        window: Window | None,
        display: Display,
        out_shape: tuple[int, int] | None = None,
    ) -> Pixels:
        """Read a window of what `open` yielded, thinned to `out_shape` if it is given.

        Raises:
            TileError: The raster cannot be read to its end.
        """
        return read_rgb(
            dataset,
            self.bands,
            window,
            self.calibration,
            display,
            nodata=None if self.resampled else self.nodata,  # `open` has told the warper
            path=self.path,
            problem=TileError,
            mask_band=self.mask_band,
            out_shape=out_shape,
        )

    def read_clouds(self, dataset: Any, window: Window | None) -> NDArray[np.bool_]:
        """Return which pixels (H, W) of a window of what `open_clouds` yielded are clouded.

        Raises:
            TileError: The mask cannot be read to its end.
        """
        if self.clouds is None:
            raise ValueError(f"{self.path}: has no cloud mask")
        try:
            numbers = dataset.read(self.clouds.bands, window=window)
            return np.asarray(self.clouds.clouded(numbers).any(axis=0))
        except RasterioError as error:
            raise TileError(
                f"{self.clouds.dataset}: cannot be read to its end ({error}); copy it again"
            ) from error

    def sampled_shares(self) -> tuple[float, float | None]:
        """Return the share of missing pixels, and of clouded ones among the others where something says so.

        Both are counted on SAMPLED_PX rows and columns at most.

        Raises:
            TileError: The raster or the mask cannot be read to its end.
        """
        shape = (min(self.height, SAMPLED_PX), min(self.width, SAMPLED_PX))
        with self.open() as dataset:
            valid = self.read(dataset, None, Display(white=1, gamma=1), shape).valid
        missing = 1 - float(valid.mean())
        if self.clouds is None:
            return missing, None
        with self.open_clouds(shape) as mask:
            clouded = self.read_clouds(mask, None) & valid
        return missing, float(clouded.sum()) / max(1, int(valid.sum()))


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a list of paths came to."""

    tiles: tuple[Tile, ...]
    """In the order of their names, whatever order they were given in."""
    refused: tuple[tuple[str, str], ...]
    """Name of every source that cannot be used, and why."""
    problems: tuple[str, ...]
    """A sentence for every path that is no source."""
    ignored: tuple[str, ...]
    """Entries of folders that are no rasters."""


def survey(inputs: Sequence[str], options: ReadOptions, lr_gsd_m: float | None, scene_px: int) -> Survey:
    """Look at every tile, and gather what keeps tiles from being used instead of stopping at it.

    Args:
        inputs: Files, folders, products, `/vsi…` paths or URLs.
        options: What the user says about them.
        lr_gsd_m: The model's LR GSD in metres; None keeps every tile's own pixels.
        scene_px: Side of a scene in LR pixels.
    """
    found = find_sources(inputs)
    tiles: list[Tile] = []
    refused: list[tuple[str, str]] = []
    for source in found.sources:
        try:
            tiles.append(describe(source, options, lr_gsd_m, scene_px))
        except TileError as error:
            refused.append((source.name, str(error)))
    names = [tile.name for tile in tiles]
    for name in sorted({name for name in names if names.count(name) > 1}):
        number = names.count(name)
        refused.append(
            (name, f"{name}: {number} tiles have this name, so orders could not tell them apart; rename one")
        )
    return Survey(tiles=tuple(tiles), refused=tuple(refused), problems=found.problems, ignored=found.ignored)


def open_tiles(
    inputs: Sequence[str], options: ReadOptions, lr_gsd_m: float | None, scene_px: int
) -> tuple[list[Tile], tuple[str, ...]]:
    """Check every tile; return what is known of them, and the entries of folders that are no rasters.

    Args: as `survey`.

    Raises:
        TileError: One line for every tile that cannot be used.
    """
    found = survey(inputs, options, lr_gsd_m, scene_px)
    problems = [*found.problems, *(reason for _, reason in found.refused)]
    if problems:
        raise TileError("\n".join(problems))
    return list(found.tiles), found.ignored


def describe(source: Source, options: ReadOptions, lr_gsd_m: float | None, scene_px: int) -> Tile:
    """Check one source; see `open_tiles`.

    Raises:
        TileError: It cannot be used.
    """
    nodata = source.nodata
    if options.nodata is not None:
        nodata = options.nodata
        if source.nodata is not None:  # the product's own means no data still
            source = replace(source, dataset=tagged(source.dataset, source.nodata))
    with open_raster(source.dataset, TileError, source.name) as dataset:
        own, by_gcps = own_grid(source.name, dataset, options, nodata)
        bands = source.bands or choose_bands(dataset, options, TileError, source.name)
        calibration = source.calibration or calibrate(dataset, bands, options, TileError, source.name)
        gsd = measured_gsd_m(source.name, own.crs, own.transform, own.width, own.height, TileError)
        grid = own if lr_gsd_m is None else model_grid(source.name, own, gsd, lr_gsd_m)
        if grid.width < scene_px or grid.height < scene_px:
            raise TileError(
                f"{source.name}: {grid.width} × {grid.height} px at the model's GSD, smaller than one scene of "
                f"{scene_px} × {scene_px} px; give a larger tile"
            )
        clouds = options.clouds or source.clouds
        if options.clouds is None and clouds is not None and not is_there(clouds.dataset):
            raise TileError(
                f"{source.name}: lacks {PurePosixPath(clouds.dataset).name}, which says where clouds are; download it "
                "again, or give --cloud-mask"
            )
        if clouds is not None:
            check_cover(source.name, grid, clouds)
        marks = {flag.name for flags in dataset.mask_flag_enums for flag in flags}
        mask_band = find_mask_band(dataset)
        return Tile(
            source=source,
            bands=bands,
            mask_band=mask_band,
            calibration=calibration,
            grid=grid,
            placed_by=own.crs.to_wkt(),
            by_gcps=by_gcps,
            gsd_m=gsd,
            regridded=grid is not own,
            nodata=nodata,
            untagged_zeros=nodata is None and mask_band is None and marks == {"all_valid"},
            clouds=clouds,
        )

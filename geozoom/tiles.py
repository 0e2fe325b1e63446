"""LR tiles: what a raster is, checked before any work, and its pixels on the model's grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from affine import Affine
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.windows import Window

from geozoom.errors import TileError
from geozoom.inputs import find_rasters
from geozoom.rasters import (
    Calibration,
    Display,
    Pixels,
    ReadOptions,
    calibrate,
    choose_bands,
    measured_gsd_m,
    on_grid,
    open_raster,
    read_rgb,
)

GSD_TOLERANCE = 0.02
"""Largest relative difference from the model's LR GSD at which a tile keeps its own pixels."""
GSD_RANGE = (0.4, 2.5)
"""Ratios of a tile's GSD to the model's between which a tile is resampled; outside it is refused."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One LR raster, on the pixel grid on which its scenes are laid out."""

    path: str
    """As the user gave it."""
    bands: tuple[int, int, int]
    """1-based red, green and blue."""
    calibration: Calibration
    """Digital numbers to RGB."""
    crs: CRS
    """Native CRS of the raster."""
    transform: Affine
    """Pixels to `crs`, at the model's GSD."""
    width: int
    """Columns at the model's GSD."""
    height: int
    """Rows at the model's GSD."""
    gsd_m: tuple[float, float]
    """Ground sample distance of the raster as it is on disk, across and down, in metres."""
    resampled: bool
    """True if the pixels on disk are resampled to the model's GSD."""
    nodata: float | None
    """Digital number that means no data, where the user said so."""
    untagged_zeros: bool
    """True if nothing in the raster marks missing data, so that zeros may be just that."""

    @property
    def name(self) -> str:
        """File name without its folder."""
        return PurePosixPath(self.path.replace("\\", "/")).name

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open the raster on the tile's grid, for reading windows.

        Raises:
            TileError: It can no longer be opened.
        """
        with open_raster(self.path, TileError) as dataset:
            if not self.resampled:
                yield dataset
                return
            with on_grid(
                dataset,
                crs=self.crs.to_wkt(),
                to_crs=self.crs.to_wkt(),
                transform=self.transform,
                width=self.width,
                height=self.height,
                nodata=self.nodata,
            ) as warped:
                yield warped

    def read(self, dataset: Any, window: Window | None, display: Display) -> Pixels:
        """Read a window of what `open` yielded.

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
        )


def open_tiles(
    inputs: Sequence[str], options: ReadOptions, lr_gsd_m: float | None, scene_px: int
) -> tuple[list[Tile], tuple[str, ...]]:
    """Check every tile; return what is known of them, and the entries of folders that are no rasters.

    Args:
        inputs: Files, folders, `/vsi…` paths or URLs.
        options: What the user says about them.
        lr_gsd_m: The model's LR GSD in metres; None keeps every tile's own pixels.
        scene_px: Side of a scene in LR pixels.

    Raises:
        TileError: One line for every tile that cannot be used.
    """
    found = find_rasters(inputs)
    tiles: list[Tile] = []
    problems = list(found.problems)
    for path in found.rasters:
        try:
            tiles.append(_describe(path, options, lr_gsd_m, scene_px))
        except TileError as error:
            problems.append(str(error))
    names = [tile.name for tile in tiles]
    problems.extend(
        f"{name}: {names.count(name)} tiles have this name, so orders could not tell them apart; rename one"
        for name in sorted({name for name in names if names.count(name) > 1})
    )
    if problems:
        raise TileError("\n".join(problems))
    return tiles, found.ignored


def _describe(path: str, options: ReadOptions, lr_gsd_m: float | None, scene_px: int) -> Tile:
    with open_raster(path, TileError) as dataset:
        crs = _crs(path, dataset, options)
        bands = choose_bands(dataset, options, TileError)
        calibration = calibrate(dataset, bands, options, TileError)
        transform, width, height = dataset.transform, dataset.width, dataset.height
        gsd = measured_gsd_m(path, crs, transform, width, height, TileError)
        resampled = False
        if lr_gsd_m is not None:
            ratios = [side / lr_gsd_m for side in gsd]
            if not all(GSD_RANGE[0] <= ratio <= GSD_RANGE[1] for ratio in ratios):
                raise TileError(
                    f"{path}: its pixels are {gsd[0]:.2f} × {gsd[1]:.2f} m on the ground, and the model takes "
                    f"{GSD_RANGE[0] * lr_gsd_m:g} to {GSD_RANGE[1] * lr_gsd_m:g} m; resample it or use another model"
                )
            resampled = any(abs(ratio - 1) > GSD_TOLERANCE for ratio in ratios)
            if resampled:
                width, height = (
                    max(1, round(size * ratio)) for size, ratio in zip((width, height), ratios, strict=True)
                )
                transform = transform @ Affine.scale(1 / ratios[0], 1 / ratios[1])
        if width < scene_px or height < scene_px:
            raise TileError(
                f"{path}: {width} × {height} px at the model's GSD, smaller than one scene of "
                f"{scene_px} × {scene_px} px; give a larger tile"
            )
        marks = {flag.name for flags in dataset.mask_flag_enums for flag in flags}
        return Tile(
            path=path,
            bands=bands,
            calibration=calibration,
            crs=crs,
            transform=transform,
            width=width,
            height=height,
            gsd_m=gsd,
            resampled=resampled,
            nodata=options.nodata,
            untagged_zeros=options.nodata is None and marks == {"all_valid"},
        )


def _crs(path: str, dataset: Any, options: ReadOptions) -> CRS:
    if dataset.crs is not None:
        return CRS.from_user_input(dataset.crs)
    if dataset.gcps[0]:
        raise TileError(
            f"{path}: is placed by ground control points only; warp it first, for example with gdalwarp -tps"
        )
    if options.assume_crs is None:
        raise TileError(f"{path}: has no CRS; say it with --assume-crs, for example EPSG:32633")
    try:
        return CRS.from_user_input(options.assume_crs)
    except CRSError as error:
        raise TileError(f"--assume-crs {options.assume_crs}: not a CRS ({error})") from error

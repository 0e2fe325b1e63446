"""Delivered HR rasters: checked before any work, then read on the grid of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.crs import CRS as RasterioCRS
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from shapely import STRtree, box

from geozoom.errors import DeliveryError
from geozoom.rasters import (
    RESAMPLING,
    Calibration,
    Display,
    ReadOptions,
    calibrate,
    choose_bands,
    find_rasters,
    open_raster,
    read_rgb,
)
from geozoom.tiles import Tile, ground_gsd_m

LARGEST_OPEN = 64
"""Rasters held open at a time."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivered HR raster."""

    path: str
    """As the user gave it."""
    bands: tuple[int, int, int]
    """1-based red, green and blue."""
    calibration: Calibration
    """Digital numbers to RGB."""
    gsd_m: float
    """Ground sample distance, the coarser of across and down, in metres."""
    bounds: tuple[float, float, float, float]
    """West, south, east and north in WGS84."""


@dataclass(kw_only=True)
class DeliveryIndex:
    """All deliveries, found by place; a context manager that holds the rasters it opens.

    Where deliveries overlap, the finest one that holds data is used, then the first by name.
    """

    deliveries: Sequence[Delivery]
    _tree: STRtree = field(init=False)
    _open: dict[str, Any] = field(default_factory=dict, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def __post_init__(self) -> None:
        self.deliveries = sorted(self.deliveries, key=lambda each: (each.gsd_m, each.path))
        self._tree = STRtree([box(*each.bounds) for each in self.deliveries])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def read(
        self,
        tile: Tile,
        scene_row: int,
        scene_col: int,
        *,
        scene_px: int,
        hr_px: int,
        ring: NDArray[np.float64],
        display: Display,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Read one scene from all deliveries that show it.

        Args:
            tile: The LR tile on whose lattice the scene lies.
            scene_row: Its lattice row.
            scene_col: Its lattice column.
            scene_px: Side of a scene in LR pixels.
            hr_px: Side of the HR image.
            ring: (4, 2) the scene's corners in WGS84.
            display: Reflectance to display RGB.

        Returns:
            (3, hr_px, hr_px) float32 RGB in 0..1 and (hr_px, hr_px) bool, True where delivered.

        Raises:
            DeliveryError: A raster cannot be read.
        """
        rgb = np.zeros((3, hr_px, hr_px), dtype=np.float32)
        delivered = np.zeros((hr_px, hr_px), dtype=bool)
        transform = (
            tile.transform
            @ Affine.translation(scene_col * scene_px, scene_row * scene_px)
            @ Affine.scale(scene_px / hr_px)
        )
        scene = box(*ring.min(axis=0), *ring.max(axis=0))
        for number in sorted(self._tree.query(scene).tolist()):
            if delivered.all():
                break
            more, valid = self._warp(self.deliveries[number], tile.crs, transform, hr_px, display)
            new = valid & ~delivered
            rgb[:, new] = more[:, new]
            delivered |= valid
        return rgb, delivered

    def _warp(
        self, delivery: Delivery, crs: CRS, transform: Affine, hr_px: int, display: Display
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        dataset = self._dataset(delivery.path)
        marked = dataset.nodata is not None or ColorInterp.alpha in dataset.colorinterp
        try:
            with WarpedVRT(
                dataset,
                crs=RasterioCRS.from_wkt(crs.to_wkt()),
                transform=transform,
                width=hr_px,
                height=hr_px,
                resampling=RESAMPLING,
                add_alpha=not marked,  # without it, what lies outside the raster would be black
            ) as warped:
                return read_rgb(warped, delivery.bands, None, delivery.calibration, display, None)
        except RasterioError as error:
            raise DeliveryError(
                f"{delivery.path}: cannot be read ({error}); it may be cut short, so copy it again"
            ) from error

    def _dataset(self, path: str) -> Any:
        if path not in self._open:
            if len(self._open) >= LARGEST_OPEN:
                self._close()
            self._open[path] = self._stack.enter_context(open_raster(path, DeliveryError))
        return self._open[path]

    def _close(self) -> None:
        self._stack.close()
        self._open.clear()


def open_deliveries(inputs: Sequence[str], options: ReadOptions) -> list[Delivery]:
    """Check every delivered raster and return what is known of it.

    Raises:
        DeliveryError: One line for every raster that cannot be used.
    """
    deliveries: list[Delivery] = []
    problems: list[str] = []
    for path in find_rasters(inputs, DeliveryError):
        try:
            deliveries.append(_describe(path, options))
        except DeliveryError as error:
            problems.append(str(error))
    if problems:
        raise DeliveryError("\n".join(problems))
    return deliveries


def _describe(path: str, options: ReadOptions) -> Delivery:
    with open_raster(path, DeliveryError) as dataset:
        if dataset.crs is None:
            raise DeliveryError(
                f"{path}: has no CRS, so it cannot be placed; ask for a georeferenced delivery"
            )
        bands = choose_bands(dataset, options, DeliveryError)
        calibration = calibrate(dataset, bands, options, DeliveryError)
        gsd = ground_gsd_m(CRS.from_user_input(dataset.crs), dataset.transform, dataset.width, dataset.height)
        bounds = transform_bounds(dataset.crs, "EPSG:4326", *dataset.bounds)
        return Delivery(
            path=path,
            bands=bands,
            calibration=calibration,
            gsd_m=max(gsd),
            bounds=(bounds[0], bounds[1], bounds[2], bounds[3]),
        )

"""Delivered HR rasters: checked before any work, then read on the grid of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from shapely import Polygon, STRtree, box

from geozoom.errors import DeliveryError
from geozoom.ground import measured_gsd_m
from geozoom.inputs import find_rasters
from geozoom.rasters import (
    Calibration,
    Display,
    Pixels,
    ReadOptions,
    calibrate,
    choose_bands,
    on_grid,
    open_raster,
    read_rgb,
)
from geozoom.tiles import Tile

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
    crs: CRS
    """CRS of the raster."""
    nodata: float | None
    """Digital number that means no data, where the user said so."""
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
    _owner: list[int] = field(init=False)
    _open: dict[str, Any] = field(default_factory=dict, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def __post_init__(self) -> None:
        self.deliveries = sorted(self.deliveries, key=lambda each: (each.gsd_m, each.path))
        boxes = [_boxes(*each.bounds) for each in self.deliveries]
        self._tree = STRtree([each for several in boxes for each in several])
        self._owner = [number for number, several in enumerate(boxes) for _ in several]

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
        for number in self._near(ring):
            if delivered.all():
                break
            more = self._warp(self.deliveries[number], tile.crs, transform, hr_px, display)
            new = more.valid & ~delivered
            rgb[:, new] = more.rgb[:, new]
            delivered |= more.valid
        return rgb, delivered

    def _near(self, ring: NDArray[np.float64]) -> list[int]:
        """Return the deliveries whose bounds meet those of a ring, the best first."""
        (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
        if east - west > 180:
            west, east = ring[ring[:, 0] > 0, 0].min(), ring[ring[:, 0] < 0, 0].max()
        found = {
            self._owner[index]
            for part in _boxes(west, south, east, north)
            for index in self._tree.query(part).tolist()
        }
        return sorted(found)

    def _warp(self, delivery: Delivery, crs: CRS, transform: Affine, hr_px: int, display: Display) -> Pixels:
        with on_grid(
            self._dataset(delivery.path),
            crs=delivery.crs.to_wkt(),
            to_crs=crs.to_wkt(),
            transform=transform,
            width=hr_px,
            height=hr_px,
            nodata=delivery.nodata,
        ) as warped:
            return read_rgb(
                warped,
                delivery.bands,
                None,
                delivery.calibration,
                display,
                nodata=None,  # the warper knows
                path=delivery.path,
                problem=DeliveryError,
            )

    def _dataset(self, path: str) -> Any:
        if path not in self._open:
            if len(self._open) >= LARGEST_OPEN:
                self._close()
            self._open[path] = self._stack.enter_context(open_raster(path, DeliveryError))
        return self._open[path]

    def _close(self) -> None:
        self._stack.close()
        self._open.clear()


def _boxes(west: float, south: float, east: float, north: float) -> list[Polygon]:
    """Return bounds as boxes: two of them where they cross the antimeridian, as west > east says."""
    if west <= east:
        return [box(west, south, east, north)]
    return [box(west, south, 180, north), box(-180, south, east, north)]


def open_deliveries(inputs: Sequence[str], options: ReadOptions) -> tuple[list[Delivery], tuple[str, ...]]:
    """Check every delivered raster; return what is known of them, and the entries that are no rasters.

    Raises:
        DeliveryError: One line for every raster that cannot be used.
    """
    found = find_rasters(inputs)
    deliveries: list[Delivery] = []
    problems = list(found.problems)
    for path in found.rasters:
        try:
            deliveries.append(_describe(path, options))
        except DeliveryError as error:
            problems.append(str(error))
    if problems:
        raise DeliveryError("\n".join(problems))
    return deliveries, found.ignored


def _describe(path: str, options: ReadOptions) -> Delivery:
    with open_raster(path, DeliveryError) as dataset:
        if dataset.crs is None:
            raise DeliveryError(
                f"{path}: has no CRS, so it cannot be placed; ask for a georeferenced delivery"
            )
        crs = CRS.from_user_input(dataset.crs)
        bands = choose_bands(dataset, options, DeliveryError, path)
        calibration = calibrate(dataset, bands, options, DeliveryError, path)
        gsd = measured_gsd_m(path, crs, dataset.transform, dataset.width, dataset.height, DeliveryError)
        # pyproj's transform_bounds, unlike rasterio's, is right across the antimeridian and at poles.
        to_wgs84 = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        return Delivery(
            path=path,
            bands=bands,
            calibration=calibration,
            crs=crs,
            nodata=options.nodata,
            gsd_m=max(gsd),
            bounds=to_wgs84.transform_bounds(*_outline(dataset)),
        )


def _outline(dataset: Any) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of all four corners, which a turned raster needs."""
    corners = [dataset.transform @ (col, row) for col in (0, dataset.width) for row in (0, dataset.height)]
    x, y = zip(*corners, strict=True)
    return min(x), min(y), max(x), max(y)

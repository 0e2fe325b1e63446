"""Where a raster holds data: its valid pixels as polygons, not its bounding box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.features import shapes, sieve
from rasterio.windows import Window
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from geozoom.errors import DeliveryError
from geozoom.grid import to_map
from geozoom.ground import lonlat
from geozoom.polygons import polygons_of
from geozoom.rasters import read_numbers
from geozoom.receiving.globe import cut_at_antimeridian

CHUNK_PX = 1 << 22
"""Pixels looked at in one go."""
SPECK_PX = 16
"""Missing pixels among data, and data among missing pixels, of fewer than this are noise, not a footprint."""
STAIR_PX = 0.75
"""A slanted edge is a stair of pixels; corners are dropped that lie within this of a straight line."""
_PIECES = 64
"""An edge is bent by reprojection: it is cut into at least this many pieces per side of the raster."""


@dataclass(frozen=True, kw_only=True)
class ValidData:
    """Where a raster holds data."""

    footprint: BaseGeometry
    """Polygon or MultiPolygon in longitude and latitude (WGS84), split at the antimeridian; empty if it holds none."""
    share: float
    """Share of its pixels that hold data."""
    zero_share: float
    """Share of its pixels that hold data, of which all numbers are 0, as unmarked missing data would be."""


def valid_data(
    name: str,
    dataset: Any,
    bands: Sequence[int],
    crs: CRS,
    *,
    nodata: float | None,
    mask_band: int | None,
) -> ValidData:
    """Read a raster to its end, a part at a time, and outline its valid pixels.

    Args:
        name: The raster's name in messages.
        dataset: The open rasterio dataset.
        bands: 1-based bands that all have to hold data.
        crs: CRS of the raster.
        nodata: Digital number that means no data, besides what the dataset itself marks.
        mask_band: 1-based band that is 0 where data is missing, if there is one.

    Raises:
        DeliveryError: It cannot be read to its end, or does not lie in its CRS.
    """
    parts: list[BaseGeometry] = []
    valid_px = zero_px = 0
    for window in windows(dataset):
        numbers, valid = read_numbers(
            dataset, bands, window, nodata=nodata, path=name, problem=DeliveryError, mask_band=mask_band
        )
        count = int(np.count_nonzero(valid))
        valid_px += count
        zero_px += int(np.count_nonzero(valid & (numbers == 0).all(axis=0)))
        parts += [
            translate(part, window.col_off, window.row_off)
            for part in outlines(valid, whole=count == valid.size)
        ]
    pixels = dataset.width * dataset.height
    outline = polygons_of(np.array([shapely.simplify(shapely.union_all(parts), STAIR_PX)], dtype=object))
    return ValidData(
        footprint=on_globe(name, outline, dataset.transform, crs, max(dataset.width, dataset.height)),
        share=valid_px / pixels,
        zero_share=zero_px / pixels,
    )


def windows(dataset: Any) -> Iterator[Window]:
    """Yield windows of whole blocks, so that no block is decoded twice."""
    height, width = dataset.block_shapes[0]
    across = min(dataset.width, max(1, 2048 // width) * width)
    down = max(1, CHUNK_PX // across // height) * height
    for top in range(0, dataset.height, down):
        for left in range(0, dataset.width, across):
            yield Window(left, top, min(across, dataset.width - left), min(down, dataset.height - top))


def outlines(valid: NDArray[np.bool_], *, whole: bool) -> list[BaseGeometry]:
    """Return the polygons of the valid pixels (H, W), in pixels."""
    height, width = valid.shape
    if whole:
        return [shapely.box(0, 0, width, height)]
    if not valid.any():
        return []
    mask = sieve(valid.astype(np.uint8), SPECK_PX)
    found = shapes(mask, mask=mask.astype(bool), connectivity=4)
    return [shapely.geometry.shape(geometry) for geometry, _ in found]


def on_globe(name: str, outline: BaseGeometry, transform: Affine, crs: CRS, side: int) -> BaseGeometry:
    """Carry an outline in pixels to longitude and latitude."""
    if outline.is_empty:
        return outline
    a, b, c, d, e, f = transform[:6]

    def carry(corners: NDArray[np.float64]) -> NDArray[np.float64]:
        mapped = to_map(corners, (a, b, c, d, e, f))
        return np.column_stack(lonlat(name, crs, mapped[:, 0], mapped[:, 1], DeliveryError))

    cut = shapely.segmentize(outline, max(1.0, side / _PIECES))
    carried = [cut_at_antimeridian(shapely.transform(part, carry)) for part in shapely.get_parts(cut)]
    return shapely.union_all(carried)

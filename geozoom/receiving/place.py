"""Whether deliveries show the ground where they say they lie: their content against the LR tiles there.

A delivery, averaged to a tile's pixels, is correlated with the tile at every whole shift within reach, and the peak is
refined by a parabola on each axis: where the tile shows that ground.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import Geod
from rasterio.windows import Window

from geozoom.calibration import Display
from geozoom.errors import DeliveryError
from geozoom.footprints import points_to_lonlat
from geozoom.rasters import open_raster
from geozoom.receiving.catalog import Entry
from geozoom.receiving.shift import Peak, best_shift
from geozoom.tiles import Tile
from geozoom.vectors import PixelSpace
from geozoom.warping import on_grid, with_one_nodata

LARGEST_PX = 192
"""Side of what is compared of a delivery at most, around its middle, in LR pixels."""
REACH_PX = 24
"""Shifts are looked for up to the delivery's own size, and up to so many LR pixels."""
SMALLEST_PX = 144
"""Deliveries of fewer LR pixels say too little."""
SAME = 0.5
"""Correlation from which a delivery is confirmed where it lies."""
MOVED = 0.7
"""Correlation elsewhere from which it may be called shifted, if"""
CLEARLY = 0.25
"""it is by so much higher than at any third place. Of 2,000 windows of farmland in their place, four years apart, 3
were called shifted by this (tests/benchmarks/shift.py)."""
NOTICED_PX = 1.5
"""Smaller shifts are what georeferencing commonly leaves."""
_GEOD = Geod(ellps="WGS84")
_PLAIN = Display(white=1.0, gamma=1.0)
_COMPASS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")


@dataclass(frozen=True, kw_only=True)
class Shifted:
    """A delivery that shows ground from elsewhere."""

    name: str
    metres: float
    """How far from its ground it lies."""
    towards: str
    """In which direction it was moved, as in "north-east"."""
    correlation: float
    """With the tile, where the ground is."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What comparing deliveries with LR tiles found."""

    shifted: tuple[Shifted, ...] = ()
    in_place: tuple[str, ...] = ()
    """Names of deliveries that agree with the tiles best where they lie."""
    undecided: tuple[str, ...] = ()
    """Names of those that agree nowhere, or lie on no tile, or are too small."""

    def summary(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "shifted": [
                {
                    "file": each.name,
                    "metres": round(each.metres, 1),
                    "towards": each.towards,
                    "correlation": round(each.correlation, 3),
                }
                for each in self.shifted
            ],
            "in_place": list(self.in_place),
            "undecided": list(self.undecided),
        }


def compare(entries: Sequence[Entry], tiles: Sequence[Tile]) -> Compared:
    """Compare deliveries with the LR tiles that show their ground.

    Args:
        entries: The deliveries.
        tiles: The LR tiles.

    Raises:
        DeliveryError: A delivery cannot be read.
        TileError: A tile cannot be read.
    """
    spaces = [PixelSpace(tile) for tile in tiles]
    shifted, in_place, undecided = [], [], []
    for entry in entries:
        ground = [space.area(entry.footprint) for space in spaces]
        shares = [
            shapely.area(shapely.intersection(part, shapely.box(0, 0, tile.width, tile.height)))
            for part, tile in zip(ground, tiles, strict=True)
        ]
        best = int(np.argmax(shares))
        peak = _peak(entry, tiles[best], ground[best]) if shares[best] >= SMALLEST_PX else None
        if peak is None:
            undecided.append(entry.name)
        elif is_moved(peak):
            shifted.append(_shifted(entry, tiles[best], ground[best], peak))
        elif _apart(peak) < NOTICED_PX and peak.there >= SAME:
            in_place.append(entry.name)
        else:
            undecided.append(entry.name)
    return Compared(shifted=tuple(shifted), in_place=tuple(in_place), undecided=tuple(undecided))


def is_moved(peak: Peak) -> bool:
    """Tell whether a peak is clear enough, and far enough off, to call a delivery shifted."""
    return _apart(peak) >= NOTICED_PX and peak.there >= MOVED and peak.there - peak.elsewhere >= CLEARLY


def _apart(peak: Peak) -> float:
    return float(np.hypot(peak.down, peak.across))


def _peak(entry: Entry, tile: Tile, ground: shapely.Geometry) -> Peak | None:
    """Return where the tile shows what a delivery shows, given where that says it lies in the tile's pixels."""
    left, top, right, bottom = ground.bounds
    middle = ground.centroid
    (left, right), (top, bottom) = (
        _within(low, high, at, size)
        for low, high, at, size in (
            (left, right, middle.x, tile.width),
            (top, bottom, middle.y, tile.height),
        )
    )
    if right - left < 2 or bottom - top < 2:
        return None
    reach = min(REACH_PX, max(right - left, bottom - top))
    part, shown = _delivery(entry, tile, left, top, right - left, bottom - top)
    image, valid = _tile(tile, left - reach, top - reach, right + reach, bottom + reach)
    if shown.sum() < SMALLEST_PX:
        return None
    return best_shift(image, valid, part, shown)


def _within(low: float, high: float, middle: float, size: int) -> tuple[int, int]:
    """Return whole pixels of a span that lie on the tile, at most `LARGEST_PX` around its middle."""
    low, high = max(low, middle - LARGEST_PX / 2, 0), min(high, middle + LARGEST_PX / 2, size)
    return int(np.floor(low)), int(np.ceil(high))


def _delivery(
    entry: Entry, tile: Tile, left: int, top: int, width: int, height: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the mean of a delivery's bands on a tile's pixels, and where it holds data."""
    with (
        open_raster(entry.path, DeliveryError, entry.name) as dataset,
        with_one_nodata(dataset, entry.crs, entry.nodata) as marked,
        on_grid(
            marked,
            crs=entry.crs,
            to_crs=tile.crs.to_wkt(),
            transform=tile.transform @ Affine.translation(left, top),
            width=width,
            height=height,
            nodata=entry.nodata,
        ) as warped,
    ):
        bands = warped.read(list(entry.rgb or (1,))).astype(np.float64)
        shown = warped.dataset_mask() == np.iinfo(np.uint8).max
        if warped.count > marked.count:  # an alpha band was added, which GDAL does not heed beside all others
            alpha = warped.read(warped.count)
            shown &= alpha >= (
                np.iinfo(alpha.dtype).max if alpha.dtype.itemsize == 2 else np.iinfo(np.uint8).max
            )
        return bands.mean(axis=0), shown


def _tile(
    tile: Tile, left: int, top: int, right: int, bottom: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the mean of a tile's bands in a window that may overhang it, and where there is data."""
    cols, rows = (max(0, left), min(tile.width, right)), (max(0, top), min(tile.height, bottom))
    with tile.open() as dataset:
        pixels = tile.read(dataset, Window(cols[0], rows[0], cols[1] - cols[0], rows[1] - rows[0]), _PLAIN)
    pad = ((rows[0] - top, bottom - rows[1]), (cols[0] - left, right - cols[1]))
    return np.pad(pixels.rgb.mean(axis=0).astype(np.float64), pad), np.pad(pixels.valid, pad)


def _shifted(entry: Entry, tile: Tile, ground: shapely.Geometry, peak: Peak) -> Shifted:
    middle = ground.centroid
    said = np.array([middle.x, middle.y])
    (lon, lat), (lon0, lat0) = points_to_lonlat(
        tile, np.stack([said, said + np.array([peak.across, peak.down])])
    )
    azimuth, _, metres = _GEOD.inv(lon0, lat0, lon, lat)
    return Shifted(
        name=entry.name,
        metres=float(metres),
        towards=_COMPASS[round(azimuth / 45) % 8],
        correlation=peak.there,
    )

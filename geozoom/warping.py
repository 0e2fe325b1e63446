"""Rasters on another grid than their own, as GDAL's virtual ones: nothing is resampled before it is read."""

from __future__ import annotations

import math
import re
from contextlib import nullcontext
from typing import Any
from xml.etree import ElementTree

from affine import Affine
from pyproj import CRS
from pyproj.enums import WktVersion
from rasterio.crs import CRS as RasterioCRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT

_CODE_AND_END = re.compile(r'(,AUTHORITY\["[^"]*","[^"]*"\])?\]$')
"""Of a CRS as WKT."""


def _masked_too(dataset: Any, nodata: float | None) -> dict[str, str]:
    """Return the warper's options by which a raster's mask counts beside a number for missing pixels.

    Told to look for the number in all bands together, as it is by default, the warper does not look at the mask.
    """
    masked = (
        MaskFlags.per_dataset in dataset.mask_flag_enums[0] and ColorInterp.alpha not in dataset.colorinterp
    )
    return {"UNIFIED_SRC_NODATA": "NO"} if masked and nodata is not None else {}


def placed_by_gcps(dataset: Any, nodata: float | None) -> Any:
    """Return a raster that only ground control points place, warped by the polynomial that fits them."""
    nodata = dataset.nodata if nodata is None else nodata
    marked = nodata is not None or ColorInterp.alpha in dataset.colorinterp
    return WarpedVRT(
        dataset,
        crs=dataset.gcps[1],
        resampling=Resampling.bilinear,
        src_nodata=nodata,
        add_alpha=not marked,
        **_masked_too(dataset, nodata),
    )


def with_one_nodata(dataset: Any, crs: str, nodata: float | None) -> Any:
    """Return a raster that marks with one number what its tag and the user say is missing: the warper knows only one.

    Args:
        dataset: An open rasterio dataset.
        crs: Its CRS, as WKT.
        nodata: Digital number that means no data, where the user said so.
    """
    tagged = dataset.nodata
    if nodata is None or tagged is None or nodata == tagged or (math.isnan(nodata) and math.isnan(tagged)):
        return nullcontext(dataset)
    own = RasterioCRS.from_wkt(crs)
    return WarpedVRT(
        dataset,
        src_crs=own,
        crs=own,
        transform=dataset.transform,
        width=dataset.width,
        height=dataset.height,
        resampling=Resampling.nearest,
        src_nodata=tagged,
        nodata=nodata,
        UNIFIED_SRC_NODATA="NO",  # a pixel is missing if one band of it is, as where nothing is resampled
    )


def on_grid(
    dataset: Any,
    *,
    crs: str,
    to_crs: str,
    transform: Affine,
    width: int,
    height: int,
    nodata: float | None,
    nearest: bool = False,
) -> Any:
    """Return a raster resampled to another grid, with its missing pixels still missing.

    Longitudes that differ by 360° are the same place.

    Args:
        dataset: An open rasterio dataset.
        crs: Its CRS, as WKT.
        to_crs: CRS of the grid, as WKT.
        transform: Pixels of the grid to `to_crs`.
        width: Columns of the grid.
        height: Rows of the grid.
        nodata: Digital number that means no data, where the user said so.
        nearest: Take the nearest pixel, as classes need.
    """
    nodata = dataset.nodata if nodata is None else nodata
    marked = nodata is not None or ColorInterp.alpha in dataset.colorinterp
    shown = longitudes(crs, dataset.transform, dataset.width, dataset.height)
    asked = longitudes(to_crs, transform, width, height)
    if shown is not None and (_beyond_180(shown) or (asked is not None and _beyond_180(asked))):
        crs = _wrapped_around(sum(shown) / 2, crs)
    return WarpedVRT(
        dataset,
        src_crs=RasterioCRS.from_wkt(crs),
        crs=RasterioCRS.from_wkt(to_crs),
        transform=transform,
        width=width,
        height=height,
        # GDAL's warper widens this kernel when it shrinks a raster, so it is right both ways.
        resampling=Resampling.nearest if nearest else Resampling.bilinear,
        src_nodata=nodata,
        add_alpha=not marked,  # carries a mask band, and what lies outside the raster
        **_masked_too(dataset, nodata),
    )


def longitudes(crs: str, transform: Affine, width: int, height: int) -> tuple[float, float] | None:
    """Return the least and the largest longitude of a grid, in degrees, which may lie beyond ±180.

    Args:
        crs: Its CRS, as WKT.
        transform: Its pixels to `crs`.
        width: Its columns.
        height: Its rows.

    Returns:
        None where the CRS is not one of longitudes and latitudes in degrees.
    """
    own = CRS.from_wkt(crs)
    if not own.is_geographic or own.is_derived or own.to_2d().axis_info[0].unit_name != "degree":
        return None
    lon = [(transform @ (col, row))[0] for col in (0, width) for row in (0, height)]
    return min(lon), max(lon)


def _beyond_180(shown: tuple[float, float]) -> bool:
    return shown[0] < -180 or shown[1] > 180


def _wrapped_around(longitude: float, crs: str) -> str:
    """Return a CRS in degrees (WKT) with GDAL's mark that its longitudes lie within 180° of the one given."""
    # GDAL's mark, since PROJ's own, +lon_wrap, comes in strings that know few datums.
    wkt = CRS.from_wkt(crs).to_2d().to_wkt(WktVersion.WKT1_GDAL)
    # GDAL keeps transformations by code and name, whatever the mark: this CRS has no code, and a name of its own.
    wkt = wkt.replace('GEOGCS["', f'GEOGCS["around {longitude}: ', 1)
    return _CODE_AND_END.sub(f',EXTENSION["CENTER_LONG","{longitude}"]]', wkt)


def in_blocks(warped: Any, height: int, width: int) -> str:
    """Return the XML of a raster on another grid that is resampled by blocks of this size, and no more than is read.

    GDAL's own are 512 × 128 pixels, and only the XML can say otherwise.

    Args:
        warped: What `on_grid` returned.
        height: Rows of a block.
        width: Columns of a block.
    """
    with MemoryFile(ext=".vrt") as file:
        copy(warped, file.name, driver="VRT")
        root = ElementTree.fromstring(file.read())  # noqa: S314 (GDAL has just written it)
    for tag, size in (("BlockXSize", width), ("BlockYSize", height)):
        for block in root.iter(tag):
            block.text = str(size)
    return ElementTree.tostring(root, encoding="unicode")

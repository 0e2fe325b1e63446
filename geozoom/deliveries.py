"""Delivered HR rasters, checked before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS, Transformer
from shapely import Polygon, box

from geozoom.bands import ReadOptions, choose_bands, find_mask_band
from geozoom.calibration import Calibration, calibrate
from geozoom.errors import DeliveryError
from geozoom.ground import measured_gsd_m, turned
from geozoom.inputs import find_rasters
from geozoom.rasters import open_raster
from geozoom.receiving.catalog import open_catalog
from geozoom.receiving.metadata import read_acquisition
from geozoom.receiving.usable import find_mask, is_mask


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
    mask_band: int | None
    """1-based band that is 0 where data is missing, or None."""
    acquired: datetime | None
    """When it was taken, where metadata says it."""
    gsd_m: float
    """Ground sample distance, the coarser of across and down, in metres."""
    bounds: tuple[float, float, float, float]
    """West, south, east and north in WGS84, in -180..180: west > east across the antimeridian."""
    usable_mask: str | None = None
    """Planet's UDM2 of it, as GDAL opens it."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """What was delivered, as far as it can be used."""

    deliveries: tuple[Delivery, ...]
    ignored: tuple[str, ...] = ()
    """Entries of folders that were not read as rasters."""
    colourless: tuple[str, ...] = ()
    """Rasters of a catalog that show no colours, so that they are not used."""
    gone: tuple[str, ...] = ()
    """Rasters of a catalog whose files are no longer there."""
    rewritten: tuple[str, ...] = ()
    """Rasters of a catalog that were written again since, so that what it says of their ground may be wrong."""

    def coarser(self, limit_m: float | None) -> tuple[str, ...]:
        """Return the deliveries whose GSD is above a limit, if there is one."""
        return tuple(each.path for each in self.deliveries if limit_m and each.gsd_m > limit_m)


def open_deliveries(inputs: Sequence[str], options: ReadOptions) -> Received:
    """Check every delivered raster.

    Raises:
        DeliveryError: One line for every raster that cannot be used.
    """
    found = find_rasters(inputs)
    deliveries: list[Delivery] = []
    problems = list(found.problems)
    masks = [path for path in found.rasters if is_mask(path)]
    for path in found.rasters:
        if path in masks:
            continue
        try:
            deliveries.append(_describe(path, options))
        except DeliveryError as error:
            problems.append(str(error))
    if problems:
        raise DeliveryError("\n".join(problems))
    return Received(deliveries=tuple(deliveries), ignored=(*found.ignored, *masks))


def cataloged_deliveries(catalog: Path, options: ReadOptions) -> Received:
    """Check every raster that a catalog holds, with the bands and missing data that were settled when it was ingested.

    Args:
        catalog: What `ingest` wrote.
        options: What the user says about rasters that do not say it themselves.

    Raises:
        CatalogError: The catalog cannot be read.
        DeliveryError: One line for every raster that cannot be used.
    """
    with open_catalog(catalog) as held:
        entries = held.entries()
    deliveries: list[Delivery] = []
    problems: list[str] = []
    for entry in entries:
        if entry.rgb is None or not entry.exists:
            continue
        settled = replace(
            options,
            bands=options.bands or entry.rgb,
            nodata=entry.nodata if options.nodata is None else options.nodata,
        )
        try:
            deliveries.append(replace(_describe(entry.path, settled), acquired=entry.acquired))
        except DeliveryError as error:
            problems.append(str(error))
    if problems:
        raise DeliveryError("\n".join(problems))
    return Received(
        deliveries=tuple(deliveries),
        colourless=tuple(entry.name for entry in entries if entry.rgb is None),
        gone=tuple(entry.name for entry in entries if not entry.exists),
        rewritten=tuple(entry.name for entry in entries if entry.rewritten),
    )


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
        return Delivery(
            path=path,
            bands=bands,
            calibration=calibration,
            crs=crs,
            nodata=options.nodata,
            mask_band=find_mask_band(dataset),
            acquired=read_acquisition(dataset).acquired,
            gsd_m=max(gsd),
            usable_mask=find_mask(path),
            bounds=wgs84_bounds(dataset),
        )


def wgs84_bounds(dataset: Any) -> tuple[float, float, float, float]:
    """Return west, south, east and north of an open raster that has a CRS, in -180..180: west > east across 180°."""
    # pyproj's transform_bounds, unlike rasterio's, is right across the antimeridian and at poles.
    to_wgs84 = Transformer.from_crs(CRS.from_user_input(dataset.crs), "EPSG:4326", always_xy=True)
    return _in_one_turn(*to_wgs84.transform_bounds(*_outline(dataset)))


def boxes(west: float, south: float, east: float, north: float) -> list[Polygon]:
    """Return bounds as boxes: two of them where they cross the antimeridian, as west > east says."""
    if west <= east:
        return [box(west, south, east, north)]
    return [box(west, south, 180, north), box(-180, south, east, north)]


def _outline(dataset: Any) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of all four corners, which a turned raster needs."""
    corners = [dataset.transform @ (col, row) for col in (0, dataset.width) for row in (0, dataset.height)]
    x, y = zip(*corners, strict=True)
    return min(x), min(y), max(x), max(y)


def _in_one_turn(west: float, south: float, east: float, north: float) -> tuple[float, float, float, float]:
    """Return bounds with longitudes in -180..180: those of rasters in degrees may go on beyond."""
    if east - west >= 360:
        return -180, south, 180, north
    west, east = turned(np.array([west, east]), 0.0).tolist()
    return west, south, east, north

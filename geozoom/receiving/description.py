"""A received raster → what the catalog says of it, or why it cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import shapely
from pyproj import CRS

from geozoom.bands import ReadOptions, choose_bands, find_mask_band
from geozoom.errors import DeliveryError
from geozoom.ground import measured_gsd_m
from geozoom.rasters import open_raster
from geozoom.receiving.catalog import Entry
from geozoom.receiving.files import ReceivedFile, is_about
from geozoom.receiving.footprint import valid_data
from geozoom.receiving.metadata import read_acquisition
from geozoom.receiving.usable import find_mask, is_mask, is_mask_of, read_usable

_COLOURLESS = 2
"""Rasters of this many bands or fewer show no colours, whatever the bands are called."""


def with_sources(files: Sequence[ReceivedFile]) -> tuple[list[ReceivedFile], list[str]]:
    """Let a VRT stand for the files that it is made of.

    Returns:
        The files without those that a VRT among them names, and a sentence for every VRT that cannot be opened.
    """
    whole: dict[str, ReceivedFile] = {}
    parts: set[str] = set()
    problems: list[str] = []
    for file in files:
        if not file.path.lower().endswith(".vrt"):
            continue
        try:
            named = _sources(file)
        except DeliveryError as error:
            problems.append(str(error))
            parts.add(file.path)
            continue
        parts.update(named)
        # What a zip's VRT names lies in the zip, whose time stands for both.
        local = [Path(name) for name in named] if file.archive is None else []
        facts = [each.stat() for each in local]
        whole[file.path] = replace(
            file,
            size=file.size + sum(each.st_size for each in facts),
            modified_ns=max([file.modified_ns, *(each.st_mtime_ns for each in facts)]),
            sources=tuple(named),
        )
    return [whole.get(file.path, file) for file in files if file.path not in parts], problems


def _sources(file: ReceivedFile) -> list[str]:
    with open_raster(file.path, DeliveryError, file.name) as dataset:
        named = [name for name in dataset.files if name != file.path]
    if file.archive is not None:
        inside = f"/vsizip/{{{file.archive.resolve()}}}/"
        outside = [name for name in named if not name.startswith(inside) or ".." in name.split("/")]
        if outside:
            raise DeliveryError(
                f"{file.name}: is made of {outside[0]}, which lies outside the zip; ask for the delivery again"
            )
        return named
    return [str(Path(name).resolve()) for name in named if Path(name).is_file()]


def with_companions(files: Sequence[ReceivedFile]) -> list[ReceivedFile]:
    """Let the size and time of a file be those of its mask and the JSON beside it, too: they may come later.

    A zip's time stands for all that is in it.
    """
    beside: dict[Path, list[Path]] = {}
    found = []
    for file in files:
        if file.archive is not None:
            found.append(file)
            continue
        folder, stem = Path(file.path).parent, PurePosixPath(file.file_name).stem
        if folder not in beside:
            named = folder.iterdir()
            beside[folder] = [path for path in named if path.suffix.lower() == ".json" or is_mask(path.name)]
        own = [
            path.stat()
            for path in beside[folder]
            if (
                is_about(path.name, stem)
                if path.suffix.lower() == ".json"
                else is_mask_of(path.name, file.file_name)
            )
        ]
        size = file.size + sum(each.st_size for each in own)
        found.append(
            replace(file, size=size, modified_ns=max([file.modified_ns, *(each.st_mtime_ns for each in own)]))
        )
    return found


def describe(file: ReceivedFile, checksum: str, options: ReadOptions) -> Entry:
    """Read a raster to its end, and say what it is.

    Raises:
        DeliveryError: It cannot be read, cannot be placed, or holds no data.
    """
    with open_raster(file.path, DeliveryError, file.name) as dataset:
        crs = _crs(file.name, dataset)
        rgb = None
        if dataset.count > _COLOURLESS:
            rgb = choose_bands(dataset, options, DeliveryError, file.name)
        gsd = measured_gsd_m(file.name, crs, dataset.transform, dataset.width, dataset.height, DeliveryError)
        mask_band = find_mask_band(dataset)
        bands = rgb or tuple(band for band in range(1, dataset.count + 1) if band != mask_band)
        if not bands:
            raise DeliveryError(f"{file.name}: holds nothing but a mask; name the image that it belongs to")
        data = valid_data(file.name, dataset, bands, crs, nodata=options.nodata, mask_band=mask_band)
        if data.footprint.is_empty or data.zero_share >= data.share:
            what = "no data in any" if data.footprint.is_empty else "nothing but zeros in all"
            raise DeliveryError(
                f"{file.name}: holds {what} of its {dataset.width:,} × {dataset.height:,} pixels; ask for it again"
            )
        taken = read_acquisition(dataset, file.beside())
        mask = find_mask(file.path)
        marked = None if mask is None else read_usable(mask)
        measured = None if marked is None else marked.cloud_share
        return Entry(
            footprint=data.footprint,
            unusable=shapely.Polygon() if marked is None else marked.unusable,
            path=file.path,
            name=file.name,
            sha256=checksum,
            bytes=file.size,
            modified_ns=file.modified_ns,
            driver=dataset.driver,
            crs=crs.to_wkt(),
            width=dataset.width,
            height=dataset.height,
            bands=dataset.count,
            band_names=",".join(text or "" for text in dataset.descriptions).strip(","),
            dtype=",".join(sorted(set(dataset.dtypes))),
            rgb=rgb,
            nodata=options.nodata,
            gsd_m=max(gsd),
            acquired=taken.acquired,
            sensor=taken.sensor,
            # Of this very clip, where the metadata speak of the vendor's whole scene.
            cloud_share=taken.cloud_share if measured is None else measured,
            valid_share=data.share,
            zero_share=data.zero_share,
        )


def _crs(name: str, dataset: Any) -> CRS:
    if dataset.count == 0:
        raise DeliveryError(
            f"{name}: holds several rasters, and none of its own; name each as a raster itself"
        )
    if dataset.crs is None and (dataset.rpcs is not None or dataset.gcps[0]):
        points = "its sensor model (RPCs)" if dataset.rpcs is not None else "ground control points"
        raise DeliveryError(
            f"{name}: is placed by {points} only; ask for the orthorectified product, or orthorectify it first"
        )
    if dataset.crs is None:
        raise DeliveryError(f"{name}: has no CRS, so it cannot be placed; ask for a georeferenced delivery")
    return CRS.from_user_input(dataset.crs)

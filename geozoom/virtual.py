"""Several files as one raster: bands side by side, or shards of one export joined, as GDAL virtual rasters.

A virtual raster is XML text, which GDAL opens like a file; no pixel is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from affine import Affine
from rasterio.crs import CRS as RasterioCRS
from rasterio.enums import ColorInterp, MaskFlags

from geozoom.errors import GeozoomError
from geozoom.rasters import open_raster

_GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "float32": "Float32",
    "float64": "Float64",
}
_ALIGNED_PX = 0.01
"""Largest distance of a shard from the pixel grid of the first one."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What a virtual raster needs to know of one of its files."""

    path: str
    width: int
    height: int
    transform: Affine
    crs: RasterioCRS | None
    dtypes: tuple[str, ...]
    nodata: float | None
    blocks: tuple[tuple[int, int], ...]
    descriptions: tuple[str | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    colours: tuple[ColorInterp, ...]


def stacked(files: Sequence[str], descriptions: Sequence[str], name: str, problem: type[GeozoomError]) -> str:
    """Return the XML of a raster whose bands are single-band files on one pixel grid.

    Args:
        files: One file for each band.
        descriptions: What each band is called.
        name: The whole's name in messages.
        problem: Type of the error raised.

    Raises:
        GeozoomError: Of type `problem`: a file cannot be opened, or they are not on one grid.
    """
    parts = [_part(file, problem) for file in files]
    first = parts[0]
    for part in parts:
        if len(part.dtypes) != 1:
            raise problem(
                f"{part.path}: holds {len(part.dtypes)} bands where one is expected; name it itself"
            )
        same = (part.width, part.height) == (first.width, first.height)
        if not same or part.crs != first.crs or not part.transform.almost_equals(first.transform, 1e-6):
            raise problem(
                f"{name}: {first.path} and {part.path} are not on one pixel grid; give bands of one resolution"
            )
    root = _root(first.crs, first.transform, first.width, first.height)
    for part, description in zip(parts, descriptions, strict=True):
        band = _band(root, part, 0, description)
        _source(band, part, 0, 0, 0)
    return ET.tostring(root, encoding="unicode")


def joined(files: Sequence[str], name: str, problem: type[GeozoomError]) -> str:
    """Return the XML of a raster that files of one export cover between them.

    Raises:
        GeozoomError: Of type `problem`: a file cannot be opened, they differ in bands, CRS or grid, or
            they leave a gap that no nodata value marks.
    """
    parts = [_part(file, problem) for file in files]
    first = parts[0]
    inverse = ~first.transform
    corners = [inverse @ (part.transform.c, part.transform.f) for part in parts]
    for part, (col, row) in zip(parts, corners, strict=True):
        alike = (part.crs, part.dtypes, repr(part.nodata)) == (first.crs, first.dtypes, repr(first.nodata))
        moved = first.transform @ Affine.translation(col, row)
        on_grid = all(abs(at - round(at)) <= _ALIGNED_PX for at in (col, row))
        if not alike or not on_grid or not moved.almost_equals(part.transform, 1e-6):
            raise problem(
                f"{name}: {first.path} and {part.path} are not shards of one export (bands, CRS, nodata or "
                "pixel grid differ); name the rasters one by one"
            )
    cols = [round(col) for col, _ in corners]
    rows = [round(row) for _, row in corners]
    width = max(col + part.width for col, part in zip(cols, parts, strict=True)) - min(cols)
    height = max(row + part.height for row, part in zip(rows, parts, strict=True)) - min(rows)
    covered = sum(part.width * part.height for part in parts)
    if covered < width * height and first.nodata is None:
        raise problem(
            f"{name}: its {len(parts)} shards leave a gap, and no nodata value would mark it; find the missing shard"
        )
    transform = first.transform @ Affine.translation(min(cols), min(rows))
    root = _root(first.crs, transform, width, height)
    for index in range(len(first.dtypes)):
        band = _band(root, first, index, first.descriptions[index])
        for part, col, row in zip(parts, cols, rows, strict=True):
            _source(band, part, index, col - min(cols), row - min(rows))
    return ET.tostring(root, encoding="unicode")


def tagged(xml: str, nodata: float) -> str:
    """Return the XML of a virtual raster whose bands, where they do not say so otherwise, have a number for no data."""
    root = ET.fromstring(xml)  # noqa: S314 (made here)
    for band in root.iter("VRTRasterBand"):
        if band.find("NoDataValue") is None:
            ET.SubElement(band, "NoDataValue").text = str(nodata)
    return ET.tostring(root, encoding="unicode")


def _part(path: str, problem: type[GeozoomError]) -> _Part:
    with open_raster(path, problem) as dataset:
        unknown = sorted(set(dataset.dtypes) - set(_GDAL_TYPES))
        if unknown:
            raise problem(f"{path}: holds {unknown[0]} pixels, which are no image; give its amplitude or RGB")
        if any(MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums) and (
            ColorInterp.alpha not in dataset.colorinterp
        ):
            raise problem(
                f"{path}: has a mask, which would be lost beside the other files; write it as a nodata value"
            )
        files = dataset.files
        return _Part(
            # A virtual raster names files as GDAL does: /vsis3/…, not s3://….
            path=files[0] if "://" in path and files else path,
            width=dataset.width,
            height=dataset.height,
            transform=dataset.transform,
            crs=dataset.crs,
            dtypes=dataset.dtypes,
            nodata=dataset.nodata,
            blocks=dataset.block_shapes,
            descriptions=dataset.descriptions,
            scales=dataset.scales,
            offsets=dataset.offsets,
            colours=dataset.colorinterp,
        )


def _root(crs: RasterioCRS | None, transform: Affine, width: int, height: int) -> ET.Element:
    root = ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if crs is not None:
        ET.SubElement(root, "SRS").text = crs.to_wkt()
    ET.SubElement(root, "GeoTransform").text = ", ".join(map(repr, transform.to_gdal()))
    return root


def _band(root: ET.Element, part: _Part, index: int, description: str | None) -> ET.Element:
    band = ET.SubElement(
        root,
        "VRTRasterBand",
        dataType=_GDAL_TYPES[part.dtypes[index]],
        band=str(len(root.findall("VRTRasterBand")) + 1),
    )
    values: list[tuple[str, Any]] = [("Description", description)]
    if part.nodata is not None:
        values.append(("NoDataValue", part.nodata))
    if part.colours[index] is not ColorInterp.undefined:
        values.append(("ColorInterp", part.colours[index].name.capitalize()))
    values += [("Offset", part.offsets[index]), ("Scale", part.scales[index])]
    for tag, value in values:
        if value is not None:
            ET.SubElement(band, tag).text = str(value)
    return band


def _source(band: ET.Element, part: _Part, index: int, col: int, row: int) -> None:
    source = ET.SubElement(band, "SimpleSource")
    ET.SubElement(source, "SourceFilename", relativeToVRT="0").text = part.path
    ET.SubElement(source, "SourceBand").text = str(index + 1)
    tall, wide = part.blocks[index]
    ET.SubElement(
        source,
        "SourceProperties",
        RasterXSize=str(part.width),
        RasterYSize=str(part.height),
        DataType=_GDAL_TYPES[part.dtypes[index]],
        BlockXSize=str(wide),
        BlockYSize=str(tall),
    )
    for tag, left, top in (("SrcRect", 0, 0), ("DstRect", col, row)):
        box = {"xOff": left, "yOff": top, "xSize": part.width, "ySize": part.height}
        ET.SubElement(source, tag, {key: str(value) for key, value in box.items()})

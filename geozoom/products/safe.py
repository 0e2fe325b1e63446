"""Sentinel-2 SAFE products, unpacked or zipped, calibrated by their own metadata."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree as ET

from geozoom.calibration import Calibration
from geozoom.clouds import CloudMask
from geozoom.errors import TileError
from geozoom.products.source import Source, moment, number
from geozoom.virtual import stacked

METADATA = ("MTD_MSIL2A.xml", "MTD_MSIL1C.xml")
"""A SAFE folder is one that holds one of these."""
_FIRST_WITH_OFFSETS = 4.0
"""Processing baseline."""
_UNOFFICIAL = 99.0
"""Baselines from this one on are of who runs Sen2Cor, whose older versions added no offsets."""
_RGB_IDS = ("3", "2", "1")
"""Band ids of B04, B03 and B02 in the metadata, which count from B01 = 0."""


def read_safe(path: Path) -> Source:
    """Read a SAFE folder or a zip of one.

    Raises:
        TileError: It is not a Sentinel-2 product, or lacks what its metadata names.
    """
    root, metadata, files = _open_safe(path)
    try:
        tree = ET.fromstring(metadata)  # noqa: S314 (expat refuses entity bombs, ElementTree external entities)
    except ET.ParseError as error:
        raise TileError(f"{path}: its metadata is not valid XML ({error}); download it again") from error
    level = "L2A" if tree.tag.endswith("Level-2A_User_Product") else "L1C"
    images = [element.text or "" for element in tree.iter("IMAGE_FILE")]
    ending = "_10m" if level == "L2A" else ""
    bands = [_image(path, images, files, f"_{band}{ending}") for band in ("B04", "B03", "B02")]
    prefix = "BOA_" if level == "L2A" else ""
    quantification = number(path, _text(tree, f"{prefix}QUANTIFICATION_VALUE"))
    if quantification <= 0:
        raise TileError(
            f"{path}: its metadata holds the quantification value {quantification:g}; download it again"
        )
    added = {
        element.get("band_id"): number(path, element.text)
        for element in tree.iter("BOA_ADD_OFFSET" if level == "L2A" else "RADIO_ADD_OFFSET")
    }
    baseline = _text(tree, "PROCESSING_BASELINE") or "unknown"
    present = [band for band in _RGB_IDS if band in added]
    if len(present) < len(_RGB_IDS) and (present or _has_offsets(baseline)):
        raise TileError(
            f"{path}: its metadata (baseline {baseline}) lacks offsets of B04, B03 or B02, without which it would be "
            "read too bright; download it again"
        )
    red, green, blue = (added.get(band, 0.0) / quantification for band in _RGB_IDS)
    start = _text(tree, "PRODUCT_START_TIME")
    return Source(
        name=str(path),
        dataset=stacked([f"{root}/{band}" for band in bands], ("B4", "B3", "B2"), str(path), TileError),
        sensor=f"Sentinel-2 {level}, baseline {baseline}",
        bands=(1, 2, 3),
        calibration=Calibration(
            scale=(1 / quantification,) * 3,
            offset=(red, green, blue),
            reflectance=True,
            source=f"SAFE metadata (quantification {quantification:g}, "
            f"offsets {', '.join(f'{added.get(band, 0.0):g}' for band in _RGB_IDS)}, baseline {baseline})",
        ),
        nodata=0.0,  # the product's SPECIAL_VALUE NODATA; its JP2 files carry no tag
        acquired=moment(start),
        clouds=_clouds(root, level, images, files),
    )


def _open_safe(path: Path) -> tuple[str, bytes, frozenset[str]]:
    """Return where GDAL finds the product, its metadata, and its files relative to it."""
    try:
        if path.is_dir():
            metadata = next(path / name for name in METADATA if (path / name).is_file())
            files = (file.relative_to(path).as_posix() for file in path.rglob("*.jp2"))
            return str(path), metadata.read_bytes(), frozenset(files)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            inside_it = [name for name in names if PurePosixPath(name).name in METADATA]
            if len(inside_it) != 1:
                held = f"{len(inside_it)} products" if inside_it else "no Sentinel-2 product"
                raise TileError(f"{path}: a zip that holds {held}; unpack it and name what is to be read")
            (inner,) = inside_it
            root = str(PurePosixPath(inner).parent)
            head = "" if root == "." else f"{root}/"
            files = (name.removeprefix(head) for name in names if name.startswith(head))
            where = f"/vsizip/{{{path.resolve()}}}" + ("" if root == "." else f"/{root}")
            return where, archive.read(inner), frozenset(files)
    except (OSError, EOFError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        raise TileError(f"{path}: cannot be read ({error}); download it again") from error


def _has_offsets(baseline: str) -> bool:
    """Tell whether products of a processing baseline have offsets, as they do from 04.00 on."""
    try:
        return _FIRST_WITH_OFFSETS <= float(baseline) < _UNOFFICIAL
    except ValueError:
        return False


def _clouds(root: str, level: str, images: Sequence[str], files: frozenset[str]) -> CloudMask | None:
    """Return what says where clouds are: L2A's classification, there or not, or L1C's masks since baseline 04.00."""
    if level == "L1C":
        masks = [file for file in files if file.endswith("/QI_DATA/MSK_CLASSI_B00.jp2")]
        return CloudMask(dataset=f"{root}/{masks[0]}", kind="msk_classi") if len(masks) == 1 else None
    named = [image for image in images if image.endswith("_SCL_20m")]
    return CloudMask(dataset=f"{root}/{named[0]}.jp2", kind="scl") if named else None


def _image(path: Path, images: Sequence[str], files: frozenset[str], ending: str) -> str:
    """Return the file of one band, as the metadata names it."""
    found = [image for image in images if image.endswith(ending)]
    if not found:
        raise TileError(
            f"{path}: its metadata names no image *{ending}; give a whole product, of the layout that ESA writes since "
            "December 2016"
        )
    if len(found) > 1:
        raise TileError(f"{path}: holds {len(found)} granules; give a product of one tile")
    if f"{found[0]}.jp2" not in files:
        raise TileError(f"{path}: lacks {found[0]}.jp2, which its metadata names; download it again")
    return f"{found[0]}.jp2"


def _text(tree: ET.Element, tag: str) -> str | None:
    found = next(tree.iter(tag), None)
    return None if found is None else found.text

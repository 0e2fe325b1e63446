"""Planet's usable data mask (UDM2): which pixels of a delivery cannot be used.

Eight bands, the first six of which are 0 or 1 and share the image's pixels out: clear, snow, shadow, light haze, heavy
haze and cloud. A pixel without any of them holds no image. Band 7 is confidence; band 8 is not 0 where something is
wrong.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.errors import RasterioError
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from geozoom.errors import DeliveryError, first_line
from geozoom.rasters import open_raster
from geozoom.receiving.files import ZIPPED
from geozoom.receiving.footprint import on_globe, outlines, windows

BANDS = 8
USABLE_SHARE = 0.8
"""Least share of a patch that must be usable for it to count as delivered."""
UNUSABLE = (6, 8)
"""Bands that make a pixel unusable: cloud, and whatever else is wrong. Through haze and shadow the ground is seen."""
_CLASSES = (1, 2, 3, 4, 5, 6)
_CLOUD = 6
_NAME = re.compile(r"(.{8,}_)udm2([_.].*)?\.tiff?", re.IGNORECASE)
"""Planet's name of a mask; what comes before it begins the image's name too."""


@dataclass(frozen=True, kw_only=True)
class Usable:
    """What a mask says of its image."""

    cloud_share: float | None
    """Share of the image's pixels under clouds; None if it marks none as an image's."""
    unusable: BaseGeometry
    """Ground that cannot be used, in longitude and latitude (WGS84)."""


def is_mask(path: str) -> bool:
    """Tell whether a file is a UDM2 by its name."""
    return _NAME.fullmatch(PurePosixPath(path).name) is not None


def is_mask_of(name: str, image: str) -> bool:
    """Tell by the names of two files in one folder whether the first is the UDM2 of the second."""
    found = _NAME.fullmatch(name)
    return found is not None and image.startswith(found[1]) and name != image


def find_mask(path: str) -> str | None:
    """Return the UDM2 of an image, in its folder or zip, as GDAL opens it; None without one, or of another kind.

    Raises:
        DeliveryError: The mask cannot be opened.
    """
    inside = ZIPPED.fullmatch(path)
    if inside is not None and Path(inside[2]).is_file():
        folder = PurePosixPath(inside[3]).parent
        with zipfile.ZipFile(inside[2]) as archive:
            names = [name for name in sorted(archive.namelist()) if PurePosixPath(name).parent == folder]
        beside = {PurePosixPath(name).name: f"{inside[1]}{name}" for name in names}
    elif Path(path).is_file():
        beside = {file.name: str(file) for file in sorted(Path(path).parent.iterdir())}
    else:
        return None
    own = PurePosixPath(path).name
    for name, mask in beside.items():
        if is_mask_of(name, own):
            with open_raster(mask, DeliveryError) as dataset:
                return mask if dataset.count == BANDS and dataset.crs is not None else None
    return None


def unusable_pixels(numbers: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return what cannot be used, (H, W), of the bands `UNUSABLE` (2, H, W)."""
    return np.asarray((numbers[0] == 1) | (numbers[1] != 0))


def read_usable(mask: str) -> Usable:
    """Read a mask to its end.

    Raises:
        DeliveryError: It cannot be read to its end.
    """
    shown = clouded = 0
    parts: list[BaseGeometry] = []
    with open_raster(mask, DeliveryError) as dataset:
        try:
            for window in windows(dataset):
                classes = dataset.read(_CLASSES, window=window) == 1
                shown += int(classes.any(axis=0).sum())
                clouded += int(classes[_CLASSES.index(_CLOUD)].sum())
                bad = unusable_pixels(dataset.read(UNUSABLE, window=window))
                found = outlines(bad, whole=bool(bad.all()))
                parts += [translate(part, window.col_off, window.row_off) for part in found]
        except RasterioError as error:
            raise DeliveryError(
                f"{mask}: cannot be read to its end ({first_line(error)}); copy it again, or remove it to take its "
                "image without a mask"
            ) from error
        crs = CRS.from_user_input(dataset.crs)
        ground = on_globe(
            mask, shapely.union_all(parts), dataset.transform, crs, max(dataset.width, dataset.height)
        )
    return Usable(cloud_share=clouded / shown if shown else None, unusable=ground)


def usable_ground(
    footprints: Sequence[BaseGeometry], unusable: Sequence[BaseGeometry]
) -> NDArray[np.object_]:
    """Return the ground (N,) of footprints without what cannot be used of them."""
    pair = (np.array([None, *each], dtype=object)[1:] for each in (footprints, unusable))
    return np.asarray(shapely.difference(*pair))

"""One raster of any origin → RGB in 0..1 with a validity mask, on its own grid or on another.

Calibration comes from tags or from flags, never from the pixels: 8-bit rasters are taken as display
RGB; everything else is reflectance = scale · DN + offset, which the model card's white point and gamma
turn into the display RGB that the networks were trained on.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from geozoom.errors import GeozoomError

RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt")

_RGB_NAMES = (
    re.compile(r"^(sr_|sur_refl_)?b0?4$|^red$", re.IGNORECASE),
    re.compile(r"^(sr_|sur_refl_)?b0?3$|^green$", re.IGNORECASE),
    re.compile(r"^(sr_|sur_refl_)?b0?2$|^blue$", re.IGNORECASE),
)


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What the user says about rasters that do not say it themselves."""

    bands: tuple[int, int, int] | None = None
    """1-based band numbers of red, green and blue."""
    scale: float | None = None
    """Reflectance per digital number."""
    offset: float | None = None
    """Reflectance of the digital number 0."""
    nodata: float | None = None
    """Digital number that means no data."""
    assume_crs: str | None = None
    """CRS of rasters that have none."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How digital numbers become RGB in 0..1."""

    scale: tuple[float, float, float]
    """Factor of each of red, green and blue."""
    offset: tuple[float, float, float]
    """Summand of each of red, green and blue."""
    reflectance: bool
    """True if the result is reflectance, False if it is display RGB already."""
    source: str
    """Where the figures come from, for the record."""


@dataclass(frozen=True, kw_only=True)
class Display:
    """The model card's mapping of reflectance to the RGB that the networks know."""

    white: float
    """Reflectance shown as 1."""
    gamma: float
    """Display gamma."""


def find_rasters(
    inputs: Iterable[str], problem: type[GeozoomError], suffixes: Sequence[str] = RASTER_SUFFIXES
) -> list[str]:
    """Expand files, folders, `/vsi…` paths and URLs into a list of rasters without repetitions.

    Raises:
        GeozoomError: Of type `problem`: a path does not exist, or a folder holds no raster.
    """
    found: dict[str, None] = {}
    for entry in inputs:
        if entry.startswith("/vsi") or "://" in entry:
            found[entry] = None
            continue
        path = Path(entry)
        if path.is_dir():
            files = sorted(
                file for file in path.iterdir() if file.is_file() and file.suffix.lower() in suffixes
            )
            if not files:
                raise problem(
                    f"{path}: no rasters ({', '.join(suffixes)}) in this folder; name the folder that holds them"
                )
            found.update(dict.fromkeys(map(str, files)))
        elif path.exists():
            found[str(path)] = None
        else:
            raise problem(f"{path}: no such file or folder; check the path")
    return list(found)


def open_raster(path: str, problem: type[GeozoomError]) -> Any:
    """Open a raster with rasterio, turning its errors into one sentence.

    Raises:
        GeozoomError: Of type `problem`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # reported as a missing CRS
            return rasterio.open(path)
    except RasterioError as error:
        raise problem(f"{path}: cannot be opened as a raster ({error}); replace or remove it") from error


def choose_bands(dataset: Any, options: ReadOptions, problem: type[GeozoomError]) -> tuple[int, int, int]:
    """Return the 1-based band numbers of red, green and blue.

    By `options.bands`, else by band descriptions, else by colour interpretation, else as they stand if
    there are exactly three.

    Raises:
        GeozoomError: Of type `problem`, saying what was seen and which flag settles it.
    """
    if options.bands is not None:
        if max(options.bands) > dataset.count:
            raise problem(
                f"{dataset.name}: has {dataset.count} band(s), so --bands "
                f"{','.join(map(str, options.bands))} does not fit it"
            )
        return options.bands
    descriptions = [text or "" for text in dataset.descriptions]
    named = [
        next((i for i, text in enumerate(descriptions, 1) if pattern.match(text.strip())), None)
        for pattern in _RGB_NAMES
    ]
    colours = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    coloured = [
        next((i for i, colour in enumerate(dataset.colorinterp, 1) if colour is wanted), None)
        for wanted in colours
    ]
    for red, green, blue in (named, coloured):
        if red is not None and green is not None and blue is not None:
            return red, green, blue
    if dataset.count == 3:
        return 1, 2, 3
    seen = ", ".join(f"{i}: {text or 'not described'}" for i, text in enumerate(descriptions, 1))
    if dataset.count < 3:
        raise problem(
            f"{dataset.name}: has {dataset.count} band(s) ({seen}), but red, green and blue are needed; "
            "give a raster that holds all three"
        )
    raise problem(
        f"{dataset.name}: which of its {dataset.count} bands are red, green and blue cannot be told "
        f"({seen}); say it with --bands R,G,B"
    )


def calibrate(
    dataset: Any, bands: tuple[int, int, int], options: ReadOptions, problem: type[GeozoomError]
) -> Calibration:
    """Return the calibration of a raster, from flags, tags or its being 8-bit.

    Raises:
        GeozoomError: Of type `problem`: nothing says what its numbers mean.
    """
    if options.scale is not None:
        offset = options.offset or 0.0
        return Calibration(
            scale=(options.scale,) * 3,
            offset=(offset,) * 3,
            reflectance=True,
            source="--scale and --offset",
        )
    scales = tuple(float(dataset.scales[band - 1]) for band in bands)
    offsets = tuple(float(dataset.offsets[band - 1]) for band in bands)
    if scales != (1.0, 1.0, 1.0) or offsets != (0.0, 0.0, 0.0):
        red, green, blue = scales
        red0, green0, blue0 = offsets
        return Calibration(
            scale=(red, green, blue),
            offset=(red0, green0, blue0),
            reflectance=True,
            source="scale and offset tags",
        )
    dtypes = {dataset.dtypes[band - 1] for band in bands}
    if dtypes == {"uint8"}:
        return Calibration(
            scale=(1 / 255,) * 3, offset=(0.0,) * 3, reflectance=False, source="8-bit display RGB"
        )
    raise problem(
        f"{dataset.name}: holds {', '.join(sorted(dtypes))} without scale and offset tags, so its "
        "reflectance is not known; give --scale (and --offset), for Sentinel-2 L2A usually "
        "--scale 0.0001, with --offset -0.1 from processing baseline 04.00 on unless already subtracted"
    )


def read_rgb(
    dataset: Any,
    bands: tuple[int, int, int],
    window: Window | None,
    calibration: Calibration,
    display: Display,
    nodata: float | None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Read RGB and validity of a window.

    Args:
        dataset: An open rasterio dataset or WarpedVRT.
        bands: 1-based red, green and blue.
        window: Pixels to read; None reads all.
        calibration: Digital numbers to reflectance or display RGB.
        display: Reflectance to display RGB.
        nodata: Digital number that means no data, besides what the dataset itself marks.

    Returns:
        (3, H, W) float32 in 0..1 and (H, W) bool, True where all three bands hold data.
    """
    numbers = dataset.read(list(bands), window=window)
    valid = (dataset.read_masks(list(bands), window=window) > 0).all(axis=0)
    if nodata is not None:
        valid &= ~(numbers == nodata).all(axis=0)
    if numbers.dtype.kind == "f":
        valid &= np.isfinite(numbers).all(axis=0)
        numbers = np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0)
    scale = np.asarray(calibration.scale, dtype=np.float32)[:, None, None]
    offset = np.asarray(calibration.offset, dtype=np.float32)[:, None, None]
    rgb = numbers.astype(np.float32) * scale + offset
    if calibration.reflectance:
        rgb = np.clip(rgb / display.white, 0, 1) ** (1 / display.gamma)
    return np.clip(rgb, 0, 1).astype(np.float32, copy=False), valid


RESAMPLING = Resampling.bilinear
"""GDAL's warper widens this kernel when it shrinks a raster, so it is right both ways."""

"""One raster of any origin → RGB in 0..1 with a validity mask, on its own grid or on another.

Calibration comes from tags or from flags, never from the pixels: 8-bit rasters are taken as display
RGB; everything else is reflectance = scale · DN + offset, which the model card's white point and gamma
turn into the display RGB that the networks were trained on.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary
from xml.etree import ElementTree

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS as RasterioCRS
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from geozoom.clouds import CloudMask
from geozoom.errors import GeozoomError

_TABULATED = (np.dtype(np.uint8), np.dtype(np.uint16))
_PIXELS_LOOKED_UP = 2**14
_MASK_NAME = re.compile(r"data_?mask", re.IGNORECASE)
_RGB_NAMES = (
    re.compile(r"(sr_|sur_refl_)?b0?4\b|red\b", re.IGNORECASE),
    re.compile(r"(sr_|sur_refl_)?b0?3\b|green\b", re.IGNORECASE),
    re.compile(r"(sr_|sur_refl_)?b0?2\b|blue\b", re.IGNORECASE),
)


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """What the user says about rasters that do not say it themselves.

    Bands are taken as said; scale and offset only where neither tags nor 8-bit pixels settle them.
    """

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
    clouds: CloudMask | None = None
    """Where clouds are; a product's own classification if absent."""


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


def open_raster(dataset: str, problem: type[GeozoomError], name: str | None = None) -> Any:
    """Open a raster with rasterio, turning its errors into one sentence.

    Args:
        dataset: A path, or the XML of a virtual raster.
        problem: Type of the error raised.
        name: The raster's name in messages, if not `dataset`.

    Raises:
        GeozoomError: Of type `problem`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # reported as a missing CRS
            return rasterio.open(dataset)
    except RasterioError as error:
        raise problem(
            f"{name or dataset}: cannot be opened as a raster ({error}); replace or remove it"
        ) from error


def choose_bands(
    dataset: Any, options: ReadOptions, problem: type[GeozoomError], name: str
) -> tuple[int, int, int]:
    """Return the 1-based band numbers of red, green and blue.

    By `options.bands`, else by band descriptions, else, where no band is described, by colour
    interpretation, else as they stand if there are exactly three.

    Raises:
        GeozoomError: Of type `problem`, saying what was seen and which flag settles it.
    """
    if options.bands is not None:
        if max(options.bands) > dataset.count:
            raise problem(
                f"{name}: has {dataset.count} band(s), so --bands "
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
    described = any(descriptions)
    for red, green, blue in (named,) if described else (coloured,):
        if red is not None and green is not None and blue is not None:
            return red, green, blue
    if dataset.count == 3 and not described:
        return 1, 2, 3
    seen = ", ".join(f"{i}: {text or 'not described'}" for i, text in enumerate(descriptions, 1))
    if dataset.count < 3:
        raise problem(
            f"{name}: has {dataset.count} band(s) ({seen}), but red, green and blue are needed; "
            "give a raster that holds all three"
        )
    raise problem(
        f"{name}: which of its {dataset.count} bands are red, green and blue cannot be told "
        f"({seen}); say it with --bands R,G,B"
    )


def find_mask_band(dataset: Any) -> int | None:
    """Return the 1-based number of a band that is 0 where data is missing, or None.

    It is described as `dataMask` (Sentinel Hub), or is the alpha band, which GDAL itself heeds only in
    rasters of two or four bands.
    """
    bands = zip(dataset.descriptions, dataset.colorinterp, strict=True)
    return next(
        (
            number
            for number, (text, meaning) in enumerate(bands, 1)
            if _MASK_NAME.fullmatch((text or "").strip()) or meaning == ColorInterp.alpha
        ),
        None,
    )


def calibrate(
    dataset: Any, bands: tuple[int, int, int], options: ReadOptions, problem: type[GeozoomError], name: str
) -> Calibration:
    """Return the calibration of a raster, from tags, its being 8-bit, or flags, in this order.

    Raises:
        GeozoomError: Of type `problem`: nothing says what its numbers mean.
    """
    dtypes = {dataset.dtypes[band - 1] for band in bands}
    if any(dtype.startswith("complex") for dtype in dtypes):
        raise problem(f"{name}: holds complex numbers, which are no image; give its amplitude or RGB")
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
    if dtypes == {"uint8"}:
        return Calibration(
            scale=(1 / 255,) * 3, offset=(0.0,) * 3, reflectance=False, source="8-bit display RGB"
        )
    if options.scale is not None:
        offset = options.offset or 0.0
        return Calibration(
            scale=(options.scale,) * 3,
            offset=(offset,) * 3,
            reflectance=True,
            source="--scale and --offset",
        )
    raise problem(
        f"{name}: holds {', '.join(sorted(dtypes))} without scale and offset tags, so its "
        "reflectance is not known; give --scale (and --offset), for Sentinel-2 L2A usually "
        "--scale 0.0001, with --offset -0.1 from processing baseline 04.00 on unless already subtracted"
    )


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """A window of a raster."""

    rgb: NDArray[np.float32]
    """(3, H, W) in 0..1."""
    valid: NDArray[np.bool_]
    """(H, W) True where all three bands hold data."""
    zeros: int
    """Valid pixels of which all three digital numbers are 0, as unmarked missing data would be."""


def read_rgb(
    dataset: Any,
    bands: tuple[int, int, int],
    window: Window | None,
    calibration: Calibration,
    display: Display,
    *,
    nodata: float | None,
    path: str,
    problem: type[GeozoomError],
    mask_band: int | None = None,
    out_shape: tuple[int, int] | None = None,
) -> Pixels:
    """Read RGB and validity of a window; a pixel that misses one band is missing.

    Args:
        dataset: An open rasterio dataset, or one that `on_grid` returned.
        bands: 1-based red, green and blue.
        window: Pixels to read; None reads all.
        calibration: Digital numbers to reflectance or display RGB.
        display: Reflectance to display RGB.
        nodata: Digital number that means no data, besides what the dataset itself marks.
        path: The raster's name in messages.
        problem: Type of the error raised.
        mask_band: 1-based band that is 0 where data is missing, if there is one.
        out_shape: Rows and columns to thin the window to, by nearest neighbour; None keeps them all.

    Raises:
        GeozoomError: Of type `problem`: the raster cannot be read to its end.
    """
    numbers, valid = read_numbers(
        dataset,
        bands,
        window,
        nodata=nodata,
        path=path,
        problem=problem,
        mask_band=mask_band,
        out_shape=out_shape,
    )
    zeros = 0 if numbers[0].all() else int(np.count_nonzero(valid & (numbers == 0).all(axis=0)))
    return Pixels(rgb=to_rgb(numbers, calibration, display), valid=valid, zeros=zeros)


def read_numbers(
    dataset: Any,
    bands: Sequence[int],
    window: Window | None,
    *,
    nodata: float | None,
    path: str,
    problem: type[GeozoomError],
    mask_band: int | None = None,
    out_shape: tuple[int, int] | None = None,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Read digital numbers (bands, H, W) and where all of them are data (H, W); arguments as of `read_rgb`.

    Raises:
        GeozoomError: Of type `problem`: the raster cannot be read to its end.
    """
    try:
        stack = None if out_shape is None else (len(bands), *out_shape)
        flags, alpha = _marks(dataset, tuple(bands))
        if alpha is not None and out_shape is None:
            # One call instead of two: of a patch, a call costs as much as its pixels.
            with_alpha = dataset.read([*bands, alpha], window=window)
            numbers, valid = with_alpha[:-1], with_alpha[-1] > 0
        else:
            numbers = dataset.read(list(bands), window=window, out_shape=stack)
            valid = _valid(dataset, bands, flags, numbers, window, out_shape)
        if mask_band is not None:
            valid &= dataset.read(mask_band, window=window, out_shape=out_shape) != 0
    except RasterioError as error:
        raise problem(
            f"{path}: cannot be read to its end ({error.__cause__ or error}); it may be cut short, so copy it again"
        ) from error
    if nodata is not None:
        valid &= (numbers != nodata).all(axis=0)
    if numbers.dtype.kind == "f":
        valid &= np.isfinite(numbers).all(axis=0)
        numbers = np.nan_to_num(numbers, nan=0.0, posinf=0.0, neginf=0.0)
    return numbers, valid


def _valid(
    dataset: Any,
    bands: Sequence[int],
    flags: list[Any],
    numbers: NDArray[Any],
    window: Window | None,
    out_shape: tuple[int, int] | None,
) -> NDArray[np.bool_]:
    """Return where all bands hold data, as the raster itself marks it, (H, W)."""
    if all(flag == [MaskFlags.all_valid] for flag in flags):
        return np.ones(numbers.shape[1:], dtype=bool)
    if all(MaskFlags.per_dataset in flag for flag in flags):
        return np.asarray(dataset.read_masks(bands[0], window=window, out_shape=out_shape) > 0)
    stack = None if out_shape is None else (len(bands), *out_shape)
    masks = dataset.read_masks(list(bands), window=window, out_shape=stack)
    return np.asarray((masks > 0).all(axis=0))


_Marks: TypeAlias = tuple[list[Any], int | None]
_MARKS: WeakKeyDictionary[Any, dict[tuple[int, ...], _Marks]] = WeakKeyDictionary()


def _marks(dataset: Any, bands: tuple[int, ...]) -> _Marks:
    """Return how the bands' missing pixels are marked, and the band of bytes that marks them for all, if one does.

    Each open raster is asked once, as asking is slow.
    """
    known = _MARKS.setdefault(dataset, {})
    if bands not in known:
        alphas = [at for at, each in enumerate(dataset.colorinterp, 1) if each == ColorInterp.alpha]
        # Of wider numbers GDAL scales alpha to a byte, so that its least values are missing too.
        alpha = alphas[0] if len(alphas) == 1 and set(dataset.dtypes) == {"uint8"} else None
        flags = [dataset.mask_flag_enums[band - 1] for band in bands]
        marked = all({MaskFlags.per_dataset, MaskFlags.alpha} <= set(flag) for flag in flags)
        known[bands] = flags, alpha if marked else None
    return known[bands]


def to_rgb(numbers: NDArray[Any], calibration: Calibration, display: Display) -> NDArray[np.float32]:
    """Map digital numbers (3, H, W) to RGB in 0..1 (3, H, W) float32."""
    if numbers.dtype in _TABULATED:
        rgb = np.empty(numbers.shape, dtype=np.float32)
        for values, band, out in zip(
            _tables(calibration, display, numbers.dtype.str), numbers, rgb, strict=True
        ):
            # A few rows at a time, so that NumPy's wider copy of the numbers stays in the processor's cache.
            step = max(1, _PIXELS_LOOKED_UP // max(1, band.shape[1]))
            for row in range(0, len(band), step):
                rows = slice(row, row + step)
                np.take(values, band[rows], out=out[rows], mode="clip")
        return rgb
    return _formula(numbers, calibration, display)


@lru_cache(maxsize=8)
def _tables(calibration: Calibration, display: Display, dtype: str) -> NDArray[np.float32]:
    """Return the RGB of every digital number there is, (3, 2^bits): powers are slow, looking up is not."""
    numbers = np.arange(np.iinfo(dtype).max + 1)
    table: NDArray[np.float32] = _formula(
        np.broadcast_to(numbers, (3, 1, len(numbers))), calibration, display
    )
    return table[:, 0]


def _formula(numbers: NDArray[Any], calibration: Calibration, display: Display) -> NDArray[np.float32]:
    scale = np.asarray(calibration.scale, dtype=np.float32)[:, None, None]
    offset = np.asarray(calibration.offset, dtype=np.float32)[:, None, None]
    rgb: NDArray[np.float32] = numbers.astype(np.float32) * scale + offset
    if calibration.reflectance:
        rgb = np.clip(rgb / display.white, 0, 1) ** (1 / display.gamma)
    return np.asarray(np.clip(rgb, 0, 1), dtype=np.float32)


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
    )


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

"""One raster of any origin → a window's RGB in 0..1 and where it holds data, on its own grid or on another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window

from geozoom.calibration import Calibration, Display, to_rgb
from geozoom.errors import GeozoomError


def open_raster(
    dataset: str, problem: type[GeozoomError], name: str | None = None, *, classes: bool = False
) -> Any:
    """Open a raster with rasterio, turning its errors into one sentence.

    Args:
        dataset: A path, or the XML of a virtual raster.
        problem: Type of the error raised.
        name: The raster's name in messages, if not `dataset`.
        classes: Its numbers are names of classes, of which overviews may hold means: read it without them.

    Raises:
        GeozoomError: Of type `problem`.
    """
    how = {"OVERVIEW_LEVEL": "NONE"} if classes else {}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # reported as a missing CRS
            return rasterio.open(dataset, **how)
    except (RasterioError, UnicodeError) as error:  # of a name that is no UTF-8
        raise problem(
            f"{name or dataset}: cannot be opened as a raster ({error}); replace or remove it"
        ) from error


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
            valid = _valid(dataset, bands, flags, alpha, numbers, window, out_shape)
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
    alpha: int | None,
    numbers: NDArray[Any],
    window: Window | None,
    out_shape: tuple[int, int] | None,
) -> NDArray[np.bool_]:
    """Return where all bands hold data, as the raster itself marks it, (H, W)."""
    if _says_all_valid(flags):
        if alpha is None:
            return np.ones(numbers.shape[1:], dtype=bool)
        return np.asarray(dataset.read(alpha, window=window, out_shape=out_shape) > 0)
    if all(MaskFlags.per_dataset in flag for flag in flags):
        return np.asarray(dataset.read_masks(bands[0], window=window, out_shape=out_shape) > 0)
    stack = None if out_shape is None else (len(bands), *out_shape)
    masks = dataset.read_masks(list(bands), window=window, out_shape=stack)
    return np.asarray((masks > 0).all(axis=0))


def _says_all_valid(flags: list[Any]) -> bool:
    return all(flag == [MaskFlags.all_valid] for flag in flags)


_Marks: TypeAlias = tuple[list[Any], int | None]
_MARKS: WeakKeyDictionary[Any, dict[tuple[int, ...], _Marks]] = WeakKeyDictionary()


def _marks(dataset: Any, bands: tuple[int, ...]) -> _Marks:
    """Return how the bands' missing pixels are marked, and the alpha band that marks them for all, if it is to be read.

    Each open raster is asked once, as asking is slow.
    """
    known = _MARKS.setdefault(dataset, {})
    if bands not in known:
        alphas = [at for at, each in enumerate(dataset.colorinterp, 1) if each == ColorInterp.alpha]
        alpha = alphas[0] if len(alphas) == 1 and alphas[0] not in bands else None
        flags = [dataset.mask_flag_enums[band - 1] for band in bands]
        # Of wider numbers GDAL scales alpha to a byte, so that its least values are missing too.
        in_bytes = set(dataset.dtypes) == {"uint8"}
        marked = in_bytes and all({MaskFlags.per_dataset, MaskFlags.alpha} <= set(flag) for flag in flags)
        # GDAL heeds alpha beside one or three bands of integers alone: where a raster of others is resampled, the
        # band that says what is missing goes by unheeded.
        known[bands] = flags, alpha if marked or _says_all_valid(flags) else None
    return known[bands]

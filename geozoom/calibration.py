"""Digital numbers → RGB in 0..1.

Calibration comes from tags or from flags, never from the pixels: 8-bit rasters are taken as display RGB; everything
else is reflectance = scale · DN + offset, which the model card's white point and gamma turn into the display RGB that
the networks were trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geozoom.bands import ReadOptions
from geozoom.errors import GeozoomError

_TABULATED = (np.dtype(np.uint8), np.dtype(np.uint16))
_PIXELS_LOOKED_UP = 2**14
_LARGEST = 1e15
"""No digital number that means something is larger."""


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
            source=f"--{options.prefix}scale and --{options.prefix}offset",
        )
    raise problem(
        f"{name}: holds {', '.join(sorted(dtypes))} without scale and offset tags, so its "
        f"reflectance is not known; give --{options.prefix}scale (and --{options.prefix}offset), for Sentinel-2 L2A "
        "usually 0.0001, with an offset of -0.1 from processing baseline 04.00 on unless already subtracted"
    )


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
    # What marks a missing pixel may be the lowest number that a float holds, and overflow.
    rgb: NDArray[np.float32] = np.clip(numbers, -_LARGEST, _LARGEST).astype(np.float32) * scale + offset
    if calibration.reflectance:
        rgb = np.clip(rgb / display.white, 0, 1) ** (1 / display.gamma)
    return np.asarray(np.clip(rgb, 0, 1), dtype=np.float32)

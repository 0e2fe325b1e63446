"""What the user says about a raster, and which of its bands are red, green, blue and the mask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rasterio.enums import ColorInterp

from geozoom.clouds import CloudMask
from geozoom.errors import GeozoomError

_MASK_NAME = re.compile(r"data_?mask", re.IGNORECASE)
_RGB_NAMES = (
    re.compile(r"(sr_)?b0?4\b|sur_refl_b01\b|red\b(?!\W*edge)", re.IGNORECASE),
    re.compile(r"(sr_)?b0?3\b|sur_refl_b04\b|green\b(?!\W*i\b)", re.IGNORECASE),
    re.compile(r"(sr_)?b0?2\b|sur_refl_b03\b|blue\b", re.IGNORECASE),
)
"""Numbers of Sentinel-2 and Landsat, those of MODIS, and words; but not the red edge, nor Planet's second green."""


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
    prefix: str = ""
    """What the command's flags for these rasters begin with, as in --hr-bands, for messages."""


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
                f"{name}: has {dataset.count} band(s), so --{options.prefix}bands "
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
        f"({seen}); say it with --{options.prefix}bands R,G,B"
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

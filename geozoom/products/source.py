"""What an LR source is, whichever product it comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from geozoom.calibration import Calibration
from geozoom.clouds import CloudMask
from geozoom.errors import TileError
from geozoom.rasters import open_raster


@dataclass(frozen=True, kw_only=True)
class Source:
    """One LR raster, however many files hold it."""

    name: str
    """What the user would call it: a path."""
    dataset: str
    """What GDAL opens: a path, or the XML of a virtual raster."""
    sensor: str = "raster"
    """What the product says it is."""
    bands: tuple[int, int, int] | None = None
    """1-based red, green and blue where the product settles them."""
    calibration: Calibration | None = None
    """Digital numbers to reflectance, where the product says it."""
    nodata: float | None = None
    """Digital number that means no data by the product's definition."""
    acquired: datetime | None = None
    """When the scene was taken, where the product says it."""
    clouds: CloudMask | None = None
    """The product's own classification of clouds."""


def is_there(raster: str) -> bool:
    """Tell whether there is a raster of this name, within an archive that GDAL reads too."""
    if not raster.startswith("/vsi"):
        return Path(raster).is_file()
    try:
        with open_raster(raster, TileError):
            return True
    except TileError:
        return False


def number(where: object, text: str | None) -> float:
    """Read a number of a product's metadata.

    Raises:
        TileError: It is none.
    """
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise TileError(f"{where}: its metadata holds {text!r} where a number belongs; download it again")
    return value


def moment(text: str | None) -> datetime | None:
    """Read a time of a product's metadata, UTC if it does not say; None if it is none."""
    try:
        time = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)

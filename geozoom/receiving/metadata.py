"""When an image was taken, by which satellite and how clouded, as far as its metadata says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from geozoom.products.source import moment

_NITF_TIME = re.compile(r"\d{14}")
_WITH_DATE = 1900
"""Times before this year are how vendors write that they do not know."""


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """What the metadata of an image say; None where they do not."""

    acquired: datetime | None = None
    """When it was taken, UTC."""
    sensor: str | None = None
    """The satellite, as the vendor calls it."""
    cloud_share: float | None = None
    """Share of the vendor's scene under clouds, in 0..1; a clip of it may have more or less."""


def read_acquisition(dataset: Any, beside: Sequence[bytes] = ()) -> Acquisition:
    """Read what GDAL knows from a vendor's own files, from NITF headers, or STAC and Planet JSON beside the image.

    The TIFF tag DateTime is when the file was made, so it is not taken.

    Args:
        dataset: The open rasterio dataset.
        beside: JSON files that are about the image.
    """
    known = [_imagery(dataset.tags(ns="IMAGERY")), _nitf(dataset.tags())]
    known += [_item(content) for content in beside]
    return Acquisition(
        acquired=next((each.acquired for each in known if each.acquired is not None), None),
        sensor=next((each.sensor for each in known if each.sensor), None),
        cloud_share=next((each.cloud_share for each in known if each.cloud_share is not None), None),
    )


def _imagery(tags: Mapping[str, str]) -> Acquisition:
    """GDAL's common names for what it reads in the metadata of Maxar, Airbus, Planet's RapidEye and others."""
    return Acquisition(
        acquired=_time(tags.get("ACQUISITIONDATETIME")),
        sensor=tags.get("SATELLITEID"),
        cloud_share=_share(tags.get("CLOUDCOVER"), 100),
    )


def _nitf(tags: Mapping[str, str]) -> Acquisition:
    text = tags.get("NITF_IDATIM", "")
    acquired = None
    if _NITF_TIME.fullmatch(text):
        acquired = _time(f"{text[:8]}T{text[8:]}")
    return Acquisition(
        acquired=acquired,
        sensor=(tags.get("NITF_ISORCE") or "").strip() or None,
        cloud_share=_share(tags.get("NITF_PIAIMC_CLOUDCVR"), 100),
    )


def _item(content: bytes) -> Acquisition:
    """A STAC item, or Planet's JSON, which has the same shape."""
    try:
        held = json.loads(content)["properties"]
        found = Acquisition(
            acquired=_time(held.get("datetime") or held.get("acquired") or held.get("start_datetime")),
            sensor=str(held.get("platform") or held.get("satellite_id") or "") or None,
            cloud_share=_share(held.get("eo:cloud_cover"), 100),
        )
        if found.cloud_share is None:
            # Planet's cloud_percent is a percentage, its older cloud_cover a share.
            share = _share(held.get("cloud_percent"), 100)
            share = _share(held.get("cloud_cover"), 1) if share is None else share
            found = Acquisition(acquired=found.acquired, sensor=found.sensor, cloud_share=share)
    except (ValueError, LookupError, TypeError, AttributeError):
        return Acquisition()  # JSON about something else
    return found


def _time(text: Any) -> datetime | None:
    time = moment(text if isinstance(text, str) else None)
    return None if time is None or time.year < _WITH_DATE else time.astimezone(UTC)


def _share(value: Any, whole: float) -> float | None:
    try:
        share = float(value) / whole
    except (TypeError, ValueError):
        return None
    # Vendors write 999 or -999 for "not known".
    return share if math.isfinite(share) and 0 <= share <= 1 else None

"""Landsat Collection 2 level 2 scenes, calibrated by their MTL file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from geozoom.calibration import Calibration
from geozoom.clouds import CloudMask
from geozoom.products.source import Source, moment, number

SCENE_ID = re.compile(r"L[COTE]0(?P<number>[4-9])_L2S[PR]_\d{6}_\d{8}_.*", re.IGNORECASE)
"""How the names of such a scene's files begin, with surface temperature (L2SP) and without (L2SR)."""


def red_green_blue(sensor_number: int) -> tuple[str, str, str]:
    """Return the bands of Landsat 4-7, which count blue as 1, or of 8 and 9, which count it as 2."""
    return ("3", "2", "1") if sensor_number < 8 else ("4", "3", "2")


def landsat_scene(folder: str, head: str, tail: str, dataset: str, name: str, order: Sequence[str]) -> Source:
    """Return a Landsat Collection 2 level 2 scene, calibrated by its MTL file."""
    scene = re.sub(r"_SR_$", "", head, flags=re.IGNORECASE)
    metadata = Path(f"{folder}{scene}_MTL.txt")
    quality = Path(f"{folder}{scene}_QA_PIXEL{tail}")
    values = _mtl(metadata)
    calibration = None
    if values is not None:
        scales = [number(metadata, values.get(f"REFLECTANCE_MULT_BAND_{band}")) for band in order]
        offsets = [number(metadata, values.get(f"REFLECTANCE_ADD_BAND_{band}")) for band in order]
        calibration = Calibration(
            scale=(scales[0], scales[1], scales[2]),
            offset=(offsets[0], offsets[1], offsets[2]),
            reflectance=True,
            source=f"{metadata.name} (surface reflectance parameters)",
        )
    return Source(
        name=name,
        dataset=dataset,
        sensor=f"Landsat {int(head[3])} Collection 2 level 2",
        bands=(1, 2, 3),
        calibration=calibration,
        nodata=0.0,
        acquired=moment((values or {}).get("DATE_ACQUIRED")),
        clouds=CloudMask(dataset=str(quality), kind="qa_pixel") if quality.is_file() else None,
    )


def _mtl(file: Path) -> dict[str, str] | None:
    """Return the values of an MTL file that hold for surface reflectance, or None without the file."""
    if not file.is_file():
        return None
    values: dict[str, str] = {}
    group = ""
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = value
        elif key.startswith("REFLECTANCE_") and group != "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS":
            continue  # the same keys mean top-of-atmosphere reflectance elsewhere
        else:
            values[key] = value.strip('"')
    return values

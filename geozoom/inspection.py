"""What the reader understands of tiles, without planning anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geozoom.bands import ReadOptions
from geozoom.card import ModelCard
from geozoom.errors import TileError
from geozoom.scenes import lattice_shape
from geozoom.tiles import Tile, survey


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """One source as the reader sees it, or why it is refused."""

    name: str
    """As the user gave it."""
    refused: str | None
    """Why it cannot be used; None if it can."""
    facts: dict[str, Any]
    """Sensor, bands, calibration, CRS, GSD, size, missing and clouded shares, scenes; empty if refused."""


def inspect(
    inputs: Sequence[str | Path], card: ModelCard, options: ReadOptions | None = None
) -> tuple[list[Inspection], tuple[str, ...]]:
    """Look at every source that a plan with this model would read.

    Args:
        inputs: LR rasters: files, folders, products, `/vsi…` paths or URLs.
        card: Of the model that would plan.
        options: What the user says about rasters that do not say it themselves.

    Returns:
        An inspection for every source, refused ones last, and the entries of folders that are no rasters.
    """
    found = survey([str(entry) for entry in inputs], options or ReadOptions(), card.lr_gsd_m, card.lr_px)
    seen: list[Inspection] = []
    refused = list(found.refused)
    for tile in found.tiles:
        try:
            seen.append(Inspection(name=tile.path, refused=None, facts=_facts(tile, card)))
        except TileError as error:
            refused.append((tile.path, str(error)))
    seen += [Inspection(name=name, refused=reason, facts={}) for name, reason in refused]
    seen += [
        Inspection(name=problem.partition(": ")[0], refused=problem, facts={}) for problem in found.problems
    ]
    return seen, found.ignored


def _facts(tile: Tile, card: ModelCard) -> dict[str, Any]:
    missing, clouded = tile.sampled_shares()
    rows, cols = lattice_shape(tile, card.lr_px)
    acquired = tile.source.acquired
    return {
        "sensor": tile.source.sensor,
        "acquired": None if acquired is None else acquired.isoformat(),
        "bands": list(tile.bands),
        "scale": list(tile.calibration.scale),
        "offset": list(tile.calibration.offset),
        "reflectance": tile.calibration.reflectance,
        "calibration": tile.calibration.source,
        "crs": tile.crs.to_string(),
        "gsd_m": [round(side, 3) for side in tile.gsd_m],
        "resampled": tile.resampled,
        "width": tile.width,
        "height": tile.height,
        "missing_share": round(missing, 4),
        "clouded_share": None if clouded is None else round(clouded, 4),
        "clouds": None if tile.clouds is None else tile.clouds.kind,
        "unmarked_zeros": tile.untagged_zeros,
        "scenes": rows * cols,
        "scene_m": card.scene_m,
    }

"""What people have on disk → LR sources: plain rasters, and products that spread one scene over many files.

Known are Sentinel-2 SAFE folders and zips, folders of one file per band, Landsat Collection 2 level 2
scenes, and the shards of an Earth Engine export. Calibration comes from a product's own metadata.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from geozoom.errors import TileError
from geozoom.inputs import RASTER_SUFFIXES, SIDECARS, find_rasters
from geozoom.products.bandfiles import group_files
from geozoom.products.safe import METADATA, read_safe
from geozoom.products.source import Source

__all__ = ["FoundSources", "Source", "find_sources"]


@dataclass(frozen=True, kw_only=True)
class FoundSources:
    """What a list of paths came to."""

    sources: tuple[Source, ...]
    """In the order of their names, whatever order they were given in."""
    ignored: tuple[str, ...]
    """Entries of folders that belong to no source."""
    problems: tuple[str, ...]
    """A sentence for every path that cannot be used."""


def find_sources(inputs: Iterable[str]) -> FoundSources:
    """Recognise products among files, folders, `/vsi…` paths and URLs."""
    sources: dict[str, Source] = {}
    problems: list[str] = []
    plain: list[str] = []
    beside: list[str] = []
    for entry in inputs:
        products, rest, others = _look_at(entry)
        plain += rest
        beside += others
        for product in products:
            try:
                sources[str(product)] = read_safe(product)
            except TileError as error:
                problems.append(str(error))
    rasters = find_rasters(plain)
    grouped, faults = group_files(rasters.rasters)
    for source in grouped:
        if source.name in sources:
            faults.append(
                f"{source.name}: is the name of a file and of files that belong together; rename it"
            )
        sources[source.name] = source
    return FoundSources(
        sources=tuple(sources[name] for name in sorted(sources)),
        ignored=tuple(name for name in (*beside, *rasters.ignored) if not _is_product(Path(name))),
        problems=(*problems, *rasters.problems, *faults),
    )


def _look_at(entry: str) -> tuple[list[Path], list[str], list[str]]:
    """Return the products that a path is or holds, and what else there is to look at or to leave.

    That is the path itself if there may be rasters besides, or else the other entries of the folder.
    """
    if not entry or entry.startswith("/vsi") or "://" in entry:
        return [], [entry], []
    path = Path(entry)
    try:
        if _is_product(path):
            return [path], [], []
        children = sorted(path.iterdir()) if path.is_dir() else []
    except OSError:
        return [], [entry], []  # find_rasters says why it cannot be looked at
    inside = [child for child in children if _is_product(child)]
    if not inside or any(child.suffix.lower() in RASTER_SUFFIXES for child in children):
        return inside, [entry], []
    others = (child for child in children if child not in inside)
    return inside, [], [str(child) for child in others if child.suffix.lower() not in SIDECARS]


def _is_product(path: Path) -> bool:
    try:
        zipped = path.suffix.lower() == ".zip" and path.is_file()
        return zipped or any((path / name).is_file() for name in METADATA)
    except OSError:
        return False  # a folder that may not be looked into, such as lost+found

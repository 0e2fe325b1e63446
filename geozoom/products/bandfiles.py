"""One file per band, and the shards of one export → one source each; every other raster is its own."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from geozoom.clouds import CloudMask
from geozoom.errors import TileError
from geozoom.products.landsat import SCENE_ID, landsat_scene, red_green_blue
from geozoom.products.source import Source, is_there
from geozoom.rasters import open_raster
from geozoom.virtual import joined, stacked

IMAGE_SUFFIXES = (".tif", ".tiff", ".jp2")
"""Suffixes of files that may be one band or one shard of something larger."""
_BAND_FILE = re.compile(r"(?P<head>|.*[_.-])B(?P<band>0?[1-9]|1[0-2]|8A)(?P<tail>[_.-].*)", re.IGNORECASE)
_SHARD_FILE = re.compile(r"(?P<head>.+)-\d{10}-\d{10}(?P<tail>\.tiff?)", re.IGNORECASE)
_AUXILIARY_FILE = re.compile(
    r"(SCL|AOT|WVP|TCI|CLD|SNW|QA_(PIXEL|RADSAT|AEROSOL)|ATMOS_OPACITY|CLOUD_QA|"
    r"ST_(B6|B10|ATRAN|CDIST|DRAD|EMIS|EMSD|QA|TRAD|URAD))(_\d+m)?\.\w+",
    re.IGNORECASE,
)
"""Other layers of a product: classes, quality, temperature, aerosol, true colour."""
_LANDSAT_HEAD = re.compile(r"L[A-Z]0?(?P<number>[4-9])_.*", re.IGNORECASE)

_Group = tuple[str, str, str]
"""Folder, and what file names hold before and after the part that differs."""


def group_files(rasters: Sequence[str]) -> tuple[list[Source], list[str]]:
    """Put together the files that belong together.

    Returns:
        The sources, and a sentence for every group that cannot be used.
    """
    bands: dict[_Group, dict[str, str]] = defaultdict(dict)
    shards: dict[_Group, list[str]] = defaultdict(list)
    sources: list[Source] = []
    problems: list[str] = []
    for raster in rasters:
        folder, name = _split(raster)
        shard, band = _SHARD_FILE.fullmatch(name), _BAND_FILE.fullmatch(name)
        if shard is not None:
            shards[folder, shard["head"], shard["tail"]].append(raster)
        elif band is not None and name.lower().endswith(IMAGE_SUFFIXES):
            group, key = (folder, band["head"], band["tail"]), band["band"].upper().lstrip("0")
            if key in bands[group]:
                problems.append(f"{raster}: is band B{key}, and so is {bands[group][key]}; keep one of them")
            bands[group][key] = raster
        else:
            sources.append(Source(name=raster, dataset=raster))
    scenes: set[tuple[str, str]] = set()
    for group, files in bands.items():
        try:
            source = _from_bands(group, files)
        except TileError as error:
            problems.append(str(error))
            continue
        if source is None:
            sources += [Source(name=raster, dataset=raster) for raster in files.values()]
        else:
            sources.append(source)
            scenes.add((group[0], re.sub(r"SR_$", "", group[1], flags=re.IGNORECASE)))
    sources = [source for source in sources if not _is_layer(source, scenes)]
    for group, parts in shards.items():
        name = "".join(group)
        try:
            dataset = joined(sorted(parts), name, TileError)
            sources.append(Source(name=name, dataset=dataset, sensor=f"export in {len(parts)} shards"))
        except TileError as error:
            problems.append(str(error))
    return sources, problems


def _split(raster: str) -> tuple[str, str]:
    """Return a raster's folder, with its separator, and its file name."""
    cut = max(raster.rfind("/"), raster.rfind("\\")) + 1
    return raster[:cut], raster[cut:]


def _is_layer(source: Source, scenes: set[tuple[str, str]]) -> bool:
    """Tell whether a file is another layer of a scene that has been put together: no tile of its own."""
    folder, name = _split(source.name)
    for place, head in scenes:
        if place == folder and name.startswith(head) and source.name == source.dataset:
            rest = re.sub(r"^SR_", "", name.removeprefix(head), flags=re.IGNORECASE)
            if _AUXILIARY_FILE.fullmatch(rest) or (_BAND_FILE.fullmatch(rest) and _is_one_band(source.name)):
                return True
    return False


def _is_one_band(raster: str) -> bool:
    try:
        with open_raster(raster, TileError) as dataset:
            return bool(dataset.count == 1)
    except TileError:
        return False  # describing it says why


def _from_bands(group: _Group, files: dict[str, str]) -> Source | None:
    """Return the source that single-band files make up, or None if they are none of one scene's colours.

    Raises:
        TileError: A colour is missing, or the files do not fit together.
    """
    folder, head, tail = group
    landsat = SCENE_ID.fullmatch(head)
    number = _LANDSAT_HEAD.fullmatch(head)
    order = ("4", "3", "2") if number is None else red_green_blue(int(number["number"]))
    if not any(band in files for band in order) or len(files) == 1:
        return None
    with open_raster(next(iter(files.values())), TileError) as dataset:
        if dataset.count > 1:
            return None  # whole rasters that happen to be called so
    name = f"{folder}{head}B*{tail}"
    for band in order:
        if band not in files:
            raise TileError(f"{name}: red, green and blue are needed, and B{band} is missing; add its file")
    stack = stacked([files[band] for band in order], [f"B{band}" for band in order], name, TileError)
    if landsat is not None:
        return landsat_scene(folder, head, tail, stack, name, order)
    return Source(
        name=name,
        dataset=stack,
        sensor="one file per band",
        bands=(1, 2, 3),
        clouds=_classes(folder, head, tail),
    )


def _classes(folder: str, head: str, tail: str) -> CloudMask | None:
    """Return the scene classification beside the files of a Sentinel-2 scene, if it is there."""
    for name in (f"{head}SCL{tail}", f"{head}SCL{tail.replace('_10m', '_20m')}"):
        if is_there(f"{folder}{name}"):
            return CloudMask(dataset=f"{folder}{name}", kind="scl")
    return None

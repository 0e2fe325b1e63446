"""The pipeline of a plan: tiles → scenes → policy → values → choice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from geozoom.ahead import read_ahead
from geozoom.errors import PriceListError, TileError
from geozoom.footprints import patch_areas_m2, to_lonlat
from geozoom.inference import PolicyRunner
from geozoom.model import ModelCard, PatchDrop, load_model
from geozoom.orders import Plan
from geozoom.overlaps import Claims, OverlapRule, ranked
from geozoom.prices import PriceList, parse_price_list, to_cents
from geozoom.rasters import Display, ReadOptions
from geozoom.scenes import SceneBlock, SceneLimits, Skipped, lattice_shape, read_scenes
from geozoom.selection import choose
from geozoom.tiles import Tile, open_tiles

BLOCKS_AHEAD = 2
"""Strips of scenes read while the policy works on one."""
GDAL_CACHE_MB = 256
"""GDAL's block cache: a row of blocks of the widest Sentinel-2 granule, with room."""
DEFAULT_THRESHOLD = 0.5
"""The paper's deterministic policy buys a patch where s_p is above this."""

Progress = Callable[[int, int], None]
"""Called with scenes done and scenes in all."""


@dataclass(frozen=True, kw_only=True)
class Patches:
    """The patches that the policy would buy, in columns of one length N: 17 bytes each."""

    tile: NDArray[np.int32]
    """Index of the tile."""
    scene_row: NDArray[np.int32]
    """Row of the scene on its tile's lattice."""
    scene_col: NDArray[np.int32]
    """Column of the scene on its tile's lattice."""
    patch: NDArray[np.uint8]
    """Patch id in the scene."""
    probability: NDArray[np.float32]
    """s_p, the policy's probability."""

    def __len__(self) -> int:
        return len(self.patch)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What the policy made of all scenes."""

    candidates: Patches
    """Patches with a probability above the threshold, tile by tile, row by row."""
    scenes: int
    """Scenes that the policy saw."""
    skipped: Skipped
    """Scenes left out, by reason."""
    tiles_with_zeros: tuple[str, ...]
    """Names of tiles with zeros that nothing marks as missing."""


def plan(
    inputs: Sequence[str | Path],
    *,
    budget: Decimal | int | str | None = None,
    model: PatchDrop | Path | str | None = None,
    prices: PriceList | Path | str | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    limits: SceneLimits | None = None,
    overlap: OverlapRule = "latest",
    options: ReadOptions | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Choose the HR patches that are worth buying over all tiles at once.

    Args:
        inputs: LR rasters: files, folders, `/vsi…` paths or URLs.
        budget: What may be spent, in the price list's currency; None buys every candidate.
        model: A loaded model or a checkpoint's path; None takes the one that ships with geozoom.
        prices: A price list or the path of one; None takes the illustrative one.
        threshold: Only patches with a probability above it are candidates (0.5 in the paper).
        limits: Which scenes are skipped and counted, for missing data or clouds.
        overlap: Which tile is planned where several show the same place.
        options: What the user says about rasters that do not say it themselves.
        progress: Called after every batch.

    Raises:
        TileError: Tiles cannot be used; every one is named.
        ModelError: The checkpoint cannot be used.
        PriceListError: The price list cannot be used.
        ValueError: The budget is not a positive amount.
    """
    began = time.perf_counter()
    budget_cents = None if budget is None else to_cents(budget)
    price_list = prices if isinstance(prices, PriceList) else load_price_list(prices)
    options = options or ReadOptions()
    policy = model if isinstance(model, PatchDrop) else load_model(model)
    card = policy.card
    tiles, ignored = open_tiles([str(entry) for entry in inputs], options, card.lr_gsd_m, card.lr_px)
    scored = score(tiles, policy, limits or SceneLimits(), threshold, overlap, progress)
    patches = scored.candidates
    area_dm2 = areas_dm2(tiles, patches, card)
    looked = time.perf_counter()
    order = order_ids(tiles, patches, card, price_list)
    choice = choose(
        order=order,
        value=patches.probability.astype(np.float64),
        area_dm2=area_dm2,
        prices=price_list,
        budget_cents=budget_cents,
    )
    bought = np.flatnonzero(choice.chosen)
    chosen = Patches(**{name: getattr(patches, name)[bought] for name in Patches.__dataclass_fields__})
    return Plan(
        tiles=tuple(tiles),
        card=card,
        prices=price_list,
        budget=None if budget_cents is None else Decimal(budget_cents).scaleb(-2),
        threshold=threshold,
        ignored=ignored,
        scenes=scored.scenes,
        scenes_skipped=scored.skipped,
        tiles_with_zeros=scored.tiles_with_zeros,
        candidates=len(patches),
        tile=chosen.tile.astype(np.int64),
        scene_row=chosen.scene_row.astype(np.int64),
        scene_col=chosen.scene_col.astype(np.int64),
        patch=chosen.patch.astype(np.int64),
        probability=chosen.probability.astype(np.float64),
        area_dm2=area_dm2[bought],
        order=order[bought],
        corners=footprints(tiles, chosen, card),
        seconds_scenes=looked - began,
        seconds_choice=time.perf_counter() - looked,
        bound=choice.bound,
        next_tile=None
        if choice.next_order is None
        else tiles[int(patches.tile[order == choice.next_order][0])].name,
        next_cost=None if choice.next_cost_cents is None else Decimal(choice.next_cost_cents).scaleb(-2),
    )


def load_price_list(path: Path | str | None) -> PriceList:
    """Load a price list, by default the illustrative one that ships with geozoom.

    Raises:
        PriceListError: The file is missing or not a price list.
    """
    if path is None:
        shipped = resources.files("geozoom") / "data" / "prices" / "illustrative.toml"
        return parse_price_list(shipped.read_text(encoding="utf-8"), "illustrative.toml")
    try:
        return parse_price_list(Path(path).read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise PriceListError(f"{path}: cannot be read as a price list ({error}); give a TOML file") from error


def score(
    tiles: Sequence[Tile],
    model: PatchDrop,
    limits: SceneLimits,
    threshold: float,
    overlap: OverlapRule,
    progress: Progress | None,
) -> Scored:
    """Run the policy over every scene of every tile, reading ahead of it.

    Raises:
        TileError: A tile cannot be read to its end, or no scene can be used.
    """
    card = model.card
    runner = PolicyRunner(model)
    display = Display(white=card.reflectance_white, gamma=card.reflectance_gamma)
    total = sum(rows * cols for rows, cols in (lattice_shape(tile, card.lr_px) for tile in tiles))
    columns: list[tuple[NDArray[Any], ...]] = []
    zeros: list[str] = []
    scenes, skipped = 0, Skipped()

    def blocks() -> Iterator[tuple[int, SceneBlock]]:
        claims = Claims(tiles, card.grid, card.lr_px)
        for index in ranked(tiles, overlap):
            for block in read_scenes(
                tiles[index], scene_px=card.lr_px, grid=card.grid, display=display, limits=limits
            ):
                yield index, block if overlap == "all" else _once(claims, index, block)

    with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_MB):
        for index, block in read_ahead(blocks, BLOCKS_AHEAD):
            skipped = skipped + block.skipped
            scenes += len(block.row)
            tile = tiles[index]
            if block.zero_pixels and tile.untagged_zeros and tile.name not in zeros:
                zeros.append(tile.name)
            if len(block.row):
                s = runner.probabilities(block.images)
                scene, patch = np.nonzero(block.present & (s > threshold))
                columns.append(
                    (
                        np.full(len(scene), index, dtype=np.int32),
                        block.row[scene].astype(np.int32),
                        block.col[scene].astype(np.int32),
                        patch.astype(np.uint8),
                        s[scene, patch],
                    )
                )
            if progress is not None:
                progress(scenes + skipped.total, total)
    if not scenes:
        raise TileError(
            f"none of the {skipped.total} scenes of {len(tiles)} tile(s) can be used ({skipped}); check nodata values "
            "or raise --max-nodata or --max-cloud"
        )
    names = tuple(Patches.__dataclass_fields__)
    return Scored(
        candidates=Patches(
            **{
                name: np.concatenate(parts)
                for name, parts in zip(names, zip(*columns, strict=True), strict=True)
            }
        ),
        scenes=scenes,
        skipped=skipped,
        tiles_with_zeros=tuple(zeros),
    )


def _once(claims: Claims, tile: int, block: SceneBlock) -> SceneBlock:
    """Leave out what a tile ranked higher has planned already, and claim the rest."""
    taken = claims.taken(tile, block.row, block.col)
    present = block.present & ~taken
    kept = np.flatnonzero(present.any(axis=1) | ~taken.any(axis=1))
    claims.claim(tile, block.row[kept], block.col[kept], present[kept])
    if len(kept) == len(block.row):
        return replace(block, present=present)
    return replace(
        block,
        row=block.row[kept],
        col=block.col[kept],
        images=block.images[kept],
        present=present[kept],
        skipped=block.skipped + Skipped(overlap=len(block.row) - len(kept)),
    )


def areas_dm2(tiles: Sequence[Tile], patches: Patches, card: ModelCard) -> NDArray[np.int64]:
    """Return the area of each patch on WGS84, (N,), in whole square decimetres."""
    areas = np.empty(len(patches), dtype=np.int64)
    for index, tile in enumerate(tiles):
        mine = patches.tile == index
        square_metres = patch_areas_m2(
            tile, card.grid, card.lr_px, patches.scene_row[mine], patches.scene_col[mine], patches.patch[mine]
        )
        areas[mine] = np.rint(square_metres * 100)
    return areas


def footprints(tiles: Sequence[Tile], patches: Patches, card: ModelCard) -> NDArray[np.float64]:
    """Return patch footprints (N, 4, 2): longitude and latitude, counter-clockwise.

    Raises:
        TileError: A tile's coordinates do not lie in its CRS.
    """
    corners = np.empty((len(patches.patch), 4, 2))
    for index, tile in enumerate(tiles):
        mine = np.flatnonzero(patches.tile == index)
        corners[mine] = to_lonlat(
            tile,
            card.grid.corners_px(
                patches.scene_row[mine].astype(np.int64),
                patches.scene_col[mine].astype(np.int64),
                card.lr_px,
                patches.patch[mine].astype(np.int64),
            ),
        )
    return corners


def order_ids(
    tiles: Sequence[Tile], patches: Patches, card: ModelCard, prices: PriceList
) -> NDArray[np.int64]:
    """Return the order of each patch, (N,), counted from 0 over all tiles.

    Orders are the squares of scenes of the lattice, as large as fits the price list's order_side_km.
    """
    ids = np.empty(len(patches.patch), dtype=np.int64)
    first = 0
    for index, tile in enumerate(tiles):
        scene_m = card.lr_px * max(
            (card.lr_gsd_m, card.lr_gsd_m) if tile.resampled and card.lr_gsd_m else tile.gsd_m
        )
        side = max(1, int(float(prices.order_side_km) * 1000 // scene_m))
        rows, cols = lattice_shape(tile, card.lr_px)
        across = -(-cols // side)
        mine = patches.tile == index
        ids[mine] = first + patches.scene_row[mine] // side * across + patches.scene_col[mine] // side
        first += -(-rows // side) * across
    return ids

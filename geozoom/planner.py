"""The pipeline of a plan: tiles → scenes → policy → values → choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geozoom.errors import PriceListError, TileError
from geozoom.footprints import areas_dm2, to_lonlat
from geozoom.model import ModelCard, PatchDrop, load_model
from geozoom.orders import Plan
from geozoom.prices import PriceList, parse_price_list, to_cents
from geozoom.rasters import Display, ReadOptions
from geozoom.scenes import SceneLimits, Skipped, lattice_shape, read_scenes
from geozoom.selection import choose
from geozoom.tiles import Tile, open_tiles

POLICY_BATCH = 4096
"""Scenes per forward of the policy."""
DEFAULT_THRESHOLD = 0.5
"""The paper's deterministic policy buys a patch where s_p is above this."""

Progress = Callable[[int, int], None]
"""Called with scenes done and scenes in all."""


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Every patch that could be bought, in columns of one length N."""

    tile: NDArray[np.int64]
    """Index of the tile."""
    scene_row: NDArray[np.int64]
    """Row of the scene on its tile's lattice."""
    scene_col: NDArray[np.int64]
    """Column of the scene on its tile's lattice."""
    patch: NDArray[np.int64]
    """Patch id in the scene."""
    probability: NDArray[np.float64]
    """s_p, the policy's probability."""


def plan(
    inputs: Sequence[str | Path],
    *,
    budget: Decimal | int | str | None = None,
    model: PatchDrop | Path | str | None = None,
    prices: PriceList | Path | str | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    limits: SceneLimits | None = None,
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
        options: What the user says about rasters that do not say it themselves.
        progress: Called after every batch.

    Raises:
        TileError: Tiles cannot be used; every one is named.
        ModelError: The checkpoint cannot be used.
        PriceListError: The price list cannot be used.
        ValueError: The budget is not a positive amount.
    """
    budget_cents = None if budget is None else to_cents(budget)
    price_list = prices if isinstance(prices, PriceList) else load_price_list(prices)
    options = options or ReadOptions()
    policy = model if isinstance(model, PatchDrop) else load_model(model)
    card = policy.card
    tiles, ignored = open_tiles([str(entry) for entry in inputs], options, card.lr_gsd_m, card.lr_px)
    patches, scenes, skipped, zeros = score(tiles, policy, limits or SceneLimits(), progress)
    candidates = np.flatnonzero(patches.probability > threshold)
    patches = Patches(**{name: getattr(patches, name)[candidates] for name in Patches.__dataclass_fields__})
    corners = footprints(tiles, patches, card)
    area_dm2 = areas_dm2(corners)
    order = order_ids(tiles, patches, card, price_list)
    choice = choose(
        order=order,
        value=patches.probability,
        area_dm2=area_dm2,
        prices=price_list,
        budget_cents=budget_cents,
    )
    bought = choice.chosen
    return Plan(
        tiles=tuple(tiles),
        card=card,
        prices=price_list,
        budget=None if budget_cents is None else Decimal(budget_cents).scaleb(-2),
        threshold=threshold,
        ignored=ignored,
        scenes=scenes,
        scenes_skipped=skipped,
        tiles_with_zeros=tuple(zeros),
        candidates=len(candidates),
        tile=patches.tile[bought],
        scene_row=patches.scene_row[bought],
        scene_col=patches.scene_col[bought],
        patch=patches.patch[bought],
        probability=patches.probability[bought],
        area_dm2=area_dm2[bought],
        order=order[bought],
        corners=corners[bought],
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


@torch.inference_mode()
def score(
    tiles: Sequence[Tile], model: PatchDrop, limits: SceneLimits, progress: Progress | None
) -> tuple[Patches, int, Skipped, list[str]]:
    """Run the policy over every scene of every tile.

    Returns:
        All patches that hold data, the number of scenes, the scenes that were skipped, and the names of
        tiles with zeros that nothing marks as missing.
    """
    card = model.card
    display = Display(white=card.reflectance_white, gamma=card.reflectance_gamma)
    shapes = [lattice_shape(tile, card.lr_px) for tile in tiles]
    total = sum(rows * cols for rows, cols in shapes)
    columns: list[tuple[NDArray[np.int64], ...]] = []
    probabilities: list[NDArray[np.float32]] = []
    zeros: list[str] = []
    scenes, skipped = 0, Skipped()
    for index, tile in enumerate(tiles):
        for block in read_scenes(tile, scene_px=card.lr_px, grid=card.grid, display=display, limits=limits):
            skipped = skipped + block.skipped
            scenes += len(block.row)
            if block.zero_pixels and tile.untagged_zeros and tile.name not in zeros:
                zeros.append(tile.name)
            if len(block.row):
                images = torch.from_numpy(block.images)
                s = torch.cat([model.probabilities(part) for part in torch.split(images, POLICY_BATCH)])
                scene, patch = np.nonzero(block.present)
                columns.append((np.full(len(scene), index), block.row[scene], block.col[scene], patch))
                probabilities.append(s.numpy()[scene, patch])
            if progress is not None:
                progress(scenes + skipped.total, total)
    if not scenes:
        raise TileError(
            f"none of the {skipped.total} scenes of {len(tiles)} tile(s) can be used ({skipped}); check nodata values "
            "or raise --max-nodata or --max-cloud"
        )
    tile_col, row, col, patch_col = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    patches = Patches(
        tile=tile_col,
        scene_row=row,
        scene_col=col,
        patch=patch_col,
        probability=np.concatenate(probabilities).astype(np.float64),
    )
    return patches, scenes, skipped, zeros


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
                patches.scene_row[mine],
                patches.scene_col[mine],
                card.lr_px,
                patches.patch[mine],
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

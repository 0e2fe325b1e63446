"""The pipeline of a plan: tiles → scenes → policy → values → choice."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from geozoom.area import read_area
from geozoom.card import ModelCard
from geozoom.footprints import patch_areas_m2, to_lonlat
from geozoom.grid import lattice_windows
from geozoom.model import PatchDrop, load_model
from geozoom.orders import Plan
from geozoom.overlaps import OverlapRule
from geozoom.pricelists import load_price_list
from geozoom.prices import PriceList, to_cents
from geozoom.rasters import ReadOptions
from geozoom.scenes import SceneLimits, lattice_shape
from geozoom.scoring import Patches, Progress, score
from geozoom.selection import choose
from geozoom.sites import SitesOnTiles, read_sites
from geozoom.tiles import Tile, open_tiles

DEFAULT_THRESHOLD = 0.5
"""The paper's deterministic policy buys a patch where s_p is above this."""
PATCHES_AT_ONCE = 2**20
"""Patches of which windows and areas are worked out at once; whole granules of them would fill memory."""
MOST_SHARED = 0.02
"""Patches of two sites that share more than this of their ground are one place, and bought once."""


def plan(
    inputs: Sequence[str | Path],
    *,
    budget: Decimal | int | str | None = None,
    model: PatchDrop | Path | str | None = None,
    prices: PriceList | Path | str | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    limits: SceneLimits | None = None,
    overlap: OverlapRule = "latest",
    area: Path | str | None = None,
    owned: Sequence[Path | str] = (),
    sites: Path | str | None = None,
    options: ReadOptions | None = None,
    dask: str | None = None,
    progress: Progress | None = None,
) -> Plan:
    """Choose the HR patches that are worth buying over all tiles at once.

    Args:
        inputs: LR rasters: files, folders, `/vsi…` paths or URLs.
        budget: What may be spent, in the price list's currency; None buys every candidate.
        model: A loaded model or a checkpoint's path; None takes the one that ships with geozoom.
        prices: A price list, the name of one that ships with geozoom or the path of one; None takes
            `pricelists.DEFAULT_PRICE_LIST`.
        threshold: Only patches with a probability above it are candidates (0.5 in the paper).
        limits: Which scenes are skipped and counted, for missing data or clouds.
        overlap: Which tile is planned where several show the same place.
        area: Vector file of polygons; only patches whose centre lies in them are planned.
        owned: Vector files of polygons of what is owned or ordered already, for example earlier plans: patches
            whose centre lies in them are not bought again.
        sites: Vector file of points, boxes or polygons; scenes are these instead of a lattice.
        options: What the user says about rasters that do not say it themselves.
        dask: Address of a Dask scheduler whose workers score the tiles; they must see the same paths.
        progress: Called after every batch.

    Raises:
        TileError: Tiles cannot be used; every one is named.
        ModelError: The checkpoint cannot be used.
        PriceListError: The price list cannot be used.
        VectorError: The area or the sites cannot be used.
        ClusterError: The Dask cluster cannot be used.
        ValueError: The budget is not a positive amount, or sites are given with an area or a cluster.
    """
    if area is not None and sites is not None:
        raise ValueError("an area clips the lattice, and sites replace it: give one of them")
    if dask is not None and sites is not None:
        raise ValueError("sites are planned in one process: leave the cluster out")
    began = time.perf_counter()
    budget_cents = None if budget is None else to_cents(budget)
    price_list = prices if isinstance(prices, PriceList) else load_price_list(prices)
    options = options or ReadOptions()
    policy = model if isinstance(model, PatchDrop) else load_model(model)
    card = policy.card
    wanted = None if area is None else read_area(area)
    had = read_area(*owned) if owned else None
    named = None if sites is None else read_sites(sites)
    tiles, ignored = open_tiles([str(entry) for entry in inputs], options, card.lr_gsd_m, card.lr_px)
    placed = None if named is None else SitesOnTiles(named, tiles, card.lr_px, card.lr_gsd_m is not None)
    limits = limits or SceneLimits()
    if dask is not None:
        from geozoom.cluster import score_on

        scored = score_on(
            dask, tiles, policy, limits, threshold, overlap=overlap, area=wanted, owned=had, progress=progress
        )
    else:
        scored = score(
            tiles,
            policy,
            limits,
            threshold,
            overlap=overlap,
            area=wanted,
            owned=had,
            sites=placed,
            progress=progress,
        )
    patches = scored.candidates
    if placed is not None:
        patches = patches[_first_of_each_place(footprints(tiles, patches, card, placed))]
    area_dm2 = areas_dm2(tiles, patches, card, placed)
    looked = time.perf_counter()
    order = order_ids(tiles, patches, card, price_list, placed)
    choice = choose(
        order=order,
        value=patches.value.astype(np.float64),
        area_dm2=area_dm2,
        prices=price_list,
        budget_cents=budget_cents,
    )
    bought = np.flatnonzero(choice.chosen)
    chosen = patches[bought]
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
        patch_value=chosen.value.astype(np.float64),
        area_dm2=area_dm2[bought],
        order=order[bought],
        site=None if named is None else np.array(named.names, dtype=np.str_)[chosen.scene_row],
        off_tiles=() if placed is None else placed.off_tiles,
        corners=footprints(tiles, chosen, card, placed),
        seconds_scenes=looked - began,
        seconds_choice=time.perf_counter() - looked,
        bound=choice.bound,
        next_tile=None
        if choice.next_order is None
        else tiles[int(patches.tile[order == choice.next_order][0])].name,
        next_cost=None if choice.next_cost_cents is None else Decimal(choice.next_cost_cents).scaleb(-2),
    )


def _windows(
    patches: Patches, rows: NDArray[np.int64], card: ModelCard, sites: SitesOnTiles | None
) -> NDArray[np.float64]:
    """Return the window of each patch's scene on its tile, (n, 4), for some rows (n,) of the patches."""
    if sites is not None:
        return sites.windows[patches.scene_row[rows]]
    return lattice_windows(
        patches.scene_row[rows].astype(np.int64), patches.scene_col[rows].astype(np.int64), card.lr_px
    )


def _by_tile(tiles: Sequence[Tile], patches: Patches) -> Iterator[tuple[Tile, NDArray[np.int64]]]:
    """Yield rows of the patches of each tile, some at once."""
    for index, tile in enumerate(tiles):
        mine = np.flatnonzero(patches.tile == index)
        for start in range(0, len(mine), PATCHES_AT_ONCE):
            yield tile, mine[start : start + PATCHES_AT_ONCE]


def areas_dm2(
    tiles: Sequence[Tile], patches: Patches, card: ModelCard, sites: SitesOnTiles | None = None
) -> NDArray[np.int64]:
    """Return the area of each patch on WGS84, (N,), in whole square decimetres."""
    areas = np.empty(len(patches), dtype=np.int64)
    for tile, rows in _by_tile(tiles, patches):
        windows = _windows(patches, rows, card, sites)
        areas[rows] = np.rint(100 * patch_areas_m2(tile, card.grid, windows, patches.patch[rows]))
    return areas


def footprints(
    tiles: Sequence[Tile], patches: Patches, card: ModelCard, sites: SitesOnTiles | None = None
) -> NDArray[np.float64]:
    """Return patch footprints (N, 4, 2): longitude and latitude, counter-clockwise.

    Raises:
        TileError: A tile's coordinates do not lie in its CRS.
    """
    corners = np.empty((len(patches), 4, 2))
    for tile, rows in _by_tile(tiles, patches):
        windows = _windows(patches, rows, card, sites)
        corners[rows] = to_lonlat(tile, card.grid.corners_in(windows, patches.patch[rows].astype(np.int64)))
    return corners


def _first_of_each_place(corners: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the patches of sites, given their footprints (N, 4, 2), that share no ground with one before."""
    if (np.ptp(corners[..., 0], axis=1) > 180).any():
        corners = np.stack([corners[..., 0] % 360, corners[..., 1]], axis=-1)
    rings = shapely.polygons(corners)
    later, earlier = shapely.STRtree(rings).query(rings, predicate="intersects")
    pairs = later > earlier
    later, earlier = later[pairs], earlier[pairs]
    shared = shapely.area(shapely.intersection(rings[later], rings[earlier]))
    same = shared > MOST_SHARED * np.minimum(shapely.area(rings[later]), shapely.area(rings[earlier]))
    kept = np.ones(len(rings), dtype=bool)
    for patch, other in sorted(zip(later[same].tolist(), earlier[same].tolist(), strict=True)):
        kept[patch] &= not kept[other]
    return np.flatnonzero(kept)


def order_ids(
    tiles: Sequence[Tile],
    patches: Patches,
    card: ModelCard,
    prices: PriceList,
    sites: SitesOnTiles | None = None,
) -> NDArray[np.int64]:
    """Return the order of each patch, (N,), counted from 0 over all tiles.

    Orders are the scenes of one square of the tile, as large as fits the price list's order_side_km; where
    all orders are billed together, there is one.
    """
    if prices.billing == "union":
        return np.zeros(len(patches), dtype=np.int64)
    ids = np.empty(len(patches), dtype=np.int64)
    first = 0
    for index, tile in enumerate(tiles):
        pixel_m = max((card.lr_gsd_m, card.lr_gsd_m) if tile.resampled and card.lr_gsd_m else tile.gsd_m)
        mine = patches.tile == index
        if sites is None:
            row, col = patches.scene_row[mine], patches.scene_col[mine]
            side = max(1, int(float(prices.order_side_km) * 1000 // (card.lr_px * pixel_m)))
            across = -(-lattice_shape(tile, card.lr_px)[1] // side)
            down = -(-lattice_shape(tile, card.lr_px)[0] // side)
        else:
            # A scene that begins in a square may end beyond it: squares are smaller by the largest.
            windows = sites.windows[patches.scene_row[mine]]
            largest = windows[:, 2:].max(initial=0.0)
            side = max(1, int(float(prices.order_side_km) * 1000 // pixel_m - largest))
            col, row = np.maximum(windows[:, :2], 0).astype(np.int64).T
            across, down = -(-tile.width // side), -(-tile.height // side)
        ids[mine] = first + row // side * across + col // side
        first += across * down
    return ids

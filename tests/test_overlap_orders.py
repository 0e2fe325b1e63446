"""Orders where tiles show the same place: no ground is bought on two of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import geozoom
from geozoom.bands import ReadOptions
from geozoom.budget import Budget
from geozoom.orders import Plan
from geozoom.overlaps import settle
from geozoom.planner import prepare
from geozoom.rules import ShapeRules
from geozoom.tiles import Tile, open_tiles
from tests.conftest import BY_AREA, ORIGIN, WriteRaster, small_card, small_model

LISTS = ("skywatch-archive-50cm", "sentinel-hub-pleiades-archive")
VENDORS = (
    BY_AREA,
    replace(BY_AREA, minimum_km2=Decimal("0.05")),
    replace(BY_AREA, minimum_km2=Decimal("0.02"), shape=ShapeRules(min_km2=Decimal("0.02"), max_vertices=40)),
    replace(BY_AREA, shape=ShapeRules(convex=True, min_km2=Decimal("0.01"))),
)
PATCH_DEG = 20 / 111_000
PX = 8


def with_holes(scenes: int, clouded: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pixels of a tile of so many scenes along a side, of which some are missing."""
    pixels = np.random.default_rng(0).integers(60, 250, (3, scenes * PX, scenes * PX), dtype=np.uint8)
    pixels[:, np.kron(clouded, np.ones((PX, PX), dtype=bool))] = 0
    return pixels


def hole(scenes: int, side: int) -> NDArray[np.bool_]:
    """A square hole in the middle of a tile."""
    far = np.abs(np.arange(scenes) - scenes // 2) <= side // 2
    return np.asarray(far[:, None] & far)


def check_apart(plan: Plan) -> None:
    """See that orders of two tiles share slivers at most, and that each holds its patches."""
    rings = [shapely.Polygon(order.ring) for order in plan.orders]
    for order in plan.orders:
        assert order.violations == ()
    pairs = shapely.STRtree(rings).query(rings, predicate="intersects").T if rings else np.empty((0, 2), int)
    for one, other in pairs[pairs[:, 0] < pairs[:, 1]].tolist():
        shared = rings[one].intersection(rings[other])
        assert shared.area < 0.03 * PATCH_DEG * min(rings[one].length, rings[other].length)
    held = shapely.polygons(plan.corners)
    for index, ring in enumerate(rings):
        mine = held[plan.order == index + 1]
        assert (shapely.area(shapely.intersection(mine, ring)) > 0.95 * shapely.area(mine)).all()


@pytest.mark.parametrize("prices", LISTS)
@pytest.mark.parametrize("side", [5, 15])
def test_a_hole_in_the_better_date_is_bought_by_the_order_around_it(
    write_raster: WriteRaster, prices: str, side: int
) -> None:
    later = write_raster("a.tif", pixels=with_holes(26, hole(26, side)), nodata=0)
    earlier = write_raster("b.tif", pixels=with_holes(26, hole(26, 0) & False))
    how = {"model": small_model(), "threshold": 0.0, "prices": prices}
    plan = geozoom.plan([later, earlier], **how)  # type: ignore[arg-type]
    whole = geozoom.plan([earlier], **how)  # type: ignore[arg-type]
    check_apart(plan)
    assert set(plan.patches.tile.tolist()) == {0, 1}
    assert len(plan) == plan.candidates == len(whole)
    assert plan.cost == whole.cost


@pytest.mark.parametrize("prices", LISTS)
def test_many_small_holes_cost_no_smallest_order_each(write_raster: WriteRaster, prices: str) -> None:
    clouded = np.random.default_rng(0).random((26, 26)) < 0.1
    files = [
        write_raster("a.tif", pixels=with_holes(26, clouded), nodata=0),
        write_raster("b.tif", pixels=with_holes(26, clouded & False)),
    ]
    how = {"model": small_model(), "threshold": 0.0, "prices": prices}
    plan = geozoom.plan(files, **how)  # type: ignore[arg-type]
    check_apart(plan)
    assert len(plan) == plan.candidates
    assert plan.cost == geozoom.plan(files[1:], **how).cost  # type: ignore[arg-type]


def beside(east: float, south: float, turn: float = 0) -> Affine:
    """Where a tile lies so many pixels from `ORIGIN`, turned so many degrees."""
    return Affine(10, 0, ORIGIN[0] + 10 * east, 0, -10, ORIGIN[1] - 10 * south) @ Affine.rotation(turn)


@pytest.mark.parametrize(
    ("place", "prices"),
    [
        ((0.7, 5.3, 0), "skywatch-tasking-30cm"),
        ((8, 3, 7), "skywatch-tasking-30cm"),
        ((0, 4, 0), "skywatch-archive-50cm"),
    ],
)
def test_what_is_planned_can_be_bought_wherever_a_better_tile_lies(
    write_raster: WriteRaster, place: tuple[float, float, float], prices: str
) -> None:
    """Were it laid on cells that cut its patches, no order would hold them whole."""
    nothing = np.ones((26, 26), dtype=bool)
    later = write_raster("a.tif", pixels=with_holes(26, nothing), nodata=0)
    earlier = write_raster("b.tif", pixels=with_holes(26, nothing & False), transform=beside(*place))
    how = {"model": small_model(), "threshold": 0.0, "prices": prices}
    plan = geozoom.plan([later, earlier], **how)  # type: ignore[arg-type]
    alone = geozoom.plan([earlier], **how)  # type: ignore[arg-type]
    assert len(plan) == plan.candidates == len(alone) > 0
    if place != (0, 4, 0):  # there a strip beside the better tile is ordered by itself
        assert plan.cost == alone.cost


def test_the_rest_beside_what_is_owned_can_be_bought(write_raster: WriteRaster, tmp_path: Path) -> None:
    """Its smallest order reaches beyond the tile, where no other lies."""
    import geopandas

    west = shapely.box(ORIGIN[0] - 1, ORIGIN[1] - 481, ORIGIN[0] + 400, ORIGIN[1] + 1)
    geopandas.GeoSeries([west], crs="EPSG:32633").to_file(tmp_path / "west.gpkg")
    prices = replace(BY_AREA, shape=ShapeRules(min_km2=Decimal("0.06")))
    tile, owned = write_raster(), [tmp_path / "west.gpkg"]
    plan = geozoom.plan([tile], model=small_model(), threshold=0.0, prices=prices, owned=owned)
    assert len(plan) == plan.candidates > 0


@pytest.fixture
def in_pieces() -> Iterator[pytest.MonkeyPatch]:
    """Let a mosaic be too large, and squares small, where a test says so."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    vendor=st.integers(0, len(VENDORS) - 1),
    place=st.sampled_from([(0, 0), (16, 8), (40, -6), (-8, 46), (48, 0)]),
    budget=st.none() | st.integers(100, 8000),
    whole=st.booleans(),
)
def test_orders_of_different_tiles_share_no_ground(
    write_raster: WriteRaster,
    in_pieces: pytest.MonkeyPatch,
    seed: int,
    vendor: int,
    place: tuple[int, int],
    budget: int | None,
    whole: bool,
) -> None:
    rng = np.random.default_rng(seed)
    scenes = 12
    clouded = [rng.random((scenes, scenes)) < share for share in rng.choice([0.05, 0.3, 0.6], 2)]
    if seed % 2:
        clouded[0] = hole(scenes, 5)
    other = beside(*place)
    files = [
        write_raster("a.tif", pixels=with_holes(scenes, clouded[0]), nodata=0),
        write_raster("b.tif", pixels=with_holes(scenes, clouded[1]), nodata=0, transform=other),
    ]
    in_pieces.undo()
    if not whole:
        for name, value in (("planner.MOST_CELLS", 0), ("spilled._SQUARE_CELLS", 32)):
            in_pieces.setattr(f"geozoom.{name}", value)
    found = prepare(files, model=small_model(), prices=VENDORS[vendor], threshold=0.3)
    plan = found.choose(None if budget is None else Budget(budget))
    check_apart(plan)
    if budget is None and vendor < 2:
        assert len(plan) == plan.candidates


def test_a_small_order_at_a_tiles_edge_does_not_reach_onto_its_neighbour(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    import geopandas

    files = [
        write_raster("a.tif"),
        write_raster("b.tif", transform=beside(48, 0), seed=1),
    ]  # where a.tif ends
    x, y = ORIGIN[0] + 480, ORIGIN[1] - 200
    town = geopandas.GeoSeries([shapely.box(x - 60, y - 60, x + 60, y + 60)], crs="EPSG:32633")
    town.to_file(tmp_path / "town.gpkg")
    prices = replace(BY_AREA, shape=ShapeRules(min_km2=Decimal("0.06")))
    plan = geozoom.plan(files, model=small_model(), threshold=0.0, prices=prices, area=tmp_path / "town.gpkg")
    assert len(plan.orders) == 2
    check_apart(plan)


def tile_at(write_raster: WriteRaster, name: str, crs: str, transform: Affine) -> Tile:
    path = write_raster(f"{name}.tif", crs=crs, transform=transform, height=80, width=80)
    (tile,), _ = open_tiles([str(path)], ReadOptions(), None, PX)
    return tile


def degrees(west: float) -> Affine:
    """80 pixels of 9 · 10⁻⁵° from one longitude eastward, around the equator."""
    return Affine(9e-5, 0, west, 0, -9e-5, 0.0036)


def test_one_place_is_claimed_once_whatever_its_longitude_is_called(write_raster: WriteRaster) -> None:
    placed = {
        "east": ("EPSG:4326", degrees(179.9964)),
        "west": ("EPSG:4326", degrees(-180.0036)),
        "beyond": ("EPSG:4326", degrees(539.9964)),
        "zone60": ("EPSG:32660", Affine(10, 0, 833578, 0, -10, 400)),
        "zone1": ("EPSG:32601", Affine(10, 0, 165621, 0, -10, 400)),
    }
    tiles = {name: tile_at(write_raster, name, *where) for name, where in placed.items()}
    row, col = np.indices((10, 10)).reshape(2, -1)
    grid = small_card().grid
    for first, second in permutations(tiles, 2):
        claims, _ = settle([tiles[first], tiles[second]], [0, 1], grid, PX)
        claims.leave(0, row, col, np.ones((100, 16), dtype=bool))
        kept, free = claims.leave(1, row, col, np.ones((100, 16), dtype=bool))
        # Of tiles in metres and in degrees one is larger by a part of a patch.
        assert int(free.sum()) <= 0.15 * 1600, (first, second)
        assert len(kept) <= 40


def test_tiles_that_count_longitudes_from_0_to_360_overlap_those_that_do_not(
    write_raster: WriteRaster,
) -> None:
    tiles = [
        tile_at(write_raster, "west", "EPSG:4326", degrees(-70.0)),
        tile_at(write_raster, "round", "EPSG:4326", degrees(290.0)),
    ]
    row, col = np.indices((10, 10)).reshape(2, -1)
    for order in ((0, 1), (1, 0)):
        claims, _ = settle(tiles, [0, 1], small_card().grid, PX)
        assert len(claims.leave(order[0], row, col, np.ones((100, 16), dtype=bool))[0]) == 100
        assert len(claims.leave(order[1], row, col, np.ones((100, 16), dtype=bool))[0]) == 0

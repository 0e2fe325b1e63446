from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from click.testing import CliRunner
from pyproj import Transformer

import geozoom
from geozoom.bands import ReadOptions
from geozoom.cli import main
from geozoom.orders import Plan
from geozoom.overlaps import ranked, settle
from geozoom.tiles import open_tiles
from tests.conftest import BY_AREA, ORIGIN, WriteRaster, small_model
from tests.products import write_safe

NOW = datetime(2024, 5, 6, tzinfo=UTC)


def rings(plan: Plan, tile: str) -> shapely.Geometry:
    names = np.array([each.name for each in plan.tiles])
    return shapely.union_all(shapely.polygons(plan.corners[names[plan.patches.tile] == tile]))


def grid(east_px: float, north_px: float = 0.0) -> Affine:
    return Affine(10, 0, ORIGIN[0] + 10 * east_px, 0, -10, ORIGIN[1] + 10 * north_px)


def test_two_dates_of_one_place_are_planned_once(write_raster: WriteRaster) -> None:
    files = [write_raster("a.tif"), write_raster("b.tif", seed=1)]
    plan = geozoom.plan(files, model=small_model(), threshold=0.0, prices=BY_AREA)
    assert {plan.tiles[index].name for index in plan.patches.tile.tolist()} == {"a.tif"}
    assert (plan.scenes, plan.scenes_skipped.overlap) == (30, 30)
    both = geozoom.plan(files, model=small_model(), threshold=0.0, prices=BY_AREA, overlap="all")
    assert (both.scenes, both.scenes_skipped.overlap, len(both)) == (60, 0, 2 * len(plan))


@pytest.mark.parametrize("east", [16.0, 19.0, 20.5])
@pytest.mark.parametrize("north", [0.0, 3.3])
def test_neighbours_share_no_ground_and_leave_no_gap_wider_than_a_patch(
    write_raster: WriteRaster, east: float, north: float
) -> None:
    first = write_raster("a.tif")  # 48 × 40 px
    second = write_raster("b.tif", transform=grid(east, north), seed=1)
    plan = geozoom.plan([second, first], model=small_model(), threshold=0.0, prices=BY_AREA)
    a, b = rings(plan, "a.tif"), rings(plan, "b.tif")
    patch = 20 / 111_000
    assert a.intersection(b).area < 0.05 * patch * b.length  # the inset of corners
    alone = geozoom.plan([second], model=small_model(), threshold=0.0, prices=BY_AREA)
    lost = rings(alone, "b.tif").difference(a).difference(b)
    assert lost.buffer(-0.9 * patch).is_empty
    assert plan.scenes_skipped.overlap > 0


def test_it_is_said_where_names_decide_since_no_date_is_known(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    tiles = tmp_path / "tiles"
    write_raster("a.tif", folder=tiles)
    model = small_model()
    alone = geozoom.plan([tiles], model=model, prices=BY_AREA)
    write_raster("b.tif", folder=tiles, seed=1)
    write_raster("c.tif", folder=tiles, transform=grid(500, 0), seed=2)  # where no other tile lies
    plan = geozoom.plan([tiles], model=model, prices=BY_AREA)
    assert (alone.settled_by_name, plan.settled_by_name) == ((), ("b.tif",))
    clearest = geozoom.plan([tiles], model=model, overlap="clearest", prices=BY_AREA)
    assert clearest.settled_by_name == ()
    # To one that is known to be later, an undated tile gives way by date.
    dated = replace(plan.tiles[0], source=replace(plan.tiles[0].source, acquired=NOW))
    claims, _ = settle([dated, *plan.tiles[1:]], [0, 2, 1], model.grid, model.card.lr_px)
    (row, col), whole = np.indices((2, 2)).reshape(2, -1), np.ones((4, 16), dtype=np.bool_)
    for tile, left in ((0, 4), (2, 4), (1, 0)):
        assert len(claims.leave(tile, row, col, whole)[0]) == left
    assert claims.settled_by_name == ()
    model.save(tmp_path / "model.safetensors")
    asked = ["plan", str(tiles), "--model", str(tmp_path / "model.safetensors"), "--when", "policy"]
    said = CliRunner().invoke(main, [*asked, "-o", str(tmp_path / "orders.geojson")])
    assert "note: b.tif: no date is said; of undated tiles that overlap the first by name" in said.stderr


def test_where_the_first_tile_misses_data_the_second_is_planned(write_raster: WriteRaster) -> None:
    pixels = np.full((3, 40, 48), 90, np.uint8)
    pixels[:, :, :24] = 0
    files = [write_raster("a.tif", pixels=pixels, nodata=0), write_raster("b.tif")]
    plan = geozoom.plan(files, model=small_model(), threshold=0.0, prices=BY_AREA)
    assert set(plan.patches.scene_col[plan.patches.tile == 0].tolist()) == {3, 4, 5}
    assert set(plan.patches.scene_col[plan.patches.tile == 1].tolist()) == {0, 1, 2}
    assert (plan.scenes_skipped.nodata, plan.scenes_skipped.overlap) == (15, 15)
    clearest = geozoom.plan(files, model=small_model(), threshold=0.0, prices=BY_AREA, overlap="clearest")
    assert set(clearest.patches.tile.tolist()) == {1}


def test_the_clearest_is_the_one_with_most_that_can_be_used_and_unknown_clouds_are_not_none() -> None:
    class Seen:
        def __init__(self, path: str, missing: float, clouded: float | None) -> None:
            self.path, self.shares = path, (missing, clouded)

        def sampled_shares(self) -> tuple[float, float | None]:
            return self.shares

    halved = Seen("a", 0.5, 0.2)  # of the other half a fifth: 60% cannot be used
    clouded = Seen("b", 0.0, 0.65)
    unknown = Seen("c", 0.0, None)
    assert ranked([unknown, clouded, halved], "clearest") == [2, 1, 0]  # type: ignore[list-item]


def test_overlaps_are_found_across_utm_zones(write_raster: WriteRaster) -> None:
    (x, y), zone = (166021.0 + 2000, 5_400_000.0), "EPSG:32633"  # 12° E is where zone 32 ends
    west = Transformer.from_crs(zone, "EPSG:32632", always_xy=True).transform(x, y)
    first = write_raster("a.tif", crs=zone, transform=Affine(10, 0, x, 0, -10, y))
    second = write_raster("b.tif", crs="EPSG:32632", transform=Affine(10, 0, west[0], 0, -10, west[1]))
    plan = geozoom.plan([first, second], model=small_model(), threshold=0.0, prices=BY_AREA)
    assert rings(plan, "a.tif").intersection(rings(plan, "b.tif")).area < 0.05 * rings(plan, "b.tif").area
    assert plan.scenes_skipped.overlap > 10


def test_the_latest_comes_first(tmp_path: Path) -> None:
    (old,), _ = open_tiles([str(write_safe(tmp_path))], ReadOptions(), 10.0, 8)
    new = replace(old, source=replace(old.source, name="z", acquired=datetime(2024, 1, 1, tzinfo=UTC)))
    undated = replace(old, source=replace(old.source, name="a", acquired=None))
    assert ranked([undated, old, new], "latest") == [2, 1, 0]
    assert ranked([undated, old, new], "first")[-1] == 2


def test_a_plan_does_not_depend_on_the_order_of_tiles_or_on_strips(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        write_raster(f"{name}.tif", transform=grid(place), seed=place)
        for name, place in zip("abc", (0, 30, 90), strict=True)
    ]

    prices = replace(BY_AREA, minimum_km2=Decimal("0.05"))

    def written(inputs: list[Path], name: str) -> str:
        path = tmp_path / name
        plan = geozoom.plan(inputs, model=small_model(), prices=prices, budget=12)
        assert 0 < len(plan) < plan.candidates
        plan.write(path)
        return path.read_text()

    expected = written(files, "one.geojson")
    assert written(files[::-1], "two.geojson") == expected
    monkeypatch.setattr("geozoom.scenes.ROWS_AT_ONCE_PX", 8)
    assert written(files, "three.geojson") == expected

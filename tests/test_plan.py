from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import geopandas
import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from pyproj import Geod
from shapely.geometry import shape

import geozoom
from geozoom.bought import read_frame
from geozoom.cli import loading, main
from geozoom.cli.options import Budgets
from geozoom.errors import OrdersError, OutputError
from geozoom.model import PatchDrop
from geozoom.report import draw_plan
from tests.conftest import BY_AREA, WriteRaster, largest_file

PRICES = """
name = "dear and small"
currency = "EUR"
rate_per_km2 = "900.00"
minimum_km2 = "0.01"
billing = "per-order"
source = "made for tests"
effective_date = "2026-01-31"
trust = "illustrative"
note = "of no vendor"

[[uplifts]]
name = "rush"
percent = "100"

[shape]
max_width_km = "0.2"
max_height_km = "0.2"
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return path


@pytest.fixture
def tiles(write_raster: WriteRaster, tmp_path: Path) -> Path:
    write_raster("north.tif", seed=1)
    write_raster("south.tif", dtype="uint16", scale=1e-4, crs="EPSG:32733", seed=2)
    return tmp_path / "tiles"


def test_a_plan_is_valid_geojson_whose_figures_add_up(
    tiles: Path, model_file: Path, prices: Path, tmp_path: Path
) -> None:
    out = tmp_path / "orders.geojson"
    result = run(
        *("plan", tiles, "--budget", "60", "-o", out, "--model", model_file, "--prices", prices, "--json")
    )
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    summary = content["geozoom"]
    printed = json.loads(result.stdout)
    assert set(printed.pop("seconds")) == {"scenes", "choice"}  # no part of the plan, which stays the same
    assert printed == summary
    totals, features = summary["totals"], content["features"]
    assert totals["patches"] == len(features) > 0
    assert totals["cost"] <= 60
    assert totals["cost"] + totals["budget_left"] == pytest.approx(60)
    assert len(features) < totals["candidate_patches"]
    assert totals["value"] <= totals["value_bound"]
    assert totals["next_cost"] > 0
    assert sum(order["cost"] for order in summary["orders"]) == pytest.approx(totals["cost"], abs=1e-9)
    for order in summary["orders"]:
        mine = [feature for feature in features if feature["properties"]["order"] == order["order"]]
        assert len(mine) == order["patches"]
        properties = [feature["properties"] for feature in mine]
        assert {each["tile"] for each in properties} == {order["tile"]}
        assert sum(each["area_km2"] for each in properties) <= order["area_km2"] * (1 + 1e-5)
        polygon = shape(order["geometry"])
        assert polygon.is_valid
        assert polygon.exterior.is_ccw
        assert order["vertices"] == len(polygon.exterior.coords) - 1
        assert order["violations"] == []
        area, _ = Geod(ellps="WGS84").geometry_area_perimeter(polygon)
        assert round(area * 100) == round(order["area_km2"] * 1e8)
        held = [shape(each["geometry"]).buffer(-1e-6) for each in mine]
        assert all(polygon.covers(each) for each in held)
        shares = sum(Decimal(str(each["cost_share"])) for each in properties)
        assert shares == Decimal(str(order["cost"])).quantize(Decimal("0.000001"))
        billed = max(Decimal(str(order["area_km2"])), Decimal("0.01"))
        assert Decimal(str(order["cost"])) == (billed * 900).quantize(Decimal("0.01"), "ROUND_HALF_UP")
    for feature in features:
        polygon = shape(feature["geometry"])
        assert polygon.is_valid
        assert polygon.exterior.is_ccw
        flat = np.asarray(feature["geometry"]["coordinates"]).ravel()
        assert (flat == flat.round(7)).all()
        assert feature["properties"]["probability"] > 0.5
        assert feature["properties"]["area_km2"] == pytest.approx(0.0004, rel=0.01)
    bounds = geopandas.read_file(out).total_bounds
    assert content["bbox"] == pytest.approx(bounds.tolist())
    assert summary["price_list"]["name"] == "dear and small"
    assert [tile["calibration"] for tile in summary["tiles"]] == [
        "8-bit display RGB",
        "scale and offset tags",
    ]


def test_uplifts_are_billed_on_every_order_and_recorded(
    tiles: Path, model_file: Path, prices: Path, tmp_path: Path
) -> None:
    arguments = ("plan", tiles, "--model", model_file, "--prices", prices, "--json", "-q")
    plain = json.loads(run(*arguments, "-o", tmp_path / "plain.geojson").stdout)
    dear = json.loads(run(*arguments, "-o", tmp_path / "dear.geojson", "--uplift", "rush").stdout)
    assert len(plain["orders"]) > 2
    for one, twice in zip(plain["orders"], dear["orders"], strict=True):
        assert twice["cost"] == pytest.approx(2 * one["cost"], abs=0.011)
    assert [each["applies"] for each in dear["price_list"]["uplifts"]] == [True]
    result = run(*arguments, "-o", tmp_path / "none.geojson", "--uplift", "hurry")
    assert result.exit_code == 1
    assert result.stderr == "Error: dear and small: has no uplift 'hurry'; it has 'rush'\n"


def test_a_list_that_ships_is_found_by_its_name_and_is_the_default(
    tiles: Path, model_file: Path, tmp_path: Path
) -> None:
    named = run(
        *("plan", tiles, "--model", model_file, "--prices", "up42-skysat", "-o", tmp_path / "a.geojson")
    )
    assert (
        "prices: up42-skysat, 7.00 EUR per km², at least 25 km² an order; UP42 documentation" in named.stderr
    )
    assert "(undated, trust: published)" in named.stderr
    assert "note on the prices: Only the minimum charge is documented" in named.stderr
    assert "warning: price list up42-skysat: its source is undated" in named.stderr
    default = run("plan", tiles, "--model", model_file, "-o", tmp_path / "b.geojson")
    assert "prices: skywatch-archive-50cm, 10.00 USD per km², at least 1 km² an order" in default.stderr
    assert "(2026-07-04, trust: unverified)" in default.stderr


def test_where_all_orders_are_billed_together_the_minimum_is_paid_once(
    tiles: Path, model: PatchDrop, tmp_path: Path
) -> None:
    path = tmp_path / "union.toml"
    path.write_text(PRICES.replace("per-order", "union").replace('"0.01"', '"0.5"'))
    plan = geozoom.plan([tiles], model=model, prices=path)
    assert plan.cost == Decimal("450.00")
    assert plan.billed_km2 == Decimal("0.5")
    assert {order.tile for order in plan.orders} == {"north.tif", "south.tif"}
    assert sum(plan.columns()["cost_share"]) == pytest.approx(450)
    assert geozoom.plan([tiles], model=model, prices=path, budget=449).cost == 0


def test_without_a_budget_every_patch_above_one_half_is_bought(
    tiles: Path, model: PatchDrop, prices: Path
) -> None:
    plan = geozoom.plan([tiles], model=model, prices=prices)
    assert len(plan) == plan.candidates
    cheap = geozoom.plan([tiles], model=model, prices=prices, threshold=0.9)
    assert 0 < len(cheap) < len(plan)
    assert cheap.patches.probability.min() > 0.9


def test_the_policy_sees_what_the_tile_holds(
    write_raster: WriteRaster, model: PatchDrop, monkeypatch: pytest.MonkeyPatch
) -> None:
    import rasterio

    monkeypatch.setattr("geozoom.inference.has_bfloat16", lambda: False)  # digits count here
    path = write_raster(height=16, width=24)
    plan = geozoom.plan([path], model=model, threshold=0.0)
    with rasterio.open(path) as dataset:
        pixels = torch.from_numpy(dataset.read()).float() / 255
    scenes = torch.stack([pixels[:, r : r + 8, c : c + 8] for r in (0, 8) for c in (0, 8, 16)])
    with torch.inference_mode():
        expected = model.probabilities(scenes).numpy()
    found = np.zeros_like(expected)
    found[plan.patches.scene_row * 3 + plan.patches.scene_col, plan.patches.patch] = plan.patches.probability
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_footprints_of_a_whole_tile_cover_it_once(write_raster: WriteRaster, model: PatchDrop) -> None:
    frame = geozoom.plan([write_raster(height=16, width=24)], model=model, threshold=0.0).to_geodataframe()
    ground = frame.to_crs("EPSG:32633")
    assert ground.area.sum() == pytest.approx(160 * 240, rel=1e-6)
    assert ground.union_all().area == pytest.approx(160 * 240, rel=1e-6)
    first = ground[(frame["scene"] == "0,0") & (frame["patch"] == 0)].total_bounds
    assert first.tolist() == pytest.approx([400_000, 5_799_980, 400_020, 5_800_000], abs=0.01)


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_a_plan_is_written_in_the_format_of_the_suffix(
    write_raster: WriteRaster, model: PatchDrop, tmp_path: Path, suffix: str
) -> None:
    plan = geozoom.plan([write_raster()], model=model)
    out = tmp_path / f"orders{suffix}"
    plan.write(out)
    frame = read_frame(out)
    assert len(frame) == len(plan)
    assert frame.crs.to_epsg() == 4326
    assert set(frame["patch"]) == set(plan.patches.patch.tolist())


def test_features_go_to_stdout_unless_a_file_is_named(write_raster: WriteRaster, model_file: Path) -> None:
    result = run("plan", write_raster(), "--model", model_file, "-q")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["type"] == "FeatureCollection"
    assert result.stderr == ""


def test_orders_end_at_the_antimeridian(write_raster: WriteRaster, model: PatchDrop) -> None:
    from affine import Affine
    from rasterio.warp import transform

    (x,), (y,) = transform("EPSG:4326", "EPSG:32601", [-180.0], [-17.0])
    path = write_raster(crs="EPSG:32601", transform=Affine(10, 0, x - 245, 0, -10, y))
    plan = geozoom.plan([path], model=model, threshold=0.0, prices=BY_AREA)
    features = list(plan.features())
    assert {each["geometry"]["type"] for each in features} == {"Polygon"}
    # No vendor's polygon crosses it: the column of patches that lie on both sides is left out.
    assert 15 * 20 <= plan.candidates - len(plan) + 300 <= 322
    orders = [shape(each["geometry"]) for each in plan.summary()["orders"]]
    assert {np.sign(order.centroid.x) for order in orders} == {-1, 1}
    for geometry in [shape(each["geometry"]) for each in features] + orders:
        assert geometry.is_valid
        assert np.ptp(np.asarray(geometry.exterior.coords)[:, 0]) < 1
    areas = [feature["properties"]["area_km2"] for feature in features]
    assert max(areas) == pytest.approx(min(areas), rel=1e-3)


@pytest.mark.parametrize("first", [180.0, -180.0, 180 - 48 * 9e-5])
def test_a_tile_that_ends_on_the_antimeridian_is_bought_whole(
    write_raster: WriteRaster, model: PatchDrop, tmp_path: Path, first: float
) -> None:
    from affine import Affine

    path = write_raster(crs="EPSG:4326", transform=Affine(9e-5, 0, first, 0, -9e-5, 0))
    plan = geozoom.plan([path], model=model, threshold=0.0, prices=BY_AREA)
    assert len(plan) == plan.candidates == 480
    plan.write(tmp_path / "o.geojson")
    for feature in json.loads((tmp_path / "o.geojson").read_text())["features"]:
        assert shape(feature["geometry"]).geom_type == "Polygon"
        assert np.ptp(np.array(feature["geometry"]["coordinates"][0])[:, 0]) < 1
    assert all(np.ptp(order.ring[:, 0]) < 1 for order in plan.orders)


def test_a_plan_across_the_antimeridian_is_drawn_whole_and_its_box_is_small(
    write_raster: WriteRaster, model: PatchDrop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affine import Affine
    from matplotlib.collections import PolyCollection

    orders, deg = tmp_path / "o.geojson", 9e-5
    path = write_raster(crs="EPSG:4326", transform=Affine(deg, 0, 180 - 24 * deg, 0, -deg, 0))
    plan = geozoom.plan([path], model=model, threshold=0.0, prices=BY_AREA)
    plan.write(orders)
    west, _, east, _ = json.loads(orders.read_text())["bbox"]
    assert (west, east) == pytest.approx((180 - 24 * deg, -180 + 24 * deg), abs=1e-4)
    drawn: list[np.ndarray[Any, Any]] = []
    make = PolyCollection.__init__

    def spied(self: PolyCollection, corners: list[np.ndarray[Any, Any]], **how: Any) -> None:
        drawn.extend(corners)
        make(self, corners, **how)

    monkeypatch.setattr(PolyCollection, "__init__", spied)
    assert draw_plan(orders, [path], tmp_path / "o.png") == ()
    assert len(drawn) == len(plan) + len(plan.orders)
    pixels = np.concatenate(drawn)
    assert (pixels > -0.01).all()
    assert (pixels < (48.01, 40.01)).all()


def test_patches_are_drawn_on_the_pixels_that_they_were_planned_on(
    write_raster: WriteRaster, model: PatchDrop, tmp_path: Path
) -> None:
    green = np.full((3, 24, 24), 1, dtype=np.uint8)
    green[1] = 255
    path, orders, picture = write_raster(pixels=green), tmp_path / "o.geojson", tmp_path / "o.png"
    geozoom.plan([path], model=model, threshold=0.0, prices=BY_AREA).write(orders)
    assert len(read_frame(orders)) == 9 * 16  # the whole tile
    draw_plan(orders, [path], picture)
    with Image.open(picture) as drawn:
        red, lush, blue = np.asarray(drawn.convert("RGB")).astype(int).transpose(2, 0, 1)
    bare = (lush > red + 100) & (lush > blue + 100)
    assert max((bare.sum(axis=axis) > 9).sum() for axis in (0, 1)) <= 4  # of 900 px: seams


def test_a_plan_of_other_tiles_is_not_drawn_as_one_that_buys_nothing(
    write_raster: WriteRaster, model: PatchDrop, tmp_path: Path
) -> None:
    orders, picture = tmp_path / "o.geojson", tmp_path / "o.png"
    paths = [write_raster(name, crs=f"EPSG:326{zone}") for name, zone in (("a.tif", 33), ("b.tif", 34))]
    geozoom.plan(paths, model=model, threshold=0.0, prices=BY_AREA).write(orders)
    other = write_raster("c.tif")
    refused = run("draw", orders, "--lr", other, "-o", picture)
    assert refused.exit_code == 1
    assert "orders patches on a.tif, b.tif, and none of that is among the LR tiles" in refused.stderr
    assert not picture.exists()
    partly = run("draw", orders, "--lr", paths[0], "-o", picture)
    assert partly.exit_code == 0, partly.output
    assert "buys patches on 1 tiles that are not among --lr and were not drawn: b.tif" in partly.stderr


def test_only_what_plan_wrote_is_drawn(write_raster: WriteRaster, model: PatchDrop, tmp_path: Path) -> None:
    orders, tile = tmp_path / "o.geojson", write_raster("a$_$.tif")  # no formula either
    geozoom.plan([tile], model=model, threshold=0.0, prices=BY_AREA).write(orders)
    draw_plan(orders, [tile], tmp_path / "o.png")
    written = json.loads(orders.read_text())
    two_points = {"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}
    first = written["features"][0]
    for edited in (
        first | {"geometry": {"type": "Point", "coordinates": [1, 2]}},
        first | {"geometry": two_points},
        first | {"geometry": None},
        first | {"properties": None},
        *(
            first | {"properties": first["properties"] | {name: value}}
            for name, value in (
                ("probability", "x"),
                ("probability", None),
                ("cost_share", "x"),
                ("tile", None),
            )
        ),
    ):
        orders.write_text(json.dumps(written | {"features": [edited, *written["features"][1:]]}))
        with pytest.raises(OrdersError, match=r"o\.geojson: .*plan again"):
            draw_plan(orders, [tile], tmp_path / "p.png")
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_data_on_stdout_is_utf_8_whatever_the_terminal_speaks(encoding: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "geozoom", "prices", "show", "skywatch-archive-50cm"],
        check=True,
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )
    assert "km²" in shown.stdout.decode("utf-8")


def test_the_table_shows_what_a_buyer_signs(
    tiles: Path, model_file: Path, prices: Path, tmp_path: Path
) -> None:
    result = run(
        *("plan", tiles, "--budget", "60", "-o", tmp_path / "o.geojson", "--model", model_file),
        *("--prices", prices),
    )
    for words in (
        "km² billed",
        "cost EUR",
        "budget 60.00 EUR, left",
        "dear and small",
        "2026-01-31",
        "the budget lacks",
    ):
        assert words in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("budget", ["0", "-5", "much", "nan", "0.001", "1e400", "1,500", "10,500"])
def test_a_budget_that_is_no_amount_is_wrong_usage(budget: str, tmp_path: Path) -> None:
    result = run("plan", tmp_path, f"--budget={budget}")
    assert result.exit_code == 2
    assert "--budget" in result.stderr


@pytest.mark.parametrize(
    ("budget", "one", "several"),
    [
        ("5,000", "5000", "5, 000"),
        ("1,500", "1500", "1, 500"),
        ("1,500 USD", "1500 USD", "1, 500 USD"),
        ("10,500", "10500", "10, 500"),
        ("250,500", "250500", "250, 500"),
        ("100,200,500", "100200500", "100, 200, 500"),
        ("USD 10,500", "USD 10500", "USD 10, 500"),
        ("10,500.50 EUR", "10500.50 EUR", "10, 500.50 EUR"),
        ("12,050,000", "12050000", "12, 050, 000"),
        ("1,500,2,500", "1500,2500", "1, 500, 2, 500"),
        ("1,500,1000", "1500,1000", "1, 500, 1000"),
    ],
)
def test_a_budget_that_may_be_one_amount_or_several_is_refused(budget: str, one: str, several: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        Budgets().convert(budget, None, None)
    assert str(refused.value) == f"{budget!r} may be one amount or several; write {one!r}, or {several!r}"


@pytest.mark.parametrize(
    "budgets",
    [
        "1000,5000 EUR",
        "500,1000,5000",
        "100,500,1000",
        "100, 200, 500",
        "50, 100",
        "5, 500",
        "11,12",
        "5,20,100",
        "1000,1500",
    ],
)
def test_several_budgets_are_not_taken_for_one(budgets: str) -> None:
    given = Budgets().convert(budgets, None, None)
    assert [each.cents for each in given] == [100 * int(part.split()[0]) for part in budgets.split(",")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument"),
        (("{tiles}", "--json"), "give -o FILE"),
        (("{tiles}", "--bands", "4,3"), "three band numbers"),
        (("{tiles}", "--bands", "0,1,2"), "counted from 1"),
        (("{tiles}", "--offset", "1"), "--offset needs --scale"),
        (("{tiles}", "--scale", "0"), "--scale must be positive"),
        (("{tiles}", "--scale", "inf"), "--scale must be a finite number"),
        (("{tiles}", "--scale", "1", "--offset", "nan"), "--offset must be a finite number"),
        (("{tiles}", "--nonsense"), "No such option"),
    ],
)
def test_wrong_usage_exits_with_2(tiles: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run("plan", *(argument.format(tiles=tiles) for argument in arguments))
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "nowhere: no such file or folder"),
        (("{tmp}",), "no rasters"),
        (("{tiles}", "--model", "nowhere.safetensors"), "nowhere.safetensors: no such model"),
        (("{tiles}", "--prices", "nowhere.toml"), "nowhere.toml: cannot be read as a price list"),
        (("{tiles}", "-o", "{tmp}/there.geojson"), "there.geojson: exists already; give --overwrite"),
        (("{tiles}", "-o", "{tmp}/nowhere/o.geojson"), "nowhere: cannot be written to"),
        (("{tiles}", "-o", "{tmp}/there.geojson/o.geojson"), "cannot be written to"),
        (("{tiles}", "-o", "{tmp}/orders.xlsx"), "end the name in one of"),
        (("{tiles}", "-o", "{tmp}/folder.gpkg"), "is a folder; name a file"),
        (("{tiles}", "-o", "{tmp}/" + "x" * 300 + ".geojson"), "cannot be written to"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_1(
    tiles: Path, tmp_path: Path, model_file: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "there.geojson").write_text("mine")
    (tmp_path / "folder.gpkg").mkdir()
    before = sorted(tmp_path.rglob("*"))
    filled = [argument.format(tiles=tiles, tmp=tmp_path) for argument in arguments]
    defaults = [] if "--model" in filled else ["--model", model_file]
    result = run("plan", *filled, *defaults)
    assert result.exit_code == 1
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    assert (tmp_path / "there.geojson").read_text() == "mine"
    assert sorted(tmp_path.rglob("*")) == before


def test_one_corrupt_tile_among_good_ones_stops_the_plan_before_it_starts(
    tiles: Path, model_file: Path, tmp_path: Path
) -> None:
    (tiles / "corrupt.tif").write_bytes(b"II*\0 this is no TIFF")
    result = run("plan", tiles, "--model", model_file, "-o", tmp_path / "o.geojson")
    assert result.exit_code == 1
    assert "corrupt.tif: cannot be opened as a raster" in result.stderr
    assert not (tmp_path / "o.geojson").exists()


def test_overwrite_replaces_the_output(write_raster: WriteRaster, model_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.geojson"
    out.write_text("old")
    assert run("plan", write_raster(), "--model", model_file, "-o", out, "--overwrite").exit_code == 0
    assert json.loads(out.read_text())["features"]


def test_a_failure_while_writing_leaves_the_old_file_and_nothing_else(
    write_raster: WriteRaster, model: PatchDrop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = geozoom.plan([write_raster()], model=model)
    out = tmp_path / "out" / "o.geojson"
    out.parent.mkdir()
    out.write_text("old")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("geozoom.orders.Plan._write_geojson", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        plan.write(out, overwrite=True)
    assert [file.name for file in out.parent.iterdir()] == ["o.geojson"]
    assert out.read_text() == "old"


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb"])
def test_a_full_disk_is_told_of_whoever_writes(
    write_raster: WriteRaster, model: PatchDrop, tmp_path: Path, suffix: str
) -> None:
    plan = geozoom.plan([write_raster()], model=model, threshold=0.0)
    out = tmp_path / "out" / f"o{suffix}"
    out.parent.mkdir()
    for size in (0, 4_000, 100_000):
        with largest_file(size), pytest.raises(OutputError, match=rf"o\{suffix}: cannot be written"):
            plan.write(out)
        assert not list(out.parent.iterdir())


@pytest.mark.parametrize("delay", [0.0, 2.0])
def test_ctrl_c_leaves_no_output_and_no_traceback(
    write_raster: WriteRaster, model_file: Path, tmp_path: Path, delay: float
) -> None:
    side = 3000 if delay else 40  # 140,000 scenes: long enough to be stopped
    tile = write_raster(height=side, width=side)
    out = tmp_path / "out" / "o.geojson"
    out.parent.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "geozoom", "plan", tile, "--model", model_file, "-o", out],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)  # at 0 in the middle of torch's import, which a bare KeyboardInterrupt can abort
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert list(out.parent.iterdir()) == []


def test_ctrl_c_waits_for_libraries_to_load() -> None:
    before = signal.getsignal(signal.SIGINT)
    loaded = []

    def load() -> None:
        with loading.libraries():
            signal.raise_signal(signal.SIGINT)
            loaded.append(True)

    with pytest.raises(KeyboardInterrupt):
        load()
    assert loaded
    assert signal.getsignal(signal.SIGINT) is before


def test_square_brackets_in_names_are_shown_as_they_are(
    write_raster: WriteRaster, model_file: Path, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES.replace("made for tests", "made [/up] for [red]tests"))
    result = run(
        *("plan", write_raster("a b[red]c.tif"), "--model", model_file, "--prices", prices),
        *("-o", tmp_path / "o.geojson"),
    )
    assert result.exit_code == 0
    assert "made [/up] for [red]tests" in result.stderr
    assert "[red]c" in result.stderr.replace("\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_stdout_is_said_so_and_a_closed_one_is_left_in_peace(
    write_raster: WriteRaster, model_file: Path
) -> None:
    command = f"'{sys.executable}' -m geozoom plan '{write_raster()}' --model '{model_file}' -q"
    full = subprocess.run(
        ["sh", "-c", f"{command} > /dev/full"], check=False, stderr=subprocess.PIPE, text=True
    )
    assert full.returncode == 1
    assert full.stderr == "Error: stdout: cannot be written (No space left on device)\n"
    listed = f"'{sys.executable}' -m geozoom prices list"
    subprocess.run(["sh", "-c", f"{listed} --json >&-"], check=True)  # nobody wants it
    for each in (listed, f"{listed} --json"):
        lost = subprocess.run(
            ["sh", "-c", f"{each} > /dev/full"], check=False, stderr=subprocess.PIPE, text=True
        )
        assert (lost.returncode, lost.stderr) == (1, full.stderr)
    closed = subprocess.run(["sh", "-c", f"{command} | true"], check=True, stderr=subprocess.PIPE, text=True)
    assert closed.stderr == ""


def test_zeros_that_may_be_missing_data_are_warned_about(
    write_raster: WriteRaster, model_file: Path, tmp_path: Path
) -> None:
    pixels = np.full((3, 16, 16), 120, dtype=np.uint8)
    pixels[:, 0, :4] = 0
    path = write_raster(pixels=pixels)
    result = run("plan", path, "--model", model_file, "-o", tmp_path / "a.geojson")
    assert "unmarked pixels that are 0" in result.stderr
    result = run("plan", path, "--model", model_file, "-o", tmp_path / "b.geojson", "--nodata", "0")
    assert "unmarked pixels" not in result.stderr


def test_a_tile_of_nothing_but_missing_data_is_said_so(write_raster: WriteRaster, model_file: Path) -> None:
    path = write_raster(pixels=np.zeros((3, 16, 16), dtype=np.uint8), nodata=0)
    result = run("plan", path, "--model", model_file)
    assert result.exit_code == 1
    assert "none of the 4 scenes of 1 tile(s) can be used (skipped 4 for missing data)" in result.stderr
    assert "--max-nodata" in result.stderr

"""What one owns already is never bought again, and what it is worth to its scenes is not counted twice."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from click.testing import CliRunner
from numpy.typing import NDArray
from shapely.geometry import box

import geozoom
from geozoom.area import read_area
from geozoom.benefit import Benefit
from geozoom.cli import main
from geozoom.errors import TileError, VectorError
from geozoom.orders import Plan
from geozoom.rules import ShapeRules
from tests.conftest import BY_AREA, ORIGIN, WriteRaster, small_model

CRS = "EPSG:32633"
BENEFIT = Benefit(knots=(1.5, 6.0, 16.0), weights=(0.05, 0.02, 0.001), scenes=50)


def places(plan: Plan, which: NDArray[np.bool_] | None = None) -> set[tuple[str, int]]:
    patches = plan.patches if which is None else plan.patches[np.flatnonzero(which)]
    columns = (patches.scene_row, patches.scene_col, patches.patch)
    return {
        (f"{row},{col}", patch) for row, col, patch in zip(*(each.tolist() for each in columns), strict=True)
    }


def square(path: Path, left: float, top: float, side: float) -> Path:
    """Write a square of the conftest raster's pixels."""
    x, y = ORIGIN[0] + 10 * left, ORIGIN[1] - 10 * top
    frame = geopandas.GeoDataFrame(geometry=[box(x, y - 10 * side, x + 10 * side, y)], crs=CRS)
    frame.to_file(path)
    return path


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_what_an_earlier_plan_ordered_is_not_bought_again(
    write_raster: WriteRaster, tmp_path: Path, suffix: str
) -> None:
    tile, model = write_raster(), small_model(benefit=BENEFIT)
    everything = geozoom.plan([tile], model=model, threshold=0.0, prices=BY_AREA)
    west = square(tmp_path / "west.gpkg", 0, 0, 25)
    # With a minimum, ground between the patches wanted comes with them.
    first = geozoom.plan([tile], model=model, area=west, prices=replace(BY_AREA, minimum_km2=Decimal("0.05")))
    earlier = tmp_path / f"earlier{suffix}"
    first.write(earlier)
    if suffix == ".geojson":  # as a tool that people read JSON with writes it
        earlier.write_text(json.dumps(json.loads(earlier.read_text()), indent=2))
    second = geozoom.plan([tile], model=model, threshold=0.0, prices=BY_AREA, owned=[earlier])
    assert places(first)
    # All that was ordered is owned, with what lies between the patches wanted.
    ordered = shapely.union_all([shapely.Polygon(order.ring) for order in first.orders])
    inside = shapely.contains_xy(ordered, *everything.corners.mean(axis=1).T)
    had = places(everything, inside)
    assert places(first) < had
    assert places(second) == places(everything) - had
    # Scenes that the first plan had bought the best of are worth less than they were.
    assert (
        second.value
        < sum(
            value
            for place, value in zip(
                zip(
                    everything.patches.scene_row,
                    everything.patches.scene_col,
                    everything.patches.patch,
                    strict=True,
                ),
                everything.patches.value,
                strict=True,
            )
            if (f"{place[0]},{place[1]}", int(place[2])) in places(second)
        )
        + 1e-6
    )


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_an_earlier_plan_that_ordered_nothing_owns_nothing(
    write_raster: WriteRaster, tmp_path: Path, suffix: str
) -> None:
    tile, model = write_raster(), small_model(benefit=BENEFIT)
    earlier, west = tmp_path / f"earlier{suffix}", square(tmp_path / "west.gpkg", 0, 0, 25)
    nothing = geozoom.plan([tile], model=model, threshold=1.0, prices=BY_AREA)
    assert not nothing.orders
    nothing.write(earlier)
    for others in ([], [west]):
        with_it = geozoom.plan([tile], model=model, prices=BY_AREA, owned=[earlier, *others])
        without = geozoom.plan([tile], model=model, prices=BY_AREA, owned=others)
        assert places(with_it) == places(without)
        assert with_it.value == without.value
    sites = square(tmp_path / "site.gpkg", 10, 10, 8)
    assert places(geozoom.plan([tile], model=model, sites=sites, owned=[earlier]))
    exported = CliRunner().invoke(main, ["export", str(earlier), "--to", "wkt"])
    assert exported.exit_code == 1
    assert "the plan buys nothing, so there is nothing to export" in exported.stderr
    with pytest.raises(VectorError, match="orders nothing, and shows no area"):
        geozoom.plan([tile], model=model, prices=BY_AREA, area=earlier)


@pytest.mark.parametrize("suffix", [".fgb", ".parquet"])
def test_a_file_of_an_earlier_plans_patches_is_refused_as_it_holds_no_orders(
    write_raster: WriteRaster, tmp_path: Path, suffix: str
) -> None:
    tile, model, earlier = write_raster(), small_model(), tmp_path / f"earlier{suffix}"
    geozoom.plan([tile], model=model, prices=BY_AREA).write(earlier)
    with pytest.raises(
        VectorError, match=r"holds a plan's patches, .*; give the plan as \.geojson or \.gpkg"
    ):
        geozoom.plan([tile], model=model, prices=BY_AREA, owned=[earlier])
    frame = geopandas.GeoDataFrame(
        {"tile": ["a"], "patch": [3], "order": [1], "value": [2.5]}, geometry=[box(0, 0, 1, 1)], crs=CRS
    )
    own = tmp_path / f"own{suffix}"
    frame.to_parquet(own) if suffix == ".parquet" else frame.to_file(own)
    assert not read_area(own, owned=True).geometry.is_empty
    assert places(geozoom.plan([tile], model=model, prices=BY_AREA, area=earlier))  # where it says


def test_orders_across_the_antimeridian_are_owned_on_its_two_sides(tmp_path: Path) -> None:
    ring = [[179.99, 51], [-179.99, 51], [-179.99, 51.01], [179.99, 51.01], [179.99, 51]]
    order = {"order": 1, "tile": "a", "patches": 3, "area_km2": 1.5, "billed_km2": 1.5, "cost": 2, "value": 1}
    order["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    plan = {"geozoom": {"format": 2, "price_list": {"currency": "USD"}, "orders": [order]}}
    path = tmp_path / "plan.geojson"
    path.write_text(json.dumps(plan))
    sides = [box(179.99, 51, 180, 51.01), box(-180, 51, -179.99, 51.01)]
    assert read_area(path).geometry.symmetric_difference(shapely.union_all(sides)).area < 1e-12


def test_scenes_owned_whole_are_counted_and_not_asked_about(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    owned = square(tmp_path / "four.gpkg", 8, 8, 16)
    plan = geozoom.plan([write_raster()], model=small_model(), threshold=0.0, prices=BY_AREA, owned=[owned])
    assert (plan.scenes, plan.scenes_skipped.owned) == (26, 4)
    assert plan.summary()["totals"]["scenes_skipped_owned"] == 4
    assert "4 owned already" in str(plan.scenes_skipped)


def test_where_everything_is_owned_it_says_so(write_raster: WriteRaster, tmp_path: Path) -> None:
    everywhere = square(tmp_path / "everywhere.gpkg", -10, -10, 500)
    with pytest.raises(TileError, match=r"skipped \d+ owned already\); there is nothing left to buy there"):
        geozoom.plan([write_raster()], model=small_model(), owned=[everywhere])


def test_owned_ground_in_metres_that_says_no_crs_is_refused_and_ground_elsewhere_is_said(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    tile = write_raster()
    named = square(tmp_path / "named.geojson", 0, 0, 20)
    content = json.loads(named.read_text())
    del content["crs"]  # as many tools export it
    bare = tmp_path / "bare.geojson"
    bare.write_text(json.dumps(content))
    with pytest.raises(VectorError, match=r"bare\.geojson: its coordinates are no longitudes and latitudes"):
        geozoom.plan([tile], model=small_model(), owned=[bare])
    far = square(tmp_path / "far.geojson", 5000, 0, 20)
    elsewhere, here = (
        geozoom.plan(
            [tile], model=small_model(), threshold=0.0, prices=BY_AREA, owned=[owned]
        ).owned_elsewhere
        for owned in (far, named)
    )
    assert (elsewhere, here) == (True, False)


def test_large_orders_of_a_small_tile_hold_nothing_that_is_owned_far_from_it(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    from affine import Affine

    tile = write_raster(transform=Affine(10, 0, 500_000, 0, -10, 7_770_000))  # at 70° N
    prices = replace(BY_AREA, minimum_km2=Decimal(100), shape=ShapeRules(min_km2=Decimal(100)))
    east = tmp_path / "east.gpkg"
    geopandas.GeoDataFrame(geometry=[box(15.12, 69, 18, 71)], crs=4326).to_file(east)
    (order,) = geozoom.plan([tile], model=small_model(), threshold=0.5, prices=prices, owned=[east]).orders
    assert order.ring[:, 0].max() < 15.12 + 1e-3


def test_several_files_are_owned_together(write_raster: WriteRaster, tmp_path: Path) -> None:
    files = [square(tmp_path / "a.gpkg", 0, 0, 8), square(tmp_path / "b.gpkg", 40, 32, 8)]
    result = CliRunner().invoke(
        main,
        [
            "plan",
            str(write_raster()),
            "--owned",
            str(files[0]),
            "--owned",
            str(files[1]),
            "-o",
            "-",
            "--threshold",
            "0",
        ],
    )
    assert result.exit_code == 0, result.stderr
    assert "2 owned already" in result.stderr


def test_sites_leave_out_what_is_owned(write_raster: WriteRaster, tmp_path: Path) -> None:
    model, tile = small_model(benefit=BENEFIT), write_raster()
    sites = square(tmp_path / "site.gpkg", 10, 10, 8)
    half = square(tmp_path / "half.gpkg", 10, 10, 4)  # its upper left quarter: 2 × 2 patches
    whole = geozoom.plan([tile], model=model, threshold=0.0, prices=BY_AREA, sites=sites)
    plan = geozoom.plan([tile], model=model, threshold=0.0, prices=BY_AREA, sites=sites, owned=[half])
    assert places(plan) == {place for place in places(whole) if place[1] not in (0, 1, 4, 5)}
    had = whole.patches.probability[np.isin(whole.patches.patch, (0, 1, 4, 5))].sum()
    assert plan.value == pytest.approx(whole.value - float(BENEFIT.gain(had)), rel=1e-5)
    nothing = geozoom.plan(
        [tile, write_raster("b.tif")], model=model, sites=square(tmp_path / "s.gpkg", 30, 10, 8)
    )
    assert nothing.scenes_skipped.owned == 0


def test_a_cluster_leaves_out_the_same(write_raster: WriteRaster, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    files = [write_raster("a.tif"), write_raster("b.tif", seed=1)]
    model, owned = small_model(benefit=BENEFIT), square(tmp_path / "o.gpkg", 3, 5, 20)
    alone = geozoom.plan(files, model=model, prices=BY_AREA, owned=[owned])
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0"
    ) as cluster:
        spread = geozoom.plan(
            files, model=model, prices=BY_AREA, owned=[owned], dask=cluster.scheduler_address
        )
    assert alone.summary() == spread.summary()
    assert list(alone.features()) == list(spread.features())


def test_patches_in_windows_are_those_of_the_lattice(write_raster: WriteRaster, tmp_path: Path) -> None:
    from geozoom.bands import ReadOptions
    from geozoom.grid import lattice_windows
    from geozoom.tiles import open_tiles

    (tile,), _ = open_tiles([str(write_raster())], ReadOptions(), 10.0, 8)
    grid = small_model().grid
    area = read_area(square(tmp_path / "a.gpkg", 3.3, 7.9, 21))
    rows, cols = np.divmod(np.arange(30), 6)
    by_window = area.patches_in(tile, grid, lattice_windows(rows, cols, 8))
    assert np.array_equal(by_window, area.patches(tile, grid, 8, 0, 5, 0, 6))
    assert by_window.any()


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("not a vector file", "cannot be read as vectors"),
        (geopandas.GeoDataFrame(geometry=[shapely.Point(1, 1)], crs=4326), "must be of type Polygon"),
        (geopandas.GeoDataFrame(geometry=[box(0, 0, 1, 1)]), "has no CRS"),
    ],
)
def test_owned_areas_that_cannot_be_used_are_refused_in_a_sentence(
    write_raster: WriteRaster, tmp_path: Path, content: geopandas.GeoDataFrame | str | None, words: str
) -> None:
    path = tmp_path / "owned.gpkg"
    if isinstance(content, str):
        path.write_text(content)
    elif content is not None:
        content.to_file(path)
    result = CliRunner().invoke(main, ["plan", str(write_raster()), "--owned", str(path)])
    assert result.exit_code == 1
    assert str(path) in result.stderr
    assert words in result.stderr
    assert "Traceback" not in result.stderr

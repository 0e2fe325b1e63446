"""From plan to classes on a real image: deliveries cut along the orders, some of them wrong; every file agrees."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import geometry_mask
from rasterio.merge import merge
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform, reproject

from geozoom.cli import main
from geozoom.receiving.ordered import read_ordered
from tests.conftest import EXAMPLES

LR = EXAMPLES / "berkeley" / "lr_emulated.tif"
UTM10 = "EPSG:32610"
GSD = 0.9
PRICES = """
name = "small-orders"
currency = "USD"
source = "made for tests"
effective_date = "2026-01-01"
trust = "illustrative"
billing = "per-order"
rate_per_km2 = "10"
minimum_km2 = "0.02"

[shape]
max_width_km = "0.4"
max_height_km = "0.4"
"""


def run(*arguments: object, code: int = 0) -> dict[str, Any]:
    """Run a command with --json; return what it printed."""
    result = CliRunner().invoke(main, [str(argument) for argument in (*arguments, "--json")])
    assert result.exit_code == code, result.output
    return dict(json.loads(result.stdout))


class Truth:
    """The NAIP image on one grid, and deliveries cut from it."""

    def __init__(self, sent: Path) -> None:
        self.sent = sent
        sent.mkdir()
        files = sorted((EXAMPLES / "berkeley" / "hr").glob("*.tif"))
        parts = [WarpedVRT(rasterio.open(file), crs=UTM10, add_alpha=True) for file in files]
        mosaic, self.transform = merge(parts, res=GSD, indexes=[1, 2, 3])
        self.pixels: NDArray[np.uint8] = np.maximum(mosaic, 1)  # 0 will mean: not delivered

    def cut(
        self, name: str, ground: shapely.Geometry, *, crs: str = UTM10, east_m: float = 0, folder: str = "."
    ) -> Path:
        """Write what lies on an order, and nothing else, as a vendor's clip does."""
        to_utm = Transformer.from_crs(4326, UTM10, always_xy=True)
        outline = shapely.transform(ground, lambda xy: np.column_stack(to_utm.transform(*xy.T)))
        inside = geometry_mask(
            [outline], self.pixels.shape[1:], self.transform, all_touched=True, invert=True
        )
        rows, cols = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
        window = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
        pixels = np.where(inside, self.pixels, 0)[:, *window]
        place = Affine.translation(east_m, 0) @ self.transform @ Affine.translation(cols[0], rows[0])
        if crs != UTM10:
            height, width = pixels.shape[1:]
            edges = rasterio.transform.array_bounds(height, width, place)
            onto, width, height = calculate_default_transform(UTM10, crs, width, height, *edges)
            warped = np.zeros((3, height, width), np.uint8)
            reproject(
                pixels, warped, src_transform=place, src_crs=UTM10, src_nodata=0, dst_transform=onto, dst_crs=crs,
                dst_nodata=0, resampling=rasterio.enums.Resampling.bilinear,
            )  # fmt: skip
            pixels, place = warped, onto
        path = self.sent / folder / name
        path.parent.mkdir(exist_ok=True)
        with rasterio.open(
            path, "w", driver="GTiff", dtype="uint8", count=3, height=pixels.shape[1], width=pixels.shape[2], crs=crs,
            transform=place, nodata=0, photometric="RGB", compress="deflate",
        ) as out:  # fmt: skip
            out.write(pixels)
        return path


def halves(ground: shapely.Geometry) -> tuple[shapely.Geometry, shapely.Geometry]:
    west, south, east, north = ground.bounds
    middle = (west + east) / 2
    return (
        ground.intersection(shapely.box(west, south, middle, north)),
        ground.intersection(shapely.box(middle, south, east, north)),
    )


def inner_area(path: Path) -> Path:
    """Write what of the tile lies 30 m from its edge: the image ends where the tile does."""
    with rasterio.open(LR) as dataset:
        frame = geopandas.GeoDataFrame(geometry=[shapely.box(*dataset.bounds).buffer(-30)], crs=dataset.crs)
    frame.to_file(path)
    return path


class Story:
    """A plan, deliveries of which one is missing and one lies elsewhere, a catalog, and classes."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self.orders, self.catalog = folder / f"orders{suffix}", folder / "catalog.gpkg"
        self.scenes, self.prices = folder / "scenes.geojson", folder / "prices.toml"
        self.prices.write_text(PRICES)
        area = inner_area(folder / "inner.gpkg")
        self.plan = run("plan", LR, "--budget", 3, "--prices", self.prices, "--aoi", area, "-o", self.orders)
        self.ordered = read_ordered(self.orders)
        self.ground = dict(zip(self.ordered.order.tolist(), self.ordered.ground, strict=True))
        self.truth = Truth(folder / "sent")
        self.other_crs, self.split, self.missing, self.moved, *self.rest = self.ground
        self.deliver()
        self.taken = self.ingest("--gsd", GSD, code=1)
        self.classified = self.classify()
        self.found = geopandas.read_file(self.scenes)

    def deliver(self) -> None:
        truth, ground = self.truth, self.ground
        truth.cut("other.tif", ground[self.other_crs], crs="EPSG:3857")
        with zipfile.ZipFile(truth.sent / "split.zip", "w") as archive:
            for side, half in enumerate(halves(ground[self.split])):
                part = truth.cut(f"{side}.tif", half, folder="aside")
                archive.write(part, f"delivery/{part.name}")
                part.unlink()
        truth.cut("moved.tif", ground[self.moved], east_m=10_000)
        for number in self.rest:
            truth.cut(f"order_{number}.tif", ground[number], folder="rest")

    def ingest(self, *more: object, code: int = 0) -> dict[str, Any]:
        arguments = ["--orders", self.orders, "-o", self.catalog, *more]
        return run("ingest", self.truth.sent, *arguments, code=code)

    def classify(self) -> dict[str, Any]:
        arguments = ["--catalog", self.catalog, "--lr", LR, "-o", self.scenes, "--overwrite"]
        return run("classify", "--orders", self.orders, *arguments)


@pytest.fixture(scope="module", params=[".geojson", ".gpkg"])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Story:
    return Story(tmp_path_factory.mktemp("story"), request.param)


def test_every_delivery_is_told_from_what_is_missing_or_elsewhere(story: Story) -> None:
    (problem,) = story.taken["problems"]
    assert "moved.tif: lies on no order, 9." in problem
    states = {each["order"]: each for each in story.taken["orders"]}
    assert {number for number, each in states.items() if not each["complete"]} == {story.missing, story.moved}
    numbers, patches = np.unique(story.ordered.patch_order, return_counts=True)
    for number, count in zip(numbers.tolist(), patches.tolist(), strict=True):
        assert states[number]["patches"] == count
        # Neighbours are clipped generously, so they may show a patch of it.
        lost = number in (story.missing, story.moved)
        assert states[number]["patches_missing"] in (range(1, count + 1) if lost else [0])
    assert len(states[story.split]["files"]) >= 2
    assert story.taken["files"]["coarser"] == {}
    frame = geopandas.read_file(story.catalog)
    assert len(frame) == len(story.taken["files"]["added"]) == 3 + len(story.rest)


def test_the_numbers_of_plan_catalog_and_classes_agree(story: Story) -> None:
    planned, taken, classified = (each["totals"] for each in (story.plan, story.taken, story.classified))
    assert planned["orders"] == taken["orders"] == len(story.ground) >= 5
    assert 0 < planned["cost"] <= 3
    assert planned["patches"] == taken["patches"] == classified["patches_bought"]
    assert taken["patches_missing"] == classified["patches_missing"] > 0
    found = story.found
    assert len(found) == classified["scenes"] == planned["scenes"] + planned["scenes_skipped_outside"]
    assert found["patches_bought"].sum() == classified["patches_bought"]
    assert found["patches_delivered"].sum() == classified["patches_delivered"]
    missing = {name for each in story.taken["orders"] for name in each["missing"]}
    counted = {f"{row},{col}": 0 for row, col in zip(found["scene_row"], found["scene_col"], strict=True)}
    for name in story.ordered.patch_name.tolist():
        counted[name.split()[1]] += name not in missing
    assert found["patches_delivered"].tolist() == list(counted.values())


def test_scenes_without_hr_keep_what_one_would_have_known_for_free(story: Story) -> None:
    found = story.found
    free = found["patches_delivered"] == 0
    assert 0 < free.sum() < len(found)
    assert (found["class"][free] == found["lr_class"][free]).all()
    changed = int((found["class"] != found["lr_class"]).sum())
    assert story.classified["totals"]["scenes_changed_by_hr"] == changed > 0


def test_what_is_sent_again_completes_the_orders_and_is_not_bought_again(tmp_path: Path) -> None:
    story = Story(tmp_path, ".geojson")
    (story.truth.sent / "moved.tif").unlink()
    for number in (story.missing, story.moved):
        story.truth.cut(f"again_{number}.tif", story.ground[number], folder="again")
    again = story.ingest("--require-complete")
    assert again["totals"]["patches_missing"] == 0
    assert len(again["files"]["added"]) == 2
    assert story.classify()["totals"]["patches_missing"] == 0
    arguments = ["--prices", story.prices, "--owned", story.catalog, "-o", tmp_path / "second.geojson"]
    second = run("plan", LR, *arguments)
    places = json.loads((tmp_path / "second.geojson").read_text())["features"]
    assert second["totals"]["patches"] == len(places) > 0
    named = {f"{LR.name} {each['properties']['scene']} {each['properties']['patch']}" for each in places}
    assert not named & set(story.ordered.patch_name.tolist())

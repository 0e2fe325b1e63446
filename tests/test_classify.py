"""Deliveries and classification, from an emulated LR view of a scene whose HR truth is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from click.testing import CliRunner, Result
from rasterio.warp import Resampling, calculate_default_transform, reproject, transform
from rasterio.windows import Window

import geozoom
from geozoom.bands import ReadOptions
from geozoom.cli import main
from geozoom.deliveries import open_deliveries
from geozoom.errors import DeliveryError, OrdersError
from geozoom.model import PatchDrop
from geozoom.orders import Plan
from tests.conftest import ORIGIN, UTM33, WriteRaster, small_model, smooth_noise

BROKEN = (
    '{"type": "FeatureCollection", "geozoom": {"model": {"name": "x", "grid": [4, 4], "lr_px": 8}}, "features": '
    '[{"geometry": {"coordinates": []}, "properties": {"tile": "t", "scene_row": 1e400}}]}'
)
HR_GSD = 2.5
"""32 HR pixels on 8 LR pixels of 10 m."""
ROWS, COLS = 3, 4
"""Scenes of the tile."""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class World:
    """One HR truth, its LR view as a tile, and a plan over it."""

    def __init__(self, write_raster: WriteRaster, tmp_path: Path, model: PatchDrop) -> None:
        self.write_raster = write_raster
        self.truth = (smooth_noise(3, ROWS * 32, COLS * 32) * 254 + 1).astype(np.uint8)
        lr = self.truth.reshape(3, ROWS * 8, 4, COLS * 8, 4).mean(axis=(2, 4))
        self.tile = write_raster("emulated.tif", pixels=lr.round().astype(np.uint8))
        self.hr = tmp_path / "hr"
        self.model = model
        self.plan: Plan = geozoom.plan([self.tile], model=model)
        self.orders = tmp_path / "orders.geojson"
        self.plan.write(self.orders)

    def deliver(self, name: str, window: Window | None = None, **changes: Any) -> Path:
        window = window or Window(0, 0, COLS * 32, ROWS * 32)
        rows, cols = window.toslices()
        transform = Affine(HR_GSD, 0, ORIGIN[0], 0, -HR_GSD, ORIGIN[1])
        values = {
            "folder": self.hr,
            "pixels": self.truth[:, rows, cols],
            "transform": transform @ Affine.translation(window.col_off, window.row_off),
        }
        return self.write_raster(name, **(values | changes))

    def classify(self, **changes: Any) -> geozoom.ClassifiedScenes:
        return geozoom.classify(self.orders, hr=[self.hr], lr=[self.tile], model=self.model, **changes)

    def masks(self) -> np.ndarray[Any, Any]:
        masks = np.zeros((ROWS, COLS, 16), dtype=bool)
        masks[self.plan.patches.scene_row, self.plan.patches.scene_col, self.plan.patches.patch] = True
        return masks.reshape(-1, 16)


@pytest.fixture
def world(write_raster: WriteRaster, tmp_path: Path, model: PatchDrop) -> World:
    return World(write_raster, tmp_path, model)


def cut(pixels: np.ndarray[Any, Any], side: int) -> torch.Tensor:
    scenes = pixels.reshape(3, ROWS, side, COLS, side).transpose(1, 3, 0, 2, 4)
    return torch.from_numpy(scenes.reshape(-1, 3, side, side).astype(np.float32) / 255)


def test_scenes_get_the_classes_of_eq_7_on_what_was_bought_and_delivered(world: World) -> None:
    world.deliver("all.tif")
    found = world.classify()
    with rasterio.open(world.tile) as dataset:
        lr = cut(dataset.read(), 8)
    bought = torch.from_numpy(world.masks()).float()
    with torch.inference_mode():
        expected = world.model.class_log_probabilities(cut(world.truth, 32), lr, bought).exp()
        free = world.model.lr_logits(lr).softmax(1)
    assert 0 < bought.mean() < 1
    assert found.top.shape == (ROWS * COLS, 3)
    ordered = np.take_along_axis(expected.numpy(), found.top, axis=1)
    np.testing.assert_allclose(found.probability, ordered, atol=1e-5)
    assert (np.diff(found.probability, axis=1) <= 0).all()
    assert found.delivered.tolist() == found.bought.tolist() == bought.sum(1).int().tolist()
    assert found.lr_class.tolist() == free.argmax(1).tolist()
    np.testing.assert_allclose(found.lr_probability, free.max(1).values, atol=1e-5)


def test_deliveries_in_another_crs_and_in_parts_give_nearly_the_same(world: World, tmp_path: Path) -> None:
    world.deliver("all.tif")
    whole = world.classify()
    source = world.deliver("whole.tif", folder=tmp_path / "source")
    for file in world.hr.iterdir():
        file.unlink()
    with rasterio.open(source) as dataset:
        transform, width, height = calculate_default_transform(
            dataset.crs, "EPSG:3857", dataset.width, dataset.height, *dataset.bounds
        )
        pixels = np.zeros((3, height, width), dtype=np.uint8)
        reproject(
            dataset.read(),
            pixels,
            src_transform=dataset.transform,
            src_crs=dataset.crs,
            dst_transform=transform,
            dst_crs="EPSG:3857",
            resampling=Resampling.cubic,
        )
    half = width // 2
    for name, columns in (("west.tif", slice(0, half)), ("east.tif", slice(half, width))):
        world.write_raster(
            name,
            folder=world.hr,
            pixels=pixels[:, :, columns],
            crs="EPSG:3857",
            transform=transform @ Affine.translation(columns.start, 0),
            nodata=0,
        )
    parts = world.classify()
    inner = [1 * COLS + 1, 1 * COLS + 2]  # reprojection loses a pixel at the outer edge
    assert parts.delivered[inner].tolist() == whole.delivered[inner].tolist()
    assert (parts.top[inner, 0] == whole.top[inner, 0]).all()
    np.testing.assert_allclose(parts.probability[inner], whole.probability[inner], atol=0.05)


def test_patches_that_were_not_delivered_are_masked_and_counted(world: World) -> None:
    world.deliver("west.tif", Window(0, 0, 40, ROWS * 32))  # one scene and one patch
    found = world.classify()
    masks = world.masks().reshape(ROWS, COLS, 4, 4)
    expected = masks.copy()
    expected[:, 1, :, 1:] = False
    expected[:, 2:] = False
    assert found.delivered.tolist() == expected.sum(axis=(2, 3)).ravel().tolist()
    assert found.bought.tolist() == masks.sum(axis=(2, 3)).ravel().tolist()
    without = found.delivered == 0
    assert without.any()
    assert (found.top[without, 0] == found.lr_class[without]).all()
    np.testing.assert_allclose(found.probability[without, 0], found.lr_probability[without], atol=1e-6)
    totals = found.summary()["totals"]
    assert totals["patches_missing"] == int(found.bought.sum() - found.delivered.sum()) > 0


def test_what_was_not_bought_is_not_used_even_if_it_was_delivered(world: World) -> None:
    world.deliver("all.tif")
    honest = world.classify()
    bought = world.masks().reshape(ROWS, COLS, 4, 4)
    pixels = bought.transpose(0, 2, 1, 3).repeat(8, axis=1).repeat(8, axis=3).reshape(ROWS * 32, COLS * 32)
    world.deliver("all.tif", pixels=np.where(pixels, world.truth, 255 - world.truth))
    spoilt = world.classify()
    assert spoilt.delivered.tolist() == honest.delivered.tolist()
    np.testing.assert_allclose(spoilt.probability, honest.probability, atol=1e-6)


def test_what_the_user_calls_nodata_is_not_delivered(world: World) -> None:
    pixels = world.truth.copy()
    pixels[:, :, 32:] = 0
    world.deliver("half.tif", pixels=pixels)
    assert world.classify().delivered.tolist() == world.classify().bought.tolist()
    found = world.classify(hr_options=geozoom.ReadOptions(nodata=0)).delivered.reshape(ROWS, COLS)
    assert found[:, 0].any()
    assert not found[:, 1:].any()


def antimeridian_grid(crs: str, middle: float | None, gsd: float, height: int, width: int) -> Affine:
    """Return a raster's pixels around 180° at the equator: in degrees around the longitude given, or in metres."""
    x, scale = middle, gsd * 9e-6
    if x is None:
        (x,), _ = transform("EPSG:4326", crs, [180.0], [0.0])
        scale = gsd
    return (
        Affine.translation(x, 0) @ Affine.scale(scale, -scale) @ Affine.translation(-width / 2, -height / 2)
    )


def test_deliveries_across_the_antimeridian_are_found(
    write_raster: WriteRaster, model: PatchDrop, tmp_path: Path
) -> None:
    (x,), (y,) = transform("EPSG:4326", "EPSG:32660", [180.0], [-17.0])
    corner = Affine.translation(x - 160, y)
    tile = write_raster(crs="EPSG:32660", transform=corner @ Affine.scale(10, -10), height=24, width=32)
    truth = (smooth_noise(3, 96, 128) * 254 + 1).astype(np.uint8)
    hr = write_raster(
        "hr.tif",
        folder=tmp_path / "hr",
        pixels=truth,
        crs="EPSG:32660",
        transform=corner @ Affine.scale(2.5, -2.5),
    )
    orders = tmp_path / "orders.geojson"
    geozoom.plan([tile], model=model).write(orders)
    found = geozoom.classify(orders, hr=[hr], lr=[tile], model=model)
    assert found.bought.sum() > 0
    assert found.delivered.tolist() == found.bought.tolist()


@pytest.mark.parametrize(
    ("lr_crs", "lr_middle", "hr_crs", "hr_middle"),
    [
        ("EPSG:32660", None, "EPSG:4326", 180),
        ("EPSG:32660", None, "EPSG:4269", -180),
        ("EPSG:4326", 180, "EPSG:32660", None),
        ("EPSG:4326", 180, "EPSG:4326", -180),
        ("EPSG:4326", -180, "EPSG:4326", 180),
        ("EPSG:4326", -180, "EPSG:4269", 180),
    ],
)
def test_deliveries_in_degrees_across_the_antimeridian_are_used(
    write_raster: WriteRaster,
    model: PatchDrop,
    tmp_path: Path,
    lr_crs: str,
    lr_middle: float | None,
    hr_crs: str,
    hr_middle: float | None,
) -> None:
    lr_grid = antimeridian_grid(lr_crs, lr_middle, 10, 24, 32)
    tile = write_raster(crs=lr_crs, transform=lr_grid, height=24, width=32)
    hr_grid = antimeridian_grid(hr_crs, hr_middle, 2.5, 120, 160)
    hr = write_raster(folder=tmp_path / "hr", crs=hr_crs, transform=hr_grid, height=120, width=160)
    orders = tmp_path / "orders.geojson"
    geozoom.plan([tile], model=model).write(orders)
    found = geozoom.classify(orders, hr=[hr], lr=[tile], model=model)
    assert found.bought.sum() > 0
    assert found.delivered.tolist() == found.bought.tolist()


@pytest.mark.parametrize("turns", [(0, -360), (-360, 0)])
def test_all_is_used_of_both_sides_of_the_antimeridian_that_a_catalog_calls_delivered(
    write_raster: WriteRaster, model: PatchDrop, tmp_path: Path, turns: tuple[int, int]
) -> None:
    crs = "EPSG:4326"
    tile = write_raster(crs=crs, transform=antimeridian_grid(crs, 180, 10, 24, 32), height=24, width=32)
    whole = antimeridian_grid(crs, 180, 2.5, 120, 160)
    for name, start, turn in (("west.tif", 0, turns[0]), ("east.tif", 80, turns[1])):
        side = Affine.translation(turn, 0) @ whole @ Affine.translation(start, 0)
        write_raster(name, folder=tmp_path / "hr", crs=crs, transform=side, height=120, width=80)
    orders, catalog = tmp_path / "orders.geojson", tmp_path / "catalog.gpkg"
    geozoom.plan([tile], model=model).write(orders)
    taken = geozoom.ingest([tmp_path / "hr"], orders=orders, catalog=catalog)
    assert taken.summary()["totals"]["patches_missing"] == 0
    found = geozoom.classify(orders, catalog=catalog, lr=[tile], model=model)
    assert found.bought.sum() > 0
    assert found.delivered.tolist() == found.bought.tolist()


@pytest.mark.parametrize(
    ("crs", "west", "east", "expected"),
    [
        ("EPSG:4326", 179.9, 180.1, (179.9, -179.9)),
        ("EPSG:4326", -180.1, -179.9, (179.9, -179.9)),
        ("EPSG:4269", -180.1, -179.9, (179.9, -179.9)),
        ("EPSG:4720", -180.1, -179.9, (179.9, -179.9)),
        ("EPSG:4269", 190, 190.2, (-170, -169.8)),
        ("EPSG:4326", -170, -169.8, (-170, -169.8)),
        ("EPSG:4326", 180, 180.1, (180, -179.9)),
        ("EPSG:4326", 0, 360, (-180, 180)),
        ("EPSG:4326", -180, 180, (-180, 180)),
    ],
)
def test_bounds_of_deliveries_lie_in_180_degrees_and_west_exceeds_east_across_the_antimeridian(
    write_raster: WriteRaster, crs: str, west: float, east: float, expected: tuple[float, float]
) -> None:
    grid = Affine((east - west) / 20, 0, west, 0, -0.01, -17)
    path = write_raster(crs=crs, transform=grid, height=20, width=20)
    (delivery,) = open_deliveries([str(path)], ReadOptions()).deliveries
    assert (delivery.bounds[0], delivery.bounds[2]) == pytest.approx(expected, abs=1e-3)
    assert (delivery.bounds[1], delivery.bounds[3]) == pytest.approx((-17.2, -17), abs=1e-3)


def test_a_delivery_outside_its_own_crs_is_named(world: World) -> None:
    world.deliver("off.tif", transform=Affine(1e8, 0, 1e9, 0, -1e8, 1e9))
    with pytest.raises(DeliveryError, match=r"off\.tif: its coordinates do not lie in its CRS"):
        world.classify()


def test_the_finest_of_overlapping_deliveries_is_used(world: World) -> None:
    world.deliver("b_fine.tif")
    alone = world.classify()
    coarse = world.truth[:, ::4, ::4]
    world.deliver("a_coarse.tif", pixels=255 - coarse, transform=Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]))
    both = world.classify()
    np.testing.assert_allclose(both.probability, alone.probability, atol=1e-6)
    assert [Path(path).name for path in both.coarse] == ["a_coarse.tif"]


def test_the_command_writes_a_feature_per_scene(world: World, model_file: Path, tmp_path: Path) -> None:
    world.deliver("all.tif")
    out = tmp_path / "scenes.geojson"
    result = run(
        *("classify", "--orders", world.orders, "--hr", world.hr, "--lr", world.tile, "-o", out),
        *("--model", model_file, "--json"),
    )
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert len(content["features"]) == ROWS * COLS
    assert json.loads(result.stdout) == content["geozoom"]
    assert content["geozoom"]["totals"]["patches_missing"] == 0
    properties = content["features"][0]["properties"]
    assert properties["class"] in world.model.card.classes
    assert properties["probability"] >= properties["probability_2"] >= properties["probability_3"]
    assert properties["hr_share"] == properties["patches_delivered"] / 16
    frame = geopandas.read_file(out).to_crs(UTM33)
    assert frame.area.sum() == pytest.approx(ROWS * COLS * 6400, rel=1e-5)


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet"])
def test_orders_in_other_formats_are_read_too(world: World, tmp_path: Path, suffix: str) -> None:
    world.deliver("all.tif")
    expected = world.classify()
    world.orders = tmp_path / f"orders{suffix}"
    world.plan.write(world.orders)
    found = world.classify()
    assert found.bought.tolist() == expected.bought.tolist()
    np.testing.assert_allclose(found.probability, expected.probability)


def test_orders_that_do_not_belong_to_tiles_or_model_are_refused(
    world: World, write_raster: WriteRaster, tmp_path: Path
) -> None:
    world.deliver("all.tif")
    stranger = write_raster("stranger.tif")
    with pytest.raises(OrdersError, match=r"tile emulated\.tif, which is not among"):
        geozoom.classify(world.orders, hr=[world.hr], lr=[stranger], model=world.model)
    moved = write_raster(
        "emulated.tif", folder=tmp_path / "moved", transform=Affine(10, 0, ORIGIN[0] + 400, 0, -10, ORIGIN[1])
    )
    with pytest.raises(OrdersError, match="do not lie on the scenes"):
        geozoom.classify(world.orders, hr=[world.hr], lr=[moved], model=world.model)
    other = small_model(lr_px=4, hr_px=32)
    with pytest.raises(OrdersError, match="classify with the model that planned"):
        geozoom.classify(world.orders, hr=[world.hr], lr=[world.tile], model=other)


@pytest.mark.parametrize(
    "text", ["", "[]", BROKEN, '{"type": "FeatureCollection", "features": []}', "\x00\xff"]
)
def test_files_that_are_not_orders_are_refused(world: World, tmp_path: Path, text: str) -> None:
    world.deliver("all.tif")
    world.orders = tmp_path / "not.geojson"
    world.orders.write_bytes(text.encode("latin-1"))
    with pytest.raises(OrdersError, match=r"not\.geojson: not orders"):
        world.classify()
    world.orders = tmp_path / "nowhere.geojson"
    with pytest.raises(OrdersError, match="no such orders file"):
        world.classify()


def test_all_unusable_deliveries_are_named_at_once(world: World) -> None:
    world.deliver("good.tif")
    world.deliver("no_crs.tif", crs=None)
    world.deliver("pan.tif", pixels=world.truth[:1])
    world.deliver("uncalibrated.tif", pixels=world.truth.astype(np.uint16), dtype="uint16")
    (world.hr / "broken.tif").write_bytes(b"II*\0")
    with pytest.raises(DeliveryError) as caught:
        world.classify()
    text = str(caught.value)
    assert len(text.splitlines()) == 4
    for words in (
        "no_crs.tif: has no CRS",
        "pan.tif: has 1 band",
        "uncalibrated.tif: holds uint16",
        "broken.tif",
    ):
        assert words in text


def test_a_delivery_that_is_cut_short_is_named(world: World) -> None:
    path = world.deliver("short.tif")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DeliveryError, match=r"short\.tif: cannot be read to its end"):
        world.classify()


def test_an_empty_folder_of_deliveries_is_refused(world: World, model_file: Path) -> None:
    world.hr.mkdir()
    result = run(
        *("classify", "--orders", world.orders, "--hr", world.hr, "--lr", world.tile, "--model", model_file)
    )
    assert result.exit_code == 1
    assert "no rasters" in result.stderr


@pytest.mark.parametrize("cataloged", [False, True])
def test_patches_that_planets_mask_calls_unusable_are_masked_and_counted(
    world: World, tmp_path: Path, cataloged: bool
) -> None:
    image = world.deliver("20240101_101010_12_3B_AnalyticMS_SR_clip.tif")
    honest = world.classify()
    mask = np.zeros((8, ROWS * 32, COLS * 32), dtype=np.uint8)
    mask[0] = 1
    mask[0, :, :64], mask[5, :, :64] = 0, 1
    mask[7, :32, 64:96] = 2
    world.deliver(image.name.replace("AnalyticMS_SR", "udm2"), pixels=mask)
    if cataloged:
        geozoom.ingest([world.hr], orders=world.orders, catalog=tmp_path / "catalog.gpkg")
        found = geozoom.classify(
            world.orders, catalog=tmp_path / "catalog.gpkg", lr=[world.tile], model=world.model
        )
    else:
        found = world.classify()
    hidden = (found.scene_col < 2) | ((found.scene_row == 0) & (found.scene_col == 2))
    assert (found.unusable == np.where(hidden, found.bought, 0)).all()
    assert (found.delivered == np.where(hidden, 0, found.bought)).all()
    np.testing.assert_allclose(found.probability[hidden, 0], found.lr_probability[hidden], atol=1e-6)
    np.testing.assert_allclose(found.probability[~hidden], honest.probability[~hidden], atol=1e-6)
    totals = found.summary()["totals"]
    assert (totals["patches_unusable"], totals["patches_missing"]) == (found.bought[hidden].sum(), 0)


def test_clouded_pixels_are_taken_from_a_delivery_that_shows_the_ground(world: World) -> None:
    honest_file = world.deliver("clear.tif")
    honest = world.classify()
    clouded = np.full_like(world.truth, 250)
    # First by name, so that it is asked before the clear one.
    image = world.deliver("20240101_101010_12_3B_AnalyticMS_SR_clip.tif", pixels=clouded)
    mask = np.zeros((8, ROWS * 32, COLS * 32), dtype=np.uint8)
    mask[5] = 1
    world.deliver(image.name.replace("AnalyticMS_SR", "udm2"), pixels=mask)
    found = world.classify()
    assert found.unusable.sum() == 0
    np.testing.assert_allclose(found.probability, honest.probability, atol=1e-6)
    honest_file.unlink()
    assert world.classify().unusable.sum() == found.bought.sum() > 0

"""Several deliveries as one image: from which a pixel comes, and that nothing is read that was not bought."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.enums import Resampling
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT

import geozoom
from geozoom.bands import ReadOptions
from geozoom.calibration import Display
from geozoom.cli import main
from geozoom.deliveries import open_deliveries
from geozoom.errors import CatalogError, DeliveryError
from geozoom.footprints import window_corners
from geozoom.grid import lattice_windows
from geozoom.model import PatchDrop
from geozoom.mosaic import DeliveryIndex, lattice_frame, rectangles
from geozoom.tiles import open_tiles
from tests.conftest import ORIGIN, WriteRaster, smooth_noise

ROWS, COLS = 3, 4
"""Scenes of the tile, of 8 LR pixels of 10 m and 32 HR pixels of 2.5 m."""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class World:
    """A tile, a plan over it, and deliveries in a catalog."""

    def __init__(self, write_raster: WriteRaster, tmp_path: Path, model: PatchDrop) -> None:
        self.write_raster, self.model = write_raster, model
        self.sent, self.catalog = tmp_path / "sent", tmp_path / "catalog.gpkg"
        self.truth = (smooth_noise(3, ROWS * 32, COLS * 32) * 254 + 1).astype(np.uint8)
        lr = self.truth.reshape(3, ROWS * 8, 4, COLS * 8, 4).mean(axis=(2, 4))
        self.tile = write_raster("emulated.tif", pixels=lr.round().astype(np.uint8))
        self.orders = tmp_path / "orders.geojson"
        self.plan = geozoom.plan([self.tile], model=model)
        self.plan.write(self.orders)

    def deliver(
        self, name: str, pixels: np.ndarray[Any, Any], acquired: str | None = None, **changes: Any
    ) -> Path:
        gsd = ROWS * 80 / pixels.shape[1]
        path = self.write_raster(name, folder=self.sent, pixels=pixels, gsd=gsd, **changes)
        if acquired:
            path.with_suffix(".json").write_text(json.dumps({"properties": {"datetime": acquired}}))
        return path

    def classify(self, **changes: Any) -> geozoom.ClassifiedScenes:
        geozoom.ingest([self.sent], orders=self.orders, catalog=self.catalog)
        return geozoom.classify(
            self.orders, catalog=self.catalog, lr=[self.tile], model=self.model, **changes
        )


@pytest.fixture
def world(write_raster: WriteRaster, tmp_path: Path, model: PatchDrop) -> World:
    return World(write_raster, tmp_path, model)


def test_a_catalog_gives_the_same_classes_as_its_files(world: World) -> None:
    world.deliver("all.tif", world.truth)
    found = world.classify()
    direct = geozoom.classify(world.orders, hr=[world.sent], lr=[world.tile], model=world.model)
    assert found.summary() == direct.summary()
    assert list(found.features()) == list(direct.features())
    assert found.summary()["totals"]["patches_missing"] == 0


def test_the_latest_of_overlapping_deliveries_is_used_unless_it_is_too_coarse(world: World) -> None:
    negative = 255 - world.truth
    world.deliver("a.tif", world.truth, "2024-05-02T00:00:00Z")
    alone = world.classify()
    world.deliver("fine_but_older.tif", negative.repeat(2, 1).repeat(2, 2), "2024-05-01T00:00:00Z")
    world.deliver("undated.tif", negative)
    world.deliver("later_but_coarse.tif", negative[:, ::4, ::4], "2024-06-01T00:00:00Z")
    found = world.classify()
    np.testing.assert_allclose(found.probability, alone.probability)
    assert [Path(path).name for path in found.coarse] == ["later_but_coarse.tif"]
    world.deliver("later.tif", negative // 2, "2024-05-03T00:00:00Z")
    changed = world.classify()
    assert np.abs(changed.probability - alone.probability).max() > 1e-3


def test_holes_of_the_first_delivery_are_filled_from_the_next(world: World) -> None:
    world.deliver("whole.tif", world.truth, "2024-01-01T00:00:00Z")
    alone = world.classify()
    # Resampling mixes pixels at the rim of a hole, which is why it is cut between patches.
    holes = world.truth.copy()
    holes[:, :, 32:64] = 0
    path = world.deliver("holes.tif", holes, "2024-02-01T00:00:00Z")
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = 0
    found = world.classify()
    assert found.delivered.tolist() == alone.delivered.tolist()
    np.testing.assert_allclose(found.probability, alone.probability, atol=1e-6)


@pytest.mark.parametrize("tag", [0, 7, None])
def test_what_the_user_calls_nodata_is_missing_besides_what_the_tag_or_a_mask_does(
    world: World, tag: int | None
) -> None:
    pixels = world.truth.clip(8, 254)
    pixels[:, :, :32], pixels[:, :, 96:] = tag or 0, 255
    if tag is not None:
        pixels[1, :, :32] = 100  # in one band alone it is missing, too
    path = world.deliver("all.tif", pixels, nodata=tag)
    if tag is None:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(pixels[0] > 0)
    found = geozoom.classify(
        world.orders, hr=[world.sent], lr=[world.tile], model=world.model, hr_options=ReadOptions(nodata=255)
    )
    bought = found.bought.reshape(ROWS, COLS)
    assert (bought > 0).all()
    assert (found.delivered.reshape(ROWS, COLS) == bought * [0, 1, 1, 0]).all()


@pytest.mark.parametrize("bands", [3, 4])
def test_ground_beside_a_delivery_is_not_delivered_however_many_bands_it_has(
    world: World, bands: int
) -> None:
    pixels = np.concatenate([world.truth, world.truth])[:bands, :, :64]
    world.write_raster(
        "half.tif",
        folder=world.sent,
        pixels=pixels,
        rgb=False,
        descriptions=("red", "green", "blue", "nir")[:bands],
        transform=Affine(2.5, 0, ORIGIN[0], 0, -2.5, ORIGIN[1]),
    )
    found = world.classify()
    bought = found.bought.reshape(ROWS, COLS)
    assert (found.delivered.reshape(ROWS, COLS) == bought * [1, 1, 0, 0]).all()


def test_bands_and_nodata_said_at_ingest_hold_for_classifying(world: World) -> None:
    world.deliver("all.tif", world.truth)
    expected = world.classify()
    (world.sent / "all.tif").unlink()
    world.catalog.unlink()
    extra = np.zeros_like(world.truth[:1])
    world.write_raster(
        "bgr.tif",
        folder=world.sent,
        pixels=np.concatenate([world.truth[::-1], extra]),
        rgb=False,
        transform=Affine(2.5, 0, ORIGIN[0], 0, -2.5, ORIGIN[1]),
    )
    options = geozoom.ReadOptions(bands=(3, 2, 1))
    geozoom.ingest([world.sent], orders=world.orders, catalog=world.catalog, options=options)
    found = world.classify()
    np.testing.assert_allclose(found.probability, expected.probability)


def test_what_is_gone_or_colourless_is_not_used_and_named(world: World, model_file: Path) -> None:
    world.deliver("all.tif", world.truth)
    world.deliver("pan.tif", world.truth[:1])
    world.classify()
    arguments = ["classify", "--orders", world.orders, "--catalog", world.catalog, "--lr", world.tile]
    arguments += ["--model", model_file, "-o", world.catalog.with_name("scenes.geojson"), "--overwrite"]
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert "1 deliveries show no colours, so they were not used: " in result.stderr
    assert json.loads(result.stdout)["totals"]["patches_missing"] == 0
    world.deliver("rest.tif", world.truth[:, :, :32])
    geozoom.ingest([world.sent], orders=world.orders, catalog=world.catalog)
    (world.sent / "all.tif").unlink()
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    assert "1 deliveries are no longer where the catalog has them" in result.stderr
    assert json.loads(result.stdout)["totals"]["patches_missing"] > 0


def test_a_catalog_of_other_orders_is_refused(
    world: World, write_raster: WriteRaster, tmp_path: Path
) -> None:
    world.deliver("all.tif", world.truth)
    world.classify()
    away = Affine(10, 0, ORIGIN[0] + 9000, 0, -10, ORIGIN[1])
    tile = write_raster("away.tif", transform=away)
    orders = tmp_path / "away.geojson"
    geozoom.plan([tile], model=world.model).write(orders)
    with pytest.raises(CatalogError, match="none of its 1 usable deliveries lies on a patch of"):
        geozoom.classify(orders, catalog=world.catalog, lr=[tile], model=world.model)


def test_deliveries_without_calibration_are_refused_by_name(world: World) -> None:
    world.deliver("a.tif", world.truth)
    world.deliver("b.tif", world.truth.astype(np.uint16) * 10, dtype="uint16")
    with pytest.raises(DeliveryError, match=r"b\.tif: holds uint16 without scale"):
        world.classify()
    found = world.classify(hr_options=geozoom.ReadOptions(scale=1e-4))
    assert found.delivered.sum() == found.bought.sum()


@pytest.mark.parametrize("given", [[], ["--hr", "a", "--catalog", "b"]])
def test_deliveries_come_from_files_or_a_catalog(given: list[str]) -> None:
    result = run("classify", "--orders", "o.geojson", "--lr", "l", *given)
    assert result.exit_code == 2
    assert "as --catalog or as --hr, one of them" in result.stderr
    with pytest.raises(ValueError, match="either hr or catalog"):
        geozoom.classify("o.geojson", lr=["l"])


def test_only_what_was_bought_is_read(world: World) -> None:
    # Blocks of 16 px where a patch is 32 px: all that no bought patch needs are made unreadable.
    fine = world.truth.repeat(4, 1).repeat(4, 2)
    height, width = fine.shape[1:]
    path = world.sent / "all.tif"
    world.sent.mkdir()
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=3, height=height, width=width, crs="EPSG:32633",
        transform=Affine(0.625, 0, ORIGIN[0], 0, -0.625, ORIGIN[1]), tiled=True, blockxsize=16, blockysize=16,
        compress="deflate", photometric="RGB", interleave="pixel",
    ) as out:  # fmt: skip
        out.write(fine)
    whole = world.classify()
    frame = world.plan.to_geodataframe().to_crs("EPSG:32633")
    needed = np.zeros((height // 16, width // 16), dtype=bool)
    for patch in frame.geometry:
        west, south, east, north = patch.bounds
        left, right = (round((x - ORIGIN[0]) / 0.625) for x in (west, east))
        top, bottom = (round((ORIGIN[1] - y) / 0.625) for y in (north, south))
        # The filter takes in a few pixels beyond a patch's rim.
        rows = slice(max(0, top - 8) // 16, -(-(bottom + 8) // 16))
        needed[rows, max(0, left - 8) // 16 : -(-(right + 8) // 16)] = True
    assert 0.1 < needed.mean() < 0.95
    with rasterio.open(path) as dataset:
        starts = {
            (row, col): dataset.tags(1, ns="TIFF").get(f"BLOCK_OFFSET_{col}_{row}")
            or dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=1)
            for row, col in itertools.product(range(height // 16), range(width // 16))
        }
    content = bytearray(path.read_bytes())
    for place, start in starts.items():
        if not needed[place]:
            content[int(start) : int(start) + 4] = b"\xff" * 4
    path.write_bytes(content)
    with rasterio.open(path) as dataset, pytest.raises(rasterio.errors.RasterioIOError):
        dataset.read()
    found = geozoom.classify(world.orders, catalog=world.catalog, lr=[world.tile], model=world.model)
    assert found.delivered.tolist() == whole.delivered.tolist()
    np.testing.assert_array_equal(found.probability, whole.probability)


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:3857"])
def test_patches_read_together_are_those_of_whole_scenes(
    world: World, crs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geozoom.mosaic.LARGEST_OPEN", 1)  # rasters are closed and opened again
    path = world.deliver("all.tif", world.truth)
    if crs != "EPSG:32633":
        with (
            rasterio.open(path) as dataset,
            WarpedVRT(dataset, crs=crs, resampling=Resampling.cubic) as other,
        ):
            copy(other, world.sent / "other.tif", driver="GTiff")
        path.unlink()
    (tile,), _ = open_tiles([str(world.tile)], ReadOptions(), 10.0, 8)
    deliveries = open_deliveries([str(world.sent)], ReadOptions()).deliveries
    frame = lattice_frame(tile, 8, 32)
    rng = np.random.default_rng(0)

    def read(index: DeliveryIndex, row: int, col: int, wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        ring = window_corners(tile, lattice_windows(np.array([row]), np.array([col]), 8))[0]
        rgb, there, _ = index.read(
            frame,
            32 * row,
            32 * col,
            hr_px=32,
            wanted=wanted,
            ring=ring,
            display=Display(white=0.3, gamma=2.2),
        )
        assert np.array_equal(there, wanted.repeat(8, 0).repeat(8, 1))
        return rgb

    with DeliveryIndex(deliveries=deliveries) as index:
        for row, col in itertools.product(range(ROWS), range(COLS)):
            whole = read(index, row, col, np.ones((4, 4), dtype=bool))
            for share in (0.3, 0.6, 0.9):
                wanted = rng.random((4, 4)) < share
                found = read(index, row, col, wanted)
                expected = whole * wanted.repeat(8, 0).repeat(8, 1)
                # GDAL's warper places a pixel to an eighth of one, which depends on the block around it.
                off = np.abs(found - expected)
                assert off.max() <= (0.1 if crs == "EPSG:3857" else 1e-6)
                assert off.mean() < 0.01
        assert len(index._open) == 1


@given(arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_rectangles_cover_each_wanted_cell_once_and_no_other(wanted: np.ndarray[Any, Any]) -> None:
    counted = np.zeros(wanted.shape, dtype=int)
    for top, bottom, left, right in rectangles(wanted):
        counted[top:bottom, left:right] += 1
    assert np.array_equal(counted, wanted.astype(int))


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (["####"] * 4, ((0, 4, 0, 4),)),
        (["....", ".##.", ".##.", "...."], ((1, 3, 1, 3),)),
        (["##..", "##..", "##..", ".#.."], ((0, 3, 0, 2), (3, 4, 1, 2))),
    ],
)
def test_a_scene_is_read_in_few_rectangles(
    rows: list[str], found: tuple[tuple[int, int, int, int], ...]
) -> None:
    assert rectangles(np.array([[cell == "#" for cell in row] for row in rows])) == found

"""Deliveries that lie where they should, and such that were moved, against the LR tile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.warp import calculate_default_transform, reproject

from geozoom.cli import main
from geozoom.receiving.shift import best_shift
from tests.conftest import ORIGIN, UTM33, WriteRaster, smooth_noise
from tests.deliveries import square, write_orders

GSD = 2.5


def brute(
    image: NDArray[np.float64],
    valid: NDArray[np.bool_],
    part: NDArray[np.float64],
    shown: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Correlation at every shift, by NumPy's own over the pixels that both hold."""
    shape = tuple(large - small + 1 for large, small in zip(image.shape, part.shape, strict=True))
    found = np.full(shape, -1.0)
    for row, col in np.ndindex(*shape):
        here = np.s_[row : row + part.shape[0], col : col + part.shape[1]]
        both = valid[here] & shown
        if both.sum() >= max(shown.sum() / 2, 2) and image[here][both].std() and part[both].std():
            found[row, col] = np.corrcoef(image[here][both], part[both])[0, 1]
    return found


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(3, 9), st.integers(3, 9), st.integers(1, 4))
def test_the_peak_is_that_of_plain_correlation(seed: int, height: int, width: int, reach: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.random((height + 2 * reach, width + 2 * reach)) * 200
    part = rng.random((height, width)) * 3 + 50
    valid, shown = rng.random(image.shape) < 0.9, rng.random(part.shape) < 0.9
    expected = brute(image, valid, part, shown)
    found = best_shift(image, valid, part, shown)
    if found is None:
        assert expected.max() == -1
        return
    assert found.there == pytest.approx(expected.max(), abs=1e-6)
    assert found.here == pytest.approx(expected[reach, reach], abs=1e-6)
    row, col = np.unravel_index(expected.argmax(), expected.shape)
    assert abs(found.down - (row - reach)) <= 0.5
    assert abs(found.across - (col - reach)) <= 0.5


def test_nothing_is_found_of_flat_or_missing_images() -> None:
    image, part = np.random.default_rng(0).random((20, 20)), np.ones((10, 10))
    everywhere, nowhere = np.ones((20, 20), dtype=bool), np.zeros((10, 10), dtype=bool)
    assert best_shift(image, everywhere, part, ~nowhere) is None
    assert best_shift(image, everywhere, image[:10, :10], nowhere) is None
    assert best_shift(image, ~everywhere, image[:10, :10], ~nowhere) is None


class Field:
    """An LR tile of 64 px, and an order of 320 m in its middle."""

    def __init__(self, write_raster: WriteRaster, folder: Path) -> None:
        self.write_raster, self.folder = write_raster, folder
        self.truth = (smooth_noise(3, 256, 256, seed=4) * 254 + 1).astype(np.uint8)
        lr = self.truth.reshape(3, 64, 4, 64, 4).mean(axis=(2, 4))
        noisy = lr + np.random.default_rng(0).normal(0, 5, lr.shape)
        self.lr = write_raster("lr.tif", pixels=(noisy.clip(1, 255) * 30).astype(np.uint16), dtype="uint16")
        patches = [(1, row, col) for row in range(8, 24) for col in range(8, 24)]
        self.orders = write_orders(
            folder / "orders.geojson", patches, polygons={1: square(160, 160, 320, 320)}
        )

    def deliver(self, name: str, east: float = 0, north: float = 0, crs: str = UTM33) -> Path:
        """Deliver the order's own ground, but say that it lies elsewhere."""
        pixels = self.truth[:, 64:192, 64:192]
        place = Affine(GSD, 0, ORIGIN[0] + 160 + east, 0, -GSD, ORIGIN[1] - 160 + north)
        if crs != UTM33:
            bounds = (place.c, place.f - 320, place.c + 320, place.f)
            onto, width, height = calculate_default_transform(UTM33, crs, 128, 128, *bounds)
            warped = np.zeros((3, height, width), np.uint8)
            reproject(pixels, warped, src_transform=place, src_crs=UTM33, dst_transform=onto, dst_crs=crs)
            pixels, place = warped, onto
        return self.write_raster(
            name, folder=self.folder / "sent", pixels=pixels, transform=place, crs=crs, nodata=0
        )

    def ingest(self, *more: object, code: int = 0) -> Result:
        arguments = [
            "ingest", self.folder / "sent", "--orders", self.orders, "-o", self.folder / "c.gpkg", "--gsd", GSD, *more
        ]  # fmt: skip
        result = CliRunner().invoke(main, [str(each) for each in arguments])
        assert result.exit_code == code, result.output
        return result

    def place(self) -> dict[str, Any]:
        return dict(json.loads(self.ingest("--lr", self.lr, "--json").stdout)["place"])


@pytest.fixture
def field(write_raster: WriteRaster, tmp_path: Path) -> Field:
    return Field(write_raster, tmp_path)


def test_moved_deliveries_are_named_with_distance_and_direction(field: Field) -> None:
    field.deliver("good.tif")
    field.deliver("mercator.tif", crs="EPSG:3857")
    field.deliver("east.tif", east=60)
    field.deliver("north_west.tif", east=-71, north=71, crs="EPSG:3857")
    field.deliver("a_little.tif", east=6)
    result = field.ingest("--lr", field.lr, "--json")
    place = json.loads(result.stdout)["place"]
    assert sorted(Path(each).name for each in place["in_place"]) == [
        "a_little.tif",
        "good.tif",
        "mercator.tif",
    ]
    moved = {Path(each["file"]).name: each for each in place["shifted"]}
    assert {name: each["towards"] for name, each in moved.items()} == {
        "east.tif": "east",
        "north_west.tif": "north-west",
    }
    assert moved["east.tif"]["metres"] == pytest.approx(60, abs=4)
    assert moved["north_west.tif"]["metres"] == pytest.approx(100, abs=4)
    assert "east.tif is shifted by 6" in result.stderr
    assert "3 deliveries are in place, 2 shifted, 0 cannot be told" in result.stderr


def test_neither_the_tags_nodata_nor_the_users_is_compared(field: Field) -> None:
    path = field.deliver("east.tif", east=60)
    with rasterio.open(path, "r+") as dataset:
        pixels = dataset.read().clip(1, 254)
        squares = np.add.outer(np.arange(128) // 32, np.arange(128) // 32) % 2 > 0
        pixels[:, squares], pixels[:, 120:] = 0, 255
        dataset.write(pixels)
    arguments = ("--lr", field.lr, "--nodata", 255, "--json")
    (moved,) = json.loads(field.ingest(*arguments).stdout)["place"]["shifted"]
    assert moved["metres"] == pytest.approx(60, abs=4)


def test_what_cannot_be_told_is_said_to_be(field: Field, write_raster: WriteRaster) -> None:
    flat = field.deliver("flat.tif")
    sent = field.folder / "sent"
    at = Affine(GSD, 0, ORIGIN[0] + 160, 0, -GSD, ORIGIN[1] - 160)
    write_raster(flat.name, folder=sent, pixels=np.full((3, 128, 128), 90, np.uint8), transform=at)
    write_raster("noise.tif", folder=sent, height=128, width=128, transform=at, seed=99)
    write_raster("small.tif", folder=sent, pixels=field.truth[:, 64:80, 64:80], transform=at)
    place = field.place()
    assert place["shifted"] == place["in_place"] == []
    assert len(place["undecided"]) == 3


def test_without_tiles_nothing_is_compared_and_bad_ones_stop_it_before_any_work(field: Field) -> None:
    field.deliver("good.tif")
    assert "give it" in field.ingest("--lr-nodata", 0, code=2).stderr
    (field.folder / "bad.tif").write_bytes(b"II*")
    result = field.ingest("--lr", field.folder / "bad.tif", code=1)
    assert "bad.tif" in result.stderr
    assert not (field.folder / "c.gpkg").exists()
    assert json.loads(field.ingest("--json").stdout)["place"] is None

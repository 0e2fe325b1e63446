from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Geod
from rasterio.warp import transform as warp_transform

from geozoom.bands import ReadOptions
from geozoom.calibration import Display
from geozoom.clouds import CloudMask
from geozoom.errors import TileError
from geozoom.footprints import patch_areas_m2, to_lonlat
from geozoom.grid import PatchGrid, lattice_windows
from geozoom.ground import measured_gsd_m
from geozoom.pixelgrid import PixelGrid
from geozoom.products import Source
from geozoom.scenes import SceneBlock, SceneLimits, read_scenes
from geozoom.tiles import Tile, open_tiles
from tests.conftest import EXAMPLES, WriteRaster, smooth_noise

GRID = PatchGrid(rows=4, cols=4)
DISPLAY = Display(white=0.3, gamma=2.2)
PLAIN = ReadOptions()


def open_one(path: Path, options: ReadOptions = PLAIN, gsd: float | None = 10.0) -> Tile:
    (tile,), _ = open_tiles([str(path)], options, gsd, 8)
    return tile


def scenes(tile: Tile, max_nodata: float = 0.5) -> SceneBlock:
    (block,) = read_scenes(
        tile, scene_px=8, grid=GRID, display=DISPLAY, limits=SceneLimits(max_nodata=max_nodata)
    )
    return block


@pytest.mark.parametrize(
    ("descriptions", "bands"),
    [
        (("B2", "B3", "B4", "B8"), (3, 2, 1)),
        (("B04", "B03", "B02", "B08"), (1, 2, 3)),
        (("nir", "Red", "GREEN", "blue"), (2, 3, 4)),
        (("SR_B4", "SR_B3", "SR_B2", "QA"), (1, 2, 3)),
        (("NIR", "Red Edge", "Red", "Green", "Blue"), (3, 4, 5)),
        (("Green I", "Green", "Yellow", "Red", "Red Edge", "Coastal Blue", "Blue"), (4, 2, 7)),
        (("sur_refl_b01", "sur_refl_b02", "sur_refl_b03", "sur_refl_b04"), (1, 4, 3)),
        (("B02 (blue)", "B03 (green)", "B04 (red)", "B8A"), (3, 2, 1)),
    ],
)
def test_bands_are_found_by_their_descriptions(
    write_raster: WriteRaster, descriptions: tuple[str, ...], bands: tuple[int, int, int]
) -> None:
    path = write_raster(count=len(descriptions), descriptions=descriptions, rgb=False)
    assert open_one(path).bands == bands


def test_bands_are_found_by_colour_or_by_being_three_or_by_flag(write_raster: WriteRaster) -> None:
    assert open_one(write_raster("rgb.tif")).bands == (1, 2, 3)
    assert open_one(write_raster("four.tif", count=4)).bands == (1, 2, 3)
    assert open_one(write_raster("grey.tif", rgb=False)).bands == (1, 2, 3)
    unknown = write_raster("unknown.tif", count=4, rgb=False)
    with pytest.raises(TileError, match=r"1: not described.*--bands R,G,B"):
        open_one(unknown)
    assert open_one(unknown, ReadOptions(bands=(4, 1, 2))).bands == (4, 1, 2)
    with pytest.raises(TileError, match=r"has 4 band\(s\), so --bands 5,1,2"):
        open_one(unknown, ReadOptions(bands=(5, 1, 2)))


def test_a_name_that_is_no_utf_8_is_one_sentence_and_what_macos_adds_is_left_alone(
    write_raster: WriteRaster,
) -> None:
    tile = write_raster()
    tile.with_name("._tile.tif").write_bytes(b"Mac OS X")
    (found,), _ = open_tiles([str(tile.parent)], PLAIN, 10.0, 8)
    assert found.path == str(tile)
    strange = tile.with_name(os.fsdecode(b"caf\xe9.tif"))
    tile.rename(strange)
    with pytest.raises(TileError, match="cannot be opened as a raster"):
        open_one(strange)


def test_three_bands_that_are_described_as_something_else_are_not_taken_for_rgb(
    write_raster: WriteRaster,
) -> None:
    with pytest.raises(TileError, match=r"1: nir, 2: red, 3: green.*--bands R,G,B"):
        open_one(write_raster(descriptions=("nir", "red", "green")))


def test_calibration_comes_from_tags_or_flags_and_is_never_guessed(write_raster: WriteRaster) -> None:
    tagged = open_one(write_raster("tagged.tif", dtype="uint16", scale=1e-4, offset=-0.1))
    assert tagged.calibration.scale == (1e-4,) * 3
    assert tagged.calibration.offset == (-0.1,) * 3
    bare = write_raster("bare.tif", dtype="uint16")
    with pytest.raises(TileError, match=r"bare\.tif: holds uint16 .*--scale"):
        open_one(bare)
    with pytest.raises(TileError, match="holds float32"):
        open_one(write_raster("float.tif", dtype="float32"))
    assert open_one(bare, ReadOptions(scale=2e-4)).calibration.scale == (2e-4,) * 3
    assert not open_one(write_raster("display.tif")).calibration.reflectance
    flags = ReadOptions(scale=2e-4)
    assert not open_one(write_raster("eight.tif"), flags).calibration.reflectance
    tagged = open_one(write_raster("tagged_too.tif", dtype="uint16", scale=1e-4), flags)
    assert tagged.calibration.scale == (1e-4,) * 3
    with pytest.raises(TileError, match="complex numbers"):
        open_one(write_raster("complex.tif", dtype="complex64", rgb=False))


def test_reflectance_becomes_the_display_rgb_of_the_model_card(write_raster: WriteRaster) -> None:
    pixels = np.full((3, 8, 8), 1500, dtype=np.uint16)
    block = scenes(open_one(write_raster(pixels=pixels, dtype="uint16", scale=1e-4)))
    assert block.images == pytest.approx((0.15 / 0.3) ** (1 / 2.2), rel=1e-5)


def test_web_mercator_and_degrees_are_measured_on_the_ground() -> None:
    mercator = Affine(10, 0, 0, 0, -10, 8_399_738)  # 60° N, where the map is twice the ground
    across, down = measured_gsd_m("m.tif", CRS.from_epsg(3857), mercator, 100, 100, TileError)
    assert across == pytest.approx(5.0, rel=0.01)
    assert down == pytest.approx(5.0, rel=0.01)
    degrees = Affine(1e-4, 0, 13, 0, -1e-4, 60)
    across, down = measured_gsd_m("d.tif", CRS.from_epsg(4326), degrees, 100, 100, TileError)
    assert across / down == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize(("gsd", "resampled"), [(10.0, False), (10.1, False), (5.0, True), (20.0, True)])
def test_tiles_of_another_gsd_are_brought_to_the_models(
    write_raster: WriteRaster, gsd: float, resampled: bool
) -> None:
    tile = open_one(write_raster(gsd=gsd, height=64, width=64))
    assert tile.resampled is resampled
    assert abs(tile.transform.a * tile.width - 64 * gsd) <= 5.1
    if resampled:
        assert tile.transform.a == pytest.approx(10, rel=1e-3)


def test_resampling_averages_and_keeps_every_pixel_in_its_place(write_raster: WriteRaster) -> None:
    pixels = np.zeros((3, 64, 64), dtype=np.uint8)
    pixels[:, 16:32, 32:48] = 200  # exactly one scene of 8 × 8 px at 10 m
    block = scenes(open_one(write_raster(gsd=5, pixels=pixels)))
    means = block.images.mean(axis=(1, 2, 3)).reshape(4, 4)
    assert means[1, 2] > 0.7
    assert means.sum() - means[1, 2] < 0.3


def test_a_gsd_out_of_range_is_refused(write_raster: WriteRaster) -> None:
    for gsd in (1.0, 100.0):
        with pytest.raises(TileError, match=r"the model takes 4 to 25 m"):
            open_one(write_raster(gsd=gsd, height=200, width=200))


def test_all_unusable_tiles_are_named_at_once(write_raster: WriteRaster, tmp_path: Path) -> None:
    write_raster("good.tif")
    write_raster("one_band.tif", count=1)
    write_raster("no_crs.tif", crs=None)
    write_raster("tiny.tif", height=7, width=40)
    broken = write_raster("broken.tif")
    broken.write_bytes(broken.read_bytes()[:6])
    with pytest.raises(TileError) as caught:
        open_tiles([str(tmp_path / "tiles")], PLAIN, 10.0, 8)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for name, words in (
        ("broken.tif", "cannot be opened as a raster"),
        ("no_crs.tif", "has no CRS; say it with --assume-crs"),
        ("one_band.tif", "has 1 band(s)"),
        ("tiny.tif", "smaller than one scene"),
    ):
        assert [line for line in lines if name in line and words in line]


def test_missing_and_empty_folders_and_equal_names_are_refused(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    with pytest.raises(TileError, match="no such file or folder"):
        open_tiles([str(tmp_path / "nowhere")], PLAIN, 10.0, 8)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TileError, match="no rasters"):
        open_tiles([str(tmp_path / "empty")], PLAIN, 10.0, 8)
    with pytest.raises(TileError, match="an empty path"):
        open_tiles([""], PLAIN, 10.0, 8)
    with pytest.raises(TileError, match="cannot be looked at"):
        open_tiles(["x" * 300], PLAIN, 10.0, 8)
    with pytest.raises(TileError) as caught:
        open_tiles(["nowhere.tif", str(write_raster("one.tif", count=1))], PLAIN, 10.0, 8)
    assert len(str(caught.value).splitlines()) == 2
    one, other = write_raster(folder=tmp_path / "a"), write_raster(folder=tmp_path / "b")
    with pytest.raises(TileError, match="2 tiles have this name"):
        open_tiles([str(one), str(other)], PLAIN, 10.0, 8)


def test_what_a_folder_holds_besides_rasters_is_named(write_raster: WriteRaster, tmp_path: Path) -> None:
    write_raster()
    for name in ("other.img", "tile.tif.aux.xml", "README.md"):
        (tmp_path / "tiles" / name).write_text("")
    (tmp_path / "tiles" / "more").mkdir()
    _, ignored = open_tiles([str(tmp_path / "tiles")], PLAIN, 10.0, 8)
    assert [Path(path).name for path in ignored] == ["more", "other.img"]


def test_a_crs_can_be_said(write_raster: WriteRaster) -> None:
    path = write_raster(crs=None)
    assert open_one(path, ReadOptions(assume_crs="EPSG:32633")).crs.to_epsg() == 32633
    with pytest.raises(TileError, match="--assume-crs nonsense: not a CRS"):
        open_one(path, ReadOptions(assume_crs="nonsense"))


def test_scenes_are_the_windows_that_rasterio_reads(write_raster: WriteRaster) -> None:
    path = write_raster(height=24, width=32)
    block = scenes(open_one(path))
    assert (block.row.tolist(), block.col.tolist()) == ([0] * 4 + [1] * 4 + [2] * 4, [0, 1, 2, 3] * 3)
    with rasterio.open(path) as dataset:
        for row, col, image in zip(block.row, block.col, block.images, strict=True):
            window = rasterio.windows.Window(col * 8, row * 8, 8, 8)
            np.testing.assert_allclose(image, dataset.read(window=window) / 255, rtol=1e-6)
    assert block.present.all()


def test_the_tiles_edges_are_planned_but_nothing_beyond_them(write_raster: WriteRaster) -> None:
    tile = open_one(write_raster(height=21, width=18))  # 2 scenes and 5 px, 2 scenes and 2 px
    block = scenes(tile)
    assert len(block.row) == 9
    assert block.skipped.nodata == 0
    present = block.present.reshape(3, 3, 4, 4)
    assert present[:2, :2].all()
    assert present[0, 2].all(axis=0).tolist() == [True, False, False, False]
    assert present[2, 0].all(axis=1).tolist() == [True, True, True, False]  # half a patch counts
    covered = present.sum() * 4
    assert covered >= 21 * 18


LOWEST = {kind: float(np.finfo(kind).min) for kind in ("float32", "float64")}


@pytest.mark.parametrize("kind", ["tag", "flag", "nan", *LOWEST, "mask"])
def test_scenes_without_enough_data_are_skipped_and_counted(write_raster: WriteRaster, kind: str) -> None:
    rng = np.random.default_rng(0)
    of_floats = {"nan": "float32"} | {lowest: lowest for lowest in LOWEST}
    pixels = rng.integers(50, 200, (3, 16, 24)).astype(of_floats.get(kind, "uint8"))
    if kind in LOWEST:
        pixels /= 255  # reflectance itself, as exports in floating point hold it
    missing = np.zeros((16, 24), dtype=bool)
    missing[:8, :8] = True  # a whole scene
    missing[:5, 8:16] = True  # more than half of the next
    missing[:2, 16:24] = True  # a quarter of the last
    pixels[:, missing] = np.nan if kind == "nan" else LOWEST.get(kind, 0)
    path = write_raster(
        pixels=pixels,
        dtype=str(pixels.dtype),
        nodata=0 if kind == "tag" else LOWEST.get(kind),
        scale=1 / 255 if kind == "nan" else None,
    )
    if kind == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(~missing)
    options = ReadOptions(scale=1.0) if kind in LOWEST else ReadOptions(nodata=0) if kind == "flag" else PLAIN
    block = scenes(open_one(path, options))
    assert block.skipped.nodata == 2
    assert (block.row.tolist(), block.col.tolist()) == ([0, 1, 1, 1], [2, 0, 1, 2])
    assert block.present[0].reshape(4, 4).all(axis=1).tolist() == [False, True, True, True]
    image = block.images[0]
    filled = image[:, :2].reshape(3, -1)
    np.testing.assert_allclose(filled, image[:, 2:].mean(axis=(1, 2))[:, None].repeat(16, 1), rtol=1e-4)
    assert scenes(open_one(path, options), max_nodata=0.7).skipped.nodata == 1


@pytest.mark.parametrize("gsd", [10, 5, 15])
def test_what_a_flag_says_is_missing_is_so_beside_what_the_tag_says(
    write_raster: WriteRaster, gsd: float
) -> None:
    pixels = np.full((3, 64, 96), 1000, dtype=np.uint16)
    pixels[:, :, :32] = 0
    pixels[:, :, 32:64] = 65535
    path = write_raster(pixels=pixels, dtype="uint16", gsd=gsd, nodata=0, scale=0.0001)
    for nodata, share in ((None, 2 / 3), (65535, 1 / 3), (0, 2 / 3)):
        block = scenes(open_one(path, ReadOptions(nodata=nodata)), max_nodata=0.999)
        assert block.present.mean() * len(block.row) == pytest.approx(
            share * (len(block.row) + block.skipped.nodata), rel=0.05
        )


@pytest.mark.parametrize("kind", ["tag", "flag", "mask"])
def test_missing_pixels_stay_missing_when_a_tile_is_resampled(write_raster: WriteRaster, kind: str) -> None:
    pixels = np.full((3, 32, 64), 100, dtype=np.uint8)
    missing = np.zeros((32, 64), dtype=bool)
    missing[:, :32] = True
    pixels[:, missing] = 0
    path = write_raster(pixels=pixels, gsd=5, nodata=0 if kind == "tag" else None)
    if kind == "mask":
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(~missing)
    tile = open_one(path, ReadOptions(nodata=0) if kind == "flag" else PLAIN)
    assert tile.resampled
    block = scenes(tile)
    assert (block.skipped.nodata, block.col.tolist()) == (4, [2, 3, 2, 3])
    np.testing.assert_allclose(block.images, 100 / 255, atol=0.01)


@pytest.mark.parametrize("gsd", [5, 10, 20])
@pytest.mark.parametrize(
    ("count", "dtype"),
    [(3, "uint8"), (4, "uint8"), (3, "uint16"), (4, "uint16"), (8, "uint16"), (3, "int16"), (3, "float32")],
)
def test_a_mask_is_heeded_beside_bands_of_any_number_and_type_where_they_are_resampled(
    write_raster: WriteRaster, count: int, dtype: str, gsd: float
) -> None:
    path = write_raster(
        pixels=np.full((count, 48, 64), 1000 if dtype != "uint8" else 100, dtype=dtype),
        dtype=dtype,
        gsd=gsd,
        descriptions=("B4", "B3", "B2", "B8", "B5", "B6", "B7", "B9")[:count],
        rgb=False,
    )
    valid = np.zeros((48, 64), dtype=bool)
    valid[:, 32:] = True
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(valid)
    tile = open_one(path, ReadOptions(scale=0.0001))
    assert tile.resampled == (gsd != 10)
    assert tile.sampled_shares()[0] == pytest.approx(0.5, abs=0.02)
    with tile.open() as dataset:
        shown = tile.read(dataset, None, Display(white=1, gamma=1)).valid
    assert not shown[:, : tile.width // 2 - 1].any()
    assert shown[:, tile.width // 2 :].all()


def test_the_share_of_clouds_is_not_counted_on_means_of_classes(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geozoom.tiles.SAMPLED_PX", 16)
    classes = np.full((1, 64, 64), 5, dtype=np.uint8)  # soil
    classes[:, :, ::2] = 11  # snow; between them lies 8, cloud
    path = write_raster(height=64, width=64)
    mask = write_raster("scl.tif", folder=tmp_path, pixels=classes)
    with rasterio.open(mask, "r+") as dataset:
        dataset.build_overviews([2, 4], rasterio.enums.Resampling.average)
    tile = open_one(path, ReadOptions(clouds=CloudMask(dataset=str(mask), kind="scl")))
    assert tile.sampled_shares() == (0.0, 0.0)
    classes[:, :16] = 9
    with rasterio.open(mask, "r+") as dataset:
        dataset.write(classes)
    assert tile.sampled_shares() == (0.0, 0.25)


@pytest.mark.parametrize(("rows", "cols", "parts"), [(16, 16384, 2), (512, 8, 5), (16, 16, 6)])
def test_scenes_do_not_depend_on_how_much_is_read_at_once(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch, rows: int, cols: int, parts: int
) -> None:
    # The last lattice row and column hold one row and column of pixels.
    tile = open_one(write_raster(height=33, width=41))
    whole = scenes(tile)
    monkeypatch.setattr("geozoom.scenes.ROWS_AT_ONCE_PX", rows)
    monkeypatch.setattr("geozoom.scenes.COLS_AT_ONCE_PX", cols)
    blocks = list(read_scenes(tile, scene_px=8, grid=GRID, display=DISPLAY, limits=SceneLimits()))
    assert len(blocks) == parts
    row = np.concatenate([block.row for block in blocks])
    col = np.concatenate([block.col for block in blocks])
    ranked = np.lexsort((col, row))
    np.testing.assert_array_equal(row[ranked], whole.row)
    np.testing.assert_array_equal(col[ranked], whole.col)
    for name in ("images", "present"):
        together = np.concatenate([getattr(block, name) for block in blocks])
        np.testing.assert_array_equal(together[ranked], getattr(whole, name))


def test_zeros_that_nothing_marks_are_counted(write_raster: WriteRaster) -> None:
    pixels = np.full((3, 8, 8), 90, dtype=np.uint8)
    pixels[:, 0] = 0
    tile = open_one(write_raster(pixels=pixels))
    assert tile.untagged_zeros
    assert scenes(tile).zero_pixels == 8
    assert not open_one(write_raster("tagged.tif", pixels=pixels, nodata=0)).untagged_zeros


def test_a_tile_that_is_cut_short_in_its_pixels_is_named(write_raster: WriteRaster) -> None:
    path = write_raster(height=256, width=256)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    tile = open_one(path)
    with pytest.raises(TileError, match=r"tile\.tif: cannot be read to its end"):
        scenes(tile)


@pytest.mark.parametrize(("middle", "zone"), [(180, 1), (-180, 1), (186, 2)])
def test_a_tile_in_degrees_beyond_the_antimeridian_is_whole_in_a_local_crs(
    write_raster: WriteRaster, middle: float, zone: int
) -> None:
    pixels = (smooth_noise(3, 320, 60) * 254 + 1).astype(np.uint8)
    shown = []
    for name, longitude, epsg in (("inland.tif", 174, 32660), ("beyond.tif", middle, 32600 + zone)):
        transform = Affine(8e-3, 0, longitude - 30 * 8e-3, 0, -9e-4, 83.6)
        tile = open_one(write_raster(name, crs="EPSG:4326", transform=transform, pixels=pixels), gsd=100)
        assert tile.crs.to_epsg() == epsg
        with tile.open() as dataset:
            shown.append(tile.read(dataset, None, Display(white=1, gamma=1)))
    inland, beyond = shown
    assert inland.valid.mean() > 0.5
    np.testing.assert_array_equal(beyond.valid, inland.valid)
    np.testing.assert_allclose(beyond.rgb * beyond.valid, inland.rgb * inland.valid, atol=0.01)


@pytest.mark.parametrize("middle", [180, -180])
def test_a_cloud_mask_in_degrees_across_the_antimeridian_covers_a_tile_there(
    write_raster: WriteRaster, tmp_path: Path, middle: float
) -> None:
    (x,), (y,) = warp_transform("EPSG:4326", "EPSG:32660", [180.0], [0.0])
    path = write_raster(
        crs="EPSG:32660", transform=Affine(10, 0, x - 160, 0, -10, y + 160), height=32, width=32
    )
    clouded = np.zeros((1, 60, 60), dtype=np.uint8)
    clouded[:, :, 30:] = 1
    degrees = Affine(9e-5, 0, middle - 30 * 9e-5, 0, -9e-5, 30 * 9e-5)
    mask = write_raster("clouds.tif", folder=tmp_path, crs="EPSG:4326", transform=degrees, pixels=clouded)
    tile = open_one(path, ReadOptions(clouds=CloudMask(dataset=str(mask), kind="mask")))
    with tile.open_clouds() as dataset:
        found = tile.read_clouds(dataset, None)
    assert not found[:, :15].any()
    assert found[:, 17:].all()


@given(st.floats(-170, 170), st.floats(-70, 70), st.floats(0, 360), st.booleans())
def test_footprints_lie_where_rasterio_and_pyproj_put_them(
    lon: float, lat: float, turn: float, south_up: bool
) -> None:
    zone = int((lon + 180) // 6) + 1
    epsg = (32600 if lat >= 0 else 32700) + zone
    (x,), (y,) = warp_transform("EPSG:4326", f"EPSG:{epsg}", [lon], [lat])
    transform = Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(10, 10 if south_up else -10)
    tile = Tile(
        source=Source(name="turned.tif", dataset="turned.tif"),
        bands=(1, 2, 3),
        mask_band=None,
        calibration=None,  # type: ignore[arg-type]
        grid=PixelGrid(crs=CRS.from_epsg(epsg), transform=transform, width=64, height=64),
        placed_by="",
        by_gcps=False,
        gsd_m=(10, 10),
        regridded=False,
        nodata=None,
        untagged_zeros=False,
        clouds=None,
    )
    rows, cols, patches = np.array([0, 3, 7]), np.array([0, 5, 2]), np.array([0, 9, 15])
    px = GRID.corners_px(rows, cols, 8, patches)
    rings = to_lonlat(tile, px)
    for ring, corners in zip(rings, px, strict=True):
        mapped = [transform @ tuple(corner) for corner in corners.tolist()]
        expected = np.column_stack(
            warp_transform(f"EPSG:{epsg}", "EPSG:4326", *map(list, zip(*mapped, strict=True)))
        )
        apart = np.abs(ring[:, None] - expected[None]).max(axis=2).min(axis=1)
        assert (apart < 1e-8).all()
        area, _ = Geod(ellps="WGS84").polygon_area_perimeter(*ring.T)
        assert area == pytest.approx(400, rel=2e-3)  # counter-clockwise, and UTM's scale is near 1


@given(
    st.sampled_from(
        [
            ("EPSG:32633", 5e5, 5.9e6, 10.0),
            ("EPSG:32601", 1.7e5, 7.9e6, 10.0),  # at the antimeridian
            ("EPSG:3857", 1.4e6, 7.1e6, 16.0),
            ("EPSG:4326", 12.0, -33.0, 1e-4),
            ("EPSG:4326", 179.9, 66.0, 1e-4),  # across the antimeridian
            ("EPSG:3413", -5e5, -9e5, 10.0),  # polar
        ]
    ),
    st.floats(0, 360),
    st.sampled_from([8, 56]),
)
def test_areas_are_geodesic(place: tuple[str, float, float, float], turn: float, scene_px: int) -> None:
    crs, x, y, gsd = place
    tile = Tile(
        source=Source(name="t.tif", dataset="t.tif"),
        bands=(1, 2, 3),
        mask_band=None,
        calibration=None,  # type: ignore[arg-type]
        grid=PixelGrid(
            crs=CRS.from_user_input(crs),
            transform=Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(gsd, -gsd),
            width=5000,
            height=3000,
        ),
        placed_by="",
        by_gcps=False,
        gsd_m=(10, 10),
        regridded=False,
        nodata=None,
        untagged_zeros=False,
        clouds=None,
    )
    rng = np.random.default_rng(0)
    rows, cols = rng.integers(0, 3000 // scene_px + 1, 20), rng.integers(0, 5000 // scene_px + 1, 20)
    patches = rng.integers(0, 16, 20)
    areas = patch_areas_m2(tile, GRID, lattice_windows(rows, cols, scene_px), patches)
    rings = to_lonlat(tile, GRID.corners_px(rows, cols, scene_px, patches))
    geod = Geod(ellps="WGS84")
    expected = [abs(geod.polygon_area_perimeter(ring[:, 0], ring[:, 1])[0]) for ring in rings]
    np.testing.assert_allclose(areas, expected, rtol=2e-6)


def test_the_examples_say_everything_about_themselves() -> None:
    tiles, ignored = open_tiles([str(EXAMPLES / "tiles")], PLAIN, 10.0, 8)
    assert len(tiles) >= 2
    assert ignored == ()


@pytest.mark.parametrize(
    "path", ["https://host/b/a.tif?sig=KEY#x", "/vsicurl/https://host/b/a.tif?sig=OTHER", "s3://b/a.tif"]
)
def test_the_name_of_a_signed_url_holds_no_key(write_raster: WriteRaster, path: str) -> None:
    (tile,), _ = open_tiles([str(write_raster("what?.tif"))], ReadOptions(), 10.0, 8)
    assert tile.name == "what?.tif"
    assert replace(tile, source=replace(tile.source, name=path)).name == "a.tif"

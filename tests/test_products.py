from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import Geod
from rasterio.control import GroundControlPoint
from rasterio.merge import merge
from rasterio.vrt import WarpedVRT

from geozoom.bands import ReadOptions
from geozoom.calibration import Display
from geozoom.clouds import CloudMask
from geozoom.errors import TileError
from geozoom.grid import PatchGrid
from geozoom.products import find_sources
from geozoom.scenes import SceneBlock, SceneLimits, read_scenes
from geozoom.tiles import Tile, open_tiles
from tests.conftest import WriteRaster, smooth_noise
from tests.products import LANDSAT, ORIGIN, bands, write_band, write_landsat, write_safe, zip_folder

REFLECTANCE = Display(white=1.0, gamma=1.0)
PLAIN = ReadOptions()


def one(path: Path, options: ReadOptions = PLAIN, gsd: float | None = 10.0) -> Tile:
    (tile,), ignored = open_tiles([str(path)], options, gsd, 8)
    assert ignored == ()
    return tile


def pixels(tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    with tile.open() as dataset:
        read = tile.read(dataset, None, REFLECTANCE)
    return read.rgb, read.valid


def scenes(tile: Tile, **limits: float) -> SceneBlock:
    grid = PatchGrid(rows=4, cols=4)
    (block,) = read_scenes(tile, scene_px=8, grid=grid, display=REFLECTANCE, limits=SceneLimits(**limits))
    return block


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("whole_folder", [False, True])
def test_a_safe_product_is_one_calibrated_tile(tmp_path: Path, zipped: bool, whole_folder: bool) -> None:
    safe = write_safe(tmp_path / "products")
    if zipped:
        archive = zip_folder(safe)
        for file in sorted(safe.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        safe.rmdir()
        safe = archive
    tile = one(safe.parent if whole_folder else safe)
    assert tile.source.sensor == "Sentinel-2 L2A, baseline 05.09"
    assert tile.source.acquired is not None
    assert tile.source.acquired.isoformat() == "2023-06-08T10:10:31.024000+00:00"
    assert tile.gsd_m == pytest.approx((10, 10), rel=1e-3)
    assert not tile.resampled
    rgb, valid = pixels(tile)
    expected = bands()
    for index, band in enumerate(("B04", "B03", "B02")):
        np.testing.assert_allclose(rgb[index], (expected[band] - 1000.0) / 10000, atol=1e-6)
    assert valid.all()


def test_an_old_l1c_product_has_no_offset(tmp_path: Path) -> None:
    rgb, _ = pixels(one(write_safe(tmp_path, "L1C")))
    np.testing.assert_allclose(rgb[0], bands()["B04"] / 10000, atol=1e-6)


def test_zero_is_missing_in_a_safe_product(tmp_path: Path) -> None:
    safe = write_safe(tmp_path)
    (red,) = safe.rglob("*_B04_10m.jp2")
    numbers = bands()["B04"]
    numbers[:, :16] = 0
    red.unlink()
    write_band(red, numbers)
    tile = one(safe)
    assert not tile.untagged_zeros
    assert pixels(tile)[1].mean() == pytest.approx(2 / 3)
    assert scenes(tile).skipped.nodata == 12


@pytest.mark.parametrize("gsd", [10.0, 20.0])
def test_what_the_user_says_is_missing_in_a_safe_product_is_so_besides_zero(
    tmp_path: Path, gsd: float
) -> None:
    safe = write_safe(tmp_path)
    for file in safe.rglob("*_10m.jp2"):
        numbers = bands()[file.stem.split("_")[-2]]
        numbers[:, :16], numbers[:, 40:] = 0, 65535
        file.unlink()
        write_band(file, numbers)
    for nodata, share in ((None, 2 / 3), (0, 2 / 3), (65535, 1 / 2)):
        tile = one(safe, ReadOptions(nodata=nodata), gsd=gsd)
        assert pixels(tile)[1].mean() == pytest.approx(share, abs=0.05)


def test_clouds_of_a_products_classification_are_skipped_and_counted(tmp_path: Path) -> None:
    scl = np.full((24, 24), 4, np.uint8)  # vegetation
    scl[:, :4] = 9  # cloud, high probability: the first column of scenes
    scl[0, 4] = 3  # a shadow in a corner of the next
    tile = one(write_safe(tmp_path, scl=scl))
    block = scenes(tile)
    assert (block.skipped.nodata, block.skipped.cloud) == (0, 6)
    assert 0 not in block.col
    assert (block.row[0], block.col[0]) == (0, 1)
    assert scenes(tile, max_cloud=0.0).skipped.cloud == 7
    assert scenes(tile, max_cloud=1.0).skipped.cloud == 0


def test_the_users_cloud_mask_takes_the_place_of_the_products(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, scl=np.full((24, 24), 9, np.uint8))
    assert scenes(one(safe)).skipped.cloud == 36
    mask = np.zeros((10, 10), np.uint8)
    mask[0] = 1
    coarse = Affine(48, 0, ORIGIN.c, 0, -48, ORIGIN.f)
    path = write_band(tmp_path / "mask.tif", mask, coarse)
    options = ReadOptions(clouds=CloudMask(dataset=str(path), kind="mask"))
    assert scenes(one(safe, options)).skipped.cloud == 6
    nowhere = ReadOptions(clouds=CloudMask(dataset=str(tmp_path / "none.tif"), kind="mask"))
    with pytest.raises(TileError, match=r"none\.tif: cannot be opened"):
        scenes(one(safe, nowhere))


def test_an_l1c_products_own_masks_of_cloud_and_cirrus_are_heeded(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, level="L1C")
    assert one(safe).clouds is None, "before baseline 04.00 the masks were vectors"
    masks = np.zeros((3, 8, 8), np.uint8)  # at 60 m: opaque cloud, cirrus, snow
    masks[0, 0], masks[1, 7], masks[2, 3] = 1, 1, 1
    (inside,) = safe.glob("GRANULE/*")
    path = inside / "QI_DATA" / "MSK_CLASSI_B00.jp2"
    path.parent.mkdir()
    settings = {"driver": "JP2OpenJPEG", "QUALITY": "100", "REVERSIBLE": "YES", "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": ORIGIN @ Affine.scale(6), "width": 8, "height": 8}
    with rasterio.open(path, "w", count=3, **settings, **place) as out:
        out.write(masks)
    for product in (safe, zip_folder(safe)):
        tile = one(product)
        block = scenes(tile, max_cloud=0.5)
        assert set(block.row.tolist()) == {1, 2, 3, 4}, "the first and last six rows of pixels are clouded"
        assert tile.sampled_shares() == (0.0, 0.25)


def test_a_product_without_what_its_metadata_names_or_must_say_is_refused(tmp_path: Path) -> None:
    safe = write_safe(tmp_path, scl=np.full((24, 24), 9, np.uint8))
    metadata = safe / "MTD_MSIL2A.xml"
    whole = metadata.read_text()
    red = '<BOA_ADD_OFFSET band_id="3">-1000</BOA_ADD_OFFSET>'
    assert red in whole
    cases = {
        whole.replace(red, ""): r"baseline 05.09\) lacks offsets of B04, B03 or B02, without which",
        whole.replace("BOA_ADD_OFFSET ", "OTHER ").replace("BOA_ADD_OFFSET>", "OTHER>"): r"lacks offsets of",
        whole.replace(
            "</Granule>", "<IMAGE_FILE>other_B04_10m</IMAGE_FILE></Granule>"
        ): r"holds 2 granules; give",
        whole.replace("IMAGE_FILE", "IMAGE_ID_2A"): r"names no image \*_B04_10m; give .* since December 2016",
    }
    for text, words in cases.items():
        metadata.write_text(text)
        with pytest.raises(TileError, match=words):
            one(safe)
    old = (
        whole.replace("05.09", "02.14")
        .replace("BOA_ADD_OFFSET ", "OTHER ")
        .replace("BOA_ADD_OFFSET>", "OTHER>")
    )
    for baseline in ("02.14", "99.99"):  # the second is of who runs Sen2Cor
        metadata.write_text(old.replace("02.14", baseline))
        assert one(safe).calibration.offset == (0, 0, 0)
    metadata.write_text(whole)
    (scl,) = safe.rglob("*_SCL_20m.jp2")
    scl.unlink()
    for product in (safe, zip_folder(safe)):
        with pytest.raises(
            TileError, match=r"lacks T33.*_SCL_20m\.jp2, which says where clouds .*--cloud-mask"
        ):
            one(product)
    mask = write_band(tmp_path / "mask.tif", np.ones((24, 24), np.uint8), ORIGIN @ Affine.scale(2))
    tile = one(safe, ReadOptions(clouds=CloudMask(dataset=str(mask), kind="mask")))
    assert tile.sampled_shares() == (0.0, 1.0)


def test_damaged_safe_products_are_named(tmp_path: Path) -> None:
    safe = write_safe(tmp_path / "a")
    (blue,) = safe.rglob("*_B02_10m.jp2")
    blue.unlink()
    with pytest.raises(TileError, match=r"SAFE: lacks GRANULE.*_B02_10m\.jp2"):
        one(safe)
    (safe / "MTD_MSIL2A.xml").write_text("<unfinished")
    with pytest.raises(TileError, match="not valid XML"):
        one(safe)
    other = tmp_path / "b" / "other.zip"
    other.parent.mkdir()
    other.write_bytes(b"PK, but not really")
    with pytest.raises(TileError, match=r"other\.zip: cannot be read"):
        one(other)
    empty = zip_folder(write_band(tmp_path / "c" / "plain" / "x.tif", np.ones((9, 9), np.uint8)).parent)
    with pytest.raises(TileError, match="a zip that holds no Sentinel-2 product"):
        one(empty)


@pytest.mark.parametrize("names", ["B{}.tif", "T33UUU_20230608T101031_B{}_10m.jp2", "scene.B{}.tif"])
def test_one_file_per_band_is_one_tile(tmp_path: Path, names: str) -> None:
    for band, numbers in bands().items():
        write_band(tmp_path / "s" / names.format(band[1:]), numbers)
    write_band(tmp_path / "s" / names.format("08"), bands()["B02"])
    tile = one(tmp_path / "s", ReadOptions(scale=1e-4, offset=-0.1))
    assert tile.source.sensor == "one file per band"
    rgb, _ = pixels(tile)
    np.testing.assert_allclose(rgb[2], (bands()["B02"] - 1000.0) / 10000, atol=1e-6)
    listed = sorted(str(file) for file in (tmp_path / "s").iterdir())
    (again,), _ = open_tiles(listed, ReadOptions(scale=1e-4), 10.0, 8)
    assert again.name == tile.name


def test_scl_beside_the_bands_is_their_cloud_mask_and_no_tile(tmp_path: Path) -> None:
    for band, numbers in bands().items():
        write_band(tmp_path / f"{band}.tif", numbers)
    write_band(tmp_path / "SCL.tif", np.full((24, 24), 8, np.uint8), ORIGIN @ Affine.scale(2))
    tile = one(tmp_path, ReadOptions(scale=1e-4))
    assert scenes(tile).skipped.cloud == 36


def test_scl_is_found_beside_bands_within_an_archive(tmp_path: Path) -> None:
    folder = tmp_path / "bands"
    names = [write_band(folder / f"S2_{band}_10m.tif", each) for band, each in bands().items()]
    names.append(
        write_band(folder / "S2_SCL_20m.tif", np.full((24, 24), 9, np.uint8), ORIGIN @ Affine.scale(2))
    )
    archive = zip_folder(folder)
    inside = [f"/vsizip/{archive}/bands/{name.name}" for name in names]
    (tile,), _ = open_tiles(inside, ReadOptions(scale=1e-4, offset=-0.1), 10.0, 8)
    assert tile.clouds is not None
    assert tile.sampled_shares() == (0.0, 1.0)


def test_bands_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    for band, numbers in bands().items():
        size = numbers if band != "B03" else numbers[:24, :24]
        write_band(tmp_path / "mixed" / f"{band}.tif", size)
    with pytest.raises(TileError, match="not on one pixel grid"):
        one(tmp_path / "mixed", ReadOptions(scale=1e-4))
    for band in ("B04", "B02"):
        write_band(tmp_path / "two" / f"{band}.tif", bands()[band])
    with pytest.raises(TileError, match="B3 is missing"):
        one(tmp_path / "two", ReadOptions(scale=1e-4))


def test_rasters_that_are_only_called_like_bands_stay_their_own(write_raster: WriteRaster) -> None:
    first = write_raster("site_B3.tif")
    write_raster("site_B4.tif", seed=1)
    tiles, _ = open_tiles([str(first.parent)], PLAIN, 10.0, 8)
    assert [tile.name for tile in tiles] == ["site_B3.tif", "site_B4.tif"]


def test_a_landsat_scene_is_calibrated_by_its_mtl(tmp_path: Path) -> None:
    quality = np.full((48, 48), 0b1000000, np.uint16)  # clear
    quality[:8] = 0b1001  # cloud
    folder = write_landsat(tmp_path, quality)
    tile = one(folder, gsd=30.0)
    assert tile.name == f"{LANDSAT}_SR_B*.TIF"
    assert tile.source.sensor == "Landsat 8 Collection 2 level 2"
    rgb, _ = pixels(tile)
    expected = (bands()["B04"] + 7000.0) * 2.75e-5 - 0.2
    np.testing.assert_allclose(rgb[0], np.clip(expected, 0, 1), atol=1e-6)
    assert scenes(tile).skipped.cloud == 6
    with pytest.raises(TileError, match=r"30\.\d+ × 30\.\d+ m on the ground, and the model takes 4 to 25 m"):
        one(folder)
    with pytest.raises(TileError, match="give --scale"):
        one(write_landsat(tmp_path / "bare", mtl=False), gsd=30.0)
    shutil.rmtree(tmp_path / "bare")
    for file in folder.iterdir():  # as a scene without surface temperature is named
        file.rename(file.with_name(file.name.replace("_L2SP_", "_L2SR_")))
    tile = one(folder, gsd=30.0)
    assert tile.source.sensor == "Landsat 8 Collection 2 level 2"
    assert scenes(tile).skipped.cloud == 6


def test_shards_of_one_export_are_joined(tmp_path: Path, write_raster: WriteRaster) -> None:
    numbers = (smooth_noise(3, 40, 56) * 254 + 1).astype(np.uint8)
    for row, col in ((0, 0), (0, 32), (24, 0), (24, 32)):
        part = numbers[:, row : row + 24, col : col + 32] if row == 0 else numbers[:, row:, col : col + 32]
        write_raster(
            f"export-{row:010d}-{col:010d}.tif",
            pixels=part,
            transform=ORIGIN @ Affine.translation(col, row),
        )
    tile = one(tmp_path / "tiles")
    assert (tile.name, tile.width, tile.height) == ("export.tif", 56, 40)
    assert tile.transform.almost_equals(ORIGIN)
    joined, _ = merge(sorted((tmp_path / "tiles").iterdir()))
    np.testing.assert_allclose(pixels(tile)[0], joined / 255, atol=1e-6)
    (tmp_path / "tiles" / "export-0000000024-0000000032.tif").unlink()
    with pytest.raises(TileError, match="shards leave a gap"):
        one(tmp_path / "tiles")
    write_raster("export-0000000024-0000000032.tif", transform=ORIGIN @ Affine.translation(32.5, 24))
    with pytest.raises(TileError, match="not shards of one export"):
        one(tmp_path / "tiles")


def test_products_in_degrees_keep_their_axes(tmp_path: Path) -> None:
    grid = Affine(1e-4, 0, 13.0, 0, -1e-4, 54.0)
    for band, numbers in bands().items():
        write_band(tmp_path / f"{band}.tif", numbers, grid, crs="EPSG:4326")
    tile = one(tmp_path, ReadOptions(scale=1e-4), gsd=None)
    assert tile.transform.almost_equals(grid)
    assert tile.gsd_m == pytest.approx((6.56, 11.13), abs=0.02)


def test_a_tile_placed_by_control_points_is_warped_with_them(tmp_path: Path) -> None:
    path = tmp_path / "gcps.tif"
    numbers = (smooth_noise(3, 64, 64) * 254 + 1).astype(np.uint8)
    turned = Affine.translation(400000, 5900000) @ Affine.rotation(-20) @ Affine.scale(10, -10)
    points = [
        GroundControlPoint(row=row, col=col, x=(turned @ (col, row))[0], y=(turned @ (col, row))[1])
        for row in (0, 32, 64)
        for col in (0, 32, 64)
    ]
    with rasterio.open(
        path, "w", driver="GTiff", width=64, height=64, count=3, dtype="uint8", photometric="RGB",
        crs="EPSG:32633", gcps=points,
    ) as out:  # fmt: skip
        out.write(numbers)
    tile = one(path)
    assert tile.resampled
    assert tile.crs.to_epsg() == 32633
    rgb, valid = pixels(tile)
    assert 0.4 < valid.mean() < 0.9  # a turned square in an upright one
    true = tmp_path / "true.tif"
    with rasterio.open(
        true, "w", driver="GTiff", width=64, height=64, count=3, dtype="uint8", photometric="RGB",
        crs="EPSG:32633", transform=turned,
    ) as out:  # fmt: skip
        out.write(numbers)
    with rasterio.open(true) as dataset, WarpedVRT(
        dataset, crs="EPSG:32633", transform=tile.transform, width=tile.width, height=tile.height,
        resampling=rasterio.enums.Resampling.bilinear, add_alpha=True,
    ) as warped:  # fmt: skip
        expected = warped.read([1, 2, 3]) / 255
        np.testing.assert_array_equal(valid, warped.read(4) > 0)
    np.testing.assert_allclose(rgb[:, valid], expected[:, valid], atol=1.5 / 255)


def test_a_data_mask_band_marks_missing_pixels(write_raster: WriteRaster) -> None:
    numbers = np.full((4, 16, 16), 0.2, np.float32)
    numbers[3] = 1
    numbers[3, :, :8] = 0
    path = write_raster(
        pixels=numbers,
        dtype="float32",
        rgb=False,
        descriptions=("B04", "B03", "B02", "dataMask"),
    )
    tile = one(path, ReadOptions(scale=1.0))
    assert (tile.bands, tile.untagged_zeros) == ((1, 2, 3), False)
    assert scenes(tile).skipped.nodata == 2


def test_a_large_tile_in_degrees_is_brought_to_metres(write_raster: WriteRaster) -> None:
    # 1.6° from north to south at 60°: a pixel is 5% wider at one edge than at the other.
    grid = Affine(2e-3, 0, 20.0, 0, -1e-3, 60.8)
    path = write_raster(pixels=np.full((3, 1600, 40), 90, np.uint8), crs="EPSG:4326", transform=grid)
    tile = one(path, gsd=111.0)
    assert tile.crs.to_epsg() == 32634
    assert (tile.transform.a, tile.transform.e) == (111.0, -111.0)
    _, valid = pixels(tile)
    ring = shapely.box(20.0, 59.2, 20.08, 60.8).segmentize(0.01)
    area, _ = Geod(ellps="WGS84").geometry_area_perimeter(ring)
    assert valid.sum() * 111**2 == pytest.approx(abs(area), rel=0.02)


def test_sources_come_in_one_order(write_raster: WriteRaster) -> None:
    files = [str(write_raster(f"{name}.tif")) for name in "cab"]
    found = find_sources(files)
    assert [source.name for source in found.sources] == sorted(files)

"""What a review found: inputs that vanished, were read wrongly, or ended in a traceback."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner

from geozoom.area import read_area
from geozoom.bands import ReadOptions
from geozoom.cli import main
from geozoom.clouds import CloudMask
from geozoom.errors import TileError, VectorError
from geozoom.products import find_sources
from geozoom.tiles import open_tiles
from tests.conftest import ORIGIN, WriteRaster
from tests.products import write_band, write_safe, zip_folder


def names(*paths: Path) -> tuple[list[str], tuple[str, ...], tuple[str, ...]]:
    found = find_sources([str(path) for path in paths])
    return [Path(source.name).name for source in found.sources], found.problems, found.ignored


def test_a_file_named_as_an_exports_whole_is_not_lost(write_raster: WriteRaster, tmp_path: Path) -> None:
    write_raster("exp.tif")
    write_raster("exp-0000000000-0000000000.tif")
    write_raster("exp-0000000000-0000000048.tif", transform=Affine(10, 0, ORIGIN[0] + 480, 0, -10, ORIGIN[1]))
    _, problems, _ = names(tmp_path / "tiles")
    assert len(problems) == 1
    assert "exp.tif: is the name of a file and of files that belong together; rename it" in problems[0]


def test_tiles_beside_bands_that_only_sound_like_layers_are_kept(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    folder = tmp_path / "tiles"
    for band in ("B02", "B03", "B04", "B8A", "SCL"):
        write_band(folder / f"{band}.tif", np.full((40, 40), 4, np.uint16))
    for name in ("ST-Denis.tif", "qa_region.tif", "B5_mosaic.tif"):
        write_raster(name)
    found, problems, _ = names(folder)
    assert problems == ()
    assert sorted(found) == ["B*.tif", "B5_mosaic.tif", "ST-Denis.tif", "qa_region.tif"]


def test_two_files_of_one_band_are_said(write_raster: WriteRaster, tmp_path: Path) -> None:
    write_raster("x_B2.tif")
    write_raster("x_B02.tif")
    _, problems, _ = names(tmp_path / "tiles")
    assert len(problems) == 1
    assert "is band B2, and so is" in problems[0]


def test_a_zip_of_two_products_is_refused(tmp_path: Path) -> None:
    first = write_safe(tmp_path)
    archive = zip_folder(first)
    with zipfile.ZipFile(archive, "a") as out:
        out.write(first / "MTD_MSIL2A.xml", "other.SAFE/MTD_MSIL2A.xml")
    _, problems, _ = names(archive)
    assert "a zip that holds 2 products; unpack it" in problems[0]


def test_an_encrypted_zip_is_one_sentence(tmp_path: Path) -> None:
    archive = zip_folder(write_safe(tmp_path))
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + offset] |= 1  # the flag that says so
            at = content.find(signature, at + 4)
    archive.write_bytes(content)
    _, problems, _ = names(archive)
    assert len(problems) == 1
    assert "cannot be read" in problems[0]


@pytest.mark.parametrize("value", ["0", "nan", "inf", "ten thousand"])
def test_a_quantification_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    safe = write_safe(tmp_path)
    metadata = safe / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace('"none">10000<', f'"none">{value}<'))
    _, problems, _ = names(safe)
    assert len(problems) == 1
    assert "download it again" in problems[0]


@pytest.mark.parametrize("east", [100_000.0, 240.0])
def test_a_cloud_mask_that_does_not_cover_the_tile_is_refused(
    write_raster: WriteRaster, tmp_path: Path, east: float
) -> None:
    tile = write_raster()
    mask = write_band(
        tmp_path / "m.tif",
        np.zeros((40, 48), np.uint8),
        Affine(10, 0, ORIGIN[0] + east, 0, -10, ORIGIN[1]),
    )
    options = ReadOptions(clouds=CloudMask(dataset=str(mask), kind="mask"))
    with pytest.raises(TileError, match=r"m\.tif: a cloud mask that does not cover .*tile\.tif"):
        open_tiles([str(tile)], options, 10.0, 8)
    whole = write_band(
        tmp_path / "w.tif", np.zeros((20, 24), np.uint8), Affine(20, 0, ORIGIN[0], 0, -20, ORIGIN[1])
    )
    open_tiles([str(tile)], ReadOptions(clouds=CloudMask(dataset=str(whole), kind="mask")), 10.0, 8)


def test_a_cloud_mask_that_says_nothing_of_some_places_or_several_things_is_refused(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    tile = write_raster()  # 48 × 40 px of 10 m
    clouds = np.ones((1, 1), np.uint8)
    # One pixel of 450 m, where the tile has 480: less than a pixel of the mask is not covered, three of the tile are.
    coarse = write_band(tmp_path / "c.tif", clouds, Affine(450, 0, ORIGIN[0], 0, -450, ORIGIN[1]))
    here = Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1])
    several = tmp_path / "s.tif"
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "crs": "EPSG:32633",
        "transform": here,
        "width": 48,
        "height": 40,
    }
    with rasterio.open(several, "w", count=3, **profile) as out:
        out.write(np.zeros((3, 40, 48), np.uint8))
    masked = tmp_path / "i.tif"
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(masked, "w", count=1, **profile) as out:
        out.write(np.zeros((1, 40, 48), np.uint8))
        out.write_mask(True)
    whole = shutil.copy(masked, tmp_path / "v.tif")
    with rasterio.open(masked, "r+") as out:
        out.write_mask(np.arange(40 * 48).reshape(40, 48) % 2 == 0)
    open_tiles([str(tile)], ReadOptions(clouds=CloudMask(dataset=str(whole), kind="mask")), 10.0, 8)
    for mask, words in (
        (coarse, r"c\.tif: a cloud mask that does not cover"),
        (several, r"s\.tif: has 3 bands; give a cloud mask of one"),
        (masked, r"i\.tif: is masked itself"),
    ):
        with pytest.raises(TileError, match=words):
            open_tiles([str(tile)], ReadOptions(clouds=CloudMask(dataset=str(mask), kind="mask")), 10.0, 8)


Ring = list[list[float]]


def geojson(path: Path, *rings: Ring) -> Path:
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        for ring in rings
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_invalid_polygons_are_mended_and_leave_no_lines(tmp_path: Path) -> None:
    bow_tie: Ring = [[0.0, 0.0], [2, 2], [2, 0], [0, 2], [0, 0]]
    box: Ring = [[1.0, 0.5], [3, 0.5], [3, 1.5], [1, 1.5], [1, 0.5]]
    spike: Ring = [[5.0, 0.0], [6, 0], [6, 1], [6, 3], [6, 1], [5, 1], [5, 0]]
    area = read_area(geojson(tmp_path / "a.geojson", bow_tie, box, spike)).geometry
    assert area.is_valid
    assert area.geom_type == "MultiPolygon"
    assert area.area == pytest.approx(2 + 2 - 0.75 + 1)
    with pytest.raises(VectorError, match="its polygons have no area"):
        read_area(geojson(tmp_path / "b.geojson", [[0, 0], [1, 1], [0, 0], [0, 0]]))


def test_ground_that_two_parts_of_a_polygon_share_is_no_hole(tmp_path: Path) -> None:
    parts = shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3)
    for name, shape in (("two", parts), ("nested", (shapely.box(0, 0, 3, 3), shapely.box(1, 1, 2, 2)))):
        path = tmp_path / f"{name}.gpkg"
        geopandas.GeoDataFrame(geometry=[shapely.MultiPolygon(shape)], crs=4326).to_file(path)
        assert read_area(path).geometry.area == pytest.approx(shapely.union_all(shape).area)


@pytest.mark.parametrize("suffix", ["gpkg", "kml"])
def test_all_layers_of_a_file_are_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"two.{suffix}"
    places = [shapely.box(number, 0, number + 0.5, 1) for number in range(2)]
    if suffix == "kml":  # as Google Earth writes folders
        folders = "".join(
            f"<Folder><name>part{number}</name><Placemark><name>a</name><Polygon><outerBoundaryIs><LinearRing>"
            f"<coordinates>{' '.join(f'{x},{y}' for x, y in place.exterior.coords)}</coordinates>"
            "</LinearRing></outerBoundaryIs></Polygon></Placemark></Folder>"
            for number, place in enumerate(places)
        )
        path.write_text(f'<kml xmlns="http://www.opengis.net/kml/2.2"><Document>{folders}</Document></kml>')
    else:
        for number, place in enumerate(places):
            frame = geopandas.GeoDataFrame(geometry=[place], crs=4326)
            frame.to_file(path, layer=f"part{number}", mode="a" if number else "w")
    area = read_area(path).geometry
    assert area.bounds == pytest.approx((0, 0, 1.5, 1))
    assert area.area == pytest.approx(1)


def test_an_open_ring_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(VectorError, match=r"a\.geojson: cannot be read as vectors"):
        read_area(geojson(tmp_path / "a.geojson", [[0, 0], [1, 0], [1, 1]]))


def test_landsat_tm_bands_are_not_sentinels(tmp_path: Path) -> None:
    head = "LT05_L1TP_190024_20100605_20200824_02_T1_"
    for band in (1, 2, 3, 4):
        write_band(tmp_path / f"{head}B{band}.TIF", np.full((40, 40), band, np.uint8))
    (source,) = find_sources([str(tmp_path)]).sources
    assert [source.dataset.index(f"{head}B{band}.TIF") for band in (3, 2, 1)] == sorted(
        source.dataset.index(f"{head}B{band}.TIF") for band in (3, 2, 1)
    )
    assert f"{head}B4.TIF" not in source.dataset


def test_bands_behind_a_url_are_read(tmp_path: Path) -> None:
    files = [
        write_band(tmp_path / f"s_B{band}.tif", np.full((40, 40), 1000 * band, np.uint16))
        for band in (2, 3, 4)
    ]
    options = ReadOptions(scale=1e-4)
    (tile,), _ = open_tiles([f"file://{file}" for file in files], options, 10.0, 8)
    with tile.open() as dataset:
        assert dataset.read()[:, 0, 0].tolist() == [4000, 3000, 2000]


def test_shards_with_nan_for_missing_are_joined(write_raster: WriteRaster, tmp_path: Path) -> None:
    for number in (0, 1):
        write_raster(
            f"exp-0000000000-{48 * number:010}.tif",
            dtype="float32",
            nodata=np.nan,
            transform=Affine(10, 0, ORIGIN[0] + 480 * number, 0, -10, ORIGIN[1]),
        )
    found, problems, _ = names(tmp_path / "tiles")
    assert problems == ()
    assert found == ["exp.tif"]


def test_what_lies_beside_a_product_is_named(tmp_path: Path) -> None:
    write_safe(tmp_path)
    (tmp_path / "scene.img").write_bytes(b"x")
    (tmp_path / "more").mkdir()
    _, _, ignored = names(tmp_path)
    assert sorted(Path(name).name for name in ignored) == ["more", "scene.img"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_looked_into_is_no_product(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    tile = write_raster()
    locked = tmp_path / "tiles" / "lost+found"
    locked.mkdir(mode=0)
    found, problems, ignored = names(tile.parent)
    locked.chmod(0o700)
    assert (found, problems) == (["tile.tif"], ())
    assert [Path(name).name for name in ignored] == ["lost+found"]


def test_an_area_behind_a_url_keeps_its_slashes(write_raster: WriteRaster) -> None:
    result = CliRunner().invoke(main, ["plan", str(write_raster()), "--aoi", "http://127.0.0.1:9/a.geojson"])
    assert result.exit_code == 1
    assert "http://127.0.0.1:9/a.geojson: cannot be read as vectors" in result.stderr

"""`geozoom ingest`: what is found, read, kept and said of what was delivered."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from click.testing import CliRunner, Result

import geozoom
from geozoom.area import read_area
from geozoom.bands import ReadOptions
from geozoom.cli import main
from geozoom.errors import CatalogError, DeliveryError, OrdersError
from geozoom.files import written_aside
from geozoom.receiving.catalog import Entry, open_catalog
from geozoom.virtual import joined
from tests.conftest import BY_AREA, ORIGIN, WriteRaster, smooth_noise
from tests.deliveries import deliver, four_by_four, square, to_wgs84, write_orders

IMD = """BEGIN_GROUP = IMAGE_1
	satId = "WV02";
	firstLineTime = 2019-07-01T10:20:30.123456Z;
	cloudCover = 0.31;
END_GROUP = IMAGE_1
END;
"""
Deliver = Callable[..., Path]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def send(write_raster: WriteRaster, tmp_path: Path) -> Deliver:
    """Return a function that writes a delivery into the folder `sent`."""

    def write(name: str, *place: float, **changes: Any) -> Path:
        return deliver(write_raster, name, *place, **({"folder": tmp_path / "sent"} | changes))

    return write


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """Two scenes beside each other, an order each."""
    return write_orders(tmp_path / "orders.geojson", four_by_four(1) + four_by_four(2, left=4))


def take(tmp_path: Path, orders: Path, *paths: Path, **changes: Any) -> geozoom.Ingested:
    return geozoom.ingest(
        paths or [tmp_path / "sent"], orders=orders, catalog=tmp_path / "catalog.gpkg", **changes
    )


def held(tmp_path: Path) -> dict[str, Entry]:
    with open_catalog(tmp_path / "catalog.gpkg") as catalog:
        return {Path(entry.path).name: entry for entry in catalog.entries()}


def pixels(width: int = 160, height: int = 160, bands: int = 3, seed: int = 0) -> np.ndarray[Any, Any]:
    return (smooth_noise(bands, height, width, seed) * 254 + 1).astype(np.uint8)


# --- what of the orders is there


def test_a_whole_delivery_completes_its_order_and_no_other(
    send: Deliver, orders: Path, tmp_path: Path
) -> None:
    send("first.tif")
    found = take(tmp_path, orders)
    first, second = found.orders
    assert (first.complete, first.missing) == (True, ())
    assert first.delivered_share == pytest.approx(1, abs=1e-6)
    assert first.area_km2 == pytest.approx(0.0064, rel=1e-3)  # UTM's scale
    assert (second.delivered_share, len(second.missing), second.files) == (0, 16, ())
    assert not found.complete
    assert found.problems == ()


def test_missing_patches_are_those_that_an_image_does_not_show(
    send: Deliver, orders: Path, tmp_path: Path
) -> None:
    send("most.tif", 0, 0, 80, 55)  # three quarters of the third row of patches, nothing of the fourth
    first, _ = take(tmp_path, orders).orders
    assert first.missing == tuple(f"t.tif 0,0 {patch}" for patch in range(8, 16))
    assert first.delivered_share == pytest.approx(55 / 80, rel=1e-4)


def test_ground_delivered_twice_is_measured(send: Deliver, orders: Path, tmp_path: Path) -> None:
    send("west.tif", 0, 0, 50, 80)
    send("east.tif", 40, 0, 40, 80)
    send("pan.tif", pixels=pixels(bands=1))  # what has no colours is delivered nowhere, so not twice either
    first, _ = take(tmp_path, orders).orders
    assert first.overlap_km2 == pytest.approx(800e-6, rel=1e-3)
    assert [Path(name).name for name in first.files] == ["east.tif", "west.tif"]
    assert first.complete


def test_what_is_coarser_than_ordered_counts_but_is_said(send: Deliver, orders: Path, tmp_path: Path) -> None:
    send("coarse.tif", gsd=1.0)
    send("fine.tif", 0, 0, 40, 80)
    found = take(tmp_path, orders)
    assert [Path(each.name).name for each in found.coarser] == ["coarse.tif"]
    assert found.orders[0].complete
    assert found.orders[0].coarse_km2 == pytest.approx(0.0032, rel=1e-3)
    again = take(tmp_path, orders, ordered_gsd_m=1.0)
    assert (again.coarser, again.orders[0].coarse_km2) == ((), 0)


def test_an_order_with_a_polygon_of_its_own_is_held_against_it(send: Deliver, tmp_path: Path) -> None:
    send("first.tif")
    path = tmp_path / "orders.geojson"
    write_orders(path, four_by_four(), polygons={1: square(0, 0, 100, 80)})
    (order,) = take(tmp_path, path).orders
    assert (order.missing, order.complete) == ((), False)
    assert order.delivered_share == pytest.approx(0.8, rel=1e-4)


@pytest.mark.parametrize("suffix", [".gpkg", ".parquet", ".fgb"])
def test_orders_of_every_format_are_read(send: Deliver, orders: Path, tmp_path: Path, suffix: str) -> None:
    send("most.tif", 0, 0, 80, 55)
    expected = take(tmp_path, orders)
    frame = geopandas.read_file(orders)
    path = tmp_path / f"orders{suffix}"
    frame.to_parquet(path) if suffix == ".parquet" else frame.to_file(path, layer="patches")
    if suffix == ".gpkg":
        polygons = [to_wgs84(square(left, 0, 80, 80)) for left in (0, 80)]
        geopandas.GeoDataFrame({"order": [1, 2]}, geometry=polygons, crs=4326).to_file(path, layer="orders")
    found = take(tmp_path, path)
    missing = [sorted(order.missing) for order in expected.orders]
    assert [sorted(order.missing) for order in found.orders] == missing  # FlatGeobuf orders features by place
    shares = [order.delivered_share for order in expected.orders]
    assert [order.delivered_share for order in found.orders] == pytest.approx(shares, rel=1e-5)
    assert (found.ordered_gsd_m, found.coarser) == (None, ())  # tables do not hold it


@pytest.mark.parametrize(("columns", "words"), [
    ({"order": [1]}, "holds patches of order 2, but not its polygon; take out both, or plan again"),
    ({"order": []}, "holds patches of order 1, but not its polygon"),
    ({"order": [1, 2, 3]}, "holds a polygon of order 3, but not its patches"),
    ({"number": [1]}, "its layer 'orders' has lost the column 'order'; plan again"),
])  # fmt: skip
def test_a_geopackage_with_half_of_an_order_is_refused(
    send: Deliver, orders: Path, tmp_path: Path, columns: dict[str, list[int]], words: str
) -> None:
    send("most.tif")
    path = tmp_path / "orders.gpkg"
    geopandas.read_file(orders).to_file(path, layer="patches")
    (held,) = columns.values()
    polygons = [to_wgs84(square(0, 0, 80, 80)) for _ in held]
    geopandas.GeoDataFrame(columns, geometry=polygons, crs=4326).to_file(path, layer="orders")
    with pytest.raises(OrdersError, match=words):
        take(tmp_path, path)


def test_a_plan_of_geozoom_is_complete_once_its_tile_is_delivered(
    write_raster: WriteRaster, tmp_path: Path, model: geozoom.PatchDrop
) -> None:
    tile, path = write_raster(), tmp_path / "orders.geojson"
    plan = geozoom.plan([tile], model=model, prices=BY_AREA)
    plan.write(path)
    write_raster("all.tif", folder=tmp_path / "sent", gsd=2.5, height=160, width=192)
    found = take(tmp_path, path)
    assert found.complete
    assert sum(order.patches for order in found.orders) == len(plan) > 0
    assert found.ordered_gsd_m == pytest.approx(2.5)


def test_require_complete_exits_with_1_and_names_the_orders(
    send: Deliver, orders: Path, tmp_path: Path
) -> None:
    send("first.tif")
    arguments = ["ingest", tmp_path / "sent", "--orders", orders, "-o", tmp_path / "catalog.gpkg"]
    assert run(*arguments).exit_code == 0
    result = run(*arguments, "--require-complete")
    assert result.exit_code == 1
    assert "1 of 2 orders are not complete (2)" in result.stderr
    send("second.tif", 80)
    result = run(*arguments, "--require-complete", "--json")
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert summary["complete"]
    assert summary["totals"]["patches"] == 32
    assert summary["totals"]["patches_missing"] == 0
    assert summary["totals"]["delivered_km2"] == pytest.approx(summary["totals"]["area_km2"])
    assert [Path(name).name for name in summary["files"]["known"]] == ["first.tif"]


# --- what is found


def test_folders_zips_and_formats_of_vendors_are_found(send: Deliver, orders: Path, tmp_path: Path) -> None:
    place = Affine(0.5, 0, ORIGIN[0], 0, -0.5, ORIGIN[1])
    deep = tmp_path / "sent" / "052_01" / "IMG_01"
    send("a_SR.tif", folder=deep)
    for name in ("a_udm2.tif", "a-BROWSE.tif", "b.ecw"):
        (deep / name).write_bytes(b"not looked into")
    for name, driver, more in (
        ("b.ntf", "NITF", {"ICORDS": "N", "IREP": "RGB"}),
        ("c.jp2", "JP2OpenJPEG", {"REVERSIBLE": "YES", "QUALITY": "100"}),
    ):
        with rasterio.open(
            deep / name, "w", driver=driver, dtype="uint8", count=3, width=160, height=160,
            crs="EPSG:32633", transform=place, **more,
        ) as out:  # fmt: skip
            out.write(pixels(seed=ord(name[0])))
    with zipfile.ZipFile(tmp_path / "sent" / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(send("d.tif", folder=tmp_path / "aside"), "DELIVERY/d.tif")
        archive.writestr("DELIVERY/d.json", json.dumps({"properties": {"datetime": "2024-05-06T07:08:09Z"}}))
        archive.writestr("DELIVERY/d_udm2.tif", b"not looked into")
        archive.writestr("DELIVERY/more.zip", b"not looked into")
    (tmp_path / "sent" / "linked").symlink_to(tmp_path / "aside")
    found = take(tmp_path, orders)
    assert found.problems == ()
    assert sorted(held(tmp_path)) == ["a_SR.tif", "b.ntf", "c.jp2", "d.tif"]
    assert [Path(name).relative_to(tmp_path / "sent").as_posix() for name in found.ignored] == [
        *(f"052_01/IMG_01/{name}" for name in ("a-BROWSE.tif", "a_udm2.tif", "b.ecw")),
        "d.zip/DELIVERY/d_udm2.tif",
        "d.zip/DELIVERY/more.zip",
        "linked",
    ]
    assert all(len(entry.sha256) == 64 for entry in found.entries)
    zipped = held(tmp_path)["d.tif"]
    assert zipped.acquired is not None
    assert zipped.acquired.isoformat() == "2024-05-06T07:08:09+00:00"
    with rasterio.open(zipped.path) as dataset:
        assert dataset.count == 3


def test_a_vrt_stands_for_its_sources(send: Deliver, orders: Path, tmp_path: Path) -> None:
    parts = [send("west.tif", 0, 0, 40, 80), send("east.tif", 40, 0, 40, 80)]
    (tmp_path / "sent" / "mosaic.vrt").write_text(
        joined([str(part) for part in parts], "mosaic.vrt", DeliveryError)
    )
    found = take(tmp_path, orders)
    assert found.problems == ()
    assert list(held(tmp_path)) == ["mosaic.vrt"]
    assert found.orders[0].complete
    assert found.orders[0].overlap_km2 == 0
    before = held(tmp_path)["mosaic.vrt"].sha256
    send("east.tif", 40, 0, 40, 80, pixels=pixels(80, 160, seed=9))
    assert [Path(name).name for name in take(tmp_path, orders).added] == ["mosaic.vrt"]
    assert held(tmp_path)["mosaic.vrt"].sha256 != before


@pytest.mark.parametrize(
    ("name", "content", "acquired", "cloud"),
    [
        (
            "img.IMD",
            IMD,
            "2019-07-01T10:20:30+00:00",
            0.31,
        ),
        (
            "img_metadata.json",
            '{"properties": {"acquired": "2020-01-02T03:04:05.5+02:00", "cloud_cover": 0.4, "satellite_id": "1"}}',
            "2020-01-02T01:04:05.500000+00:00",
            0.4,
        ),
        (
            "img.json",
            '{"properties": {"datetime": null, "eo:cloud_cover": 999, "start_datetime": "2020-01-02"}}',
            "2020-01-02T00:00:00+00:00",
            None,
        ),
        ("img.json", "[1]", None, None),
        (
            "img.json",
            '{"properties": {"datetime": "0001-01-01T00:00:00Z", "cloud_cover": "NaN"}}',
            None,
            None,
        ),
        ("other.json", '{"properties": {"datetime": "2020-01-02"}}', None, None),
    ],
)
def test_time_and_clouds_come_from_metadata_beside_the_image(
    send: Deliver,
    orders: Path,
    tmp_path: Path,
    name: str,
    content: str,
    acquired: str | None,
    cloud: float | None,
) -> None:
    send("img.tif")
    (tmp_path / "sent" / name).write_text(content)
    found = take(tmp_path, orders)
    (entry,) = held(tmp_path).values()
    assert (entry.acquired and entry.acquired.isoformat()) == acquired
    assert entry.cloud_share == pytest.approx(cloud)
    assert [each.name for each in found.clouded] == ([entry.name] if cloud else [])


def usable_data_mask() -> np.ndarray[Any, Any]:
    """UDM2 of 160 × 160 px: an empty left quarter, of the rest a third cloud, a third haze and a third clear."""
    bands = np.zeros((8, 160, 160), dtype=np.uint8)
    bands[0, :, 40:80] = bands[4, :, 80:120] = bands[5, :, 120:] = 1
    bands[6] = 90  # confidence, in percent
    return bands


@pytest.mark.parametrize("zipped", [False, True])
def test_clouds_are_measured_on_planets_usable_data_mask(
    send: Deliver, orders: Path, tmp_path: Path, zipped: bool
) -> None:
    send("20230101_101010_12_3B_AnalyticMS_SR_clip.tif")
    send("20230101_101010_12_3B_udm2_clip.tif", pixels=usable_data_mask())
    other = send("20230102_101010_12_3B_AnalyticMS_SR_clip.tif", 80)
    metadata = '{"properties": {"cloud_percent": 2}}'
    for name in ("20230101_101010_12_metadata.json", "20230102_101010_12_metadata.json"):
        (tmp_path / "sent" / name).write_text(metadata)
    if zipped:
        with zipfile.ZipFile(tmp_path / "sent.zip", "w") as archive:
            for file in sorted((tmp_path / "sent").iterdir()):
                archive.write(file, f"PSScene/{file.name}")
    found = take(tmp_path, orders, tmp_path / ("sent.zip" if zipped else "sent"))
    clouds = {name[:8]: entry.cloud_share for name, entry in held(tmp_path).items()}
    assert clouds == {"20230101": pytest.approx(1 / 3), "20230102": pytest.approx(0.02)}
    assert [Path(each.name).name[:8] for each in found.clouded] == ["20230101"]
    assert other.exists()


def test_patches_under_clouds_do_not_count_as_delivered(send: Deliver, orders: Path, tmp_path: Path) -> None:
    send("20230101_101010_12_3B_AnalyticMS_SR_clip.tif")
    mask = usable_data_mask()
    mask[7, :40, :40] = 4  # a suspect band, in the first patch
    mask[5, :6, 40:80] = 1  # of the second, 15% are cloud
    send("20230101_101010_12_3B_udm2_clip.tif", pixels=mask)
    found = take(tmp_path, orders)
    first, _ = found.orders
    assert first.unusable == tuple(f"t.tif 0,0 {patch}" for patch in (0, 3, 7, 11, 15))
    assert (first.missing, first.complete) == ((), False)
    assert first.delivered_share == pytest.approx(1, abs=1e-6)
    totals = found.summary()["totals"]
    assert (totals["patches_unusable"], totals["patches_missing"]) == (5, 16)
    send("clear.tif", 60, 0, 20, 80)
    assert take(tmp_path, orders).orders[0].unusable == ("t.tif 0,0 0",)
    send("rest.tif", 0, 0, 20, 20)
    assert take(tmp_path, orders).orders[0].complete


def test_a_mask_or_metadata_that_comes_later_counts(send: Deliver, orders: Path, tmp_path: Path) -> None:
    send("20230101_101010_12_3B_AnalyticMS_SR_clip.tif")
    assert take(tmp_path, orders).orders[0].complete
    mask = usable_data_mask()
    mask[5] = 1
    send("20230101_101010_12_3B_udm2_clip.tif", pixels=mask)
    found = take(tmp_path, orders)
    assert (found.added, len(found.known)) == ((), 1)
    assert len(found.orders[0].unusable) == 16
    metadata = tmp_path / "sent" / "20230101_101010_12_metadata.json"
    metadata.write_text(json.dumps({"properties": {"acquired": "2023-01-01T10:10:10Z"}}))
    take(tmp_path, orders)
    (entry,) = held(tmp_path).values()
    assert entry.acquired is not None
    (tmp_path / "sent" / "20230101_101010_12_3B_udm2_clip.tif").unlink()
    assert take(tmp_path, orders).orders[0].complete


def test_what_is_said_of_missing_pixels_the_next_time_counts(
    send: Deliver, orders: Path, tmp_path: Path
) -> None:
    image = pixels()
    image[:, :80] = 7
    send("a.tif", pixels=image)
    assert take(tmp_path, orders).orders[0].complete
    told = ReadOptions(nodata=7, prefix="hr-")
    assert len(take(tmp_path, orders, options=told).orders[0].missing) == 8
    assert len(take(tmp_path, orders).orders[0].missing) == 8  # it stays said


def test_a_usable_data_mask_that_is_cut_short_is_named(send: Deliver, orders: Path, tmp_path: Path) -> None:
    send("20230101_101010_12_3B_AnalyticMS_SR_clip.tif")
    mask = send("20230101_101010_12_3B_udm2_clip.tif", pixels=usable_data_mask())
    mask.write_bytes(mask.read_bytes()[: mask.stat().st_size // 2])
    (problem,) = take(tmp_path, orders).problems
    assert "udm2_clip.tif: cannot be read to its end" in problem
    assert "remove it" in problem
    mask.unlink()
    assert not take(tmp_path, orders).problems


def test_a_nitf_header_says_when_it_was_taken(orders: Path, tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    with rasterio.open(
        tmp_path / "sent" / "a.ntf", "w", driver="NITF", dtype="uint8", count=3, width=160, height=160,
        crs="EPSG:32633", transform=Affine(0.5, 0, ORIGIN[0], 0, -0.5, ORIGIN[1]), ICORDS="N", IREP="RGB",
        IDATIM="20210304050607",
    ) as out:  # fmt: skip
        out.write(pixels())
    take(tmp_path, orders)
    (entry,) = held(tmp_path).values()
    assert entry.acquired is not None
    assert entry.acquired.isoformat() == "2021-03-04T05:06:07+00:00"


def test_images_without_colours_are_kept_and_do_not_count(
    send: Deliver, orders: Path, tmp_path: Path
) -> None:
    send("pan.tif", pixels=pixels(bands=1))
    found = take(tmp_path, orders)
    assert [Path(each.name).name for each in found.colourless] == ["pan.tif"]
    assert len(found.orders[0].missing) == 16
    assert found.problems == ()


# --- the catalog


def test_every_reader_of_geopackages_reads_the_catalog(send: Deliver, orders: Path, tmp_path: Path) -> None:
    send("a.tif", nodata=0, pixels=np.concatenate([pixels(80), np.zeros((3, 160, 80), np.uint8)], axis=2))
    take(tmp_path, orders)
    path = tmp_path / "catalog.gpkg"
    assert pyogrio.list_layers(path).tolist() == [["deliveries", "MultiPolygon"]]
    frame = geopandas.read_file(path)
    assert frame.crs == "EPSG:4326"
    expected = to_wgs84(square(0, 0, 40, 80))
    (footprint,) = frame.geometry
    assert shapely.hausdorff_distance(footprint, expected) < 1e-6  # 0.1 m: long edges are cut
    assert frame["gsd_m"][0] == pytest.approx(0.5, rel=1e-3)
    assert frame["valid_share"][0] == 0.5
    assert (frame["width"][0], frame["bands"][0], frame["rgb"][0]) == (160, 3, "1,2,3")
    np.testing.assert_allclose(pyogrio.read_info(path)["total_bounds"], footprint.bounds)


def test_the_next_run_adds_what_is_new_and_nothing_twice(send: Deliver, orders: Path, tmp_path: Path) -> None:
    send("a.tif")
    take(tmp_path, orders)
    first = held(tmp_path)["a.tif"]
    send("b.tif", 80)
    shutil.copy(tmp_path / "sent" / "a.tif", tmp_path / "sent" / "copy.tif")
    found = take(tmp_path, orders)
    names = [[Path(name).name for name in names] for names in (found.added, found.known, found.duplicates)]
    assert names == [["b.tif"], ["a.tif"], ["copy.tif"]]
    assert held(tmp_path)["a.tif"] == first
    assert found.complete


def test_a_file_that_was_moved_touched_or_replaced_is_still_one_delivery(
    send: Deliver, orders: Path, tmp_path: Path
) -> None:
    path = send("a.tif")
    take(tmp_path, orders)
    os.utime(path, ns=(1, 1))
    assert len(take(tmp_path, orders).known) == 1
    path.rename(tmp_path / "sent" / "b.tif")
    assert len(take(tmp_path, orders).known) == 1
    assert list(held(tmp_path)) == ["b.tif"]
    before = held(tmp_path)["b.tif"]
    send("b.tif", pixels=pixels(seed=5))
    assert len(take(tmp_path, orders).added) == 1
    (after,) = held(tmp_path).values()
    assert after.sha256 != before.sha256


@pytest.mark.parametrize(
    "renamed", [{"a": "b", "b": "a"}, {"a": "b", "b": "c", "new": "a"}, {"a": "old", "new": "a"}]
)
def test_files_that_are_renamed_among_each_other_are_all_still_there(
    send: Deliver, orders: Path, tmp_path: Path, renamed: dict[str, str]
) -> None:
    send("a.tif")
    send("b.tif", 80)
    assert take(tmp_path, orders).complete
    sent = tmp_path / "sent"
    sums = {hashlib.sha256(file.read_bytes()).hexdigest() for file in sent.glob("*.tif")}
    if "new" in renamed:
        new = send("new.tif", pixels=pixels(seed=7))
        sums.add(hashlib.sha256(new.read_bytes()).hexdigest())
    for old in renamed:
        (sent / f"{old}.tif").rename(sent / f"{old}.moved")
    for old, name in renamed.items():
        (sent / f"{old}.moved").rename(sent / f"{name}.tif")
    for _ in range(2):
        found = take(tmp_path, orders)
        assert found.complete
        assert (found.duplicates, found.gone, found.problems) == ((), (), ())
        entries = held(tmp_path)
        assert set(entries) == {file.name for file in sent.glob("*.tif")}
        assert {entry.sha256 for entry in entries.values()} == sums
        for name, entry in entries.items():
            assert entry.sha256 == hashlib.sha256((sent / name).read_bytes()).hexdigest()


def test_files_that_are_gone_do_not_count_and_are_named(send: Deliver, orders: Path, tmp_path: Path) -> None:
    send("a.tif")
    send("b.tif", 80)
    take(tmp_path, orders)
    (tmp_path / "sent" / "a.tif").unlink()
    found = take(tmp_path, orders)
    assert [Path(name).name for name in found.gone] == ["a.tif"]
    assert [order.complete for order in found.orders] == [False, True]


def test_a_good_file_that_is_replaced_by_a_bad_one_leaves_the_catalog(
    send: Deliver, orders: Path, tmp_path: Path
) -> None:
    path = send("a.tif")
    send("b.tif", 80)
    take(tmp_path, orders)
    path.write_bytes(b"II*\0")
    found = take(tmp_path, orders)
    assert len(found.problems) == 1
    assert list(held(tmp_path)) == ["b.tif"]


def test_a_catalog_that_another_process_has_begun_stays(tmp_path: Path) -> None:
    path = tmp_path / "catalog.gpkg"
    with written_aside(path, replace=False) as aside:
        aside.write_text("mine")
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_zip_in_a_folder_with_braces_and_what_macos_adds(
    send: Deliver, orders: Path, tmp_path: Path
) -> None:
    west, east = send("a.tif"), send("b.tif", 80)
    folder = tmp_path / "sent" / "z{1}"
    folder.mkdir()
    with zipfile.ZipFile(folder / "x.ZIP", "w") as archive:
        archive.write(west, "sub/a.tif")
        archive.writestr("__MACOSX/sub/._a.tif", b"Mac OS X")
    west.unlink()
    east.with_name("._b.tif").write_bytes(b"Mac OS X")
    found = take(tmp_path, orders)
    assert found.complete
    assert (found.gone, found.problems, len(found.added)) == ((), (), 2)


def test_what_ingest_does_not_count_is_not_owned(send: Deliver, orders: Path, tmp_path: Path) -> None:
    send("a.tif", pixels=pixels(bands=1))
    take(tmp_path, orders)
    with pytest.raises(CatalogError, match="none of its deliveries"):
        read_area(tmp_path / "catalog.gpkg")
    send("b.tif", 80)
    take(tmp_path, orders)
    footprint = held(tmp_path)["b.tif"].footprint
    assert read_area(tmp_path / "catalog.gpkg").geometry.symmetric_difference(footprint).area < 1e-12
    (tmp_path / "sent" / "b.tif").unlink()
    with pytest.raises(CatalogError, match="none of its deliveries"):
        read_area(tmp_path / "catalog.gpkg")


def test_what_the_catalog_holds_is_not_bought_again(
    write_raster: WriteRaster, tmp_path: Path, model: geozoom.PatchDrop
) -> None:
    tile, path = write_raster(), tmp_path / "orders.geojson"
    geozoom.plan([tile], model=model, threshold=0.0, prices=BY_AREA).write(path)
    write_raster("west.tif", folder=tmp_path / "sent", gsd=2.5, height=160, width=96)  # its western half
    take(tmp_path, path)
    plan = geozoom.plan([tile], model=model, threshold=0.0, prices=BY_AREA, owned=[tmp_path / "catalog.gpkg"])
    frame = plan.to_geodataframe().to_crs("EPSG:32633")
    assert len(frame) == 15 * 16  # 5 × 3 of 5 × 6 scenes
    assert frame.total_bounds[0] == pytest.approx(ORIGIN[0] + 240, abs=0.05)

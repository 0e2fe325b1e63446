"""Deliveries, catalogs and orders that cannot be used: a sentence each, all at once, and nothing half-written."""

from __future__ import annotations

import json
import sqlite3
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner, Result
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC

import geozoom
from geozoom.cli import main
from geozoom.errors import CatalogError, OrdersError, OutputError
from geozoom.receiving.catalog import open_catalog
from geozoom.receiving.globe import km_text
from tests.conftest import ORIGIN, WriteRaster, largest_file
from tests.deliveries import deliver, four_by_four, write_orders

pytestmark = pytest.mark.usefixtures("orders")
Spoil = Callable[[WriteRaster, Path], object]


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    return write_orders(tmp_path / "orders.geojson", four_by_four())


def run(tmp_path: Path, *more: object) -> Result:
    arguments = ["ingest", tmp_path / "sent", "--orders", tmp_path / "orders.geojson"]
    arguments += ["-o", tmp_path / "catalog.gpkg", *more]
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def errors(result: Result) -> list[str]:
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit)
    return [line for line in result.stderr.splitlines() if line.startswith("Error: ")]


def names(tmp_path: Path) -> list[str]:
    with sqlite3.connect(tmp_path / "catalog.gpkg") as database:
        found = [Path(name).name for (name,) in database.execute("SELECT path FROM deliveries ORDER BY path")]
    database.close()
    return found


def placed_by(**how: Any) -> Spoil:
    """Return what writes a raster that has no geotransform."""

    def spoil(_: WriteRaster, sent: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(
                sent / "bad.tif", "w", driver="GTiff", dtype="uint8", count=3, width=160, height=160, **how
            ) as out:
                out.write(np.ones((3, 160, 160), np.uint8))

    return spoil


def cut_short(write_raster: WriteRaster, sent: Path) -> None:
    path = deliver(write_raster, "bad.tif", folder=sent)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def cut_jp2(_: WriteRaster, sent: Path) -> None:
    path = sent / "bad.jp2"
    place = Affine(0.5, 0, ORIGIN[0], 0, -0.5, ORIGIN[1])
    with rasterio.open(
        path, "w", driver="JP2OpenJPEG", dtype="uint8", count=3, width=160, height=160, crs="EPSG:32633",
        transform=place,
    ) as out:  # fmt: skip
        out.write(np.random.default_rng(0).integers(1, 255, (3, 160, 160), np.uint8))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zipped(name: str, spoil: Callable[[bytes], bytes] = bytes, member: str = "bad.tif") -> Spoil:
    """Return what writes a zip of one good raster, under some name in it, and then spoils the zip."""

    def write(write_raster: WriteRaster, sent: Path) -> None:
        raster = deliver(write_raster, "whole.tif", folder=sent.parent / "aside")
        with zipfile.ZipFile(sent / name, "w") as archive:
            archive.writestr(zipfile.ZipInfo(member), raster.read_bytes())  # the name as it is
        (sent / name).write_bytes(spoil((sent / name).read_bytes()))

    return write


def encrypted(content: bytes) -> bytes:
    """Set the flag that a member is encrypted, in its own header and in the directory."""
    changed = bytearray(content)
    changed[content.index(b"PK\3\4") + 6] |= 1
    changed[content.index(b"PK\1\2") + 8] |= 1
    return bytes(changed)


def vrt_out_of_a_zip(write_raster: WriteRaster, sent: Path) -> None:
    raster = deliver(write_raster, "whole.tif", folder=sent.parent / "aside")
    from geozoom.errors import DeliveryError
    from geozoom.virtual import joined

    with zipfile.ZipFile(sent / "bad.zip", "w") as archive:
        archive.writestr("bad.vrt", joined([str(raster)], "bad.vrt", DeliveryError))


def flipped(content: bytes) -> bytes:
    """Change a pixel in the middle, so that the member's checksum is wrong."""
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return bytes(changed)


RPCS = RPC(
    height_off=0, height_scale=1, lat_off=0, lat_scale=1, line_off=0, line_scale=1, long_off=0, long_scale=1,
    samp_off=0, samp_scale=1, line_num_coeff=[0.0] * 20, line_den_coeff=[1.0] * 20, samp_num_coeff=[0.0] * 20,
    samp_den_coeff=[1.0] * 20, err_bias=None, err_rand=None,
)  # fmt: skip
CORNERS = [
    GroundControlPoint(row, col, 400_000 + col, 5_800_000 - row) for row in (0, 160) for col in (0, 160)
]
ZEROS = np.zeros((3, 160, 160), np.uint8)
CASES: dict[str, tuple[Spoil, str]] = {
    "no crs": (lambda w, sent: deliver(w, "bad.tif", folder=sent, crs=None), "bad.tif: has no CRS"),
    "rpcs": (placed_by(rpcs=RPCS), "bad.tif: is placed by its sensor model (RPCs) only"),
    "gcps": (
        placed_by(gcps=CORNERS, crs="EPSG:32633"),
        "bad.tif: is placed by ground control points only",
    ),
    "crs that lies": (
        lambda w, sent: deliver(w, "bad.tif", 10_080, folder=sent),
        "bad.tif: lies on no order, 10 km from the nearest one",
    ),
    "zone that lies": (
        lambda w, sent: deliver(w, "bad.tif", folder=sent, crs="EPSG:32634"),
        "bad.tif: lies on no order, 4",
    ),
    "beyond its crs": (
        lambda w, sent: deliver(
            w, "bad.tif", folder=sent, transform=Affine(1e8, 0, 1e9, 0, -1e8, 1e9), crs="EPSG:32633"
        ),
        "bad.tif: its coordinates do not lie in its CRS",
    ),
    "truncated": (cut_short, "bad.tif: cannot be read to its end"),
    "truncated jp2": (cut_jp2, "bad.jp2: cannot be"),
    "no raster": (lambda _, sent: (sent / "bad.tif").write_bytes(b"II*\0"), "bad.tif: cannot be opened"),
    "empty file": (lambda _, sent: (sent / "bad.jp2").touch(), "bad.jp2: cannot be opened"),
    "all nodata": (
        lambda w, sent: deliver(w, "bad.tif", folder=sent, pixels=ZEROS, nodata=0),
        "bad.tif: holds no data in any of its 160 × 160 pixels",
    ),
    "all zeros": (
        lambda w, sent: deliver(w, "bad.tif", folder=sent, pixels=ZEROS),
        "bad.tif: holds nothing but zeros in all of its 160 × 160 pixels",
    ),
    "all nan": (
        lambda w, sent: deliver(w, "bad.tif", folder=sent, pixels=ZEROS + np.float32(np.nan), dtype="float32"),
        "bad.tif: holds no data in any",
    ),
    "unknown bands": (
        lambda w, sent: deliver(
            w, "bad.tif", folder=sent, pixels=np.ones((4, 160, 160), np.uint8), rgb=False
        ),
        "bad.tif: which of its 4 bands are red, green and blue cannot be told",
    ),
    "zip that climbs": (
        zipped("bad.zip", member="../../bad.tif"),
        "bad.zip: holds '../../bad.tif', a path that climbs out of the zip",
    ),
    "zip with a root": (zipped("bad.zip", member="/etc/bad.tif"), "bad.zip: holds '/etc/bad.tif', a path that"),
    "zip with a drive": (zipped("bad.zip", member="C:/bad.tif"), "bad.zip: holds 'C:/bad.tif', a path that"),
    "zip cut short": (zipped("bad.zip", lambda zip_: zip_[:-200]), "bad.zip: cannot be read as a zip"),
    "zip damaged": (zipped("bad.zip", flipped), "bad.zip/bad.tif: cannot be read (Bad CRC-32"),
    "zip encrypted": (zipped("bad.zip", encrypted), "bad.zip: is encrypted"),
    "zip without rasters": (zipped("bad.zip", member="readme.txt"), "bad.zip: a zip without rasters"),
    "link to nothing": (
        lambda _, sent: (sent / "bad.tif").symlink_to(sent / "gone.tif"),
        "bad.tif: is no file, or a link to what is not there; copy the file itself",
    ),
    "zip in a zip": (
        zipped("bad.zip", member="more.ZIP"),
        "bad.zip/more.ZIP, which is not read; name what holds them",
    ),
    "zip with a vrt out of it": (vrt_out_of_a_zip, "bad.zip/bad.vrt: is made of "),
    "no vrt": (lambda _, sent: (sent / "bad.vrt").write_text("<VRTDataset/>"), "bad.vrt: cannot be opened"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_delivery_that_cannot_be_used_is_named_and_the_rest_is_taken(
    write_raster: WriteRaster, tmp_path: Path, case: str
) -> None:
    spoil, words = CASES[case]
    deliver(write_raster, "good.tif", folder=tmp_path / "sent")
    spoil(write_raster, tmp_path / "sent")
    result = run(tmp_path)
    (error,) = errors(result)
    assert words in error, error
    assert names(tmp_path) == ["good.tif"]
    assert "100.0%" in result.stderr


def test_all_problems_are_named_at_once(write_raster: WriteRaster, tmp_path: Path) -> None:
    for number, (spoil, _) in enumerate(CASES.values()):
        (tmp_path / "sent" / str(number)).mkdir(parents=True)
        spoil(write_raster, tmp_path / "sent" / str(number))
    result = run(tmp_path, tmp_path / "nowhere", "https://example.com/a.tif", "--json")
    found = errors(result)
    for _, words in CASES.values():
        assert any(words in error for error in found), words
    assert any("nowhere: no such file or folder" in error for error in found)
    assert any("a.tif: is no local file" in error for error in found)
    assert json.loads(result.stdout)["problems"] == [error.removeprefix("Error: ") for error in found]
    assert names(tmp_path) == ["whole.tif"]  # what the zips were made of


def test_bands_and_nodata_can_be_said(write_raster: WriteRaster, tmp_path: Path, orders: Path) -> None:
    pixels = np.full((4, 160, 160), 9, np.uint8)
    pixels[:, 80:] = 0
    deliver(write_raster, "bgrn.tif", folder=tmp_path / "sent", pixels=pixels, rgb=False)
    found = geozoom.ingest(
        [tmp_path / "sent"],
        orders=orders,
        catalog=tmp_path / "catalog.gpkg",
        options=geozoom.ReadOptions(bands=(3, 2, 1), nodata=0),
    )
    (entry,) = found.entries
    assert (entry.rgb, entry.nodata, entry.valid_share, entry.zero_share) == ((3, 2, 1), 0, 0.5, 0)
    assert found.orders[0].delivered_share == pytest.approx(0.5, rel=1e-4)


def test_zeros_that_nothing_marks_are_named(write_raster: WriteRaster, tmp_path: Path) -> None:
    pixels = np.full((3, 160, 160), 9, np.uint8)
    pixels[:, 120:] = 0
    deliver(write_raster, "black.tif", folder=tmp_path / "sent", pixels=pixels)
    result = run(tmp_path)
    assert result.exit_code == 0
    assert "with unmarked pixels that are 0 in every band" in result.stderr
    assert "black.tif (25.0%)" in result.stderr


# --- catalogs and orders


def marked(tmp_path: Path, **mark: object) -> None:
    with sqlite3.connect(tmp_path / "catalog.gpkg") as database:
        database.execute("UPDATE gpkg_contents SET description = ?", [json.dumps(mark)])
    database.close()


def test_a_catalog_that_no_disk_has_room_for_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "new" / "catalog.gpkg"
    path.parent.mkdir()
    for size in (0, 4_000, 20_000):
        with (
            largest_file(size),
            pytest.raises(OutputError, match=r"catalog\.gpkg: cannot be created"),
            open_catalog(path, create=True),
        ):
            pass
        assert not list(path.parent.iterdir())


def test_a_catalog_of_another_version_is_left_as_it_is(write_raster: WriteRaster, tmp_path: Path) -> None:
    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    assert run(tmp_path).exit_code == 0
    marked(tmp_path, geozoom_catalog=7, geozoom="9.1")
    before = (tmp_path / "catalog.gpkg").read_bytes()
    (error,) = errors(run(tmp_path))
    assert "catalog.gpkg: is a catalog of format 7, written by geozoom 9.1, and this version" in error
    assert (tmp_path / "catalog.gpkg").read_bytes() == before


@pytest.mark.parametrize("kind", ["text", "empty", "plan", "foreign", "unmarked"])
def test_what_is_no_catalog_is_not_written_to(
    write_raster: WriteRaster, tmp_path: Path, orders: Path, kind: str
) -> None:
    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    path = tmp_path / "catalog.gpkg"
    if kind == "plan":
        import geopandas

        geopandas.read_file(orders).to_file(path, layer="orders")
    elif kind == "foreign":
        with sqlite3.connect(path) as database:
            database.execute("CREATE TABLE deliveries (path TEXT)")
        database.close()
    elif kind == "unmarked":
        assert run(tmp_path).exit_code == 0
        marked(tmp_path, something="else")
    else:
        path.write_text("not a catalog, whatever its name" * 99 if kind == "text" else "")
    before = path.read_bytes()
    (error,) = errors(run(tmp_path))
    assert "catalog.gpkg: is not a catalog that `geozoom ingest` wrote" in error
    assert path.read_bytes() == before


def test_a_catalog_that_lost_a_footprint_is_refused(write_raster: WriteRaster, tmp_path: Path) -> None:
    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    assert run(tmp_path).exit_code == 0
    for blob in (b"", b"GP\0\1\xe6\x10\0\0nonsense", b"GP\0\x0d", None, 7):
        with sqlite3.connect(tmp_path / "catalog.gpkg") as database:
            database.execute("PRAGMA ignore_check_constraints = ON")
            if blob is not None:
                database.execute("UPDATE deliveries SET geom = ?", [blob])
        database.close()
        (error,) = errors(run(tmp_path))
        assert "catalog.gpkg: cannot be read or written as a catalog" in error


def test_a_catalog_of_other_orders_is_refused_before_anything_is_taken(
    write_raster: WriteRaster, tmp_path: Path, orders: Path
) -> None:
    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    assert run(tmp_path).exit_code == 0
    write_orders(orders, four_by_four(left=1000))
    deliver(write_raster, "b.tif", 10_000, folder=tmp_path / "sent")
    (error,) = errors(run(tmp_path))
    assert "catalog.gpkg: none of its 1 deliveries lies on an order of" in error
    assert "the nearest is 19.9 km away" in error
    assert names(tmp_path) == ["a.tif"]


def test_what_lies_on_the_orders_of_a_later_plan_joins_the_catalog_of_an_earlier_one(
    write_raster: WriteRaster, tmp_path: Path, orders: Path
) -> None:
    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    assert run(tmp_path).exit_code == 0
    write_orders(orders, four_by_four(left=1000))
    (tmp_path / "sent" / "0.tif").write_bytes(b"nothing")
    write_raster("unplaced.tif", folder=tmp_path / "sent", crs=None)
    deliver(write_raster, "b.tif", 20_000, folder=tmp_path / "sent")
    result = run(tmp_path, "--require-complete")
    assert len(errors(result)) == 2  # of the files that cannot be read or placed, which are named
    assert "1 file(s) on no order of this plan, but perhaps of an earlier one: " in " ".join(
        result.stderr.split()
    )
    assert names(tmp_path) == ["a.tif", "b.tif"]


def test_a_catalog_may_hold_what_was_delivered_for_several_plans(
    write_raster: WriteRaster, tmp_path: Path, orders: Path
) -> None:
    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    deliver(write_raster, "b.tif", 80, folder=tmp_path / "sent")
    write_orders(orders, four_by_four() + four_by_four(2, left=4))
    assert run(tmp_path).exit_code == 0
    write_orders(orders, four_by_four())
    result = run(tmp_path, "--require-complete")
    assert result.exit_code == 0
    assert "1 file(s) on no order of this plan" in result.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such orders file"),
        ("", "not orders that `geozoom plan` wrote"),
        ("[]", "not orders that `geozoom plan` wrote"),
        ('{"type": "FeatureCollection", "features": []}', "not orders that `geozoom plan` wrote"),
        ({"format": 3}, "is a plan of format 3, and this version of geozoom reads formats 1 and 2"),
        ({"format": "1"}, "is a plan of format 1, and"),
        ({"features": []}, "orders nothing"),
        ({"format": 2, "orders": []}, "holds patches of order 1, but not its polygon"),
        ({"features": [{"geometry": None, "properties": {"order": 1}}]}, "not orders that"),
        (
            {"format": 2, "orders": [{"order": 1, "geometry": {"type": "Point", "coordinates": [1, 2]}}]},
            "not orders that",
        ),
    ],
)
def test_orders_that_cannot_be_used_are_refused_and_no_catalog_is_made(
    write_raster: WriteRaster, tmp_path: Path, orders: Path, content: str | dict[str, Any] | None, words: str
) -> None:
    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    if content is None:
        orders.unlink()
    elif isinstance(content, str):
        orders.write_text(content)
    else:
        plan = json.loads(orders.read_text())
        plan["features"] = content.pop("features", plan["features"])
        plan["geozoom"] |= content
        orders.write_text(json.dumps(plan))
    (error,) = errors(run(tmp_path))
    assert f"orders.geojson: {words}" in error
    assert not (tmp_path / "catalog.gpkg").exists()


def test_outputs_that_cannot_be_catalogs_are_refused(write_raster: WriteRaster, tmp_path: Path) -> None:
    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    for name, words in (
        ("catalog.tif", "the format of .tif"),
        ("nowhere/catalog.gpkg", "cannot be written to"),
    ):
        (error,) = errors(run(tmp_path, "-o", tmp_path / name))
        assert words in error
    (tmp_path / "folder.gpkg").mkdir()
    (error,) = errors(run(tmp_path, "-o", tmp_path / "folder.gpkg"))
    assert "folder.gpkg: " in error


def test_a_catalog_in_use_is_said_so(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geozoom.receiving import catalog

    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    assert run(tmp_path).exit_code == 0
    monkeypatch.setattr(catalog, "_WAIT_S", 0.1)
    holder = sqlite3.connect(tmp_path / "catalog.gpkg", isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        (error,) = errors(run(tmp_path))
    finally:
        holder.close()
    assert "catalog.gpkg: is in use by another process" in error


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "sent" / "deeper").mkdir(parents=True)
    (error,) = errors(run(tmp_path))
    assert (
        "sent: no rasters (.tif, .tiff, .jp2, .vrt, .ntf, .nitf, .nsf) in this folder or those in it" in error
    )


def test_python_gets_the_same_errors(write_raster: WriteRaster, tmp_path: Path, orders: Path) -> None:
    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    (tmp_path / "catalog.gpkg").write_text("no")
    with pytest.raises(CatalogError, match="is not a catalog"):
        geozoom.ingest([tmp_path / "sent"], orders=orders, catalog=tmp_path / "catalog.gpkg")
    with pytest.raises(OrdersError, match="no such orders file"):
        geozoom.ingest([tmp_path], orders=tmp_path / "none.geojson", catalog=tmp_path / "catalog.gpkg")


@pytest.mark.parametrize(
    ("km", "text"), [(0.0123, "0.0123"), (9.344, "9.34"), (99.94, "99.9"), (8981.2, "8,981")]
)
def test_distances_are_written_out(km: float, text: str) -> None:
    assert km_text(km) == text

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner, Result

import geozoom
from geozoom.cli import main
from tests.conftest import ORIGIN, WriteRaster, small_model
from tests.products import write_safe


def inspect(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)])


def test_inspect_says_what_was_understood(write_raster: WriteRaster, model_file: Path) -> None:
    pixels = np.full((4, 40, 48), 500, np.uint16)
    pixels[:, :, :12] = 0
    tile = write_raster(
        "tile.tif",
        pixels=pixels,
        nodata=0,
        scale=1e-4,
        offset=-0.1,
        descriptions=("B2", "B3", "B4", "B8"),
    )
    result = inspect(tile, "--model", model_file)
    assert result.exit_code == 0, result.output
    for line in (
        "bands    red 3, green 2, blue 1",
        "scale    reflectance = 0.0001 · DN − 0.1, from scale and offset tags",
        "ground   EPSG:32633, pixels of 10",
        "grid     48 × 40 px, as it is",
        "missing  25.0%",
        "scenes   30 of 80 m",
    ):
        assert line in result.stdout
    (facts,) = json.loads(inspect(tile, "--model", model_file, "--json").stdout)
    assert (facts["scenes"], facts["missing_share"], facts["bands"]) == (30, 0.25, [3, 2, 1])
    plan = geozoom.plan([tile], model=model_file, threshold=0.0)
    described = plan.summary()["tiles"][0]
    for key in ("crs", "gsd_m", "bands", "scale", "offset", "calibration", "sensor"):
        assert described[key] == facts[key]


def test_inspect_says_sensor_date_and_clouds_of_a_product(tmp_path: Path) -> None:
    classes = np.full((24, 24), 4, np.uint8)
    classes[:, :6] = 9
    result = inspect(write_safe(tmp_path, scl=classes))
    assert result.exit_code == 0, result.output
    assert "sensor   Sentinel-2 L2A, baseline 05.09, 2023-06-08T10:10:31" in result.stdout
    assert "clouds 25.0% of the rest (scl)" in result.stdout


def test_inspect_names_every_tile_that_a_plan_would_refuse(write_raster: WriteRaster, tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    write_raster("good.tif")
    write_raster("nowhere.tif", crs=None)
    write_raster("unscaled.tif", dtype="uint16")
    (folder / "broken.tif").write_bytes(b"II*\0nothing")
    (folder / "notes.docx").write_text("x")
    result = inspect(folder)
    assert result.exit_code == 1
    refused = [line for line in result.stdout.splitlines() if line.startswith("  refused")]
    assert len(refused) == 3
    assert "give --scale" in result.stdout
    assert "assume-crs" in result.stdout
    assert "scenes   30 of 80 m" in result.stdout
    assert "1 other entries were not read" in result.stderr
    entries = json.loads(inspect(folder, "--json").stdout)
    assert [bool(entry["refused"]) for entry in entries] == [False, True, True, True]
    planned = CliRunner().invoke(main, ["plan", str(folder), "-o", str(tmp_path / "o.geojson")])
    assert planned.exit_code == 1
    assert len(planned.stderr.splitlines()) == 3
    assert not (tmp_path / "o.geojson").exists()


def test_inspect_of_what_is_not_there(tmp_path: Path) -> None:
    result = inspect(tmp_path / "none.tif")
    assert result.exit_code == 1
    assert "none.tif" in result.stdout
    assert "no such file or folder" in result.stdout


SERVER = """
import http.server, os, re, sys
os.chdir(sys.argv[1])

class Ranges(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        path = "." + self.path
        if not os.path.isfile(path):
            self.send_response(404); self.send_header("Content-Length", "0"); self.end_headers(); return
        whole = open(path, "rb").read()
        asked = re.match(r"bytes=(\\d+)-(\\d+)", self.headers.get("Range", ""))
        part = whole[int(asked[1]) : int(asked[2]) + 1] if asked else whole
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(whole)}")
        self.send_header("Accept-Ranges", "bytes"); self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if body:
            self.wfile.write(part)

    def do_GET(self): self.answer(True)
    def do_HEAD(self): self.answer(False)
    def log_message(self, *_): pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranges)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serve the folder of tiles on this machine, from a process of its own: GDAL waits with the GIL held."""
    folder = tmp_path / "tiles"
    folder.mkdir(exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder)], stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None
        yield f"http://127.0.0.1:{int(started.stdout.readline())}"
        started.terminate()


def test_a_tile_in_a_zip_and_behind_a_url_plans_as_the_file_does(
    write_raster: WriteRaster, tmp_path: Path, server: str
) -> None:
    tile = write_raster("tile.tif")
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w") as archive:
        archive.write(tile, "in/tile.tif")
    plan = geozoom.plan([tile], model=small_model())
    for path in (f"/vsizip/{tmp_path}/tiles.zip/in/tile.tif", f"{server}/tile.tif"):
        other = geozoom.plan([path], model=small_model())
        assert list(other.features()) == list(plan.features())
    result = inspect(f"{server}/none.tif")
    assert result.exit_code == 1
    assert "/none.tif" in result.stdout


def test_a_vrt_plans_as_its_file_does(write_raster: WriteRaster, tmp_path: Path) -> None:
    from rasterio.shutil import copy

    tile = write_raster("tile.tif")
    copy(tile, tmp_path / "tile.vrt", driver="VRT")
    plan, other = (geozoom.plan([path], model=small_model()) for path in (tile, tmp_path / "tile.vrt"))
    np.testing.assert_array_equal(plan.corners, other.corners)
    np.testing.assert_array_equal(plan.patches.probability, other.patches.probability)


def test_a_plan_is_the_same_whatever_the_order_and_the_batch(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [
        write_raster(
            f"{number}.tif", transform=Affine(10, 0, ORIGIN[0] + 310 * number, 0, -10, ORIGIN[1]), seed=number
        )
        for number in range(3)
    ]
    plan = geozoom.plan(files, model=small_model(), budget=30)
    monkeypatch.setattr("geozoom.inference.BATCH_PX", 7 * 64)
    monkeypatch.setattr("geozoom.scenes.ROWS_AT_ONCE_PX", 8)
    other = geozoom.plan(files[::-1], model=small_model(), budget=30)
    assert list(other.features()) == list(plan.features())
    assert other.summary() == plan.summary()

"""The catalog is whole at whatever moment the process is killed, and the next run goes on from there."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import geopandas
import pytest

import geozoom
from geozoom.receiving.catalog import open_catalog
from geozoom.vectors import read_vectors
from tests.conftest import WriteRaster
from tests.deliveries import deliver, four_by_four, write_orders

FILES = 4
KILLS = 40
"""Kills at a random moment."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills copies of one process")

CHILD = """
import json, os, random, signal, sqlite3, sys, time
from pathlib import Path

import geozoom
import geozoom.receiving.ingest
from geozoom.receiving.catalog import open_catalog

how, sent, orders, catalog = sys.argv[1:]
catalog = Path(catalog)


def ingest():
    return geozoom.ingest([sent], orders=orders, catalog=catalog)


def killed_at_statement(number):
    connect, seen = sqlite3.connect, []

    def count(statement):
        seen.append(statement)
        if len(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*args, **kwargs):
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(count)
        return connection

    sqlite3.connect = traced
    ingest()


def state():
    if not catalog.exists():
        return None
    with open_catalog(catalog) as held:
        rows = [Path(entry.path).name for entry in held.entries()]
    connection = sqlite3.connect(catalog)
    whole = connection.execute("PRAGMA integrity_check").fetchall()
    connection.close()
    return {"rows": rows, "whole": whole == [("ok",)]}


def fresh():
    for file in (catalog, catalog.with_name(catalog.name + "-journal")):
        file.unlink(missing_ok=True)


def one(work, *arguments, seconds=None):
    child = os.fork()
    if child == 0:
        try:
            work(*arguments)
        finally:
            os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(json.dumps({"killed": os.WIFSIGNALED(status), "state": state()}), flush=True)
    return os.WIFSIGNALED(status)


if how == "statements":
    number = 1
    while one(killed_at_statement, number):
        fresh()
        number += 1
else:
    start = time.perf_counter()
    ingest()
    whole = time.perf_counter() - start
    chance = random.Random(0)
    for _ in range(int(how)):
        fresh()
        one(ingest, seconds=chance.uniform(0, whole))
"""


def play(tmp_path: Path, write_raster: WriteRaster, how: str) -> list[dict[str, object]]:
    """Run the child; return what it saw after every kill."""
    orders = write_orders(tmp_path / "orders.geojson", four_by_four())
    for number in range(FILES):
        deliver(write_raster, f"{number}.tif", 0, 20 * number, 80, 20, folder=tmp_path / "sent")
    finished = subprocess.run(
        [sys.executable, "-c", CHILD, how, tmp_path / "sent", orders, tmp_path / "catalog.gpkg"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    return [json.loads(line) for line in finished.stdout.splitlines()]


def check(found: dict[str, object]) -> int:
    """Check what a kill left; return how many rasters it holds, -1 for no catalog."""
    state = found["state"]
    if state is None:
        return -1
    assert isinstance(state, dict)
    assert state["whole"]
    names = [f"{number}.tif" for number in range(FILES)]
    assert state["rows"] == names[: len(state["rows"])]
    return len(state["rows"])


def test_a_kill_before_any_statement_leaves_a_whole_catalog(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    *killed, last = play(tmp_path, write_raster, "statements")
    held = [check(found) for found in killed]
    assert all(found["killed"] for found in killed)
    assert held == sorted(held)
    assert set(held) == {-1, *range(FILES)} | ({FILES} if FILES in held else set())
    assert check(last) == FILES
    assert not last["killed"]


def test_a_kill_at_any_moment_leaves_a_whole_catalog_that_the_next_run_completes(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    found = play(tmp_path, write_raster, str(KILLS))
    held = [check(each) for each in found]
    assert len(held) == KILLS
    assert len(set(held)) > 1  # not always the same moment
    catalog = tmp_path / "catalog.gpkg"
    before = max(held[-1], 0)
    again = geozoom.ingest([tmp_path / "sent"], orders=tmp_path / "orders.geojson", catalog=catalog)
    assert (len(again.known), len(again.added)) == (before, FILES - before)
    assert again.complete
    assert len(geopandas.read_file(catalog)) == FILES


@pytest.mark.parametrize("reader", ["ingest", "plan"])
def test_what_was_half_written_when_the_process_died_is_taken_back(
    write_raster: WriteRaster, tmp_path: Path, reader: str
) -> None:
    orders = write_orders(tmp_path / "orders.geojson", four_by_four())
    deliver(write_raster, "a.tif", folder=tmp_path / "sent")
    catalog, left = tmp_path / "catalog.gpkg", tmp_path / "left.gpkg"
    geozoom.ingest([tmp_path / "sent"], orders=orders, catalog=catalog)
    before = catalog.read_bytes()
    writer = sqlite3.connect(catalog, isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")  # so that pages reach the file before the transaction ends
    writer.execute("BEGIN")
    for length in (1_000_000, 100, 1_000_000):
        writer.execute("UPDATE deliveries SET crs = ?", ["x" * length])
    # What a kill would leave: the file, and the journal that says what it was.
    shutil.copy(catalog, left)
    shutil.copy(f"{catalog}-journal", f"{left}-journal")
    writer.close()
    assert left.read_bytes() != before
    if reader == "plan":  # as --owned
        (crs,) = read_vectors(left, ("MultiPolygon",))["crs"]
    else:
        with open_catalog(left) as held:
            (crs,) = (entry.crs for entry in held.entries())
    assert crs.startswith("PROJCRS")

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner

import geozoom
from geozoom.cli import main
from geozoom.cluster import _sent
from geozoom.errors import ClusterError, TileError
from geozoom.orders import Plan
from geozoom.scenes import SceneLimits
from tests.conftest import BY_AREA, DOUBTFUL, ORIGIN, WriteRaster, small_model

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as started:
        yield started


@pytest.fixture
def tiles(write_raster: WriteRaster) -> list[Path]:
    """Five tiles that overlap, one with missing data, one in another CRS."""
    files = []
    for number, east in enumerate((0, 300, 301, 640)):
        transform = Affine(10, 0, ORIGIN[0] + east, 0, -10, ORIGIN[1] + 7 * number)
        pixels = np.random.default_rng(number).integers(1, 255, (3, 40, 48)).astype(np.uint8)
        if number == 1:
            pixels[:, 5:30, 10:40] = 0
        files.append(write_raster(f"{number}.tif", pixels=pixels, transform=transform, nodata=0, seed=number))
    files.append(
        write_raster("m.tif", crs="EPSG:3857", transform=Affine(16, 0, 1.4e6, 0, -16, 6.9e6), seed=9)
    )
    return files


def same(one: Plan, other: Plan) -> bool:
    return one.summary() == other.summary() and list(one.features()) == list(other.features())


def test_a_worker_that_dies_while_the_model_is_sent_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        gone = 2

        def scatter(self, model: object, *, broadcast: bool) -> object:
            if self.gone:
                self.gone -= 1
                raise KeyError("tcp://127.0.0.1:1")
            return model, broadcast

    monkeypatch.setattr("geozoom.cluster.time.sleep", lambda _: None)
    client: Any = Client()
    model = small_model()
    assert _sent(client, model) == (model, True)
    client.gone = 9
    with pytest.raises(KeyError):
        _sent(client, model)


def test_a_cluster_makes_the_same_plan(
    cluster: Any, tiles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geozoom.planner.MOST_CELLS", 0)  # candidates go to a file
    asked: dict[str, Any] = {
        "model": small_model(**DOUBTFUL),
        "prices": BY_AREA,
        "budget": 2,
        "when": "scout",
    }
    alone = geozoom.plan(tiles, **asked)
    spread = geozoom.plan(tiles[::-1], **asked, dask=cluster.scheduler_address)
    assert 0 < len(alone) < alone.candidates
    assert same(alone, spread)


def test_a_worker_killed_in_the_middle_loses_nothing(cluster: Any, tiles: list[Path]) -> None:
    asked: dict[str, Any] = {"model": small_model(), "prices": BY_AREA, "overlap": "all", "when": "policy"}
    alone = geozoom.plan(tiles, **asked)
    killed: list[int] = []
    seen: list[tuple[int, int]] = []

    def kill(done: int, total: int) -> None:
        seen.append((done, total))
        if not killed:
            pids = {worker.process.pid for worker in cluster.workers.values() if worker.process}
            killed.append(pids.pop())
            os.kill(killed[0], signal.SIGKILL)

    spread = geozoom.plan(tiles[::-1], **asked, dask=cluster.scheduler_address, progress=kill)
    assert killed
    assert len(alone) > 0
    assert same(alone, spread)
    assert len(seen) == 5
    assert seen[-1][0] == seen[-1][1]


def test_a_tile_that_a_worker_cannot_use_is_named(cluster: Any, write_raster: WriteRaster) -> None:
    empty = write_raster("empty.tif", pixels=np.zeros((3, 16, 16), np.uint8), nodata=0)
    with pytest.raises(TileError, match=r"none of the 4 scenes .*skipped 4 for missing data"):
        geozoom.plan([empty], model=small_model(), dask=cluster.scheduler_address)
    cut = write_raster("cut.tif", height=300, width=300)
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TileError, match=r"cut\.tif: cannot be read to its end"):
        geozoom.plan(
            [cut], model=small_model(), dask=cluster.scheduler_address, limits=SceneLimits(max_nodata=1)
        )


def test_no_scheduler_and_sites_are_refused(
    write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile = write_raster()
    monkeypatch.setattr("geozoom.cluster.CONNECT_S", 1)
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers there .*dask scheduler"):
        geozoom.plan([tile], model=small_model(), dask="tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match="no Dask scheduler answers there"):
        geozoom.plan([tile], model=small_model(), dask="nonsense://")
    arguments = ["plan", str(tile), "--dask", "tcp://127.0.0.1:9", "--sites", str(tmp_path / "s.gpkg")]
    assert CliRunner().invoke(main, arguments).exit_code == 2

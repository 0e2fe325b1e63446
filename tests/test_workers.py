"""Choices for several budgets beside each other: the same plans, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geozoom import workers
from geozoom.budget import Budget
from geozoom.cores import usable_cores
from geozoom.errors import SolverError
from geozoom.offer import AtOnce
from geozoom.planner import Candidates, prepare
from geozoom.pricelists import parse_price_list
from geozoom.workers import purchase_each
from tests.conftest import WriteRaster, small_model
from tests.offers import Dying, Refusing
from tests.test_curve import CHEAP

BUDGETS = [Budget(cents) for cents in (500, 1_000)]


@pytest.fixture
def candidates(write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch) -> Candidates:
    """What a small tile offers, for which processes are otherwise not started."""
    monkeypatch.setattr(workers, "_FEWEST_CELLS", 1)
    return _candidates(write_raster(height=16, width=24))


def _candidates(tile: Path) -> Candidates:
    return prepare(
        [tile],
        model=small_model(),
        prices=parse_price_list(CHEAP, "cheap.toml"),
        threshold=0.0,
    )


def test_plans_made_beside_each_other_are_those_made_in_turn(candidates: Candidates) -> None:
    beside = candidates.choose_each(BUDGETS, workers=2)
    candidates._made.clear()
    in_turn = [candidates.choose(budget) for budget in BUDGETS]
    assert len(beside) == len(in_turn)
    for one, other in zip(beside, in_turn, strict=True):
        assert np.array_equal(one.patches.value, other.patches.value)
        assert one.summary() == other.summary()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("cells", "asked"), [(10, 2), (1, 1), (1, 9)])
def test_few_cells_or_budgets_start_no_process(
    candidates: Candidates, monkeypatch: pytest.MonkeyPatch, cells: int, asked: int
) -> None:
    monkeypatch.setattr(workers, "_FEWEST_CELLS", 10**cells)
    budgets = [700] if asked == 9 else [700, 2_500]
    assert purchase_each(candidates.offer, candidates.prices, budgets, "fast", asked) == {}


def test_what_one_process_refuses_is_refused(candidates: Candidates) -> None:
    refusing = Refusing(**vars(candidates.offer))
    many = list(range(700, 2_500, 100))  # more than wait in the queue
    with pytest.raises(SolverError, match="refused in another"):
        purchase_each(refusing, candidates.prices, many, "fast", 2)
    assert not multiprocessing.active_children()


def test_the_exact_solver_and_short_memory_start_no_process(
    candidates: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer, prices = candidates.offer, candidates.prices
    assert isinstance(offer, AtOnce)
    assert purchase_each(offer, prices, [700, 2_500], "exact", 2) == {}
    monkeypatch.setattr(workers, "_MOST_CELLS", 2 * offer.cells - 1)
    assert purchase_each(offer, prices, [700, 2_500], "fast", 2) == {}


def test_what_a_killed_process_leaves_undone_is_done_in_this_one(
    candidates: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = Dying(**vars(candidates.offer))
    chosen_beside = []

    def noted(*asked: Any) -> dict[int, Any]:
        chosen_beside.append(purchase_each(*asked))
        return chosen_beside[-1]

    monkeypatch.setattr("geozoom.planner.purchase_each", noted)
    plans = replace(candidates, offer=dying).choose_each(BUDGETS, workers=2)
    assert chosen_beside == [{}]
    assert [plan.summary() for plan in plans] == [candidates.choose(budget).summary() for budget in BUDGETS]


@pytest.fixture
def tracing(write_raster: WriteRaster, model_file: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`geozoom curve` with processes at work, in a group of its own, which Ctrl-C on its terminal would reach."""
    if usable_cores() < 2:
        pytest.skip("one core: no other process is started")
    (tmp_path / "out").mkdir()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "geozoom",
            "curve",
            write_raster(height=240, width=240),
            "--model",
            model_file,
            "-o",
            tmp_path / "out" / "curve.csv",
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 240
        while not _at_work(process.pid):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        if _lives(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("delay", [pytest.param(0.0, marks=pytest.mark.slow), 1.5])
def test_ctrl_c_ends_all_of_them_without_a_traceback(
    tracing: subprocess.Popen[str], tmp_path: Path, delay: float
) -> None:
    time.sleep(delay)  # at 0 while they load what they choose with, by 1.5 s as they choose
    os.killpg(tracing.pid, signal.SIGINT)
    _, err = tracing.communicate(timeout=60)
    assert tracing.returncode == 1
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert list((tmp_path / "out").iterdir()) == []
    assert _all_end(tracing.pid)


def test_none_outlives_a_first_process_that_is_killed() -> None:
    code = "from tests.offers import choose_asleep; choose_asleep()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        assert first.stdout is not None
        try:
            assert [first.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
            first.kill()
            first.wait()
            assert _all_end(first.pid)
        finally:
            if _lives(first.pid):
                os.killpg(first.pid, signal.SIGKILL)


def _all_end(group: int) -> bool:
    """Wait a little for all processes of a group to end; Python's own tracker ends after the first one."""
    deadline = time.monotonic() + 20
    while _lives(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _lives(group)


def _lives(group: int) -> bool:
    """Return whether a process of a group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _at_work(parent: int) -> list[int]:
    """Return a process's children that have loaded what they choose with."""
    found = []
    for each in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
        try:
            if "_nd_image" in Path(f"/proc/{each}/maps").read_text():
                found.append(each)
        except OSError:
            continue  # it has ended
    return found

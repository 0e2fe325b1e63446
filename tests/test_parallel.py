from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socket

import pytest
import torch
from safetensors.torch import load_file

from geozoom.errors import RunError
from tests.conftest import write_scene_tree
from tests.test_train import QUIET, SMALL, log, request, small_recipe, without_time
from training import STAGES
from training.compiling import as_written
from training.memory import out_of_memory
from training.parallel import SharedGenerator, Team, rand
from training.record import RunRequest
from training.run import train
from training.stages import HrStage

EXACT = [
    "precision=fp32",
    "ft2.classifier_masks=doubted",  # a batch is ranked as a whole
    *(f"{stage}.batch_size=18" for stage in STAGES),
]
"""Reductions of several processes differ from one's in the last bits, which bfloat16 would blow up."""


@pytest.fixture(scope="module")
def trained_alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tree of scenes, and a run on it of one process."""
    folder = tmp_path_factory.mktemp("alone")
    tree = write_scene_tree(folder / "scenes")
    train(request(tree, folder / "run", small_recipe("default", 1, *EXACT)), QUIET)
    return tree, folder / "run"


def test_two_processes_give_the_result_of_one(trained_alone: tuple[Path, Path], tmp_path: Path) -> None:
    tree, alone = trained_alone
    asked = request(tree, tmp_path / "together", small_recipe("default", 1, *EXACT))
    assert said_by_two(asked) == ["trained", "trained"]
    check_alike(tmp_path / "together", alone)


@pytest.mark.slow
def test_torchrun_gives_the_result_of_one(trained_alone: tuple[Path, Path], tmp_path: Path) -> None:
    tree, alone = trained_alone
    together = tmp_path / "together"
    settings = [part for value in [*SMALL, *EXACT] for part in ("--set", value)]
    command = ["train", "--root", str(tree), "--out", str(together), "--device", "cpu", "--epochs", "1"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, "-m", "geozoom", *command, *settings],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("training scenes") <= 1  # the second process says nothing
    check_alike(together, alone)


def check_alike(together: Path, alone: Path) -> None:
    """Hold a run of two processes to one of one; sums in another order differ in the last digits."""
    for ours, theirs in zip(without_time(log(together)), without_time(log(alone)), strict=True):
        assert ours == pytest.approx(theirs, abs=2e-3)
    for stage in STAGES:
        file = f"checkpoints/{stage}.safetensors"
        found, wanted = load_file(together / file), load_file(alone / file)
        assert set(found) == set(wanted)
        for name, tensor in wanted.items():
            torch.testing.assert_close(found[name], tensor, rtol=2e-3, atol=2e-3, msg=f"{stage}: {name}")
    rows = [json.loads((run / "table.json").read_text()) for run in (together, alone)]
    assert [row["name"] for row in rows[0]] == [row["name"] for row in rows[1]]


def one_of_two(rank: str, port: str, asked: RunRequest, said: Connection) -> None:
    """Train as a process that torchrun started, and say what ended it."""
    warnings.simplefilter("error", FutureWarning)  # of collectives that torch will give up
    os.environ |= {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    try:
        train(asked, QUIET)
        said.send("trained")
    except BaseException as error:  # noqa: BLE001 whatever it is, the test is to see it
        said.send(f"{type(error).__name__}: {error}")


def said_by_two(asked: RunRequest) -> list[str]:
    """Train in two processes, as torchrun would start them, and return what ended each."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    fork = multiprocessing.get_context("fork")  # what is imported need not be again
    pipes = [fork.Pipe() for _ in range(2)]
    started = [
        fork.Process(target=one_of_two, args=(rank, port, asked, pipe[1]))
        for rank, pipe in zip("01", pipes, strict=True)
    ]
    try:
        for process in started:
            process.start()
        assert all(pipe[0].poll(120) for pipe in pipes)
        return [pipe[0].recv() for pipe in pipes]
    finally:
        for process in started:
            process.kill()
            process.join()


def test_two_processes_stop_together_in_the_middle_of_an_epoch(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engine.CHECKPOINT_INTERVAL_S", 0.0)
    monkeypatch.setattr("training.engine.STEPS_BETWEEN_LOOKS", 4)
    recipe = small_recipe("default", 1, *EXACT, "hr.batch_size=2", "hr.learning_rate=1e30")
    asked = request(scene_tree, tmp_path / "run", recipe, stages=("hr",))
    first, second = said_by_two(asked)
    assert first == second
    assert first.startswith("RunError: stage hr: the loss is no number at step")
    assert "of epoch 1; there is no checkpoint of the stage yet" in first  # the first look was at step 4


def test_shares_of_what_is_drawn_add_up_to_the_whole() -> None:
    drawn = []
    for rank in range(3):
        generator = SharedGenerator()
        generator.team = Team(rank=rank, size=3)
        generator.manual_seed(5)
        drawn.append(rand((4, 2), torch.device("cpu"), generator))
    whole = torch.rand((12, 2), generator=torch.Generator().manual_seed(5))
    assert torch.equal(torch.cat(drawn), whole)


def test_a_batch_that_cannot_be_shared_out_is_said_so() -> None:
    assert Team(rank=1, size=4).share(12) == slice(3, 6)
    with pytest.raises(RunError, match="multiple of 4"):
        Team(rank=1, size=4).share(10)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_a_batch_too_large_for_memory_is_answered_with_one_to_try(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    def step(*_: object) -> None:
        raise error

    monkeypatch.setattr(HrStage, "step", step)
    with pytest.raises(RunError, match=r"a batch of 16 scenes does not fit .* --set hr.batch_size=8"):
        train(request(scene_tree, tmp_path / "run", small_recipe()), QUIET)
    monkeypatch.undo()
    # What it says to do works: the stage had no checkpoint yet.
    smaller = small_recipe("default", 1, "hr.batch_size=8")
    train(request(scene_tree, tmp_path / "run", smaller, stages=("hr",), resume=True), QUIET)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory("no"):
        raise RuntimeError("shapes do not match")


def test_what_is_measured_on_a_gpu_is_asked_of_networks_as_they_are_written() -> None:
    asked: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        def run(*inputs: object) -> object:
            asked.append(1)
            return graph(*inputs)

        return run

    network, images = torch.nn.Conv2d(3, 4, 3), torch.rand(2, 3, 8, 8)
    network.compile(backend=backend)
    compiled = network(images)
    with as_written(torch.device("cuda")):
        assert torch.equal(network(images), compiled)
        network(torch.rand(1, 3, 9, 9))
    assert len(asked) == 1
    with as_written(torch.device("cpu")):
        network(images)
    assert len(asked) == 2


def test_networks_that_cannot_be_compiled_are_trained_as_they_are(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_compiler(*_: object, **__: object) -> None:
        raise RuntimeError("no working C++ compiler")

    said: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", no_compiler)
    monkeypatch.setattr(QUIET, "print", lambda text, **_: said.append(text))
    recipe = small_recipe("default", 1, "compile=default")
    train(request(scene_tree, tmp_path / "run", recipe, stages=("hr",)), QUIET)
    assert [text for text in said if "not compiled (no working C++ compiler)" in text]
    assert len(log(tmp_path / "run")) == 1

"""What is done for a GPU's sake, as far as it can be told without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import save_file

from geozoom.cli import main
from geozoom.errors import RunError
from tests.conftest import small_model, write_scene_tree
from tests.datasets import read_scenes
from tests.test_train import QUIET, SMALL, log, request, small_recipe
from training.compiling import compile_networks, fastest_kernels
from training.datasets.scenes import HeldSplit
from training.engine import Engine
from training.evaluate import view_split
from training.run import train
from training.stages import Bench, HrStage, PreTraining

CPU = torch.device("cpu")


class Policy(torch.nn.Linear):
    """A policy that tells what gradients it still has when it is asked with gradient."""

    left: ClassVar[list[bool]] = []

    def compile(self, *_: Any, **__: Any) -> None:
        pass

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            scores = super().forward(images.mean(dim=(2, 3)))
            scores.register_hook(  # type: ignore[no-untyped-call]
                lambda _: self.left.append(self.weight.grad is not None)
            )
            return scores
        return super().forward(images.mean(dim=(2, 3)))


def test_networks_are_tried_out_without_the_gradients_of_the_step_before() -> None:
    """They lie in a graph's memory, which the next step writes to."""
    Policy.left.clear()
    model = small_model()
    model.policy = Policy(3, 16)  # type: ignore[assignment]
    for network in (model.hr, model.lr):
        network.compile = lambda **_: None  # type: ignore[method-assign]
    said = Console(record=True, quiet=True)
    compile_networks(model, small_recipe("default", 1, "compile=default"), CPU, said)
    assert Policy.left == [False] * 3  # warmed up, recorded, played


@pytest.mark.parametrize(("estimator", "compiled"), [("rloo", 3), ("straight_through", 2)])
def test_no_network_is_compiled_whose_backward_runs_twice(
    monkeypatch: pytest.MonkeyPatch, estimator: str, compiled: int
) -> None:
    model, seen = small_model(), []
    monkeypatch.setattr("training.compiling._try_out", lambda *_: None)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: seen.append(self))
    recipe = small_recipe(
        "default", 1, "compile=default", "pt.reward=priced", f"pt.estimator={estimator}", "judges.folds=0"
    )
    compile_networks(model, recipe, CPU, QUIET)
    assert len(seen) == compiled
    assert (model.hr in seen) == (compiled == 3)


def test_kernels_are_tried_for_steps_alone(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: dict[str, set[bool]] = {"judges": set(), "steps": set(), "validation": set()}

    def told(cls: type, method: str, what: str) -> None:
        asked = getattr(cls, method)

        def tell(*arguments: Any) -> Any:
            found[what].add(torch.backends.cudnn.benchmark)
            return asked(*arguments)

        monkeypatch.setattr(cls, method, tell)

    told(PreTraining, "step", "steps")
    told(PreTraining, "validate", "validation")
    told(PreTraining, "ask", "judges")
    monkeypatch.setattr(
        "training.engine.fastest_kernels", lambda wanted: fastest_kernels(not wanted)
    )  # as on CUDA
    train(request(scene_tree, tmp_path / "run", small_recipe(), stages=("hr",)), QUIET)
    for stage in ("lr", "robust", "pt"):
        train(request(scene_tree, tmp_path / "run", small_recipe(), stages=(stage,), resume=True), QUIET)
    assert found == {"steps": {True}, "validation": {False}, "judges": {False}}
    assert not torch.backends.cudnn.benchmark


def test_float32_is_convolved_in_float32(tmp_path: Path) -> None:
    """A GPU would round it to TF32, of 10 bits, and the run's record says float32."""
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    engine = Engine(folder=tmp_path, device=CPU, precision="fp32", seed=0, console=QUIET)
    with engine.autocast():
        assert convolutions.fp32_precision == "ieee"
    assert convolutions.fp32_precision == before == "tf32"


class Told(torch.autograd.Function):
    """The identity, which tells whether its backward runs under autocast."""

    under: ClassVar[list[bool]] = []

    @staticmethod
    def forward(_: Any, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone()

    @staticmethod
    def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:
        Told.under.append(torch.is_autocast_enabled("cpu"))
        return gradient


def test_backward_computes_what_forward_computed_in_full_precision_in_full_precision(
    scene_tree: Path,
) -> None:
    recipe, model = small_recipe(), small_model()
    bench = Bench(model=model, recipe=recipe, val=view_split(read_scenes(scene_tree).val, recipe, seed=0))
    Told.under.clear()
    weight = torch.nn.Parameter(torch.ones(3))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        bench.take_step(Told.apply(weight).sum(), torch.optim.SGD([weight], lr=0.1))
    assert Told.under == [False]
    assert weight.tolist() == pytest.approx([0.9] * 3)


def test_a_batch_that_cannot_be_fetched_for_want_of_memory_is_answered_with_one_to_try(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batches(*_: object) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")
        yield

    monkeypatch.setattr(HeldSplit, "batches", batches)
    with pytest.raises(RunError, match=r"a batch of 16 scenes does not fit .* --set hr.batch_size=8"):
        train(request(scene_tree, tmp_path / "run", small_recipe()), QUIET)


def test_a_stage_goes_on_that_was_begun_on_another_kind_of_device(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engine.CHECKPOINT_INTERVAL_S", 0.0)
    validate = HrStage.validate

    def stop(_: HrStage) -> dict[str, float]:
        raise KeyboardInterrupt

    monkeypatch.setattr(HrStage, "validate", stop)
    recipe, run = small_recipe(), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(request(scene_tree, run, recipe, stages=("hr",)), QUIET)
    monkeypatch.setattr(HrStage, "validate", validate)
    file = run / "checkpoints" / "hr.safetensors"
    with safe_open(file, framework="pt") as checkpoint:
        header = checkpoint.metadata()
        tensors = {name: checkpoint.get_tensor(name) for name in checkpoint.keys()}
    assert json.loads(header["step"]) > 0
    tensors["generator.noise"] = torch.zeros(16, dtype=torch.uint8)  # as CUDA has it
    save_file(tensors, file, header)
    record = json.loads((run / "config.json").read_text()) | {"device": "H100", "computed_in": "bfloat16"}
    (run / "config.json").write_text(json.dumps(record))
    said: list[str] = []
    monkeypatch.setattr(QUIET, "print", lambda text, **_: said.append(text))
    train(request(scene_tree, run, recipe, stages=("hr",), resume=True), QUIET)
    record = json.loads((run / "config.json").read_text())
    assert record["changes"] == ["device from H100 in bfloat16 to cpu in " + record["computed_in"]]
    assert [text for text in said if text.startswith("note: stage hr was begun on another kind of device")]
    assert len(log(run)) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_trains_with_compiled_networks_on_what_it_has_decoded(tmp_path: Path) -> None:
    tree = write_scene_tree(tmp_path / "scenes", "jpg")
    command = ["train", "--root", str(tree), "--out", str(tmp_path / "run"), "--memory", "0", "--epochs", "2"]
    settings = [part for value in SMALL for part in ("--set", value)]
    result = CliRunner().invoke(main, [*command, "--device", "cuda", *settings])
    assert result.exit_code == 0, result.output
    assert "not compiled" not in result.output
    assert "nvJPEG decodes nothing" not in result.output

"""What ends a run, and what is left of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from geozoom.cli import main
from geozoom.errors import OutputError, RunError
from geozoom.networks import NetworkSpec
from tests.conftest import largest_file, small_model
from tests.test_train import QUIET, log, request, small_recipe
from training.checkpoints import Position, read_checkpoint, take_weights, write_checkpoint
from training.comparing.comparison import TableRequest
from training.comparing.runs import check_run
from training.datasets import Batch, HeldSplit
from training.engine import Engine
from training.evaluation import EvaluationRequest, open_run
from training.log import RunLog
from training.record import read_record
from training.run import train
from training.stages import HrStage


def spoil(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Make the loss of the step `at` of the run's stage hr no number, as an overflow would."""
    step, taken = HrStage.step, []

    def spoilt(self: HrStage, batch: Any, *rest: Any) -> dict[str, torch.Tensor]:
        taken.append(True)
        if len(taken) == at:
            with torch.no_grad():
                self.bench.model.hr.fc.weight.fill_(torch.nan)
        return step(self, batch, *rest)

    monkeypatch.setattr(HrStage, "step", spoilt)


def test_a_loss_that_is_no_number_ends_the_run_with_its_step_and_the_last_good_checkpoint(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engine.CHECKPOINT_INTERVAL_S", 0.0)
    recipe, out = small_recipe("default", 3), tmp_path / "run"
    file = out / "checkpoints" / "hr.safetensors"
    with monkeypatch.context() as patched:
        spoil(patched, 5)  # three steps an epoch
        with pytest.raises(RunError) as caught:
            train(request(scene_tree, out, recipe), QUIET)
    assert "stage hr: the loss is no number at step 2 of epoch 2" in str(caught.value)
    assert f"{file}, of 1 epochs and 1 steps" in str(caught.value)
    weights, _, _ = read_checkpoint(file)
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert [row["epoch"] for row in log(out)] == [1]
    # The way on that the message names.
    file.unlink()
    slower = small_recipe("default", 3, "hr.learning_rate=0.01")
    train(request(scene_tree, out, slower, stages=("hr",), resume=True), QUIET)
    assert [row["epoch"] for row in log(out)] == [1, 2, 3]


def test_weights_that_are_no_numbers_never_become_a_checkpoint(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overflow(self: HrStage) -> dict[str, float]:
        with torch.no_grad():
            self.stream.get_parameter("fc.weight")[0, 0] = torch.inf
        return {"val_accuracy": 0.0}

    monkeypatch.setattr(HrStage, "validate", overflow)
    with pytest.raises(RunError, match=r"a weight is no number after 1 epochs"):
        train(request(scene_tree, tmp_path / "run", small_recipe()), QUIET)
    weights, _, header = read_checkpoint(tmp_path / "run" / "checkpoints" / "hr.safetensors")
    assert (header["epoch"], header["step"]) == ("0", "1")
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_full_disk_leaves_the_checkpoint_before_and_the_run_goes_on_from_it(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engine.CHECKPOINT_INTERVAL_S", 0.0)
    recipe, out = small_recipe("default", 3), tmp_path / "run"
    file = out / "checkpoints" / "hr.safetensors"
    keep = Engine._keep
    full: list[bytes] = []

    def keep_until_full(self: Engine, *arguments: Any) -> None:
        if file.is_file() and not full:
            full.append(file.read_bytes())
            with largest_file(10_000):
                keep(self, *arguments)
        keep(self, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "_keep", keep_until_full)
        with pytest.raises(OutputError, match=r"hr\.safetensors: cannot be written .*File too large"):
            train(request(scene_tree, out, recipe), QUIET)
    assert [file.read_bytes()] == full
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]
    train(request(scene_tree, out, recipe, stages=("hr",), resume=True), QUIET)
    assert [row["epoch"] for row in log(out)] == [1, 2, 3]


def test_a_full_disk_leaves_a_model_and_a_log_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    small_model().save(file)
    before = file.read_bytes()
    with largest_file(10_000), pytest.raises(OutputError, match="File too large"):
        small_model(1).save(file)
    assert file.read_bytes() == before
    kept = RunLog(tmp_path)
    kept.add("hr", 1, {"loss": 0.5, "seconds": 1.0})
    kept.close()
    with (
        largest_file(kept.file.stat().st_size),
        pytest.raises(OutputError, match=r"log\.jsonl: cannot be written"),
    ):
        kept.add("hr", 2, {"loss": 0.25, "seconds": 1.0})
    assert [row["loss"] for row in RunLog(tmp_path).rows()] == [0.5]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grid_rows": 2}, "is of a grid of 2 × 4 patches, not 4 × 4"),
        ({"classes": ("barren", "town", "water")}, r"is of other classes \(class 1 is 'town', not 'built'\)"),
        ({"classes": ("barren", "built", "water", "wood")}, "is of 4 classes, not 3"),
    ],
)
def test_a_checkpoint_of_another_grid_or_class_list_is_refused(
    scene_tree: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    recipe, out = small_recipe(), tmp_path / "run"
    train(request(scene_tree, out, recipe, stages=("hr",)), QUIET)
    file = out / "checkpoints" / "hr.safetensors"
    write_checkpoint(file, small_model(**changes), {"done": "true", "stage": "hr"})
    with pytest.raises(RunError, match=f"hr.safetensors: {words}"):
        train(request(scene_tree, out, recipe, stages=("lr",), resume=True), QUIET)


def test_a_checkpoint_that_does_not_say_what_it_is_of_must_fit_all_the_same(tmp_path: Path) -> None:
    weights = small_model(grid_rows=2).state_dict()
    with pytest.raises(RunError, match="another grid, class list or network"):
        take_weights(small_model(), tmp_path / "hr.safetensors", weights, {"done": "true"})
    made_for = {"made_for": json.dumps({"grid": "4 × 4", "classes": ["barren", "built", "water"]})}
    take_weights(small_model(), tmp_path / "hr.safetensors", small_model(1).state_dict(), made_for)


def test_an_unfinished_stage_goes_on_with_another_batch_size_at_the_scene_where_it_was(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engine.CHECKPOINT_INTERVAL_S", 0.0)
    out = tmp_path / "run"
    taken: list[tuple[float, list[int], float]] = []
    full: list[bool] = []
    step = HrStage.step

    def spied(
        self: HrStage, batch: Batch, progress: float, generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        if len(taken) == 5 and not full:
            full.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        metrics = step(self, batch, progress, generator)
        taken.append((progress, batch.scenes.tolist(), metrics["loss"].item()))
        return metrics

    monkeypatch.setattr(HrStage, "step", spied)
    with pytest.raises(RunError) as caught:
        train(request(scene_tree, out, small_recipe("default", 3), stages=("hr",)), QUIET)
    told = "go on with the same command and --set hr.batch_size=8, `geozoom train` with --resume too"
    assert str(caught.value).endswith(told)
    advice = ["--set", "hr.batch_size=8", "--resume"]
    done = CliRunner().invoke(main, ["train", "--out", str(out), "--stage", "hr", "-q", *advice])
    assert done.exit_code == 0, done.output
    # 54 scenes: three steps of 16 in the first epoch, two in the second, of which 8 and 8 scenes were left.
    second = taken[3:7]
    assert [len(scenes) for _, scenes, _ in second] == [16, 16, 8, 8]
    assert len({scene for _, scenes, _ in second for scene in scenes}) == 48
    assert len(taken[7:]) == 6
    assert [progress for progress, _, _ in taken[3:]] == pytest.approx(
        [3 / 9, 4 / 9, *(number / 18 for number in range(10, 18))]
    )
    mean = sum(loss * len(scenes) for _, scenes, loss in second) / 48
    assert [row["loss"] for row in log(out)][1] == pytest.approx(mean, abs=1e-4)
    record = json.loads((out / "config.json").read_text())
    assert record["recipe"]["hr"]["batch_size"] == 8
    assert record["changes"] == ["hr.batch_size from 16 to 8 after 1 epochs and 2 steps"]


def test_an_epoch_that_is_over_by_larger_batches_has_no_steps_left() -> None:
    # 59 scenes in batches of 14: three of four steps are done, and of batches of 40 there is one.
    at = Position(epoch=2, step=3, totals={"accuracy": torch.tensor(2.7)}).resized(14, 40, 59)
    assert (at.epoch, at.step) == (2, 1)
    assert at.totals["accuracy"].item() == pytest.approx(0.9)


def test_a_batch_size_stays_where_a_stage_is_done_or_its_checkpoint_does_not_say_its_own(
    scene_tree: Path, tmp_path: Path
) -> None:
    out, file = tmp_path / "run", tmp_path / "run" / "checkpoints" / "hr.safetensors"
    train(request(scene_tree, out, small_recipe(), stages=("hr",)), QUIET)
    smaller = small_recipe("default", 1, "hr.batch_size=8")
    with pytest.raises(RunError, match="another recipe table 'hr'"):
        train(request(scene_tree, out, smaller, stages=("hr",), resume=True), QUIET)
    weights, _, _ = read_checkpoint(file)
    model = small_model(classifier=NetworkSpec(name="resnet8", widths=(4, 8, 8)))
    model.load_state_dict(weights)
    write_checkpoint(file, model, {"done": "false", "stage": "hr", "epoch": "0", "step": "1"})
    with pytest.raises(RunError, match="another recipe table 'hr'"):
        train(request(scene_tree, out, smaller, stages=("hr",), resume=True), QUIET)
    slower = small_recipe("default", 1, "hr.batch_size=8", "hr.learning_rate=0.01")
    with pytest.raises(RunError, match="another recipe table 'hr'"):
        train(request(scene_tree, out, slower, stages=("hr",), resume=True), QUIET)


def test_batch_sizes_of_unfinished_baselines_and_scouts_may_change_and_are_recorded(
    whole_run: tuple[Path, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole_run[1], run)
    pixels = run / "baselines" / "srgan" / "checkpoints" / "srgan-pixels.safetensors"
    header = {"done": "false", "stage": "srgan-pixels", "epoch": "0", "step": "3", "batch_size": "16"}
    write_checkpoint(pixels, small_model(), header)
    write_checkpoint(run / "checkpoints" / "scout.safetensors", small_model(), header | {"stage": "scout"})

    def asked(*keys: str) -> TableRequest:
        recipe = small_recipe("default", 3, *keys)
        return TableRequest(
            dataset="folder", root=whole_run[0], out=run, recipe=recipe, recipe_name="default", seeds=(1,)
        )

    def changes(*keys: str) -> list[str]:
        table = asked(*keys)
        found: list[str] = check_run(table, run, table.recipe, read_record(run)["seed"], QUIET)["changes"]
        return found

    assert changes() == []
    assert changes(
        "baselines.srgan.pixels.batch_size=8", "baselines.kd.batch_size=4", "scout.batch_size=32"
    ) == [
        "scout.batch_size from 64 to 32 after 0 epochs and 3 steps",
        (
            "baselines.kd.batch_size from None to 4 after 0 epochs and 0 steps, "
            "baselines.srgan.pixels.batch_size from 16 to 8 after 0 epochs and 3 steps"
        ),
    ]
    for keys in (
        ["baselines.srgan.width=8"],
        ["baselines.srgan.pixels.batch_size=8", "baselines.kd.weight=0.5"],
    ):
        with pytest.raises(RunError, match="another recipe table 'baselines'"):
            changes(*keys)
    write_checkpoint(pixels, small_model(), {"done": "true", "stage": "srgan-pixels"})
    with pytest.raises(RunError, match="another recipe table 'baselines'"):
        changes("baselines.srgan.pixels.batch_size=8")


def test_data_that_does_not_fit_on_the_device_is_answered_in_a_sentence_when_a_run_is_opened(
    whole_run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(HeldSplit, "to", full)
    with pytest.raises(
        RunError, match="does not fit in the memory of cpu; give a smaller --memory to stream it"
    ):
        open_run(EvaluationRequest(run=whole_run[1]), QUIET)


def test_a_log_that_says_something_else_is_named_and_a_line_that_is_no_text_is_run_again(
    tmp_path: Path,
) -> None:
    log_file = tmp_path / "log.jsonl"
    row = '{"stage": "hr", "epoch": 1, "seconds": 2.5}\n'
    log_file.write_bytes(row.encode() + b"\xff{\n")
    assert [each["epoch"] for each in RunLog(tmp_path).rows()] == [1]
    for line in ("5", "{}", '{"stage": "hr", "epoch": "one", "seconds": 1}'):
        log_file.write_text(row + line + "\n")
        with pytest.raises(RunError, match=r"log.jsonl: line 2 is no epoch of a stage; restore"):
            RunLog(tmp_path).rows()

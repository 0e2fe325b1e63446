from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from rich.console import Console
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from geozoom.cli import main
from geozoom.doubt import Doubt, log_odds
from geozoom.errors import RunError
from geozoom.model import load_model
from geozoom.networks import NetworkSpec
from geozoom.scores import wilson_interval
from tests.conftest import small_model, write_scene_tree
from tests.datasets import read_scenes
from training import STAGES
from training.calibrate import Gains
from training.checkpoints import Position, read_checkpoint
from training.doubting import doubted_masks
from training.engine import Engine
from training.evaluate import (
    Row,
    centre_masks,
    correct,
    policy_probabilities,
    random_masks,
    spread_evenly,
    view_split,
)
from training.evaluation import EvaluationRequest, open_run
from training.optimizing import learning_rate_factor
from training.parallel import Team
from training.recipe import Recipe
from training.recipe_files import load_recipe
from training.record import RunRequest
from training.run import train
from training.stages import Bench, FineTuning, PreTraining, RobustStage
from training.views import Augmentation

SMALL = [
    "data.hr_px=32",
    "data.lr_px=8",
    "networks.classifier=resnet8",
    "networks.classifier_widths=[4, 8, 8]",
    "networks.policy_widths=[4, 8, 8]",
    "hr.small_px=16",
    *(f"{stage}.batch_size=16" for stage in STAGES),
]
QUIET = Console(quiet=True)


def doubt_of_patches(bend: float = 0.0, slope: float = 1.0) -> Doubt:
    """A doubt by which patches are worth the more the less sure the LR stream is, and further ones less by a bend."""
    return Doubt(patches=16, alone=(0.0, slope), helped=(1.0, 2.0, bend, 0.0), least=0.0)


def small_recipe(name: str = "default", epochs: int = 1, *extra: str) -> Recipe:
    return load_recipe(name, [*SMALL, *extra], epochs)


def request(root: Path, out: Path, recipe: Recipe, **changes: Any) -> RunRequest:
    asked = RunRequest(
        dataset="folder", root=root, out=out, recipe=recipe, recipe_name="default", device="cpu"
    )
    return replace(asked, **changes)


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def without_time(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_train_ends_with_a_checkpoint_a_table_and_a_log_of_every_stage(
    commanded_run: tuple[Path, Path],
) -> None:
    _, out = commanded_run
    names = [row["name"] for row in json.loads((out / "table.json").read_text())]
    names = [name for name in names if "as trained" not in name]
    beside = (
        *("mask alone, HR stream", "mask alone, linear reader"),
        *("its masks on HR-CNN", "its masks on mask-robust"),
    )
    assert names == [
        "LR-CNN",
        "HR-CNN",
        "commonest class",
        *("Pt", "Pt · random", "Pt · fixed-centre"),
        *("Ft-1", "Ft-1 · random", "Ft-1 · fixed-centre", *(f"Ft-1 · {row}" for row in beside)),
        *("Ft-2", "Ft-2 · random", "Ft-2 · fixed-centre"),
        *(
            "Ft-2 · classifier asked",
            "Ft-2 · scout asked",
            "Ft-2 · two rounds",
            "Ft-2 · four rounds",
            "Ft-2 · streams mixed by Eq. 7",
        ),
        *(f"Ft-2 · {row}" for row in beside),
        *("mask-robust + LR · random", "mask-robust + LR · fixed-centre"),
    ]
    assert "| HR-CNN |" in (out / "table.md").read_text()
    rows = log(out)
    assert [row["stage"] for row in rows] == [*STAGES, "scout"]
    for row in rows[3:6]:
        assert {"loss", "reward", "accuracy", "sampled", "entropy", "val_accuracy", "val_sampled"} <= set(row)
    record = json.loads((out / "config.json").read_text())
    assert record["seed"] == 3
    assert record["scenes"] == {"train": 54, "val": 6, "test": 24}
    assert len((out / "val_split.txt").read_text().splitlines()) == 6
    card = load_model(out / "model.safetensors").card
    assert (card.seed, card.classes, card.lr_px) == (3, ("barren", "built", "water"), 8)
    assert card.metrics["table"]["HR-CNN"]["S"] == 16
    assert card.recipe == json.loads(json.dumps(record["recipe"]))


def copied_before(run: Path, stage: str, to: Path, *, judges: bool = True) -> Path:
    """Copy a finished run as it was before it began a stage, but for its judges, who depend on none."""
    kept = STAGES[: STAGES.index(stage)] if stage in STAGES else STAGES
    (to / "checkpoints").mkdir(parents=True)
    if judges:
        shutil.copytree(run / "judges", to / "judges")
    if kept:
        shutil.copy(run / "config.json", to)
    for name in kept:
        shutil.copy(run / "checkpoints" / f"{name}.safetensors", to / "checkpoints")
    rows = [json.dumps(row) + "\n" for row in log(run) if row["stage"] in kept]
    (to / "log.jsonl").write_text("".join(rows))
    return to


LONG = ("hr.cutmix=0.0", "pt.price=0.0", "judges.folds=0")


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Row]]:
    """A tree of scenes, a run of eight epochs on it, and its table."""
    folder = tmp_path_factory.mktemp("long")
    tree = write_scene_tree(folder / "scenes")
    rows = train(request(tree, folder / "run", small_recipe("default", 8, *LONG)), QUIET)
    return tree, folder / "run", {row.name: row for row in rows}


def test_training_learns_to_tell_colours_apart(long_run: tuple[Path, Path, dict[str, Row]]) -> None:
    rows = long_run[2]
    assert rows["HR-CNN"].accuracy >= 90
    assert rows["Ft-2"].accuracy >= 80


def test_a_high_price_teaches_the_policy_to_buy_less_and_a_least_stops_it(
    long_run: tuple[Path, Path, dict[str, Row]], tmp_path: Path
) -> None:
    sampled = {}
    for price, least in ((0.0, 0), (20.0, 0), (20.0, 6)):
        keys = (f"pt.price={price}", f"pt.least_patches={least}", "pt.policy_learning_rate=0.01")
        recipe = small_recipe("default", 8, *LONG, *keys)
        run = copied_before(long_run[1], "pt", tmp_path / f"{price}-{least}", judges=False)
        train(request(long_run[0], run, recipe, stages=("pt",), resume=True), QUIET)
        sampled[price, least] = log(run)[-1]["val_sampled"]
    assert sampled[20.0, 0] < 1 < sampled[0.0, 0]
    assert sampled[20.0, 6] > 1


@pytest.mark.parametrize(("bought", "dearness"), [(0, 0.0), (2, 1 / 16), (4, 1.0), (16, 1.0)])
def test_the_price_falls_below_the_least_that_is_to_be_bought(
    scene_tree: Path, monkeypatch: pytest.MonkeyPatch, bought: int, dearness: float
) -> None:
    recipe = small_recipe("default", 1, "pt.least_patches=4", "judges.folds=0")
    val = view_split(read_scenes(scene_tree).val, recipe, seed=0)
    bench = Bench(model=small_model(), recipe=recipe, val=val)
    logits = torch.where(torch.arange(16) < bought, 1.0, -1.0).expand(8, 16)
    assert PreTraining(bench).dearness(logits).item() == dearness
    untold = replace(recipe, pt=replace(recipe.pt, least_patches=0.0))
    assert PreTraining(replace(bench, recipe=untold)).dearness(logits).item() == 1
    # Another process has a share of the batch of which nothing is bought.
    monkeypatch.setattr(Team, "average", lambda _, tensors: [tensor.div_(2) for tensor in tensors])
    shared = replace(bench, team=Team(rank=0, size=2))
    assert PreTraining(shared).dearness(logits).item() == min((bought / 8) ** 4, 1)


def test_a_policy_buys_where_patches_are_cheap(scene_tree: Path, tmp_path: Path) -> None:
    west_is_dear = "data.patch_prices=[[40,40,0,0],[40,40,0,0],[40,40,0,0],[40,40,0,0]]"
    keys = ("pt.price=1.0", "pt.policy_learning_rate=0.03", "judges.folds=0", "pt.alpha=[1.0, 1.0]")
    recipe = small_recipe("default", 1, *keys, west_is_dear)
    recipe = replace(recipe, pt=replace(recipe.pt, epochs=8))
    for stage in ("hr", "lr", "robust", "pt"):
        train(request(scene_tree, tmp_path / "run", recipe, stages=(stage,), resume=stage != "hr"), QUIET)
    model = small_model(classifier=NetworkSpec(name="resnet8", widths=(4, 8, 8)))
    weights, _, _ = read_checkpoint(tmp_path / "run" / "checkpoints" / "pt.safetensors")
    model.load_state_dict(weights)
    val = view_split(read_scenes(scene_tree).val, recipe, seed=1)
    west, east = policy_probabilities(model, val).mean(dim=0).view(4, 2, 2).mean(dim=(0, 2)).tolist()
    assert west < 0.1
    assert east > 0.4


@pytest.mark.parametrize(
    ("stage", "interval", "killed_at"),
    [
        ("hr", 0.0, (3, 0)),  # the third epoch is in the log, but not in a checkpoint
        ("ft2", 0.0, (3, 0)),
        ("hr", 0.0, (1, 2)),  # in the middle of an epoch
        ("pt", 0.0, (2, 1)),
        ("lr", 1e9, (3, 0)),
        ("scout", 0.0, (3, 0)),
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    whole_run: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    interval: float,
    killed_at: tuple[int, int],
) -> None:
    monkeypatch.setattr("training.engine.CHECKPOINT_INTERVAL_S", interval)
    recipe = small_recipe("default", 3)
    scene_tree, whole = whole_run
    killed = copied_before(whole, stage, tmp_path / "killed", judges=stage not in ("hr", "lr"))
    keep = Engine._keep

    def kill_after_two_epochs(
        self: Engine, kept: Any, model: Any, states: dict[str, torch.Tensor], at: Position
    ) -> None:
        if kept.name == stage and (at.epoch, at.step) == killed_at:
            raise KeyboardInterrupt
        keep(self, kept, model, states, at)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "_keep", kill_after_two_epochs)
        with pytest.raises(KeyboardInterrupt):
            train(request(scene_tree, killed, recipe, resume=stage != "hr"), QUIET)
    assert not (killed / "model.safetensors").exists()
    with (killed / "log.jsonl").open("a") as file:
        file.write('{"stage": "ft2", "ep')  # killed in the middle of a line
    to_the_end = stage in ("ft2", "scout")
    train(request(scene_tree, killed, recipe, stages=STAGES if to_the_end else (stage,), resume=True), QUIET)
    ours, theirs = without_time(log(killed)), without_time(log(whole))
    assert ours == theirs[: len(ours)]
    assert ours[-1]["stage"] == ("scout" if to_the_end else stage)
    held = (*STAGES, "scout")
    for name in held if to_the_end else held[: held.index(stage) + 1]:
        kept = f"checkpoints/{name}.safetensors"
        one, other = load_file(killed / kept), load_file(whole / kept)
        assert all(torch.equal(one[key], tensor) for key, tensor in other.items())
    if to_the_end:
        assert (killed / "table.json").read_text() == (whole / "table.json").read_text()
        one, other = (load_file(run / "model.safetensors") for run in (killed, whole))
        assert all(torch.equal(one[key], tensor) for key, tensor in other.items())


def test_what_an_epoch_took_before_a_kill_counts(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.engine.CHECKPOINT_INTERVAL_S", 0.0)
    recipe, run = small_recipe("default", 2), tmp_path / "run"
    keep = Engine._keep

    def kill_after_a_step(self: Engine, *rest: Any) -> None:
        keep(self, *rest)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "_keep", kill_after_a_step)
        with pytest.raises(KeyboardInterrupt):
            train(request(scene_tree, run, recipe, stages=("hr",)), QUIET)
    file = run / "checkpoints" / "hr.safetensors"
    with safe_open(file, "pt") as checkpoint:
        header = checkpoint.metadata()
    assert 0 < float(header["seconds"]) < 900
    save_file(load_file(file), file, header | {"seconds": "1000"})
    train(request(scene_tree, run, recipe, stages=("hr",), resume=True), QUIET)
    first, second = (row["seconds"] for row in log(run))
    assert second < 900
    assert first > 1000


def test_the_papers_recipe_runs_and_leaves_the_mask_robust_start_out(
    scene_tree: Path, tmp_path: Path
) -> None:
    rows = train(
        request(scene_tree, tmp_path / "run", small_recipe("paper", 1, "networks.policy=resnet8")), QUIET
    )
    assert {row["stage"] for row in log(tmp_path / "run")} == set(STAGES) - {"robust"}
    assert not [row for row in rows if row.name.startswith("mask-robust")]


def test_stages_can_be_run_one_by_one_but_only_in_order(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, out = small_recipe("default", 1, "judges.folds=0"), tmp_path / "run"
    with pytest.raises(RunError, match="stage lr needs stage hr first; run it with --stage hr"):
        train(request(scene_tree, out, recipe, stages=("lr",)), QUIET)
    assert train(request(scene_tree, out, recipe, stages=("hr",)), QUIET) == []
    without = replace(recipe, robust=replace(recipe.robust, epochs=0))
    assert train(request(scene_tree, out, without, stages=("lr",), resume=True), QUIET) == []
    with pytest.raises(RunError, match="stage robust has 0 epochs in this recipe and is left out; go on"):
        train(request(scene_tree, out, without, stages=("robust",), resume=True), QUIET)
    (out / "checkpoints" / "lr.safetensors").unlink()
    with pytest.raises(RunError, match="stage pt needs stage lr first"):
        train(request(scene_tree, out, recipe, stages=("pt",), resume=True), QUIET)
    assert train(request(scene_tree, out, recipe, stages=("lr",), resume=True), QUIET) == []
    with monkeypatch.context() as patched:
        patched.setattr("training.finishing.write_table", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(request(scene_tree, out, recipe, resume=True), QUIET)
    assert (out / "model.safetensors").exists()  # before the table, by which a run is known to be whole
    assert train(request(scene_tree, out, recipe, resume=True), QUIET)
    (out / "checkpoints" / "pt.safetensors").unlink()
    with pytest.raises(RunError, match=r"stage ft1 was trained without stage pt.* delete .* of ft1, ft2 "):
        train(request(scene_tree, out, recipe, resume=True), QUIET)
    for stage in ("ft1", "ft2"):
        (out / "checkpoints" / f"{stage}.safetensors").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "fit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(request(scene_tree, out, recipe, resume=True), QUIET)
    assert not (out / "table.json").exists()  # it is of what was trained before


def interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_run_is_not_mixed_with_another(scene_tree: Path, tmp_path: Path) -> None:
    recipe, out = small_recipe(), tmp_path / "run"
    train(request(scene_tree, out, recipe, stages=("hr",)), QUIET)
    with pytest.raises(RunError, match="give --resume"):
        train(request(scene_tree, out, recipe), QUIET)
    with pytest.raises(RunError, match="recipe table 'hr'"):
        train(request(scene_tree, out, small_recipe("default", 2), resume=True), QUIET)
    with pytest.raises(RunError, match="seed 0"):
        train(request(scene_tree, out, recipe, resume=True, seed=1), QUIET)
    (scene_tree / "train/water/19.png").unlink()
    with pytest.raises(RunError, match="begun with another data set"):
        train(request(scene_tree, out, recipe, resume=True), QUIET)
    Image.new("RGB", (40, 40)).save(scene_tree / "train/water/19.png")
    (scene_tree / "train/water/00.png").rename(scene_tree / "train/water/zz.png")
    for use in (
        lambda: train(request(scene_tree, out, recipe, resume=True), QUIET),
        lambda: open_run(EvaluationRequest(run=out, device="cpu"), QUIET),
    ):
        with pytest.raises(RunError, match="begun with other files"):
            use()
    (scene_tree / "train/water/zz.png").rename(scene_tree / "train/water/00.png")
    scene_tree.rename(tmp_path / "renamed")
    with pytest.raises(
        RunError, match=f"begun with the data set {scene_tree.name}, and .*renamed is named renamed"
    ):
        train(request(tmp_path / "renamed", out, recipe, resume=True), QUIET)
    (tmp_path / "renamed").rename(scene_tree)
    with pytest.raises(RunError, match="holds no run to resume"):
        train(request(scene_tree, tmp_path / "nothing", recipe, resume=True), QUIET)
    shutil.copytree(out / "checkpoints", tmp_path / "orphans" / "checkpoints")
    for resume in (False, True):
        with pytest.raises(RunError, match=r"holds checkpoints of a run, but not its config\.json"):
            train(request(scene_tree, tmp_path / "orphans", recipe, resume=resume, seed=5), QUIET)
    record = json.loads((out / "config.json").read_text())
    del record["recipe"]["augmentation"]["crop"]  # as if the run had begun before there was such a key
    (out / "config.json").write_text(json.dumps(record))
    later = small_recipe("default", 1, "ft2.price=0.5")  # a stage that has not begun
    train(request(scene_tree, out, later, stages=("lr",), resume=True), QUIET)


def test_tensorboard_and_the_plot_show_the_log(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    out = tmp_path / "run"
    for stage in ("hr", "lr"):
        train(
            request(scene_tree, out, small_recipe("default", 2), stages=(stage,), resume=stage == "lr"), QUIET
        )
    events = accumulator.EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    for row in log(out):
        (found,) = [
            event.value for event in events.Scalars(f"{row['stage']}/loss") if event.step == row["epoch"]
        ]
        assert found == pytest.approx(row["loss"], abs=1e-4)
    with Image.open(out / "log.png") as plot:
        assert plot.size == (990, 770)
    # Without TensorBoard there are no events, and nothing else is missing.
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train(request(scene_tree, tmp_path / "without", small_recipe(), stages=("hr",)), QUIET)
    assert len(log(tmp_path / "without")) == 1
    assert not (tmp_path / "without" / "tensorboard").exists()


def test_ctrl_c_says_how_to_go_on(scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "fit", interrupted)
    command = ["train", "--root", str(scene_tree), "--out", str(tmp_path / "run"), "--device", "cpu"]
    result = CliRunner().invoke(main, [*command, *(part for value in SMALL for part in ("--set", value))])
    assert result.exit_code == 1
    assert "interrupted; give --resume" in result.stderr
    assert "Traceback" not in result.output
    monkeypatch.setattr("training.run.read_dataset", interrupted)
    command[command.index("--out") + 1] = str(tmp_path / "before")
    result = CliRunner().invoke(main, command)
    assert "interrupted; nothing was trained yet" in result.stderr


def test_a_run_goes_on_by_its_own_record_and_epochs_are_for_the_stages_begun(
    scene_tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"

    def stage(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["train", "--out", str(out), "--device", "cpu", *arguments])
        assert result.exit_code == code, result.output
        return result.stderr

    values = [part for value in SMALL for part in ("--set", value)]
    assert "Missing option '--root'" in stage("--stage", "hr", code=2)
    stage(
        "--root",
        str(scene_tree),
        "--stage",
        "hr",
        "--epochs",
        "2",
        "--seed",
        "5",
        "--set",
        "judges.folds=0",
        *values,
    )
    assert "give --resume to go on with it" in stage("--root", str(scene_tree), code=1)
    stage("--resume", "--stage", "lr", "--epochs", "1")
    record = json.loads((out / "config.json").read_text())
    assert (record["seed"], record["recipe_name"], record["root"]) == (5, "default", str(scene_tree))
    assert (record["recipe"]["hr"]["epochs"], record["recipe"]["lr"]["epochs"]) == (2, 1)
    assert "begun with another recipe table 'hr'" in stage("--resume", "--recipe", "default", code=1)
    assert "begun with another recipe table 'hr'" in stage("--resume", "--set", "hr.epochs=3", code=1)
    assert "begun with another seed 5" in stage("--resume", "--seed", "6", code=1)
    stage("--resume", "--epochs", "1")
    assert [row["stage"] for row in log(out)] == ["hr", "hr", "lr", "robust", "pt", "ft1", "ft2", "scout"]
    assert (out / "table.md").is_file()


def test_damaged_checkpoints_are_named(scene_tree: Path, tmp_path: Path) -> None:
    recipe, out = small_recipe(), tmp_path / "run"
    train(request(scene_tree, out, recipe, stages=("hr",)), QUIET)
    file = out / "checkpoints" / "hr.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(RunError, match="delete it to train the stage again"):
        train(request(scene_tree, out, recipe, resume=True), QUIET)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_missing_cuda_device_is_said_so(scene_tree: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["train", "--root", str(scene_tree), "--out", str(tmp_path / "run"), "--device", "cuda"]
    )
    assert result.exit_code == 1
    assert "no CUDA device" in result.output


def test_fine_tuning_moves_policy_and_hr_stream_and_nothing_else(scene_tree: Path) -> None:
    recipe = small_recipe()
    model = small_model()
    data = read_scenes(scene_tree)
    bench = Bench(model=model, recipe=recipe, val=view_split(data.val, recipe, seed=0), teacher=model.lr)
    stage = FineTuning(bench, "ft2")
    before = {name: tensor.clone() for name, tensor in model.named_parameters()}
    stage.train_mode()
    batch = next(data.train.batches(16, torch.Generator().manual_seed(0)))
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        stage.step(batch, 0.5, torch.Generator().manual_seed(0))
    moved = {
        name.split(".")[0]
        for name, tensor in model.named_parameters()
        if not torch.equal(tensor, before[name])
    }
    assert moved == {"policy", "hr"}
    assert all(parameter.grad is not None for parameter in model.hr.parameters())


@pytest.mark.parametrize(("name", "masks"), [("ft1", "sampled"), ("ft1", "likely"), ("ft2", "doubted")])
def test_the_classifier_learns_under_sampled_masks_or_those_that_it_will_meet(
    scene_tree: Path, monkeypatch: pytest.MonkeyPatch, name: Literal["ft1", "ft2"], masks: str
) -> None:
    settings = [f"{name}.classifier_masks={masks}", f"{name}.distill=0", "judges.folds=0"]
    recipe = small_recipe("default", 1, *settings)
    model, data = small_model(), read_scenes(scene_tree)
    bench = Bench(model=model, recipe=recipe, val=view_split(data.val, recipe, seed=0))
    stage = FineTuning(bench, name)
    if masks == "doubted":
        assert stage.doubt is not None
        stage.doubt = doubt_of_patches(slope=30.0)  # of odds that differ by little
    stage.train_mode()
    asked: list[tuple[torch.Tensor, torch.Tensor | None, bool]] = []
    classify = stage.classify

    def spy(*arguments: Any) -> torch.Tensor:
        asked.append((arguments[2], arguments[3], torch.is_grad_enabled()))
        return classify(*arguments)

    monkeypatch.setattr(stage, "classify", spy)
    policy = model.policy_logits
    said: list[torch.Tensor] = []

    def overheard(lr: torch.Tensor) -> torch.Tensor:
        said.append(policy(lr))
        return said[-1]

    monkeypatch.setattr(model, "policy_logits", overheard)
    stage.step(
        next(data.train.batches(16, torch.Generator().manual_seed(0))), 0.5, torch.Generator().manual_seed(0)
    )
    likely = (said[0] > 0).float()
    learned = [(mask, known) for mask, known, with_gradient in asked if with_gradient]
    assert len(learned) == 1
    taught, known = learned[0]
    assert torch.equal(taught, likely) == (masks == "likely")
    # Rewarded are two sampled masks in any case.
    assert len(asked) == (2 if masks == "sampled" else 3)
    assert not any(torch.equal(mask, likely) for mask, _, with_gradient in asked if not with_gradient)
    if masks == "doubted":
        assert known is not None
        assert stage.doubt is not None
        assert torch.equal(taught[::2], likely[::2])  # every second scene keeps what the policy buys
        s = torch.sigmoid(said[0].detach().float())
        asking = doubted_masks(stage.doubt, s, known, likely.sum())
        assert torch.equal(taught[1::2], asking[1::2])
        unsure = -torch.from_numpy(log_odds(known.numpy()))
        bought = asking.sum(dim=1)
        assert bought[unsure.argsort()[-4:]].sum() > bought[unsure.argsort()[:4]].sum()


def by_its_weights(gains: Gains) -> Doubt:
    """A doubt by which the policy that it was fitted on can be told: how many patches of a scene are worth anything."""
    return doubt_of_patches(bend=-(100 * float(gains.bought.sum()) % 1))


def test_a_resumed_stage_doubts_by_what_it_began_with(
    whole_run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.stages.ft.fit_doubt", by_its_weights)
    monkeypatch.setattr("training.run.finish", lambda *_: [])
    monkeypatch.setattr("training.engine.CHECKPOINT_INTERVAL_S", 0.0)
    recipe = small_recipe("default", 2, "ft2.classifier_masks=doubted", "judges.folds=0")
    alone, killed = (copied_before(whole_run[1], "ft2", tmp_path / name) for name in ("alone", "killed"))
    for run in (alone, killed):  # what the whole run was not asked for
        record = json.loads((run / "config.json").read_text())
        (run / "config.json").write_text(json.dumps(record | {"recipe": recipe.to_dict()}))
    train(request(whole_run[0], alone, recipe, stages=("ft2",), resume=True), QUIET)
    keep = Engine._keep

    def kill_within_an_epoch(self: Engine, *rest: Any) -> None:
        if (rest[-1].epoch, rest[-1].step) == (1, 2):
            raise KeyboardInterrupt
        keep(self, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "_keep", kill_within_an_epoch)
        with pytest.raises(KeyboardInterrupt):
            train(request(whole_run[0], killed, recipe, stages=("ft2",), resume=True), QUIET)
    train(request(whole_run[0], killed, recipe, stages=("ft2",), resume=True), QUIET)
    assert without_time(log(killed)) == without_time(log(alone))
    kept = [load_file(run / "checkpoints" / "ft2.safetensors") for run in (killed, alone)]
    assert all(torch.equal(kept[0][key], tensor) for key, tensor in kept[1].items())


@pytest.mark.parametrize("rank", [0, 1])
def test_processes_rank_a_batch_as_one(scene_tree: Path, monkeypatch: pytest.MonkeyPatch, rank: int) -> None:
    recipe = small_recipe("default", 1, "ft2.classifier_masks=doubted", "judges.folds=0")
    model, data = small_model(), read_scenes(scene_tree)
    bench = Bench(model=model, recipe=recipe, val=view_split(data.val, recipe, seed=0))
    doubt = doubt_of_patches()
    monkeypatch.setattr("training.stages.ft.fit_doubt", lambda _: doubt)
    noise = torch.Generator().manual_seed(0)
    logits, known = torch.randn(12, 16, generator=noise), 3 * torch.randn(12, 3, generator=noise)
    alone = FineTuning(bench, "ft2").expected(logits, known)
    # Each process holds half of the batch, and what it gathers is told apart by its width.
    whole = {16: torch.sigmoid(logits), 3: known}
    monkeypatch.setattr(Team, "gather", lambda _, rows: whole[rows.shape[1]])
    monkeypatch.setattr(Team, "of_leader", lambda _, found: found)
    team = Team(rank=rank, size=2)
    half = team.share(12)
    found = FineTuning(replace(bench, team=team), "ft2").expected(logits[half], known[half])
    assert torch.equal(found, alone[half])
    assert not torch.equal(alone, (logits > 0).float())


def test_a_student_that_answers_as_its_teacher_does_has_nothing_to_learn_from_it(scene_tree: Path) -> None:
    model, recipe = small_model(), small_recipe()
    data = read_scenes(scene_tree)
    bench = Bench(model=model, recipe=recipe, val=view_split(data.val, recipe, seed=0), teacher=model.hr)
    views = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = model.hr_logits(views).log_softmax(dim=1)
    masked = model.hr_logits(views, torch.eye(16)[:4]).log_softmax(dim=1)
    loss = torch.tensor(2.0)
    assert bench.taught(loss, masked, views, 0.0) is loss
    assert bench.taught(loss, whole, views, 0.75).item() == pytest.approx(0.5, abs=1e-5)
    divergence = (whole.exp() * (whole - masked)).sum(dim=1).mean().item()
    assert divergence > 0.01
    assert bench.taught(loss, masked, views, 0.75).item() == pytest.approx(0.5 + 0.75 * divergence, rel=1e-4)
    with pytest.raises(ValueError, match="needs a teacher"):
        replace(bench, teacher=None).taught(loss, masked, views, 0.5)


def test_a_stage_may_crop_less_than_the_classifiers_do(
    scene_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def spy(images: torch.Tensor, side: int, augmentation: Augmentation, _: torch.Generator) -> torch.Tensor:
        seen.append(augmentation.min_area)
        return images[..., :side, :side].float() / 255

    monkeypatch.setattr("training.stages.bench.augment", spy)
    data = read_scenes(scene_tree)
    for override in ("pt.min_area=0.9", "ft1.min_area=0.7"):
        recipe = small_recipe("default", 1, override)
        model = small_model()
        val = view_split(data.val, recipe, seed=0)
        bench = Bench(model=model, recipe=recipe, val=val, teacher=model.lr)
        batch = next(data.train.batches(16, torch.Generator().manual_seed(0)))
        for stage in (RobustStage(bench), PreTraining(bench), FineTuning(bench, "ft1")):
            stage.train_mode()
            stage.step(batch, 0.5, torch.Generator().manual_seed(0))
    crops, own = recipe.augmentation.min_area, small_recipe().pt.min_area
    assert seen == [crops, 0.9, small_recipe().ft1.min_area, crops, own, 0.7]


def test_the_teacher_is_the_hr_cnn_and_not_what_later_stages_made_of_it(
    whole_run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene_tree, out = whole_run[0], copied_before(whole_run[1], "ft2", tmp_path / "run")
    recipe = small_recipe("default", 3)
    teachers: list[dict[str, torch.Tensor]] = []
    taught = Bench.taught

    def spy(bench: Bench, *arguments: Any) -> torch.Tensor:
        assert bench.teacher is not None
        assert not bench.teacher.training
        teachers.append(bench.teacher.state_dict())
        return taught(bench, *arguments)

    monkeypatch.setattr(Bench, "taught", spy)
    train(request(scene_tree, out, recipe, stages=("ft2",), resume=True), QUIET)
    hr = load_file(out / "checkpoints" / "hr.safetensors")
    robust = load_file(out / "checkpoints" / "robust.safetensors")
    assert not torch.equal(hr["model.hr.fc.weight"], robust["model.hr.fc.weight"])
    torch.testing.assert_close(teachers[-1]["fc.weight"], hr["model.hr.fc.weight"], rtol=0, atol=0)


@pytest.mark.parametrize("stage", ["pt", "ft2"])
def test_every_estimator_trains_the_policy_and_leaves_the_classifier_to_its_own_loss(
    scene_tree: Path, stage: str
) -> None:
    data = read_scenes(scene_tree)
    batch = next(data.train.batches(16, torch.Generator().manual_seed(0)))
    lessons = []
    for estimator, samples in (("self_critical", 2), ("rloo", 3), ("disarm", 2), ("straight_through", 2)):
        keys = [f"{stage}.{key}" for key in ("reward=priced", f"estimator={estimator}", f"samples={samples}")]
        recipe = small_recipe("default", 1, *keys, "judges.folds=0")
        model = small_model()
        bench = Bench(model=model, recipe=recipe, val=view_split(data.val, recipe, seed=0), teacher=model.lr)
        training = PreTraining(bench) if stage == "pt" else FineTuning(bench, "ft2")
        training.train_mode()
        metrics = training.step(batch, 0.5, torch.Generator().manual_seed(0))
        assert all(value.isfinite() for value in metrics.values())
        policy = model.policy.fc.weight.grad
        assert policy is not None
        assert policy.abs().sum() > 0
        lessons.append(model.hr.fc.weight.grad)
    if stage == "pt":
        assert lessons == [None] * 4
        return
    # All draw the same first mask, so that the classifier's loss is the same, and no reward may add to it.
    assert lessons[0] is not None
    for lesson in lessons[1:]:
        torch.testing.assert_close(lesson, lessons[0], rtol=1e-5, atol=1e-7)


def test_recalibration_moves_the_hr_streams_statistics_and_nothing_else(scene_tree: Path) -> None:

    from training.recalibrate import recalibrate, recalibrate_if_better

    recipe = small_recipe("default", 1, "data.margin=1.0")
    model = small_model()
    data = read_scenes(scene_tree)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def choose(lr: torch.Tensor) -> torch.Tensor:
        return (model.policy_logits(lr) > 0).float()

    recalibrate(model, data.train, recipe, 0, choose)
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all((name.startswith("hr.") and "running_" in name) or "num_batches" in name for name in moved)
    assert not model.training
    again = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    val = view_split(data.val, recipe, seed=0)
    masks = (policy_probabilities(model, val) > 0.5).float()
    was, now = recalibrate_if_better(
        model,
        data.train,
        recipe,
        0,
        choose,
        lambda: correct(model, val, "both", masks).float().mean().item(),
    )
    assert was == now  # the statistics were these already
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, again[name])


@pytest.mark.parametrize("bought_of", [0, 1, 3, 24])
def test_scenes_of_which_nothing_is_bought_say_nothing_of_how_scenes_look(
    scene_tree: Path, bought_of: int
) -> None:
    from training.recalibrate import recalibrate_if_better

    recipe = small_recipe("default", 1, "data.margin=1.0")
    model, data = small_model(), read_scenes(scene_tree)
    seen: list[torch.Tensor] = []
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def choose(lr: torch.Tensor) -> torch.Tensor:
        masks = torch.zeros(len(lr), 16)
        masks[:bought_of] = 1
        return masks

    model.hr.register_forward_pre_hook(lambda _, views: seen.append(views[0]))
    was, now = recalibrate_if_better(model, data.train, recipe, 0, choose, lambda: 1.0)
    assert was == 1
    assert all(view.flatten(1).any(dim=1).all() for view in seen)
    enough = bought_of >= min(32, len(data.train))
    assert (now is not None) == enough
    for name, tensor in model.state_dict().items():
        assert enough or torch.equal(tensor, before[name])


def test_controls_buy_exactly_as_many_patches() -> None:
    model = small_model()
    rng = np.random.default_rng(0)
    counts = spread_evenly(7 * 30 + 11, 30, 16, rng)
    assert counts.sum() == 221
    assert set(counts.tolist()) == {7, 8}
    for masks in (random_masks(counts, model, rng), centre_masks(counts, model)):
        assert masks.sum(dim=1).tolist() == counts.tolist()
    assert centre_masks(torch.tensor([4]), model)[0].nonzero().flatten().tolist() == [5, 6, 9, 10]
    with pytest.raises(ValueError, match="do not fit"):
        spread_evenly(500, 30, 16, rng)


def test_the_interval_is_wilsons() -> None:
    from scipy.stats import binomtest

    expected = binomtest(399, 420).proportion_ci(method="wilson")
    assert wilson_interval(0.0, 20)[0] == 0.0 == 100 - wilson_interval(1.0, 20)[1], "no share is below 0"
    low, high = wilson_interval(399 / 420, 420)
    assert (low, high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-4)


def test_schedules_start_low_peak_early_and_end_at_zero() -> None:
    factors = [learning_rate_factor("cosine", step / 100) for step in range(101)]
    assert factors[0] < 0.1
    assert max(factors) == pytest.approx(1, abs=1e-2)
    assert factors[-1] == pytest.approx(0, abs=1e-9)
    assert learning_rate_factor("constant", 0.3) == 1

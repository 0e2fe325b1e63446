from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from geozoom.cli import main
from geozoom.model import PatchDrop
from tests.conftest import small_model
from tests.datasets import read_scenes, write_cifar10
from tests.test_train import SMALL, log
from training.checkpoints import read_checkpoint
from training.engine import Engine
from training.record import card_of, read_record

VALUES = [part for value in [*SMALL, "judges.folds=0"] for part in ("--set", value)]


def table(*arguments: object, code: int = 0) -> Result:
    asked = ["table", "--table", "hard-positives", "--device", "cpu", "--epochs", "1", *map(str, arguments)]
    result = CliRunner().invoke(main, [*asked, *VALUES])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def accuracy(run: Path, root: Path) -> float:
    """Percent of the test scenes that a run's HR classifier gets right, whole: by hand."""
    model = PatchDrop(card_of(read_record(run), run.name)).eval()
    model.load_state_dict(read_checkpoint(run / "checkpoints" / "hr.safetensors")[0])
    (batch,) = read_scenes(root).test.in_order(1000)
    with torch.inference_mode():
        found = model.hr(model.normalise(batch.images.float() / 255)).argmax(dim=1)
    return 100 * float((found == batch.labels).float().mean())


def test_the_table_of_hard_positives_is_made_by_one_command_and_gone_on_with_by_the_same(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "table"
    asked = ("--root", scene_tree, "--out", out, "--seeds", "3,4", "--set", "precision=fp32")
    fitted: list[str] = []
    fit = Engine.fit

    def interrupted(self: Engine, stage: Any, *rest: Any) -> None:
        if len(fitted) == 8:
            raise KeyboardInterrupt
        fitted.append(f"{self.folder.name}: {stage.name}")
        fit(self, stage, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "fit", interrupted)
        stopped = table(*asked, code=1)
    assert "table: interrupted; give the same command again to go on" in stopped.stderr
    assert not (out / "table.json").exists()
    # The plain run of the first seed goes on to the policy, as no other was given.
    on = [f"none-3: {stage}" for stage in ("lr", "robust", "pt", "ft1")]
    assert fitted == ["none-3: hr", "none-4: hr", *on, "cutout-3: hr", "cutout-4: hr"]
    fitted.clear()
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "fit", interrupted)
        said = json.loads(table(*asked, "--json").stdout)
    assert fitted == ["patchdrop-3: hr", "patchdrop-4: hr"]
    assert json.loads((out / "table.json").read_text()) == said
    assert [row["name"] for row in said["rows"]] == ["no augmentation", "CutOut", "PatchDrop"]
    for row, name in zip(said["rows"], ("none", "cutout", "patchdrop"), strict=True):
        own = [accuracy(out / f"{name}-{seed}", scene_tree) for seed in (3, 4)]
        assert row["accuracy"] == pytest.approx(own)
        assert row["mean"] == pytest.approx(statistics.mean(own))
        assert row["deviation"] == pytest.approx(statistics.stdev(own))
        assert row["published"] is None
    losses = {run.name: log(run)[0]["loss"] for run in out.iterdir() if run.is_dir()}
    assert len(set(losses.values())) == 6
    policy = read_record(out / "patchdrop-4")["policy"]["file"]
    assert policy == str(out / "none-3" / "checkpoints" / "ft1.safetensors")
    text = (out / "table.md").read_text()
    assert f"| PatchDrop | {said['rows'][2]['mean']:.2f} ± {said['rows'][2]['deviation']:.2f} |" in text
    assert "CutOut hides a square of 16 of 32 px" in text
    # Another recipe is not mixed in.
    other = table(*asked, "--set", "hr.learning_rate=0.01", code=1)
    assert "none-3: was begun with another recipe table 'hr'" in other.stderr


def test_a_given_policy_is_used_and_published_figures_stand_beside(tmp_path: Path) -> None:
    root, policy, out = write_cifar10(tmp_path / "data"), tmp_path / "model.safetensors", tmp_path / "table"
    small_model().save(policy)
    asked = ("--dataset", "cifar10", "--root", root, "--seeds", "5", "--policy", policy, "--out", out)
    shown = table(*asked).stderr
    assert "93.9" in shown
    said = json.loads((out / "table.json").read_text())
    assert (said["published"], said["scenes"]) == ("ResNet32", 24)
    assert [row["published"] for row in said["rows"]] == [92.3, 93.5, 93.9]
    assert {row["deviation"] for row in said["rows"]} == {None}
    assert sorted(run.name for run in out.iterdir() if run.is_dir()) == ["cutout-5", "none-5", "patchdrop-5"]
    assert [row["stage"] for row in log(out / "none-5")] == ["hr"]
    assert str(policy) in (out / "table.md").read_text()


def test_wrong_arguments_of_a_table_are_said_in_a_sentence(scene_tree: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "table", tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    small_model(grid_rows=2).save(tmp_path / "two.safetensors")
    for arguments, code, words in (
        (("--out", out, "--seeds", "1,1"), 2, "'1,1' names a seed twice"),
        (("--out", out, "--seeds", "one"), 2, "is no list of seeds"),
        (("--out", out, "--policy", tmp_path / "none"), 1, "none: there is no such policy"),
        (("--out", out, "--policy", tmp_path / "two.safetensors"), 1, "a grid of 2 × 4 patches"),
        (("--out", run), 1, "is the folder of one run"),
        (("--out", tmp_path / "two.safetensors"), 1, "is a file"),
    ):
        assert words in table("--root", scene_tree, *arguments, code=code).stderr
        assert not out.exists()

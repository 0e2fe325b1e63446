from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from geozoom.model import PatchDrop
from tests.conftest import small_model
from tests.datasets import read_scenes
from tests.test_train import QUIET, log, request, small_recipe, without_time
from training.datasets import Batch
from training.evaluate import view_split
from training.judges import Judges, assign_folds
from training.run import train
from training.stages import Bench, FineTuning, PreTraining

JUDGED = ("judges.folds=2", "judges.share=1.0")


def test_folds_are_even_in_every_class_and_over_all() -> None:
    labels = torch.arange(7).repeat_interleave(5)
    folds = assign_folds(labels, 3, seed=4)
    for label in range(7):
        counts = torch.bincount(folds[labels == label], minlength=3)
        assert counts.max() - counts.min() <= 1
    counts = torch.bincount(folds, minlength=3)
    assert counts.max() - counts.min() <= 1
    assert not torch.equal(folds, assign_folds(labels, 3, seed=5))
    assert torch.equal(folds, assign_folds(labels, 3, seed=4))


def test_every_scene_is_answered_by_the_judge_that_has_not_seen_it() -> None:
    models = (small_model(), small_model())
    judges = Judges(models=models, folds=torch.tensor([0, 1, 1, 0, 1]))
    hr, lr, masks = torch.rand(3, 3, 32, 32), torch.rand(3, 3, 8, 8), torch.ones(3, 16)
    batch = Batch(torch.zeros(3), torch.zeros(3), torch.tensor([4, 0, 3]))

    def which(model: PatchDrop, hr: Tensor, lr: Tensor, _: Tensor) -> Tensor:
        judge = next(index for index, one in enumerate(models) if one is model)
        return torch.stack([torch.full((len(hr),), float(judge)), hr[:, 0, 0, 0], lr[:, 0, 0, 0]], dim=1)

    answers = judges.answer(which, batch, hr, lr, masks)
    assert answers[:, 0].tolist() == [1, 0, 0]
    assert torch.equal(answers[:, 1], hr[:, 0, 0, 0])
    assert torch.equal(answers[:, 2], lr[:, 0, 0, 0])


@pytest.mark.parametrize("stage", ["pt", "ft1", "ft2"])
def test_rewards_come_from_the_judges_and_lessons_from_the_model(scene_tree: Path, stage: str) -> None:
    """Judges that know the answer make every reward 1, whatever the model under training says."""
    recipe = small_recipe("default", 1, f"{stage}.reward=priced_hits", f"{stage}.price=0.0")
    model = small_model()
    data = read_scenes(scene_tree)
    batch = next(data.train.batches(16, torch.Generator().manual_seed(0)))
    folds = data.train.labels.clone()  # a fold for each class, with a judge that says that class
    judges = Judges(models=tuple(_always(label) for label in range(3)), folds=folds)
    bench = Bench(
        model=model, recipe=recipe, val=view_split(data.val, recipe, seed=0), teacher=model.lr, judges=judges
    )
    training = PreTraining(bench) if stage == "pt" else FineTuning(bench, "ft1" if stage == "ft1" else "ft2")
    training.train_mode()
    weights = {name: tensor.clone() for name, tensor in judges.models[0].state_dict().items()}
    metrics = training.step(batch, 0.5, torch.Generator().manual_seed(0))
    assert metrics["reward"].item() == metrics["accuracy"].item() == 1
    for name, tensor in judges.models[0].state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    gradient = model.hr.fc.weight.grad
    assert (gradient is not None) == (stage != "pt")


def _always(label: int) -> PatchDrop:
    model = small_model()
    for stream in (model.hr, model.lr):
        torch.nn.init.zeros_(stream.fc.weight)
        with torch.no_grad():
            stream.fc.bias.copy_(20 * torch.nn.functional.one_hot(torch.tensor(label), 3))
    return model.eval().requires_grad_(False)


def test_judges_learn_apart_and_a_killed_run_finds_them_again(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe("default", 1, *JUDGED)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train(request(scene_tree, whole, recipe), QUIET)
    kept = [load_file(whole / "judges" / fold / "checkpoints" / "robust.safetensors") for fold in "01"]
    own = load_file(whole / "checkpoints" / "robust.safetensors")
    for first, second in ((kept[0], kept[1]), (kept[0], own), (kept[1], own)):
        assert not torch.equal(first["model.hr.fc.weight"], second["model.hr.fc.weight"])
    assert [row["stage"] for row in log(whole / "judges" / "1")] == ["hr", "lr", "robust"]

    def killed(**_: object) -> Judges:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("training.run.Judges", killed)
        with pytest.raises(KeyboardInterrupt):
            train(request(scene_tree, broken, recipe), QUIET)
    (broken / "judges" / "1" / "checkpoints" / "robust.safetensors").unlink()
    before = (broken / "judges" / "0" / "checkpoints" / "hr.safetensors").stat().st_mtime_ns
    train(request(scene_tree, broken, recipe, resume=True), QUIET)
    assert (broken / "judges" / "0" / "checkpoints" / "hr.safetensors").stat().st_mtime_ns == before
    assert without_time(log(broken)) == without_time(log(whole))
    assert json.loads((broken / "table.json").read_text()) == json.loads((whole / "table.json").read_text())


def test_a_recipe_without_judges_trains_none(scene_tree: Path, tmp_path: Path) -> None:
    train(request(scene_tree, tmp_path / "run", small_recipe("default", 1, "judges.folds=0")), QUIET)
    assert not (tmp_path / "run" / "judges").exists()

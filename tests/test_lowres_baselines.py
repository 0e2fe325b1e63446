from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from geozoom.errors import RecipeError
from geozoom.networks import NetworkSpec
from tests.conftest import small_model, write_scene_tree
from tests.datasets import read_scenes
from tests.test_train import QUIET, small_recipe
from training.baselines.kd import KdStage, Student, distillation_loss
from training.baselines.lowres import LOWRES
from training.baselines.reading import lr_accuracy
from training.baselines.recipe import BaselinesRecipe, KdRecipe
from training.datasets import Split
from training.engine import Engine
from training.evaluate import view_split
from training.recipe import Recipe, load_recipe, recipe_from
from training.stages import Bench, HrStage

LENGTHS = ("baselines.kd.epochs=8",)


def engine_in(folder: Path, recipe: Recipe) -> Engine:
    folder.mkdir(parents=True, exist_ok=True)
    return Engine(
        folder=folder, device=torch.device("cpu"), precision=recipe.precision, seed=0, console=QUIET
    )


def log(engine: Engine, stage: str) -> list[dict[str, Any]]:
    return [row for row in engine.log.rows() if row["stage"] == stage]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Split]:
    """A bench whose HR-CNN knows its three classes, and the training split."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = small_recipe("default", 12, "hr.cutmix=0.0", *LENGTHS)
    data = read_scenes(write_scene_tree(folder / "scenes"))
    model = small_model(classifier=NetworkSpec(name="resnet8", widths=(4, 8, 8)))
    bench = Bench(model=model, recipe=recipe, val=view_split(data.val, recipe, seed=1))
    engine_in(folder, recipe).fit(HrStage(bench), model, data.train)
    teacher = copy.deepcopy(model.hr).eval().requires_grad_(False)
    return replace(bench, teacher=teacher, val=view_split(data.test, recipe, seed=2)), data.train


@pytest.mark.parametrize("name", sorted(LOWRES))
def test_a_baseline_learns_to_tell_scenes_apart_by_lr_alone(
    trained: tuple[Bench, Split], tmp_path: Path, name: str
) -> None:
    bench, split = trained
    before = copy.deepcopy(bench.model.state_dict())
    engine = engine_in(tmp_path, bench.recipe)
    network = LOWRES[name](engine, bench, split)
    rows = log(engine, name)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert not network.training
    logits = network.lr_logits(bench.val.lr)
    assert logits.shape == (24, 3)
    assert logits.dtype == torch.float32
    assert lr_accuracy(network, bench.val) >= 0.75  # of three classes
    assert all(torch.equal(tensor, before[key]) for key, tensor in bench.model.state_dict().items())
    again = LOWRES[name](engine, bench, split)
    assert log(engine, name) == rows
    torch.testing.assert_close(again.lr_logits(bench.val.lr), logits, rtol=0, atol=0)


def test_a_student_that_starts_with_nothing_learns_from_its_teacher_alone(
    trained: tuple[Bench, Split], tmp_path: Path
) -> None:
    bench, split = trained
    kd = KdRecipe(epochs=16, weight=1.0, learning_rate=0.1)
    bench = replace(bench, recipe=replace(bench.recipe, baselines=BaselinesRecipe(kd=kd)))
    torch.manual_seed(0)
    student = Student(bench.model.card)
    assert lr_accuracy(student, bench.val) <= 0.5
    assert bench.teacher is not None
    engine = engine_in(tmp_path, bench.recipe)
    engine.fit(KdStage(bench, student, bench.teacher), student, split)
    assert lr_accuracy(student, bench.val) >= 0.75
    with pytest.raises(ValueError, match="needs a teacher"):
        LOWRES["kd"](engine, replace(bench, teacher=None), split)


def test_the_distillation_loss_is_the_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(5, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.tensor([0, 3, 1, 1, 2])
    temperature, weight = 4.0, 0.3
    expected = 0.0
    for z, v, y in zip(student.tolist(), teacher.tolist(), labels.tolist(), strict=True):
        ours, theirs = (torch.tensor([x / temperature for x in row]).exp() for row in (z, v))
        p, q = theirs / theirs.sum(), ours / ours.sum()
        hard = -torch.log(torch.tensor(z).exp()[y] / torch.tensor(z).exp().sum())
        expected += ((1 - weight) * hard + weight * temperature**2 * (p * (p / q).log()).sum()).item() / 5
    found = distillation_loss(student, teacher, labels, temperature, weight)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert distillation_loss(student, student, labels, 10.0, 1.0).item() == pytest.approx(0, abs=1e-12)
    plain = F.cross_entropy(student, labels)
    assert distillation_loss(student, teacher, labels, 10.0, 0.0).item() == pytest.approx(plain.item())


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("baselines.kd.temprature=4", "baselines: kd: key 'temprature' is not known; known keys are .*temperature"),
        ("baselines.gan.width=4", "baselines: key 'gan' is not known; known keys are kd"),
        ("baselines=3", "baselines must be a table"),
        ("baselines.kd.temperature=0", r"baselines\.kd\.temperature is impossible: it must be positive"),
        ("baselines.kd.weight=1.5", r"lie in 0\.\.1"),
        ("baselines.kd.epochs=0", "at least 1"),
        ("baselines.kd.batch_size=1", "at least 2"),
        ("baselines.kd.learning_rate=inf", "be positive"),
    ],
)  # fmt: skip
def test_an_impossible_value_of_a_baseline_is_refused_by_name(override: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words) as refused:
        load_recipe("default", [override])
    assert "\n" not in str(refused.value)


def test_a_baselines_keys_lie_over_those_of_the_base_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('base = "default"\n[baselines.kd]\ntemperature = 4.0\nepochs = 9\n')
    file = tmp_path / "mine.toml"
    file.write_text(f'base = "{tmp_path / "base.toml"}"\n[baselines.kd]\nweight = 0.25\n')
    kd = load_recipe(str(file), []).baselines.kd
    assert (kd.temperature, kd.weight, kd.epochs) == (4.0, 0.25, 9)
    kd = load_recipe(str(file), ["baselines.kd.temperature=8"], 2).baselines.kd
    assert (kd.temperature, kd.weight, kd.epochs, kd.batch_size) == (8.0, 0.25, 2, None)


def test_a_record_of_before_there_were_baselines_is_read_with_their_defaults() -> None:
    recipe = load_recipe("default", [])
    record = json.loads(json.dumps(recipe.to_dict()))
    assert recipe_from(record) == recipe
    del record["baselines"]
    assert recipe_from(record).baselines == type(recipe.baselines)()

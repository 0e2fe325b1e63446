"""The baselines that mask HR: what each rule buys, how many patches, and that they learn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geozoom.grid import PatchGrid
from geozoom.model import PatchDrop
from tests.conftest import small_model
from tests.test_lowres_baselines import engine_in, log, scenes
from tests.test_train import small_recipe, without_time
from training.baselines.masked import MASKED, MaskedBaseline, MaskedFineTuning, masks_of
from training.baselines.rules import RULES, fixed_h, fixed_v, gate, survival, top
from training.baselines.stn import SALIENT, SaliencySampler, StnStage
from training.datasets import HeldSplit
from training.engine import Engine
from training.evaluate import Row, view_split
from training.stages import Bench, FineTuning, HrStage, LrStage
from training.stages.policy import answer_together

RECIPE = small_recipe("default", 1, "judges.folds=0", "ft1.distill=0", "ft2.distill=0", "robust.epochs=0")


def test_the_priority_lists_are_the_papers() -> None:
    grid = PatchGrid(rows=4, cols=4)
    assert fixed_h(grid) == [5, 6, 9, 10, 13, 14, 1, 2, 0, 3, 4, 7, 8, 11, 12, 15]
    assert fixed_v(grid) == [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3]


@given(st.integers(1, 7), st.integers(1, 7))
def test_a_priority_list_names_every_patch_of_any_grid_once(rows: int, cols: int) -> None:
    grid = PatchGrid(rows=rows, cols=cols)
    for order in (fixed_h(grid), fixed_v(grid)):
        assert sorted(order) == list(range(grid.patches))
    assert ((survival(grid) > 0) & (survival(grid) <= 1)).all()


@settings(max_examples=40)
@given(st.sampled_from([*RULES, "stn"]), st.floats(0, 16), st.integers(1, 9), st.integers(0, 99))
def test_every_rule_buys_as_many_patches_as_it_is_told(
    name: str, sampled: float, count: int, seed: int
) -> None:
    model = small_model()
    split = scenes(count, seed)
    views = view_split(split, RECIPE, seed=0)
    known = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
    rule = SALIENT if name == "stn" else RULES[name]
    masks = masks_of(rule, model, views, known, sampled, seed)
    assert masks.shape == (count, 16)
    assert ((masks == 0) | (masks == 1)).all()
    assert masks.sum() == round(sampled * count)
    each = masks.sum(dim=1)
    if name == "lr-entropy":
        assert ((each > 0) & (each < 16)).sum() <= 1
    else:
        assert each.max() - each.min() <= 1
    torch.testing.assert_close(masks_of(rule, model, views, known, sampled, seed), masks)


def test_the_gate_opens_for_the_scenes_that_lr_is_least_sure_of() -> None:
    known = torch.tensor([[9.0, 0, 0], [0, 0, 0], [1, 0, 0], [3, 0, 0]])
    assert gate(torch.tensor([6.0, 5, 5, 5]), known, 16).tolist() == [0, 16, 5, 0]


def test_stochastic_draws_central_patches_more_often_in_proportion() -> None:
    model = small_model()
    lr = torch.zeros(40_000, 3, 8, 8)
    first = RULES["stochastic"].choose(
        model, lr, torch.zeros(len(lr), 3), torch.ones(len(lr)), torch.Generator().manual_seed(0)
    )
    likelihood = survival(model.grid)
    expected = (likelihood / likelihood.sum()).float()
    error = (expected * (1 - expected) / len(lr)).sqrt()
    assert ((first.mean(dim=0) - expected).abs() < 5 * error).all()


def test_ties_are_broken_by_patch() -> None:
    assert top(torch.zeros(1, 4), torch.tensor([2]))[0].tolist() == [1, 1, 0, 0]


def test_an_even_saliency_samples_the_scene_as_it_is() -> None:
    sampler = SaliencySampler(PatchGrid(rows=4, cols=4), torch.device("cpu"))
    positions = sampler.positions(torch.full((1, 16), 1 / 16))[0]
    at = (torch.arange(32) + 0.5) / 32
    across, down = torch.meshgrid(at, at, indexing="xy")
    # The Gaussian is cut off a scene's side beyond the rim.
    assert (positions - torch.stack([across, down], dim=-1)).abs().max() < 0.02


def test_a_salient_patch_takes_more_of_the_sampled_scene() -> None:
    grid = PatchGrid(rows=2, cols=4)
    sampler = SaliencySampler(grid, torch.device("cpu"))
    image = torch.zeros(1, 3, 16, 32)
    image[..., 8:, 8:16] = 1  # patch 5
    weights = torch.full((1, 8), 1.0)
    even = sampler.sample(image, weights).mean()
    weights[0, 5] = 20.0
    assert sampler.sample(image, weights).mean() > 2 * even


def shown_in_one_patch(count: int, seed: int) -> HeldSplit:
    """Grey scenes of 32 px that show their class as the colour of one patch, anywhere."""
    rng = np.random.default_rng(seed)
    labels, patches = torch.arange(count) % 3, rng.integers(0, 16, count)
    images = np.full((count, 3, 32, 32), 128, np.uint8)
    for image, label, patch in zip(images, labels.tolist(), patches.tolist(), strict=True):
        row, col = divmod(patch, 4)
        place = image[:, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8]
        place[:] = 0
        place[label] = 255
    return HeldSplit(images=torch.from_numpy(images), labels=labels, files=tuple(map(str, patches.tolist())))


class MeanColour(nn.Module):
    """Answers with the scene's mean colour."""

    def forward(self, x: Tensor) -> Tensor:
        return 4 * x.mean(dim=(2, 3))


def test_the_saliency_network_learns_where_the_class_shows(tmp_path: Path) -> None:
    recipe = small_recipe(
        "default",
        8,
        "pt.policy_learning_rate=2e-2",
        "augmentation.quarter_turns=false",
        "pt.min_area=1.0",
        "networks.policy_widths=[8, 16, 16]",
    )
    split = shown_in_one_patch(96, 0)
    torch.manual_seed(0)
    model = small_model(classes=("red", "green", "blue"))
    model.hr = MeanColour()  # type: ignore[assignment]
    views = view_split(split, recipe, seed=0)
    bench = Bench(model=model, recipe=recipe, val=views)
    stage = StnStage(bench, 1.0)
    engine = engine_in(tmp_path, recipe)
    engine.fit(stage, model, split)
    patches = torch.tensor([int(file) for file in split.files])
    masks = masks_of(SALIENT, model.eval(), views, torch.zeros(96, 3), 4.0, 0)
    # The kernel is wide, so that a neighbour pulls as well as the patch itself.
    assert masks[torch.arange(96), patches].mean() > 0.45  # 0.25 by chance


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Bench, HeldSplit]:
    """A run whose classifiers are trained, a little."""
    split = scenes(48, 0)
    engine = engine_in(tmp_path_factory.mktemp("source"), RECIPE)
    bench = Bench(model=small_model(), recipe=RECIPE, val=view_split(scenes(24, 1), RECIPE, seed=0))
    engine.fit(HrStage(bench), bench.model, split)
    engine.fit(LrStage(bench), bench.model, split)
    return engine, bench, split


def baseline(name: str, folder: Path, source: tuple[Engine, Bench, HeldSplit]) -> MaskedBaseline:
    engine, bench, split = source
    return MaskedBaseline(
        name=name,
        source=engine,
        engine=engine_in(folder, RECIPE),
        bench=bench,
        split=split,
        test=view_split(scenes(30, 2), RECIPE, seed=2),
    )


@pytest.mark.parametrize("name", ["fixed-v", "lr-entropy", "stn"])
def test_a_masked_baseline_has_a_row_in_each_column_at_the_s_it_is_given(
    name: str, tmp_path: Path, source: tuple[Engine, Bench, HeldSplit]
) -> None:
    assert name in MASKED
    ours = baseline(name, tmp_path, source)
    rows = dict(ours.rows({"pt": 7.1, "ft1": 6.0, "ft2": 5.5}))
    assert [rows[column].sampled for column in rows] == pytest.approx([7.1, 6.0, 5.5])
    stages = ["stn"] if name == "stn" else []
    assert [row["stage"] for row in ours.engine.log.rows()] == [*stages, "ft1", "ft2"]
    assert log(ours.engine, "ft1")[0]["val_sampled"] == 6.0
    # Again: nothing is trained, and the figures are the same.
    before = ours.engine.log.rows()
    assert dict(ours.rows({"pt": 7.1, "ft1": 6.0, "ft2": 5.5})) == rows
    assert ours.engine.log.rows() == before


def test_a_masked_baseline_that_was_stopped_goes_on(
    tmp_path: Path, source: tuple[Engine, Bench, HeldSplit]
) -> None:
    sampled = {"pt": 7.0, "ft1": 6.0, "ft2": 5.0}
    whole = baseline("stochastic", tmp_path / "whole", source)
    rows = dict(whole.rows(sampled))  # type: ignore[arg-type]
    stopped = baseline("stochastic", tmp_path / "stopped", source)
    several: Iterator[tuple[str, Row]] = stopped.rows(sampled)  # type: ignore[arg-type]
    assert next(several)[0] == "pt"
    assert next(several)[0] == "ft1"
    again = baseline("stochastic", tmp_path / "stopped", source)
    assert dict(again.rows(sampled)) == rows  # type: ignore[arg-type]
    assert without_time(again.engine.log.rows()) == without_time(whole.engine.log.rows())


@pytest.mark.parametrize("together", ["mixture", "fusion"])
def test_ft2_learns_by_eq_7_or_as_the_finished_model_answers(
    together: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = small_recipe("default", 1, "judges.folds=0", "ft2.distill=0", f"ft2.together={together}")
    train, val = scenes(32, 0), scenes(16, 1)
    model = small_model(fusion="product")
    bench = Bench(model=model, recipe=recipe, val=view_split(val, recipe, seed=0))
    batch = next(train.batches(16, torch.Generator().manual_seed(0)))
    stages = FineTuning(bench, "ft2"), MaskedFineTuning(bench, "ft2", RULES["fixed-centre"], 4.0)
    # Who is not to be asked cannot be.
    monkeypatch.setattr(PatchDrop, "fuse" if together == "mixture" else "mix", None)
    for stage in stages:
        stage.train_mode()
        learned = stage.step(batch, 0.5, torch.Generator().manual_seed(0))
        assert learned["loss"].isfinite()
    monkeypatch.undo()
    hr, lr, bought = torch.randn(3, 4), torch.randn(3, 4), torch.eye(16)[:3]
    answers = {"mixture": model.mix(hr, lr, bought), "fusion": model.fuse(hr, lr, bought)}
    assert torch.equal(answer_together(model, recipe.ft2, hr, lr, bought), answers[together])
    assert not torch.allclose(answers["mixture"], answers["fusion"])

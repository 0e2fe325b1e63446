"""When to zoom: the chance that the LR stream is wrong, its fit, and the plans that ask for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.warp import transform
from rich.console import Console
from scipy.special import expit, softmax
from torch.nn import functional as F

import geozoom
from geozoom.card import ModelCard
from geozoom.cli import main
from geozoom.doubt import SUREST, WHENS, Doubt, When, log_odds
from geozoom.errors import ModelError
from geozoom.model import PatchDrop, load_model
from geozoom.networks import NetworkSpec
from tests.conftest import BENEFIT, BY_AREA, DOUBT, DOUBTFUL, WriteRaster, small_card, small_model
from tests.datasets import read_scenes
from tests.test_train import small_recipe
from training.calibrate import Gains, fit_doubt
from training.doubting import doubted_masks
from training.engine import Engine
from training.evaluate import view_split
from training.scout import scout_spec, train_scout
from training.stages import Bench

logits = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 9)), elements=st.floats(-30, 30))


def sure_by(odds: np.ndarray) -> np.ndarray:
    """Logits of two classes whose surest has these log-odds."""
    return np.stack([odds, np.zeros_like(odds)], axis=1)


@given(logits)
def test_log_odds_are_those_of_the_class_that_is_named(known: np.ndarray) -> None:
    surest = softmax(known, axis=1).max(axis=1)
    near_one = surest > 1 - 1e-9  # where 1 - p has lost its digits
    found = log_odds(known)
    expected = np.log(surest[~near_one] / (1 - surest[~near_one]))
    np.testing.assert_allclose(found[~near_one], np.minimum(expected, SUREST), atol=1e-5)
    assert (found[near_one] == SUREST).all()
    np.testing.assert_allclose(log_odds(known + 7), found, atol=1e-9)


@given(logits, st.floats(-5, 5), st.floats(-3, 0))
def test_the_surer_the_less_often_wrong(known: np.ndarray, intercept: float, slope: float) -> None:
    doubt = Doubt(intercept=intercept, slope=slope, benefit=BENEFIT)
    wrong = doubt.wrong(known)
    assert ((wrong >= 0) & (wrong <= 1)).all()
    assert (np.diff(wrong[np.argsort(log_odds(known), kind="stable")]) <= 1e-6).all()


@given(st.floats(0, 1, width=32), st.floats(0, 4, width=32))
def test_patches_of_a_scene_add_up_to_what_doubt_leaves_of_its_gain(wrong: float, had: float) -> None:
    s = np.array([[0.9, 0.6, 0.6, 0.2]], dtype=np.float32)
    added = DOUBT.marginals(s, np.array([wrong], dtype=np.float32), np.array([had], dtype=np.float32))
    gain = DOUBT.benefit.gain(np.array([had, had + s.sum(dtype=np.float64)]))
    assert added.sum() == pytest.approx(wrong * (gain[1] - gain[0]), abs=1e-6)


@given(
    hnp.arrays(np.float32, (5, 4), elements=st.floats(0, 1, width=32, allow_subnormal=False)),
    hnp.arrays(np.float32, (5, 3), elements=st.floats(-30, 30, width=32)),
    st.integers(0, 20),
)
def test_training_buys_what_a_plan_that_asks_the_lr_stream_would(
    s: np.ndarray, known: np.ndarray, total: int
) -> None:
    masks = doubted_masks(DOUBT, torch.from_numpy(s), torch.from_numpy(known), torch.tensor(total)).numpy()
    assert masks.sum() == total
    worth = DOUBT.marginals(s, DOUBT.wrong(known)).astype(np.float64)
    assert (worth * masks).sum() == pytest.approx(np.sort(worth, axis=None)[::-1][:total].sum(), abs=1e-6)
    # Of a scene, and of patches that add nothing, the more probable come first.
    dropped = np.where(masks == 0, s, -1).max(axis=1)
    assert (np.where(masks == 1, s, 2).min(axis=1) >= dropped).all()
    none = worth == 0
    assert s[none & (masks == 1)].min(initial=1) >= s[none & (masks == 0)].max(initial=0)


def test_the_fit_finds_the_curve_and_the_line_that_made_the_gains() -> None:
    rng = np.random.default_rng(0)
    scenes = 4000
    sure = rng.uniform(-1, 6, scenes)
    wrong = rng.random(scenes) < expit(0.5 - 1.2 * sure)
    bought = np.cumsum(np.pad(np.full((scenes, 8), 0.5), ((0, 0), (1, 0))), axis=1)
    gain = (wrong[:, None] & (rng.random(bought.shape) < DOUBT.benefit.gain(bought))).astype(float)
    # Two classes name one of log-odds 0 at least; a third holds the others.
    known = np.stack([sure, np.full(scenes, -np.log(2)), np.full(scenes, -np.log(2))], axis=1)
    found = fit_doubt(Gains(bought=bought, gain=gain, wanted=np.full(scenes, 4), wrong=wrong, known=known))
    at = np.stack([np.linspace(0, 6, 20), *2 * [np.full(20, -np.log(2))]], axis=1)
    assert np.abs(found.wrong(at) - DOUBT.wrong(at)).max() < 0.05
    x = np.linspace(0, 4, 9)
    assert np.abs(found.benefit.gain(x) - DOUBT.benefit.gain(x)).max() < 0.04


@pytest.mark.parametrize("right", [True, False])
def test_answers_that_are_all_right_or_all_wrong_give_finite_figures(right: bool) -> None:
    sure = np.linspace(0, 6, 5)
    found = fit_doubt(
        Gains(
            bought=np.tile([0.0, 0.9], (5, 1)),
            gain=np.tile([0.0, 0.0 if right else 1.0], (5, 1)),
            wanted=np.ones(5, dtype=np.int64),
            wrong=np.full(5, not right),
            known=sure_by(sure),
        )
    )
    wrong = found.wrong(sure_by(sure))
    assert (wrong < 0.2).all() if right else (wrong > 0.7).all()


def test_an_lr_stream_that_is_surer_where_it_is_wrong_is_not_believed() -> None:
    sure = np.repeat([0.5, 5.0], 50)
    found = fit_doubt(
        Gains(
            bought=np.tile([0.0, 0.9], (100, 1)),
            gain=np.zeros((100, 2)),
            wanted=np.ones(100, dtype=np.int64),
            wrong=sure > 1,
            known=sure_by(sure),
        )
    )
    assert found.slope == 0
    assert found.wrong(sure_by(sure)) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("intercept", "slope"), [(float("nan"), -1.0), (0.0, 0.1), (0.0, float("-inf"))])
def test_impossible_figures_are_refused(intercept: float, slope: float) -> None:
    with pytest.raises(ValueError, match="impossible doubt"):
        Doubt(intercept=intercept, slope=slope, benefit=BENEFIT)


def test_a_card_keeps_its_doubts_and_impossible_ones_are_refused() -> None:
    card = small_card(**DOUBTFUL)
    assert ModelCard.from_json(card.to_json()) == card
    for said in ("-1.2", "-0.7"):
        with pytest.raises(ModelError, match="impossible doubt"):
            ModelCard.from_json(card.to_json().replace(said, "1.2"))
    with pytest.raises(ModelError, match="impossible"):
        ModelCard.from_json(replace(card, scout=None).to_json())


def test_a_checkpoint_keeps_its_scout(tmp_path: Path) -> None:
    model = small_model(**DOUBTFUL)
    model.save(tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    images = torch.rand(3, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(again.scout_logits(images), model.scout_logits(images))
    with pytest.raises(ModelError, match="no scout"):
        small_model().scout_logits(images)


def values_by_hand(model: PatchDrop, path: Path, when: When) -> np.ndarray:
    """What each patch of each scene of a tile of whole scenes is worth, (rows, cols, P)."""
    with rasterio.open(path) as dataset:
        pixels = torch.from_numpy(dataset.read()).float() / 255
    rows, cols = pixels.shape[1] // 8, pixels.shape[2] // 8
    scenes = torch.stack(
        [pixels[:, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] for r in range(rows) for c in range(cols)]
    )
    with torch.inference_mode():
        s = model.probabilities(scenes).numpy()
        known = (model.scout_logits if when == "scout" else model.lr_logits)(scenes).numpy()
    doubt = model.card.doubt_of(when)
    assert doubt is not None
    worth = doubt.marginals(np.where(s > 0.5, s, 0), doubt.wrong(known))
    return np.where(s > 0.5, worth, 0).reshape(rows, cols, -1)


@pytest.mark.parametrize("when", ["scout", "classifier"])
def test_a_plan_counts_what_the_doubt_of_whom_it_asks_leaves_of_each_patch(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch, when: When
) -> None:
    monkeypatch.setattr("geozoom.inference.has_bfloat16", lambda: False)  # digits count here
    model = small_model(**DOUBTFUL)
    path = write_raster(height=32, width=48)
    plan = geozoom.plan([path], model=model, prices=BY_AREA, when=when)
    expected = values_by_hand(model, path, when)
    found = np.zeros_like(expected)
    patches = plan.patches
    found[patches.scene_row, patches.scene_col, patches.patch] = patches.value
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert plan.value == pytest.approx(expected.sum(), abs=1e-4)
    assert plan.summary()["when"] == when
    assert plan.summary()["model"]["doubt"]["slope"] == (-0.7 if when == "scout" else -1.2)
    alone = geozoom.plan([path], model=model, prices=BY_AREA, when="policy")
    assert alone.summary()["when"] == "policy"
    assert alone.summary()["model"]["doubt"] is None
    assert len(alone) == len(plan)
    assert not np.allclose(alone.patches.value, plan.patches.value)


BY_PATCHES = {"classifier": NetworkSpec(name="bagnet-resnet8", widths=(4, 8, 8))}


@pytest.mark.parametrize(
    ("extra", "asked"),
    [
        (DOUBTFUL, "scout"),
        ({"benefit": BENEFIT, "doubt": DOUBT}, "policy"),
        ({"benefit": BENEFIT, "doubt": DOUBT, **BY_PATCHES}, "classifier"),
        (BY_PATCHES, "policy"),
    ],
)
def test_who_is_asked_by_default_costs_no_more_than_the_policy(
    write_raster: WriteRaster, extra: dict[str, Any], asked: When
) -> None:
    plan = geozoom.plan([write_raster(height=32, width=48)], model=small_model(**extra), prices=BY_AREA)
    assert plan.summary()["when"] == asked


@pytest.mark.parametrize("when", ["scout", "classifier"])
def test_under_a_budget_it_buys_where_there_is_doubt(write_raster: WriteRaster, when: When) -> None:
    model = small_model(**DOUBTFUL)
    path = write_raster(height=80, width=80)
    candidates = geozoom.prepare([path], model=model, prices=BY_AREA, when=when)
    plan = candidates.choose(geozoom.Budget.of(5))
    expected = values_by_hand(model, path, when)
    assert 0 < len(plan) < plan.candidates
    best = np.sort(expected.ravel())[::-1][: len(plan)].sum()  # patches cost the same but for their latitude
    assert plan.value > 0.97 * best


def test_sites_are_asked_too(write_raster: WriteRaster, tmp_path: Path) -> None:
    model = small_model(**DOUBTFUL)
    path = write_raster(height=40, width=40)
    sites = tmp_path / "sites.geojson"
    with rasterio.open(path) as dataset:
        x, y = dataset.xy(20, 20)
        (longitude,), (latitude,) = transform(dataset.crs, "EPSG:4326", [x], [y])
    point = {"type": "Point", "coordinates": [longitude, latitude]}
    feature = {"type": "Feature", "properties": {}, "geometry": point}
    sites.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    plans = [geozoom.plan([path], model=model, prices=BY_AREA, sites=sites, when=when) for when in WHENS]
    assert {len(plan) for plan in plans} == {len(plans[0])} != {0}
    assert len({round(plan.value, 4) for plan in plans}) == 3


@pytest.mark.parametrize(
    ("when", "why"),
    [("scout", "the model has no scout"), ("classifier", "its card does not say how often it is wrong")],
)
def test_a_model_that_cannot_be_asked_is_refused(
    write_raster: WriteRaster, model_file: Path, tmp_path: Path, when: str, why: str
) -> None:
    path, out = write_raster(), tmp_path / "orders.geojson"
    told = ["plan", str(path), "--model", str(model_file), "--when", when, "-o", str(out)]
    result = CliRunner().invoke(main, told)
    assert result.exit_code == 1
    assert f"its LR classifier cannot be asked ({why})" in result.output
    assert not out.exists()


def test_the_scout_learns_to_answer_as_the_lr_stream_does(scene_tree: Path, tmp_path: Path) -> None:
    taught_by = small_model()
    with torch.no_grad():
        taught_by.lr.fc.weight *= 40  # sure of what it says, which fresh weights are not
    extra = ("scout.batch_size=27", "scout.learning_rate=1e-2", "scout.narrowing=2")
    recipe = small_recipe("default", 40, *extra)
    data = read_scenes(scene_tree)
    bench = Bench(model=taught_by, recipe=recipe, val=view_split(data.val, recipe, seed=1))
    engine = Engine(
        folder=tmp_path, device=torch.device("cpu"), precision="fp32", seed=0, console=Console(quiet=True)
    )
    scout = train_scout(engine, bench, data.train)
    assert scout_spec(recipe, taught_by.card).widths == (2, 4, 4)
    assert scout.network.fc.in_features == 4
    test = view_split(data.test, recipe, seed=2)
    with torch.inference_mode():
        ours, theirs = (net.lr_logits(test.lr).log_softmax(dim=1) for net in (scout, taught_by))
    apart = F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    constant = F.kl_div(
        theirs.exp().mean(dim=0).log().expand_as(theirs), theirs, reduction="batchmean", log_target=True
    )
    assert apart < 0.6 * constant  # of what there is to tell

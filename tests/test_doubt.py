"""When to zoom: the chance that the LR stream is wrong, its fit, and the plans that ask for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.warp import transform
from scipy.special import expit, softmax

import geozoom
from geozoom.card import ModelCard
from geozoom.cli import main
from geozoom.doubt import SUREST, Doubt, log_odds
from geozoom.errors import ModelError
from geozoom.model import PatchDrop
from tests.conftest import BENEFIT, BY_AREA, DOUBT, WriteRaster, small_card, small_model
from training.calibrate import Gains, fit_doubt

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


def test_a_card_keeps_its_doubt_and_an_impossible_one_is_refused() -> None:
    card = small_card(benefit=BENEFIT, doubt=DOUBT)
    assert ModelCard.from_json(card.to_json()) == card
    with pytest.raises(ModelError, match="impossible doubt"):
        ModelCard.from_json(card.to_json().replace("-1.2", "1.2"))


def values_by_hand(model: PatchDrop, path: Path, threshold: float) -> np.ndarray:
    """What each patch of each scene of a tile of whole scenes is worth, (rows, cols, P)."""
    with rasterio.open(path) as dataset:
        pixels = torch.from_numpy(dataset.read()).float() / 255
    rows, cols = pixels.shape[1] // 8, pixels.shape[2] // 8
    scenes = torch.stack(
        [pixels[:, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] for r in range(rows) for c in range(cols)]
    )
    with torch.inference_mode():
        s, known = model.probabilities(scenes).numpy(), model.lr_logits(scenes).numpy()
    assert model.card.doubt is not None
    worth = model.card.doubt.marginals(np.where(s > threshold, s, 0), model.card.doubt.wrong(known))
    return np.where(s > threshold, worth, 0).reshape(rows, cols, -1)


def test_a_plan_by_the_classifier_counts_what_its_doubt_leaves_of_each_patch(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geozoom.inference.has_bfloat16", lambda: False)  # digits count here
    model = small_model(benefit=BENEFIT, doubt=DOUBT)
    path = write_raster(height=32, width=48)
    plan = geozoom.plan([path], model=model, prices=BY_AREA, when="classifier")
    expected = values_by_hand(model, path, 0.5)
    found = np.zeros_like(expected)
    patches = plan.patches
    found[patches.scene_row, patches.scene_col, patches.patch] = patches.value
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert plan.value == pytest.approx(expected.sum(), abs=1e-4)
    assert plan.summary()["when"] == "classifier"
    alone = geozoom.plan([path], model=model, prices=BY_AREA)
    assert alone.summary()["when"] == "policy"
    assert len(alone) == len(plan)
    assert not np.allclose(alone.patches.value, plan.patches.value)


def test_under_a_budget_it_buys_where_the_classifier_is_in_doubt(write_raster: WriteRaster) -> None:
    model = small_model(benefit=BENEFIT, doubt=DOUBT)
    path = write_raster(height=80, width=80)
    candidates = geozoom.prepare([path], model=model, prices=BY_AREA, when="classifier")
    plan = candidates.choose(geozoom.Budget.of(5))
    expected = values_by_hand(model, path, 0.5)
    assert 0 < len(plan) < plan.candidates
    best = np.sort(expected.ravel())[::-1][: len(plan)].sum()  # patches cost the same but for their latitude
    assert plan.value > 0.97 * best


def test_sites_are_asked_too(write_raster: WriteRaster, tmp_path: Path) -> None:
    model = small_model(benefit=BENEFIT, doubt=DOUBT)
    path = write_raster(height=40, width=40)
    sites = tmp_path / "sites.geojson"
    with rasterio.open(path) as dataset:
        x, y = dataset.xy(20, 20)
        (longitude,), (latitude,) = transform(dataset.crs, "EPSG:4326", [x], [y])
    point = {"type": "Point", "coordinates": [longitude, latitude]}
    feature = {"type": "Feature", "properties": {}, "geometry": point}
    sites.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    plans = [
        geozoom.plan([path], model=model, prices=BY_AREA, sites=sites, when=when)
        for when in ("policy", "classifier")
    ]
    assert len(plans[0]) == len(plans[1]) > 0
    assert plans[0].value != pytest.approx(plans[1].value)


def test_a_model_that_says_nothing_of_doubt_is_refused(
    write_raster: WriteRaster, model_file: Path, tmp_path: Path
) -> None:
    path, out = write_raster(), tmp_path / "orders.geojson"
    told = ["plan", str(path), "--model", str(model_file), "--when", "classifier", "-o", str(out)]
    result = CliRunner().invoke(main, told)
    assert result.exit_code == 1
    assert "does not say how often its LR classifier is wrong" in result.output
    assert not out.exists()

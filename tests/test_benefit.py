"""What patches are worth: properties, the fit, the plan's figures, and forecast against count."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import geozoom
from geozoom.benefit import CALIBRATED_UNIT, FALLBACK_UNIT, Benefit
from geozoom.card import ModelCard
from geozoom.doubt import log_odds
from geozoom.errors import ModelError
from geozoom.inference import has_bfloat16
from geozoom.model import load_model
from tests.conftest import BENEFIT, WriteRaster, small_card, small_model
from tests.datasets import read_scenes
from training.calibrate import Gains, calibration_error, fit_benefit, fit_doubt, forecast
from training.evaluate import ViewedSplit, answers, correct_each, policy_probabilities, view_split
from training.recipe_files import load_recipe

UC_MERCED = Path(__file__).parents[2] / "shared" / "data" / "ucmerced"

knots = st.lists(st.floats(0.01, 16), min_size=1, max_size=4, unique=True).map(sorted)
scores = hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(16)), elements=st.floats(0, 1, width=32))


def gains_of(bought: np.ndarray, gain: np.ndarray) -> Gains:
    """Gains of scenes about which the LR stream is as sure of one as of the other, and right of half."""
    scenes = len(bought)
    return Gains(
        bought=bought,
        right=0.5 + gain - gain[:, :1],
        wanted=np.full(scenes, 6),
        known=np.tile([1.0, 0.0], (scenes, 1)),
        sure=np.ones_like(gain),
    )


@given(scores, knots, st.data())
def test_the_best_patches_of_a_scene_add_up_to_its_gain(
    probability: np.ndarray, at: list[float], data: st.DataObject
) -> None:
    weights = data.draw(st.lists(st.floats(0, 0.2), min_size=len(at), max_size=len(at)))
    benefit = Benefit(knots=tuple(at), weights=tuple(weights), scenes=1)
    best_first = np.argsort(-probability, axis=1, kind="stable")
    added = np.take_along_axis(benefit.marginals(probability), best_first, axis=1)
    bought = np.cumsum(np.take_along_axis(probability, best_first, axis=1).astype(np.float64), axis=1)
    assert np.allclose(np.cumsum(added, axis=1), benefit.gain(bought), atol=1e-5)
    assert (added >= 0).all()
    assert (benefit.gain(bought) <= sum(w * k for w, k in zip(weights, at, strict=True)) + 1e-9).all()


@given(knots, st.floats(0, 16), st.floats(0, 16), st.floats(0, 4))
def test_more_is_worth_more_and_each_step_less(
    at: list[float], one: float, other: float, step: float
) -> None:
    benefit = Benefit(knots=tuple(at), weights=(0.1,) * len(at), scenes=1)
    low, high = sorted((one, other))
    gains = benefit.gain(np.array([low, low + step, high, high + step]))
    assert gains[1] >= gains[0]
    assert gains[3] - gains[2] <= gains[1] - gains[0] + 1e-9


def test_the_fit_finds_the_line_that_made_the_gains() -> None:
    rng = np.random.default_rng(0)
    bought = np.cumsum(np.pad(np.sort(rng.uniform(0, 1, (400, 16)))[:, ::-1], ((0, 0), (1, 0))), axis=1)
    gain = (rng.random(bought.shape) < BENEFIT.gain(bought)).astype(float)
    found = fit_benefit(gains_of(bought, gain))
    x = np.linspace(0, 8, 30)
    assert np.abs(found.gain(x) - BENEFIT.gain(x)).max() < 0.03


def test_a_forecast_of_the_fitted_scenes_is_what_was_counted() -> None:
    bought = np.cumsum(np.full((200, 17), 0.9), axis=1) - 0.9
    gain = np.where(np.arange(200)[:, None] % 5 == 0, np.minimum(np.arange(17), 4) / 4, 0.0)
    gains = gains_of(bought, gain)
    rows = forecast(fit_benefit(gains), fit_doubt(gains), gains)
    own, *best = ["the policy's", "best 1", "best 2", "best 4", "best 8", "best 16"]
    assert [row["patches"] for row in rows] == [own, *best, own, own, own]
    assert sum(row["realised"] for row in rows[6:]) == rows[0]["realised"]  # type: ignore[misc]
    rows = rows[:6]
    for row in rows:
        assert row["predicted"] == pytest.approx(row["realised"], abs=4)


@pytest.mark.parametrize(("scenes", "told"), [(1, 0), (3, 6), (5, 8), (6, 9)])
def test_of_a_single_scene_there_is_no_error_to_tell(scenes: int, told: int) -> None:
    bought = np.cumsum(np.full((scenes, 17), 0.9), axis=1) - 0.9
    gains = gains_of(bought, np.full((scenes, 17), 0.5))
    rows = forecast(fit_benefit(gains), fit_doubt(gains), gains)
    assert len(rows) == told
    assert all(math.isfinite(row["error"]) for row in rows)  # type: ignore[arg-type]


def test_where_hr_gains_nothing_the_benefit_is_nothing() -> None:
    bought = np.cumsum(np.full((50, 17), 0.9), axis=1) - 0.9
    gains = gains_of(bought, np.full((50, 17), -0.1))
    assert (fit_benefit(gains).gain(bought) == 0).all()
    assert (fit_doubt(gains).added(np.linspace(-10, 10, 9)) == 0).all()


@pytest.mark.parametrize(
    ("knots", "weights"), [((1.0,), ()), ((0.0,), (0.1,)), ((1.0,), (-0.1,)), ((float("nan"),), (0.1,))]
)
def test_impossible_figures_are_refused(knots: tuple[float, ...], weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="impossible benefit"):
        Benefit(knots=knots, weights=weights, scenes=1)


def test_a_card_keeps_its_benefit_and_an_impossible_one_is_refused() -> None:
    card = small_card(benefit=BENEFIT)
    assert ModelCard.from_json(card.to_json()) == card
    with pytest.raises(ModelError, match="impossible benefit"):
        ModelCard.from_json(card.to_json().replace("0.05", "-0.05"))


def test_a_plan_counts_the_scenes_that_its_patches_gain(write_raster: WriteRaster) -> None:
    plan = geozoom.plan([write_raster("a.tif")], model=small_model(benefit=BENEFIT))
    features = list(plan.features())
    assert features
    bought: dict[str, list[float]] = {}
    for feature in features:
        bought.setdefault(feature["properties"]["scene"], []).append(feature["properties"]["probability"])
    gained = sum(float(BENEFIT.gain(np.array(sum(each)))) for each in bought.values())
    assert plan.value == pytest.approx(gained, abs=1e-4)
    assert plan.value == pytest.approx(sum(each["properties"]["value"] for each in features), abs=1e-6)
    assert plan.summary()["totals"]["value_unit"] == CALIBRATED_UNIT
    assert sum(order.value for order in plan.orders) == pytest.approx(plan.value)


def test_without_a_calibration_probabilities_stand_in_and_the_plan_says_so(write_raster: WriteRaster) -> None:
    plan = geozoom.plan([write_raster("a.tif")], model=small_model())
    assert plan.value == pytest.approx(plan.patches.probability.sum())
    assert plan.summary()["totals"]["value_unit"] == FALLBACK_UNIT


def test_a_model_to_which_hr_is_worth_nothing_buys_nothing(write_raster: WriteRaster) -> None:
    nothing = Benefit(knots=(), weights=(), scenes=100)
    plan = geozoom.plan([write_raster("a.tif")], model=small_model(benefit=nothing))
    assert len(plan) == plan.candidates == 0
    assert plan.cost == 0


needs_uc_merced = pytest.mark.skipif(
    not UC_MERCED.is_dir(), reason=f"{UC_MERCED} is not here: UC Merced Land Use is needed"
)


def unseen_scenes() -> ViewedSplit:
    """The test split of the default model's data set."""
    data = read_scenes(UC_MERCED, hr_px=144, margin=1.25)
    return view_split(data.test, load_recipe("sentinel2", []), seed=2)


@pytest.mark.slow
@needs_uc_merced
def test_the_default_model_is_as_sure_as_it_is_right() -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
        sure = calibration_error(load_model(), unseen_scenes())
    assert sure["policy_ece_after"] < 0.06
    assert sure["lr_ece_after"] < min(0.05, sure["lr_ece_before"])


@needs_uc_merced
@pytest.mark.slow
def test_the_default_models_forecast_holds_on_scenes_it_has_not_seen() -> None:
    model = load_model()
    benefit, doubt = model.card.benefit, model.card.doubt
    assert benefit is not None
    assert doubt is not None
    test = unseen_scenes()
    test = test.of(torch.arange(0, len(test), 2))  # every second one is enough to tell
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
        s = policy_probabilities(model, test).float()
        known = answers(model, test, "lr").float()
        chances = s.numpy()
        sure = log_odds(known.numpy())
        own = (s > 0.5).float()
        one_each = [
            first(value, len(s)) for value in (benefit.marginals(chances), doubt.marginals(chances, sure))
        ]
        found = correct_each(model, test, "lr", [None], known)
        found += correct_each(model, test, "both", [own, *one_each], known)
    without, with_hr, by_policy, by_doubt = (right.numpy().astype(float) for right in found)
    realised = with_hr - without
    x = (s * own).sum(dim=1).numpy()
    # Both the fit (168 scenes) and the count (210) err by chance.
    error = realised.std(ddof=1) * len(realised) ** 0.5
    assert realised.sum() > 3 * error
    assert abs(benefit.gain(x).sum() - realised.sum()) < 3 * error
    predicted = (doubt.marginals(chances, sure) * own.numpy()).sum(axis=1)
    for third in np.array_split(np.argsort(sure), 3):
        error = realised[third].std(ddof=1) * len(third) ** 0.5
        assert abs(predicted[third].sum() - realised[third].sum()) < 3 * error
    # As many patches, a scene's worth each: those that the classifier doubts gain more.
    gained = by_doubt - by_policy
    assert gained.sum() > 2 * gained.std(ddof=1) * len(gained) ** 0.5


def first(value: np.ndarray, total: int) -> torch.Tensor:
    """The masks of the patches that are worth most, over all scenes."""
    bought = np.zeros(value.size, dtype=np.float32)
    bought[np.argsort(-value.ravel(), kind="stable")[:total]] = 1
    return torch.from_numpy(bought.reshape(value.shape))

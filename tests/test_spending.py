"""When to zoom: the forecast by the LR stream's sureness, and the money that follows it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from training.spending import SUREST, Forecast, fit_forecast, log_odds


def sure_by(odds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> torch.Tensor:
    """Logits of two classes whose surest has these log-odds."""
    return torch.from_numpy(np.stack([odds, np.zeros_like(odds)], axis=1))


def test_log_odds_are_those_of_the_class_that_is_named() -> None:
    odds = np.array([0.0, 0.5, 3.0, 40.0])
    np.testing.assert_allclose(log_odds(sure_by(odds)), [0, 0.5, 3, SUREST], atol=1e-9)
    assert log_odds(torch.zeros(1, 10)) == pytest.approx(np.log(0.1 / 0.9))


def test_the_curves_are_those_that_the_answers_were_drawn_from() -> None:
    rng = np.random.default_rng(0)
    true = np.array([[-1.0, 1.0], [0.5, 0.6], [2.0, 0.1]])
    odds = rng.uniform(0, 6, 20_000)
    right = rng.random((20_000, 3)) < expit(true[:, 0] + odds[:, None] * true[:, 1])
    forecast = fit_forecast(sure_by(odds), right)
    chances = forecast.chances(sure_by(np.array([0.0, 2.0, 5.0])))
    np.testing.assert_allclose(
        chances, expit(true[:, 0] + np.array([[0.0], [2.0], [5.0]]) * true[:, 1]), atol=0.02
    )


def test_answers_that_are_all_right_give_finite_curves() -> None:
    forecast = fit_forecast(sure_by(np.linspace(0, 6, 5)), np.ones((5, 4), dtype=bool))
    assert np.isfinite(forecast.curves).all()
    assert (forecast.chances(sure_by(np.array([3.0]))) > 0.9).all()


def test_a_scene_that_lr_is_sure_of_gets_nothing_before_one_that_it_is_not() -> None:
    # Where LR is sure, HR adds nothing; elsewhere the first patches add most.
    forecast = Forecast(curves=np.array([[-2.0, 2.0], [-1.0, 1.8], [-0.2, 1.65], [0.2, 1.6], [0.4, 1.55]]))
    known = sure_by(np.array([8.0, 0.1, 0.1]))
    assert forecast.counts(known, 6).tolist() == [0, 3, 3]
    assert forecast.counts(known, 12).tolist() == [4, 4, 4]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(0, 12))
def test_no_other_spending_promises_more(seed: int, total: int) -> None:
    """Where chances rise by less and less, against all ways to spend."""
    rng = np.random.default_rng(seed)
    chances = np.cumsum(np.sort(rng.random((3, 4)), axis=1)[:, ::-1], axis=1) / 4.5
    chances = np.pad(chances, ((0, 0), (1, 0))) + 0.02
    forecast = Forecast(curves=np.zeros((5, 2)))
    known = torch.zeros(3, 2)
    object.__setattr__(forecast, "chances", lambda _: chances)
    counts = forecast.counts(known, total).numpy()
    assert counts.sum() == total
    best = max(
        sum(chances[scene, count] for scene, count in enumerate(way))
        for way in product(range(5), repeat=3)
        if sum(way) == total
    )
    assert chances[np.arange(3), counts].sum() == pytest.approx(best)

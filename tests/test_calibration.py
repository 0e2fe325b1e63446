"""Stated probabilities: temperatures, their fit, and what they leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geozoom.answers import answer
from geozoom.calibration import Calibration, sharpened
from geozoom.card import ModelCard
from geozoom.errors import ModelError
from geozoom.model import load_model
from tests.conftest import small_card, small_model
from training.temperature import fit_temperature


@given(st.integers(0, 10**6), st.floats(0.1, 10))
def test_a_temperature_changes_no_order_and_leaves_probabilities(seed: int, temperature: float) -> None:
    log = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed)).double().log_softmax(dim=1)
    found = sharpened(log, temperature)
    assert (found.argsort(dim=1) == log.argsort(dim=1)).all()
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(5, dtype=torch.float64))
    surer = (found.max(dim=1).values - log.max(dim=1).values) * (1 - temperature)
    assert (surer >= -1e-9).all()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_the_fit_finds_the_temperature_at_which_labels_were_drawn(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(20_000, 5, generator=generator)
    labels = torch.multinomial((scores / temperature).softmax(dim=1), 1, generator=generator).squeeze(1)
    assert fit_temperature(scores, labels) == pytest.approx(temperature, rel=0.05)


def test_stated_probabilities_are_calibrated_and_answers_stay() -> None:
    plain = small_model()
    told = small_model(calibration=Calibration(temperature=0.5, lr_temperature=2.0, scenes=9))
    generator = torch.Generator().manual_seed(1)
    lr = torch.rand(4, 3, plain.card.lr_px, plain.card.lr_px, generator=generator)
    hr = torch.rand(3, 3, plain.card.hr_px, plain.card.hr_px, generator=generator)
    bought = np.zeros((4, plain.grid.patches), dtype=bool)
    bought[:3, :5] = True  # the last scene has no HR
    before, log = answer(plain, lr, hr, bought)
    after, same = answer(told, lr, hr, bought)
    assert torch.equal(log, same)
    for key in ("top", "lr_class"):
        assert (before[key] == after[key]).all()
    masks = torch.from_numpy(bought[:3]).float()
    mixed = plain.class_log_probabilities(hr, lr[:3], masks)
    both = sharpened(mixed, 0.5).exp().max(dim=1).values
    alone = sharpened(log, 2.0).exp().max(dim=1).values
    assert after["probability"][:3, 0] == pytest.approx(both.detach().numpy(), abs=1e-5)
    assert after["probability"][3, 0] == pytest.approx(alone[3].item(), abs=1e-5)
    assert after["lr_probability"] == pytest.approx(alone.numpy(), abs=1e-5)


def test_a_card_keeps_its_calibration_and_an_impossible_one_is_refused() -> None:
    card = small_card(calibration=Calibration(temperature=0.5, lr_temperature=2.0, scenes=9))
    text = card.to_json()
    assert ModelCard.from_json(text) == card
    with pytest.raises(ModelError, match="impossible calibration"):
        ModelCard.from_json(text.replace('"temperature": 0.5', '"temperature": 0.0'))
    # Cards of before have none.
    assert (
        ModelCard.from_json(small_card().to_json().replace('"calibration": null, ', "")).calibration is None
    )


def test_the_model_that_ships_is_calibrated() -> None:
    found: Any = load_model(None).card.calibration
    assert found.scenes == 168
    assert (found.temperature, found.lr_temperature) == (0.2933, 0.8288)

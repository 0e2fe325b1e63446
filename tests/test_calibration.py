"""How sure answers are: temperatures by the number of patches, in the card, in the fit and in what is stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geozoom.answers import answer
from geozoom.card import ModelCard
from geozoom.errors import ModelError
from tests.conftest import small_card, small_model
from training.calibrate import TEMPERATURES, fit_temperature

SHARP = tuple(0.9 - 0.05 * count for count in range(17))


@settings(deadline=None, max_examples=20)
@given(st.floats(0.2, 5), st.integers(2, 12))
def test_the_fit_finds_the_temperature_that_made_the_labels(temperature: float, classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    true = torch.log_softmax(2 * torch.randn(4000, classes, generator=generator), dim=1)
    labels = torch.multinomial(true.exp(), 1, generator=generator).squeeze(1)
    stated = torch.log_softmax(true * temperature, dim=1)
    assert fit_temperature(stated, labels) == pytest.approx(temperature, rel=0.15)


def test_answers_that_are_all_right_do_not_ask_for_certainty_without_end() -> None:
    scores = torch.log_softmax(3 * torch.eye(5), dim=1)
    assert fit_temperature(scores, torch.arange(5)) == pytest.approx(TEMPERATURES[0], rel=0.01)


def test_stated_probabilities_change_and_the_order_of_classes_and_the_streams_do_not() -> None:
    plain, calibrated = small_model(), small_model(answer_temperatures=SHARP)
    generator = torch.Generator().manual_seed(3)
    lr, hr = torch.rand(6, 3, 8, 8, generator=generator), torch.rand(5, 3, 32, 32, generator=generator)
    bought = np.arange(16) < np.array([0, 1, 4, 8, 12, 16])[:, None]
    before, before_log = answer(plain, lr, hr, bought)
    after, after_log = answer(calibrated, lr, hr, bought)
    assert (before["top"] == after["top"]).all()
    assert (before["lr_class"] == after["lr_class"]).all()
    assert torch.equal(before_log, after_log)  # what Eq. 7 mixes
    assert (after["probability"][:, 0] > before["probability"][:, 0]).all()
    assert (after["lr_probability"] > before["lr_probability"]).all()
    # Nothing was bought of the first: both say the same of it.
    assert after["probability"][0, 0] == pytest.approx(after["lr_probability"][0])
    log = torch.log_softmax(torch.randn(6, 7, generator=generator), dim=1)
    sampled = torch.from_numpy(bought.sum(axis=1))
    expected = torch.softmax(log / torch.tensor(SHARP)[sampled, None], dim=1)
    torch.testing.assert_close(calibrated.calibrate(log, sampled).exp(), expected)


def test_a_card_keeps_its_temperatures_and_one_without_them_loads() -> None:
    card = small_card(answer_temperatures=SHARP)
    assert ModelCard.from_json(card.to_json()) == card
    silent = small_card()
    assert ModelCard.from_json(silent.to_json().replace(', "answer_temperatures": null', "")) == silent


@pytest.mark.parametrize(
    "wrong", [SHARP[:-1], (0.0, *SHARP[1:]), (-1.0, *SHARP[1:]), (float("nan"), *SHARP[1:])]
)
def test_temperatures_that_cannot_be_are_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ModelError, match="impossible"):
        ModelCard.from_json(small_card(answer_temperatures=wrong).to_json())

"""Answers held against labels, recomputed by the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geozoom.fmow.boxes import CLASSES
from geozoom.fmow.challenge import WEIGHTS
from geozoom.scores import BINS, UNKNOWN, Labels, Scores, match_labels, score_answers

NAMES = ("barn", "port", "tower")


def score(
    labels: list[int],
    answers: list[int],
    probability: list[float] | None = None,
    stray: list[int] | None = None,
) -> Scores:
    """Score answers; `stray` are answers on scenes of no class, which come after the labelled ones."""
    more = stray or []
    index = np.array(labels + [UNKNOWN] * len(more))
    count = len(index)
    found = score_answers(
        NAMES,
        Labels(index=index, strangers={}, given=len(labels)),
        np.array(answers + more),
        np.array((probability or [0.5] * len(labels)) + [0.5] * len(more)),
        np.zeros(count, dtype=np.int64),
        np.arange(count),
        np.arange(count) >= len(labels),
    )
    assert found is not None
    return found


def f1(labels: list[int], answers: list[int], name: int, stray: list[int]) -> float:
    shown = {at for at, label in enumerate(labels) if label == name}
    said = {at for at, answer in enumerate(answers) if answer == name}
    both = len(shown & said)
    precision = both / (len(said) + stray.count(name)) if said or stray.count(name) else math.nan
    recall = both / len(shown) if shown else math.nan
    if math.isnan(precision) and math.isnan(recall):
        return math.nan
    return 2 * precision * recall / (precision + recall) if both else 0.0


PAIRS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.floats(0.01, 1)), min_size=1, max_size=40)


@given(PAIRS, st.lists(st.integers(0, 2), max_size=5))
def test_f1_accuracy_and_challenge_score_are_those_of_the_definitions(
    pairs: list[tuple[int, int, float]], stray: list[int]
) -> None:
    labels, answers, _ = (list(column) for column in zip(*pairs, strict=True))
    found = score(labels, answers, stray=stray)
    expected = [f1(labels, answers, name, []) for name in range(3)]
    np.testing.assert_allclose(found.f1, expected)
    assert found.macro_f1 == pytest.approx(np.nanmean(expected))
    assert found.accuracy == np.mean(np.array(labels) == np.array(answers))
    assert found.lr_accuracy == labels.count(0) / len(labels)
    weights = {"barn": 1.0, "port": 1.0, "tower": 1.4}
    counted = [
        (f1(labels, answers, name, stray), weights[NAMES[name]])
        for name in range(3)
        if name in labels + answers + stray
    ]
    mean = sum(value * weight for value, weight in counted) / sum(weight for _, weight in counted)
    assert found.weighted_f1(WEIGHTS) == pytest.approx(mean)


@given(PAIRS)
def test_calibration_error_is_the_mean_distance_in_bins(pairs: list[tuple[int, int, float]]) -> None:
    labels, answers, probability = (list(column) for column in zip(*pairs, strict=True))
    found = score(labels, answers, probability)
    total = 0.0
    for step in range(BINS):
        inside = [
            at for at, p in enumerate(probability) if step < p * BINS <= step + 1 or (step == 0 and p == 0)
        ]
        if inside:
            right = sum(labels[at] == answers[at] for at in inside)
            total += abs(right - sum(probability[at] for at in inside))
    assert found.ece == pytest.approx(total / len(labels))
    assert found.bin_count.sum() == len(labels)


def test_a_sure_and_right_model_has_no_calibration_error() -> None:
    found = score([0, 1, 2], [0, 1, 2], [1.0, 1.0, 1.0])
    assert (found.ece, found.accuracy, found.macro_f1) == (0, 1, 1)


def test_the_challenge_weighs_every_class_that_it_has() -> None:
    assert sum(weight == 0.6 for weight in WEIGHTS.values()) == 10
    assert sum(weight == 1.4 for weight in WEIGHTS.values()) == 10
    assert set(WEIGHTS) - {"false_detection"} <= set(CLASSES)
    assert WEIGHTS["false_detection"] == 0


def test_labels_are_matched_by_name_whatever_their_spelling() -> None:
    found = match_labels(
        ["Storage Tanks", "barn", "", "volcano", "BARN", "volcano"], ("storage_tanks", "barn")
    )
    assert found.index.tolist() == [0, 1, UNKNOWN, UNKNOWN, 1, UNKNOWN]
    assert found.strangers == {"volcano": 2}
    assert found.given == 5
    # Classes that differ by spelling only are told apart by it.
    alike = match_labels(["barn", "Barn", "BARN"], ("barn", "Barn"))
    assert alike.index.tolist() == [0, 1, UNKNOWN]

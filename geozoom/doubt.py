"""When to zoom: what patches are worth by how sure a classifier is of their scene (METHOD §8). Pure NumPy.

The LR stream costs no imagery, but a classifier's time where the policy alone takes a small network's; its scout takes
no more than the policy. Of a scene of which HR is there already both streams say how sure they are with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

When = Literal["policy", "scout", "classifier"]
"""What says when HR is worth buying: the policy's probabilities alone, or also how sure the LR stream is of the scene,
by itself or by its scout, a small network that has learned to answer as it does."""
WHENS: tuple[When, ...] = get_args(When)

SUREST = 10.0
"""Log-odds beyond which sureness is taken for the same."""
STEPS = 16
"""Steps to a unit of log-odds at which gains are tabulated; between them they are straight."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """The gain of a scene by the LR stream's log-odds c and the number n of its best patches that are bought.

    An answer is right with a chance of 1 / (1 + exp(-z)), where z is level + slope · c of the LR stream alone and
    level + rise · log₂ n + bend · (log₂ n)² + slope · c with HR. The gain is what HR has over LR alone, raised to where
    further patches take nothing away and none is worth more than the one before: several that only help together are
    worth their mean each. Where HR is there already, c is of both streams with it, n counts the patches bought beside
    it, and "alone" is without them. Fitted on the validation split (training/calibrate.py).
    """

    patches: int
    """Patches of a scene that are not there yet: P, or less."""
    alone: tuple[float, float]
    """Level and slope of the LR stream alone."""
    helped: tuple[float, float, float, float]
    """Level, rise, bend and slope with HR."""
    least: float
    """Gain beyond which patches are bought: of the validation split as many as by the policy alone."""

    def __post_init__(self) -> None:
        """Refuse figures that no fit gives."""
        if (
            self.patches < 1
            or (len(self.alone), len(self.helped)) != (2, 4)
            or not all(math.isfinite(figure) for figure in (*self.alone, *self.helped))
            or not 0 <= self.least < 1
        ):
            raise ValueError(
                f"impossible doubt: of {self.patches} patches, alone {self.alone}, helped {self.helped}, "
                f"least {self.least}"
            )

    @cached_property
    def table(self) -> NDArray[np.float64]:
        """What the best, second best, … of P patches adds (steps, P), at log-odds from -SUREST to SUREST."""
        sure = np.linspace(-SUREST, SUREST, round(2 * SUREST * STEPS) + 1)[:, None]
        level, rise, bend, slope = self.helped
        log = np.log2(np.arange(1, self.patches + 1))
        logits = np.hstack(
            [self.alone[0] + self.alone[1] * sure, level + rise * log + bend * log**2 + slope * sure]
        )
        with np.errstate(over="ignore"):
            right = 1 / (1 + np.exp(-logits))
        rising = np.maximum.accumulate(_concave(right - right[:, :1]), axis=1)
        # Rounded, so that patches that are worth as much as each other are so to the last digit.
        return np.minimum.accumulate(np.diff(rising, axis=1).round(9), axis=1)

    def added(self, sure: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return what the best, second best, … patch adds to scenes of which the LR stream is so sure, (N,): (N, P)."""
        at = (np.clip(np.asarray(sure, dtype=np.float64), -SUREST, SUREST) + SUREST) * STEPS
        low = np.minimum(at.astype(np.int64), len(self.table) - 2)
        part = (at - low)[:, None]
        # In this form what is worth as much at both is so between them, to the last digit.
        found: NDArray[np.float64] = self.table[low] + part * (self.table[low + 1] - self.table[low])
        return found

    def marginals(
        self,
        probability: NDArray[np.float32],
        sure: NDArray[np.floating],
        had: NDArray[np.generic] | int = 0,
    ) -> NDArray[np.float32]:
        """Return what each patch adds to its scene if the better ones are bought already, (N, P).

        Args:
            probability: (N, P) s_p of every patch that can be bought, 0 for the others.
            sure: (N,) log-odds of what was asked, as `log_odds` gives them.
            had: (N,) number of patches that are owned already, beside those that made it so sure.
        """
        patches = self.patches
        each = self.added(sure).astype(np.float32)
        rank = np.argsort(np.argsort(-probability, axis=1, kind="stable"), axis=1)
        rank = rank + np.reshape(had, (-1, 1)).astype(np.int64)
        found = np.take_along_axis(each, np.minimum(rank, patches - 1), axis=1)
        return np.where(rank < patches, found, np.float32(0))


def further(
    doubts: Sequence[Doubt],
    probability: NDArray[np.float32],
    sure: NDArray[np.floating],
    there: NDArray[np.int64],
    had: NDArray[np.generic] | int = 0,
) -> NDArray[np.float32]:
    """Return what each patch adds to the HR that is there of its scene, (N, P), as `Doubt.marginals` does.

    Args:
        doubts: What doubt means where 0, 1, … P - 1 patches are there.
        probability: (N, P) s_p of every patch that can be bought, 0 for the others.
        sure: (N,) log-odds with what is there.
        there: (N,) number of patches that are there.
        had: (N,) number of patches that are owned beside them.
    """
    owned = np.broadcast_to(had, len(there))
    value = np.zeros(probability.shape, dtype=np.float32)
    for count in np.unique(there[there < len(doubts)]).tolist():
        at = np.flatnonzero(there == count)
        value[at] = doubts[count].marginals(probability[at], sure[at], owned[at])
    return value


def _concave(gain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least concave lines at or above gains (N, n), given at 0, 1, …: the highest of all chords."""
    count = gain.shape[1]
    found = gain.copy()
    for first in range(count):
        for last in range(first + 2, count):
            part = np.arange(1, last - first) / (last - first)
            chord = (1 - part) * gain[:, first, None] + part * gain[:, last, None]
            found[:, first + 1 : last] = np.maximum(found[:, first + 1 : last], chord)
    return found


def log_odds(known: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how sure logits (N, classes) are of the class that they name: log p / (1 - p), (N,)."""
    logits = np.asarray(known, dtype=np.float64)
    ordered = np.sort(logits - logits.max(axis=1, keepdims=True), axis=1)
    with np.errstate(divide="ignore"):
        others = np.log(np.exp(ordered[:, :-1]).sum(axis=1))
    odds: NDArray[np.float64] = np.clip(-others, -SUREST, SUREST)
    return odds

"""When to zoom: what patches are worth by how likely the LR stream is wrong about their scene (METHOD §8). Pure NumPy.

The LR stream costs no imagery, but a classifier's time where the policy alone takes a small network's; its scout takes
no more than the policy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from geozoom.benefit import Benefit

When = Literal["policy", "scout", "classifier"]
"""What says when HR is worth buying: the policy's probabilities alone, or also how sure the LR stream is of the scene,
by itself or by its scout, a small network that has learned to answer as it does."""
WHENS: tuple[When, ...] = get_args(When)

SUREST = 10.0
"""Log-odds beyond which sureness is taken for the same."""


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """The gain of a scene by the LR stream's log-odds c and the sum x of the probabilities of its bought patches.

    gain(x, c) = wrong(c) · benefit.gain(x), where wrong(c) = 1 / (1 + exp(-(intercept + slope · c))): HR can only put
    right what LR gets wrong. Fitted on the validation split (training/calibrate.py).
    """

    intercept: float
    slope: float
    """Never above 0: of what the LR stream is surer, it is not more often wrong."""
    benefit: Benefit
    """The gain of a scene that the LR stream gets wrong."""

    def __post_init__(self) -> None:
        """Refuse figures that no fit gives."""
        if not (math.isfinite(self.intercept) and -math.inf < self.slope <= 0):
            raise ValueError(f"impossible doubt: intercept {self.intercept}, slope {self.slope}")

    def wrong(self, known: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map what the LR stream answers, logits (N, classes), to the chance that it is wrong, (N,)."""
        chance: NDArray[np.float64] = 1 / (1 + np.exp(-(self.intercept + self.slope * log_odds(known))))
        return chance.astype(np.float32)

    def marginals(
        self,
        probability: NDArray[np.float32],
        wrong: NDArray[np.float32],
        had: NDArray[np.float32] | float = 0.0,
    ) -> NDArray[np.float32]:
        """Return what each patch adds to its scene if the better ones are bought already, (N, P).

        Args:
            probability: (N, P) s_p of every patch that can be bought, 0 for the others.
            wrong: (N,) the chance that the LR stream is wrong.
            had: (N,) sum of s_p over the patches that are owned already.
        """
        return self.benefit.marginals(probability, had) * wrong[:, None]


def log_odds(known: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return how sure logits (N, classes) are of the class that they name: log p / (1 - p), (N,)."""
    logits = np.asarray(known, dtype=np.float64)
    ordered = np.sort(logits - logits.max(axis=1, keepdims=True), axis=1)
    with np.errstate(divide="ignore"):
        others = np.log(np.exp(ordered[:, :-1]).sum(axis=1))
    odds: NDArray[np.float64] = np.clip(-others, -SUREST, SUREST)
    return odds

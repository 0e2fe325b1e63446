"""What patches are worth: expected scenes classified correctly beyond what LR alone gives. Pure NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CALIBRATED_UNIT = "scenes classified correctly beyond what LR alone gives"
FALLBACK_UNIT = "sum of patch probabilities"
"""Of a model whose card says nothing of benefit."""


@dataclass(frozen=True, kw_only=True)
class Benefit:
    """The gain of a scene by the sum x of the probabilities s_p of its bought patches.

    gain(x) = Σ weight_j · min(x, knot_j): zero without HR, rising, and each further patch of a scene is worth
    no more than the one before. Fitted on the validation split (training/calibrate.py).
    """

    knots: tuple[float, ...]
    """Sums of probabilities at which the slope falls, rising."""
    weights: tuple[float, ...]
    """By how much it falls at each of them, in expected correct scenes per unit of probability."""
    scenes: int
    """Number of scenes that it was fitted on."""

    def __post_init__(self) -> None:
        """Refuse figures that no fit gives."""
        if (
            len(self.knots) != len(self.weights)
            or not all(0 < knot < math.inf for knot in self.knots)
            or not all(0 <= weight < math.inf for weight in self.weights)
        ):
            raise ValueError(f"impossible benefit: knots {self.knots}, weights {self.weights}")

    def gain(self, bought: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the gain of scenes, (...), by the sum of the probabilities of what is bought, (...)."""
        x = np.asarray(bought, dtype=np.float64)
        gain = np.zeros_like(x)
        for knot, weight in zip(self.knots, self.weights, strict=True):
            gain += weight * np.minimum(x, knot)
        return gain

    def marginals(
        self, probability: NDArray[np.float32], had: NDArray[np.float32] | float = 0.0
    ) -> NDArray[np.float32]:
        """Return what each patch adds to its scene if the better ones are bought already, (N, P).

        Args:
            probability: (N, P) s_p of every patch that can be bought, 0 for the others.
            had: (N,) sum of s_p over the patches that are owned already.
        """
        best_first = np.argsort(-probability, axis=1, kind="stable")
        bought = np.cumsum(np.take_along_axis(probability, best_first, axis=1), axis=1, dtype=np.float64)
        owned = np.broadcast_to(np.asarray(had, dtype=np.float64), len(probability))[:, None]
        gained = self.gain(np.concatenate([owned, owned + bought], axis=1))
        found = np.empty_like(probability)
        np.put_along_axis(found, best_first, np.diff(gained, axis=1).astype(np.float32), axis=1)
        return found


def value_unit(benefit: Benefit | None) -> str:
    """Return what the value of a plan counts."""
    return FALLBACK_UNIT if benefit is None else CALIBRATED_UNIT

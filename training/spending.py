"""When to zoom: how many patches to buy of each scene, by how sure the LR stream is of it (METHOD §8).

Of the validation scenes the best 0, 1, … P patches are bought in turn, and for each number the chance of a right answer
is fitted as a logistic curve of the LR stream's log-odds. Of other scenes, money goes where that chance rises most per
patch. The LR stream is free, but it takes a classifier's time, which a policy does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit
from torch import Tensor

from geozoom.model import PatchDrop
from training.baselines.rules import top
from training.evaluate import Streams, ViewedSplit, answers, correct_each, policy_probabilities

SUREST = 10.0
"""Log-odds beyond which the LR stream's sureness is taken for the same."""
_RIDGE = 1e-3
"""Holds curves of few scenes, or of scenes that are all right, together; per scene."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The chance of a right answer by the LR stream's log-odds and the number of patches."""

    curves: NDArray[np.float64]
    """(P + 1, 2) intercept and slope of the logistic curve for 0, 1, … P patches."""

    def chances(self, known: Tensor) -> NDArray[np.float64]:
        """Map the LR stream's logits (N, classes) to the chance to be right with 0, 1, … P patches, (N, P + 1)."""
        sure = log_odds(known)
        chances: NDArray[np.float64] = expit(self.curves[:, 0] + sure[:, None] * self.curves[:, 1])
        return chances

    def counts(self, known: Tensor, total: int) -> Tensor:
        """Return how many patches to buy of each scene, (N,) int64, `total` in all.

        A scene's chances are replaced by their least concave majorant, so that the most that a sum of chances can rise
        by is had by taking the largest rises.
        """
        rises = np.diff(self.chances(known), axis=1)
        falling = np.stack([isotonic_regression(each, increasing=False).x for each in rises])
        best = np.argsort(-falling.ravel(), kind="stable")[:total]
        counts = np.bincount(best // rises.shape[1], minlength=len(rises))
        return torch.from_numpy(counts)


def log_odds(known: Tensor) -> NDArray[np.float64]:
    """Return how sure logits (N, classes) are of the class that they name: log p / (1 - p), (N,)."""
    surest = known.double().softmax(dim=1).amax(dim=1).cpu().numpy()
    with np.errstate(divide="ignore"):
        odds: NDArray[np.float64] = np.log(surest) - np.log1p(-surest)
    return np.clip(odds, -SUREST, SUREST)


def fit_forecast(known: Tensor, right: NDArray[np.bool_]) -> Forecast:
    """Fit the curves by the likelihood of right and wrong answers.

    Args:
        known: (N, classes) logits of the LR stream.
        right: (N, P + 1) whether 0, 1, … P patches bring the right answer.
    """
    sure = log_odds(known)

    def fit(hits: NDArray[np.bool_]) -> NDArray[np.float64]:
        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            logits = weights[0] + weights[1] * sure
            wrongness = expit(logits) - hits
            value = np.logaddexp(0, logits).mean() - (logits * hits).mean() + _RIDGE * (weights**2).sum()
            slope = np.array([wrongness.mean(), (wrongness * sure).mean()]) + 2 * _RIDGE * weights
            return float(value), slope

        found: NDArray[np.float64] = minimize(loss, np.zeros(2), jac=True, method="BFGS").x
        return found

    return Forecast(curves=np.stack([fit(hits) for hits in right.T]))


def forecast(model: PatchDrop, val: ViewedSplit, streams: Streams) -> Forecast:
    """Fit the curves on the validation split, each scene's patches bought best first by the policy."""
    known = answers(model, val, "lr")
    s = policy_probabilities(model, val)
    masks = [
        top(s, torch.full((len(val),), count, device=s.device)) for count in range(model.grid.patches + 1)
    ]
    right = torch.stack(correct_each(model, val, streams, masks, known), dim=1)
    return fit_forecast(known, right.cpu().numpy())

"""How sure answers should be: temperatures fitted on the validation split (Guo et al., 2017)."""

from __future__ import annotations

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from geozoom.calibration import Calibration, sharpened
from geozoom.model import PatchDrop
from training.evaluate import ViewedSplit, answers, policy_probabilities

_RANGE = (-3.0, 3.0)
"""log T."""


def fit_calibration(model: PatchDrop, views: ViewedSplit) -> Calibration:
    """Fit the temperatures of both streams under the policy's masks and of the LR stream alone.

    Args:
        model: As it ships.
        views: Scenes that its classifiers have not learned from.
    """
    known = answers(model, views, "lr")
    masks = (policy_probabilities(model, views) > 0.5).float()
    bought = masks.bool().any(dim=1)
    labels = views.split.labels
    mixed = answers(model, views, "both", masks, known)
    return Calibration(
        # Where the policy buys nothing anywhere, there is nothing that HR would have to say.
        temperature=fit_temperature(mixed[bought], labels[bought]) if bought.any() else 1.0,
        lr_temperature=fit_temperature(known, labels),
        scenes=len(views),
    )


def fit_temperature(scores: Tensor, labels: Tensor) -> float:
    """Return the temperature at which logits or log-probabilities (N, K) give the labels (N,) the most likelihood."""
    log = scores.double().log_softmax(dim=1)

    def loss(log_temperature: float) -> float:
        tempered = sharpened(log, float(torch.tensor(log_temperature).exp()))
        return float(F.nll_loss(tempered, labels))

    found = minimize_scalar(loss, bounds=_RANGE, method="bounded")
    return round(float(torch.tensor(found.x).exp()), 4)

"""Probabilities that come true: how the classifier's answers are softened or sharpened before they are stated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Temperatures (Guo et al., 2017) of log-probabilities, fitted on the validation split (training/calibrate.py).

    A temperature changes how sure an answer is, never which it is.
    """

    temperature: float
    """Of both streams together, with the patches that the policy buys; above 1 softens, below 1 sharpens."""
    lr_temperature: float
    """Of the LR stream alone."""
    scenes: int
    """Number of scenes that they were fitted on."""

    def __post_init__(self) -> None:
        """Refuse temperatures that no fit gives."""
        if not all(0 < value < math.inf for value in (self.temperature, self.lr_temperature)):
            raise ValueError(f"impossible calibration: {self.temperature}, {self.lr_temperature}")


def sharpened(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Return log-probabilities (B, N) at a temperature, normalised again."""
    return torch.log_softmax(log_probabilities / temperature, dim=1)

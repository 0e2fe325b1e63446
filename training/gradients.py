"""Gradient estimators for the policy: one signature, two forwards of the classifier each.

An estimator proposes K masks for every scene; the caller says what each is worth; the estimator turns
that into a loss whose gradient is an unbiased estimate of -∇ E[utility].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from geozoom.errors import RecipeError

Utility = Callable[[Tensor], Tensor]
"""Maps masks (B, P) to the utility of each scene (B,), without gradient."""


def tempered(logits: Tensor, alpha: float) -> Tensor:
    """Return the exploration probabilities α s + (1-α)(1-s) (Eq. 11), (B, P)."""
    s = torch.sigmoid(logits)
    return alpha * s + (1 - alpha) * (1 - s)


def log_likelihood(probabilities: Tensor, masks: Tensor) -> Tensor:
    """Return log π(a|x) (B,) of masks (B, P) under independent Bernoulli patches (Eq. 5)."""
    taken = probabilities * masks + (1 - probabilities) * (1 - masks)
    return taken.clamp(min=1e-8).log().sum(dim=1)


def entropy(logits: Tensor) -> Tensor:
    """Return the entropy of the untempered policy (B,), in nats per scene."""
    s = torch.sigmoid(logits)
    return (F.softplus(logits) - s * logits).sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class SelfCritical:
    """REINFORCE with the most likely action's reward as baseline (Eq. 8-10), the paper's estimator."""

    def propose(self, logits: Tensor, alpha: float, generator: torch.Generator) -> Tensor:
        """Return (2, B, P): a sample a1 from the tempered policy and â1, the most likely mask."""
        sample = _sample(tempered(logits, alpha), generator)
        return torch.stack([sample, (logits > 0).float()])

    def loss(self, logits: Tensor, alpha: float, masks: Tensor, utilities: Tensor) -> Tensor:
        """Return the scalar surrogate -A log π(a1|x), A = R(a1) - R(â1) (Eq. 10)."""
        advantage = utilities[0] - utilities[1]
        return -(advantage * log_likelihood(tempered(logits, alpha), masks[0])).mean()


@dataclass(frozen=True, kw_only=True)
class Rloo:
    """Leave-one-out baseline with two samples: ½ (R1 - R2)(∇log π(a1) - ∇log π(a2))."""

    def propose(self, logits: Tensor, alpha: float, generator: torch.Generator) -> Tensor:
        """Return (2, B, P): two independent samples from the tempered policy."""
        probabilities = tempered(logits, alpha)
        return torch.stack([_sample(probabilities, generator) for _ in range(2)])

    def loss(self, logits: Tensor, alpha: float, masks: Tensor, utilities: Tensor) -> Tensor:
        """Return the scalar surrogate of the leave-one-out estimator."""
        probabilities = tempered(logits, alpha)
        difference = log_likelihood(probabilities, masks[0]) - log_likelihood(probabilities, masks[1])
        return -(0.5 * (utilities[0] - utilities[1]) * difference).mean()


def _sample(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.rand(probabilities.shape, device=probabilities.device, generator=generator)
    return (noise < probabilities).float()


Estimator = SelfCritical | Rloo
_ESTIMATORS: dict[str, Callable[[], Estimator]] = {"self_critical": SelfCritical, "rloo": Rloo}


def build_estimator(name: str) -> Estimator:
    """Return the estimator called `name`: "self_critical" (the paper's) or "rloo"."""
    if name not in _ESTIMATORS:
        raise RecipeError(f"estimator {name!r} is not known; choose one of {', '.join(_ESTIMATORS)}")
    return _ESTIMATORS[name]()

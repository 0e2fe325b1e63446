"""Gradient estimators for the policy, behind one signature.

An estimator proposes K masks for every scene; the caller says what each is worth; the estimator turns
that into a loss whose gradient is an estimate of -∇ E[utility]: unbiased, but for the straight-through one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from geozoom.errors import RecipeError
from training.parallel import rand


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

    differentiable: ClassVar[bool] = False
    """Whether utilities must carry a gradient by the masks."""

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
    """Leave-one-out baseline (Kool et al., 2019): each of K samples against the mean of the others.

    With two: ½ (R1 - R2)(∇log π(a1) - ∇log π(a2)).
    """

    samples: int = 2
    """K, the number of masks and of forwards of the classifier for each scene."""
    differentiable: ClassVar[bool] = False

    def propose(self, logits: Tensor, alpha: float, generator: torch.Generator) -> Tensor:
        """Return (K, B, P): independent samples from the tempered policy."""
        probabilities = tempered(logits, alpha)
        return torch.stack([_sample(probabilities, generator) for _ in range(self.samples)])

    def loss(self, logits: Tensor, alpha: float, masks: Tensor, utilities: Tensor) -> Tensor:
        """Return the scalar surrogate -1/K Σ (Ri - mean of the other R) log π(ai)."""
        probabilities = tempered(logits, alpha)
        likelihoods = torch.stack([log_likelihood(probabilities, mask) for mask in masks])
        advantages = (utilities - utilities.mean(dim=0)) / (self.samples - 1)
        return -(advantages * likelihoods).sum(dim=0).mean()


@dataclass(frozen=True, kw_only=True)
class DisArm:
    """Antithetic pairs with the coupling integrated out (Dong et al., 2020; U2G of Yin et al., 2020).

    One uniform u makes both masks: a = 1[u < s] and ã = 1[1 - u < s]. Where they agree, a patch learns
    nothing of the pair's difference, since what made them agree did not depend on it.
    """

    differentiable: ClassVar[bool] = False

    def propose(self, logits: Tensor, alpha: float, generator: torch.Generator) -> Tensor:
        """Return (2, B, P): a sample from the tempered policy and its antithetic twin."""
        probabilities = tempered(logits, alpha)
        noise = rand(probabilities.shape, probabilities.device, generator)
        return torch.stack([(noise < probabilities).float(), (1 - noise < probabilities).float()])

    def loss(self, logits: Tensor, alpha: float, masks: Tensor, utilities: Tensor) -> Tensor:
        """Return a scalar whose gradient is -½ (R(a) - R(ã)) (a - ã) max(s, 1-s), by the log-odds of s."""
        probabilities = tempered(logits, alpha)
        # Clamped as `log_likelihood` is: at α = 1 the log-odds of a sure patch are infinite.
        odds = torch.logit(probabilities, eps=1e-6)
        with torch.no_grad():
            spread = torch.maximum(probabilities, 1 - probabilities)
            weight = 0.5 * (utilities[0] - utilities[1])[:, None] * (masks[0] - masks[1]) * spread
        return -(weight * odds).sum(dim=1).mean()


@dataclass(frozen=True, kw_only=True)
class StraightThrough:
    """The utility's own derivative by the mask, as if the mask were s (Bengio et al., 2013).

    One mask and one forward, with a backward through the classifier. It is biased wherever the utility is no
    plane in each patch, and needs a utility that has a derivative.
    """

    differentiable: ClassVar[bool] = True

    def propose(self, logits: Tensor, alpha: float, generator: torch.Generator) -> Tensor:
        """Return (1, B, P): a sample from the tempered policy, which utilities are to be derived by."""
        return _sample(tempered(logits, alpha), generator)[None].detach().requires_grad_()

    def loss(self, logits: Tensor, alpha: float, masks: Tensor, utilities: Tensor) -> Tensor:
        """Return a scalar whose gradient is -∂R(a)/∂a ∂s; no weight of the classifier gets any of it."""
        (slope,) = torch.autograd.grad(utilities.sum(), masks, retain_graph=True)
        return -(slope[0] * tempered(logits, alpha)).sum(dim=1).mean()


def _sample(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    noise = rand(probabilities.shape, probabilities.device, generator)
    return (noise < probabilities).float()


Estimator = SelfCritical | Rloo | DisArm | StraightThrough
ESTIMATORS = ("self_critical", "rloo", "disarm", "straight_through")
"""The paper's, and three others."""


def build_estimator(name: str, samples: int = 2) -> Estimator:
    """Return the estimator called `name`, one of `ESTIMATORS`; `samples` is RLOO's K."""
    if name == "rloo":
        return Rloo(samples=samples)
    others: dict[str, Callable[[], Estimator]] = {
        "self_critical": SelfCritical,
        "disarm": DisArm,
        "straight_through": StraightThrough,
    }
    if name not in others:
        raise RecipeError(f"estimator {name!r} is not known; choose one of {', '.join(ESTIMATORS)}")
    return others[name]()

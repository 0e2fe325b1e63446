"""What a mask is worth: the paper's reward, and a utility with a price per patch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geozoom.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class PaperReward:
    """R = 1 - (S/P)² where the classifier is right, else -σ (Eq. 3, METHOD §3)."""

    penalty: float
    """σ, a magnitude."""

    def utility(self, log_probabilities: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
        """Return R (B,) from log class probabilities (B, N), labels (B,) and masks (B, P)."""
        right = log_probabilities.argmax(dim=1) == labels
        share = masks.mean(dim=1)
        return torch.where(right, 1 - share**2, -self.penalty)

    def cost(self, probabilities: Tensor) -> Tensor:
        """Return 0: the paper's cost is inside the utility, where it is estimated by sampling."""
        return probabilities.new_zeros(())


@dataclass(frozen=True, kw_only=True)
class PricedReward:
    """u(a) - λ S/P with u the probability of the right class; the cost's gradient is exact.

    The probability rather than right or wrong, since it tells a mask that nearly suffices from one
    that does not. Its cost part cures the zero advantage of scenes that are wrong either way.
    """

    price: float
    """λ: the probability of the right class that buying a whole scene must add to be worth it."""

    def utility(self, log_probabilities: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
        """Return the probability (B,) that the classifier gives to the right class."""
        return log_probabilities.gather(1, labels.view(-1, 1)).squeeze(1).exp()

    def cost(self, probabilities: Tensor) -> Tensor:
        """Return λ times the expected share of bought patches, from s (B, P)."""
        return self.price * probabilities.mean()


Reward = PaperReward | PricedReward


def build_reward(name: str, *, penalty: float, price: float) -> Reward:
    """Return the reward called `name`: "paper" or "priced"."""
    if name == "paper":
        return PaperReward(penalty=abs(penalty))
    if name == "priced":
        return PricedReward(price=price)
    raise RecipeError(f"reward {name!r} is not known; choose paper or priced")

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
    """E[u(a)] - λ Σ_p c_p s_p / P, which is λ E[S]/P where all patches cost the same (METHOD §8).

    The cost's gradient is exact, which cures the zero advantage (METHOD §7).

    u is estimated under the tempered policy that explores (Eq. 11), whose gradient is 2α - 1 times that
    of s; the price is on s itself, which is what buys. So λ weighs λ / (2α - 1) while α is low.

    With one stream, u is best the probability of the right class, which tells a mask that nearly
    suffices from one that does not. With two (Eq. 7) that probability grows with S by itself wherever
    HR is surer than LR; u = 1 where the answer is right, else 0, asks only whether it is right.
    """

    price: float
    """λ: what buying a whole scene must add to u to be worth it."""
    hits: bool
    """True for u = right or wrong, False for u = the probability of the right class."""
    patch_prices: Tensor | None = None
    """c (P,) float32, what each patch costs beside an ordinary one; None for 1 everywhere."""

    def utility(self, log_probabilities: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
        """Return u (B,) from log class probabilities (B, N) and labels (B,)."""
        if self.hits:
            return (log_probabilities.argmax(dim=1) == labels).float()
        return log_probabilities.gather(1, labels.view(-1, 1)).squeeze(1).exp()

    def cost(self, probabilities: Tensor) -> Tensor:
        """Return λ times the expected share of bought patches, each at its price, from s (B, P).

        Its gradient by the logits is exact: λ c_p s_p (1 - s_p) / P for each scene.
        """
        if self.patch_prices is None:
            return self.price * probabilities.mean()
        return self.price * (probabilities * self.patch_prices).mean()


Reward = PaperReward | PricedReward


def build_reward(name: str, *, penalty: float, price: float, patch_prices: Tensor | None = None) -> Reward:
    """Return the reward called `name`: "paper", "priced" or "priced_hits"; the patches' prices are (P,)."""
    if name == "paper":
        return PaperReward(penalty=abs(penalty))
    if name in ("priced", "priced_hits"):
        return PricedReward(price=price, hits=name == "priced_hits", patch_prices=patch_prices)
    raise RecipeError(f"reward {name!r} is not known; choose paper, priced or priced_hits")

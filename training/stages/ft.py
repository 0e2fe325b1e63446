"""Stages `ft1` and `ft2` (Ft-1, Ft-2): policy and HR classifier learn together (paper §4.2).

Ft-1 classifies with the HR stream alone; Ft-2 with both streams (Eq. 7), the LR stream frozen.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from training.stages.bench import Bench
from training.stages.policy import PolicyStage


class FineTuning(PolicyStage):
    """Policy gradient for the policy, the negative log-likelihood of sampled masks for the classifier."""

    def __init__(self, bench: Bench, name: Literal["ft1", "ft2"]) -> None:
        recipe = bench.recipe.ft1 if name == "ft1" else bench.recipe.ft2
        model = bench.model
        policy = {"params": list(model.policy.parameters()), "lr": recipe.policy_learning_rate}
        stream = {"params": list(model.hr.parameters()), "lr": recipe.classifier_learning_rate}
        super().__init__(bench, name, "hr" if name == "ft1" else "both", recipe, [policy, stream])

    def train_mode(self) -> None:
        """The policy and the HR stream learn."""
        self.bench.only_training(self.bench.model.policy, self.bench.model.hr)

    def step(
        self, images: Tensor, labels: Tensor, progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Propose masks, learn to classify under the first of them, and reward both."""
        model, alpha = self.bench.model, self.alpha(progress)
        hr = self.bench.hr_views(images, generator, self.recipe.min_area)
        lr = self.bench.lr_views(hr, generator)
        logits = model.policy_logits(lr)
        with torch.no_grad():
            masks = self.estimator.propose(logits, alpha, generator)
            known = model.lr_logits(lr) if self.streams == "both" else None
            second = self._classify(hr, known, masks[1])
        first = self._classify(hr, known, masks[0])
        loss = self.bench.taught(F.nll_loss(first, labels), first, hr, self.recipe.distill)
        return self.learn(logits, alpha, masks, [first, second], labels, loss)

    def _classify(self, hr: Tensor, known: Tensor | None, masks: Tensor) -> Tensor:
        """Return log class probabilities (B, N) under masks (B, P); `known` are LR logits or None."""
        logits = self.bench.model.hr_logits(hr, masks)
        if known is None:
            return F.log_softmax(logits, dim=1)
        return self.bench.model.mix(logits, known, masks)

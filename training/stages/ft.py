"""Stages `ft1` and `ft2` (Ft-1, Ft-2): policy and HR classifier learn together (paper §4.2).

Ft-1 classifies with the HR stream alone; Ft-2 with both streams (Eq. 7), the LR stream frozen.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from geozoom.model import mix_streams
from training.engine import build_optimizer
from training.evaluate import Streams, correct, policy_probabilities
from training.gradients import build_estimator, entropy
from training.rewards import build_reward
from training.stages.bench import Bench, hit_rate, take_step


class FineTuning:
    """Policy gradient for the policy, the negative log-likelihood of sampled masks for the classifier."""

    def __init__(self, bench: Bench, name: Literal["ft1", "ft2"]) -> None:
        self.bench = bench
        self.name = name
        self.streams: Streams = "hr" if name == "ft1" else "both"
        self.recipe = bench.recipe.ft1 if name == "ft1" else bench.recipe.ft2
        self.epochs = self.recipe.epochs
        self.batch_size = self.recipe.batch_size
        self.schedule = self.recipe.schedule
        self.estimator = build_estimator(self.recipe.estimator)
        self.reward = build_reward(self.recipe.reward, penalty=self.recipe.penalty, price=self.recipe.price)
        model = bench.model
        self.optimizer = build_optimizer(
            "adam",
            [
                {"params": list(model.policy.parameters()), "lr": self.recipe.policy_learning_rate},
                {"params": list(model.hr.parameters()), "lr": self.recipe.classifier_learning_rate},
            ],
            0.0,
        )

    def train_mode(self) -> None:
        """The policy and the HR stream learn."""
        self.bench.only_training(self.bench.model.policy, self.bench.model.hr)

    def step(
        self, images: Tensor, labels: Tensor, progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Propose masks, learn to classify under the first of them, and reward both."""
        model = self.bench.model
        hr = self.bench.hr_views(images, generator)
        lr = self.bench.lr_views(hr, generator)
        logits = model.policy_logits(lr)
        start, end = self.recipe.alpha
        alpha = start + (end - start) * progress
        with torch.no_grad():
            masks = self.estimator.propose(logits, alpha, generator)
            known = model.lr_logits(lr) if self.streams == "both" else None
            other = self._classify(hr, known, masks[1])
        first = self._classify(hr, known, masks[0])
        with torch.no_grad():
            utilities = torch.stack(
                [
                    self.reward.utility(first, labels, masks[0]),
                    self.reward.utility(other, labels, masks[1]),
                ]
            )
        s, uncertainty = torch.sigmoid(logits), entropy(logits).mean()
        cost = self.reward.cost(s)
        loss = (
            F.nll_loss(first, labels)
            + self.estimator.loss(logits, alpha, masks, utilities)
            + cost
            - self.recipe.entropy * uncertainty / model.grid.patches
        )
        take_step(loss, self.optimizer)
        return {
            "loss": loss,
            "reward": utilities[0].mean() - cost.detach(),
            "accuracy": hit_rate(first, labels),
            "sampled": masks[0].sum(dim=1).mean(),
            "entropy": uncertainty,
        }

    def _classify(self, hr: Tensor, known: Tensor | None, masks: Tensor) -> Tensor:
        """Return log class probabilities (B, N) under masks (B, P); `known` are LR logits or None."""
        logits = self.bench.model.hr_logits(hr, masks)
        if known is None:
            return F.log_softmax(logits, dim=1)
        return mix_streams(logits, known, masks)

    def validate(self) -> dict[str, float]:
        """Accuracy of the stage's streams on the policy's most likely masks, and their S."""
        model, val = self.bench.model, self.bench.val
        masks = (policy_probabilities(model, val) > 0.5).float()
        return {
            "val_accuracy": correct(model, val, self.streams, masks).float().mean().item(),
            "val_sampled": masks.sum(dim=1).mean().item(),
        }

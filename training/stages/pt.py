"""Stage `pt` (Pt): the policy learns alone; the classifiers are frozen (paper §4.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.engine import build_optimizer
from training.evaluate import correct, policy_probabilities
from training.gradients import build_estimator, entropy
from training.rewards import build_reward
from training.stages.bench import Bench, hit_rate, take_step


class PreTraining:
    """Policy gradient with rewards from the frozen HR stream."""

    name = "pt"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.recipe = bench.recipe.pt
        self.epochs = self.recipe.epochs
        self.batch_size = self.recipe.batch_size
        self.schedule = self.recipe.schedule
        self.estimator = build_estimator(self.recipe.estimator)
        self.reward = build_reward(self.recipe.reward, penalty=self.recipe.penalty, price=self.recipe.price)
        policy = bench.model.policy
        self.optimizer = build_optimizer(
            "adam",
            [{"params": list(policy.parameters()), "lr": self.recipe.policy_learning_rate}],
            0.0,
        )

    def train_mode(self) -> None:
        """Only the policy learns."""
        self.bench.only_training(self.bench.model.policy)

    def step(
        self, images: Tensor, labels: Tensor, progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Propose masks from the LR view, reward them by what the HR stream makes of them."""
        model = self.bench.model
        hr = self.bench.hr_views(images, generator)
        logits = model.policy_logits(self.bench.lr_views(hr, generator))
        start, end = self.recipe.alpha
        alpha = start + (end - start) * progress
        with torch.no_grad():
            masks = self.estimator.propose(logits, alpha, generator)
            scores = [F.log_softmax(model.hr_logits(hr, mask), dim=1) for mask in masks]
            utilities = torch.stack(
                [self.reward.utility(s, labels, m) for s, m in zip(scores, masks, strict=True)]
            )
        s, uncertainty = torch.sigmoid(logits), entropy(logits).mean()
        cost = self.reward.cost(s)
        loss = (
            self.estimator.loss(logits, alpha, masks, utilities)
            + cost
            - self.recipe.entropy * uncertainty / model.grid.patches
        )
        take_step(loss, self.optimizer)
        return {
            "loss": loss,
            "reward": utilities[0].mean() - cost,
            "accuracy": hit_rate(scores[0], labels),
            "sampled": masks[0].sum(dim=1).mean(),
            "entropy": uncertainty,
        }

    def validate(self) -> dict[str, float]:
        """Accuracy of the HR stream on the policy's most likely masks, and their S."""
        model, val = self.bench.model, self.bench.val
        masks = (policy_probabilities(model, val) > 0.5).float()
        return {
            "val_accuracy": correct(model, val, "hr", masks).float().mean().item(),
            "val_sampled": masks.sum(dim=1).mean().item(),
        }

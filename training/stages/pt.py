"""Stage `pt` (Pt): the policy learns alone; the classifiers are frozen (paper §4.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from training.datasets import Batch
from training.stages.bench import Bench
from training.stages.policy import PolicyStage


class PreTraining(PolicyStage):
    """Policy gradient with rewards from the frozen HR stream."""

    def __init__(self, bench: Bench) -> None:
        recipe = bench.recipe.pt
        policy = {"params": list(bench.model.policy.parameters()), "lr": recipe.policy_learning_rate}
        super().__init__(bench, "pt", "hr", recipe, [policy])
        bench.begin_policy()

    def train_mode(self) -> None:
        """Only the policy learns."""
        self.bench.only_training(self.bench.model.policy)
        self.frozen = self.bench.folded()

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Propose masks from the LR view, reward them by what the HR stream makes of them."""
        model, alpha = self.bench.model, self.alpha(progress)
        hr, lr = self.bench.views(batch, generator, self.recipe.min_area)
        logits = model.policy_logits(lr)
        with torch.no_grad():
            masks = self.estimator.propose(logits, alpha, generator)
        with self.rewarding():
            scores = self.judged(self.frozen, batch, hr, lr, masks, known=None)
        return self.learn(logits, alpha, masks, scores, batch.labels, 0.0)

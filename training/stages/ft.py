"""Stages `ft1` and `ft2` (Ft-1, Ft-2): policy and HR classifier learn together (paper §4.2).

Ft-1 classifies with the HR stream alone; Ft-2 with both streams, the LR stream frozen: by Eq. 7, or as the finished
model answers (`ft2.together`). By the product it came out four points higher on AID and two lower on UC Merced, where
the LR stream knows the training scenes by heart and leaves HR nothing to learn (training/evidence).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from training.calibrate import fit_doubt, measure_gains
from training.datasets import Batch
from training.doubting import doubted_masks
from training.stages.bench import Bench
from training.stages.policy import PolicyStage


class FineTuning(PolicyStage):
    """Policy gradient for the policy, negative log-likelihood for the classifier."""

    def __init__(self, bench: Bench, name: Literal["ft1", "ft2"]) -> None:
        recipe = bench.recipe.ft1 if name == "ft1" else bench.recipe.ft2
        model = bench.model
        policy = {"params": list(model.policy.parameters()), "lr": recipe.policy_learning_rate}
        stream = {"params": list(model.hr.parameters()), "lr": recipe.classifier_learning_rate}
        super().__init__(bench, name, "hr" if name == "ft1" else "both", recipe, [policy, stream])
        # By the weights that the stage begins with, so that a resumed one finds the same.
        asked = recipe.classifier_masks == "doubted"
        self.doubt = bench.team.of_leader(fit_doubt(measure_gains(model, bench.val))) if asked else None

    def train_mode(self) -> None:
        """The policy and the HR stream learn."""
        self.bench.only_training(self.bench.model.policy, self.bench.model.hr)
        self.frozen = self.bench.folded()

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Propose masks and reward them; learn to classify under the first of them, or under what will be bought."""
        model, alpha = self.bench.model, self.alpha(progress)
        hr, lr = self.bench.views(batch, generator, self.recipe.min_area)
        logits = model.policy_logits(lr)
        with torch.no_grad():
            masks = self.estimator.propose(logits, alpha, generator)
        known = self.known(self.frozen, lr)
        read = model.hr_reader(hr)
        sampled = self.recipe.classifier_masks == "sampled"
        taught = masks[0] if sampled else self.expected(logits, known).to(masks.dtype)
        answers = self.classify(model, read, taught, known)
        loss = self.bench.taught(F.nll_loss(answers, batch.labels), answers, hr, self.recipe.distill)
        with self.rewarding():
            scores = self.judged(model, batch, hr, lr, masks, known, read, answers if sampled else None)
        return self.learn(logits, alpha, masks, scores, batch.labels, loss)

    @torch.no_grad()
    def expected(self, logits: Tensor, known: Tensor | None) -> Tensor:
        """Return the masks (B, P) that the finished model will meet: its policy's own, or those of a plan that asks.

        A plan that asks the LR stream where it is unsure buys as many patches, over the whole batch. Every second scene
        keeps the policy's own, so that the classifier knows what the policy is rewarded for.

        Args:
            logits: (B, P) of the policy.
            known: (B, N) logits of the LR stream, where the stage asks it.
        """
        if self.doubt is None or known is None:
            return logits > 0
        team = self.bench.team
        s, said = team.gather(torch.sigmoid(logits.float())), team.gather(known)
        likely = (s > 0.5).float()
        masks = doubted_masks(self.doubt, s, said, likely.sum())
        masks[::2] = likely[::2]
        return masks[team.share(len(masks))]

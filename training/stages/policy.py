"""What the stages that train the policy share: `pt`, `ft1` and `ft2`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from geozoom.model import PatchDrop
from training.datasets import Batch
from training.evaluate import Streams, correct, policy_probabilities
from training.gradients import build_estimator, entropy
from training.optimizing import build_optimizer
from training.recipe import PolicyRecipe
from training.rewards import build_reward
from training.stages.bench import Bench, hit_rate

Reader = Callable[[Tensor], Tensor]
"""Maps masks (B, P) to logits (B, N) of an HR stream that has seen the views; see `PatchDrop.hr_reader`."""


def answer_together(
    model: PatchDrop, recipe: PolicyRecipe, hr_logits: Tensor, known: Tensor | None, masks: Tensor
) -> Tensor:
    """Return the log class probabilities (B, N) that a stage learns by, under masks (B, P).

    They are of the HR stream's logits (B, N) alone if `known`, the LR stream's, is None, else of both.
    """
    if known is None:
        return F.log_softmax(hr_logits, dim=1)
    answer = model.fuse if recipe.together == "fusion" else model.mix
    return answer(hr_logits, known, masks)


class PolicyStage:
    """A policy gradient on the rewards of a few masks per scene, and the exact gradient of their price."""

    def __init__(
        self,
        bench: Bench,
        name: str,
        streams: Streams,
        recipe: PolicyRecipe,
        groups: list[dict[str, Any]],
    ) -> None:
        self.bench = bench
        self.name = name
        self.streams: Streams = streams
        self.recipe = recipe
        self.epochs = recipe.epochs
        self.batch_size = recipe.batch_size
        self.schedule = recipe.schedule
        self.estimator = build_estimator(recipe.estimator, recipe.samples)
        prices = bench.recipe.data.patch_prices
        self.reward = build_reward(
            recipe.reward,
            penalty=recipe.penalty,
            price=recipe.price,
            patch_prices=None
            if prices is None
            else torch.tensor(prices, device=bench.model.mean.device).flatten(),
        )
        self.optimizer = build_optimizer("adam", groups, 0.0)
        self.frozen = bench.model
        """The model whose frozen streams answer."""

    def alpha(self, progress: float) -> float:
        """Return the exploration temperature (Eq. 11) at `progress` in 0..1."""
        start, end = self.recipe.alpha
        return start + (end - start) * progress

    def known(self, model: PatchDrop, lr: Tensor) -> Tensor | None:
        """Return what the LR stream, which is frozen, says of scenes under any mask, if the stage asks it."""
        if self.streams == "hr":
            return None
        with torch.no_grad():
            return model.lr_logits(lr)

    def classify(self, model: PatchDrop, read: Reader, masks: Tensor, known: Tensor | None) -> Tensor:
        """Return log class probabilities (B, N) of the stage's streams under masks (B, P)."""
        return answer_together(model, self.recipe, read(masks), known, masks)

    def ask(self, model: PatchDrop, hr: Tensor, lr: Tensor, masks: Tensor) -> Tensor:
        """Return log class probabilities (B, N) of a judge under masks (B, P)."""
        return self.classify(model, model.hr_reader(hr), masks, self.known(model, lr))

    def rewarding(self) -> torch.autograd.grad_mode.set_grad_enabled:
        """Return the context in which rewards are made: without gradient, but for an estimator that needs it."""
        return torch.set_grad_enabled(self.estimator.differentiable)

    def judged(
        self,
        model: PatchDrop,
        batch: Batch,
        hr: Tensor,
        lr: Tensor,
        masks: Tensor,
        known: Tensor | None,
        read: Reader | None = None,
        first: Tensor | None = None,
    ) -> list[Tensor]:
        """Return the log class probabilities (B, N) that each of the masks (K, B, P) is rewarded by.

        They are the judges' where the recipe has judges, else `model`'s; `known` is its LR stream's
        answer, `read` its HR stream that has seen these views, and `first` are the answers to the first
        masks, where there are any already.
        """
        judges = self.bench.judges
        if judges is not None:
            return [judges.answer(self.ask, batch, hr, lr, mask) for mask in masks]
        read = model.hr_reader(hr) if read is None else read
        own = self.classify(model, read, masks[0], known) if first is None else first
        return [own, *(self.classify(model, read, mask, known) for mask in masks[1:])]

    def learn(
        self,
        logits: Tensor,
        alpha: float,
        masks: Tensor,
        scores: list[Tensor],
        labels: Tensor,
        classifier_loss: Tensor | float,
    ) -> dict[str, Tensor]:
        """Reward the masks, take one step, and return the metrics.

        The metric "reward" is the mean utility of the first masks less the price of what s would buy.

        Args:
            logits: (B, P) of the policy, with gradient.
            alpha: Exploration temperature.
            masks: (K, B, P) as the estimator proposed them.
            scores: Log class probabilities (B, N) under each mask.
            labels: (B,) class indices.
            classifier_loss: What the classifier learns from in the same step; 0 if it is frozen.
        """
        with self.rewarding():
            utilities = torch.stack(
                [self.reward.utility(s, labels, m) for s, m in zip(scores, masks, strict=True)]
            )
        uncertainty = entropy(logits).mean()
        cost = self.dearness(logits) * self.reward.cost(torch.sigmoid(logits))
        loss = (
            classifier_loss
            + self.estimator.loss(logits, alpha, masks, utilities)
            + cost
            - self.recipe.entropy * uncertainty / masks.shape[-1]
        )
        self.bench.take_step(loss, self.optimizer)
        masks = masks.detach()
        return {
            "loss": loss,
            "reward": utilities[0].detach().mean() - cost,
            "accuracy": hit_rate(scores[0], labels),
            "sampled": masks[0].sum(dim=1).mean(),
            "entropy": uncertainty,
        }

    @torch.no_grad()
    def dearness(self, logits: Tensor) -> Tensor:
        """Return what λ is multiplied by in a step: min((S / least)⁴, 1), by the S of the whole batch.

        A policy that buys less and less has a classifier that learns to do with less: at one price runs that differ by
        their seed alone come to three patches of a scene or to none.

        Args:
            logits: (B, P) of the policy, whose likely patches are S.
        """
        least = self.recipe.least_patches
        if not least:
            return logits.new_ones(())
        bought = (logits > 0).float().sum(dim=1).mean()
        self.bench.team.average([bought])
        return (bought / least).pow(4).clamp(max=1)

    def validate(self) -> dict[str, float]:
        """Accuracy of the stage's streams on the policy's most likely masks, and their S."""
        model, val = self.bench.model, self.bench.val
        masks = (policy_probabilities(model, val) > 0.5).float()
        return {
            "val_accuracy": correct(model, val, self.streams, masks).float().mean().item(),
            "val_sampled": masks.sum(dim=1).mean().item(),
        }

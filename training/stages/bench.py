"""What every stage works with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.model import PatchDrop
from training.evaluate import ViewedSplit
from training.judges import Judges
from training.recipe import Recipe
from training.views import augment, simulate_lr


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The model under training, the recipe and the validation split."""

    model: PatchDrop
    recipe: Recipe
    val: ViewedSplit
    teacher: nn.Module | None = None
    """The HR-CNN as stage `hr` left it, frozen, for stages that distil it."""
    judges: Judges | None = None
    """Classifiers that reward the policy on scenes they have not seen; None rewards by the model itself."""

    def hr_views(self, images: Tensor, generator: torch.Generator, min_area: float | None = None) -> Tensor:
        """Draw augmented HR views (B, 3, hr_px, hr_px) in 0..1 from uint8 scenes.

        `min_area` takes the place of the recipe's, where a stage has its own.
        """
        augmentation = self.recipe.augmentation
        if min_area is not None:
            augmentation = replace(augmentation, min_area=min_area)
        return augment(images, self.recipe.data.hr_px, augmentation, generator)

    def lr_views(self, hr: Tensor, generator: torch.Generator) -> Tensor:
        """Simulate the LR view (B, 3, lr_px, lr_px) of each HR view, so that both see one crop."""
        return simulate_lr(hr, self.recipe.data.lr_px, self.recipe.sensor, generator)

    def taught(self, loss: Tensor, log_probabilities: Tensor, hr: Tensor, share: float) -> Tensor:
        """Mix a loss with what the HR-CNN, which sees every patch of the same view, would have answered.

        A mask that hides what tells two classes apart should leave both likely; a label cannot say so.

        Args:
            loss: What the labels teach.
            log_probabilities: (B, N) of the student, under its masks.
            hr: (B, 3, hr_px, hr_px) the whole views in 0..1.
            share: Weight of the teacher; at 0 the loss stays as it is.
        """
        if share == 0:
            return loss
        if self.teacher is None:
            raise ValueError("a stage that distils needs a teacher")
        with torch.no_grad():
            answers = F.softmax(self.teacher(self.model.normalise(hr)).float(), dim=1)
        return (1 - share) * loss + share * F.kl_div(log_probabilities, answers, reduction="batchmean")

    def only_training(self, *networks: nn.Module) -> None:
        """Put `networks` into training mode and freeze all others in evaluation mode."""
        self.model.eval().requires_grad_(False)
        for network in networks:
            network.train().requires_grad_(True)


def take_step(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Backpropagate a loss and take one optimiser step."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def hit_rate(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the share of rows of scores (B, N) whose largest entry is the label's, as a tensor."""
    return (scores.argmax(dim=1) == labels).float().mean()

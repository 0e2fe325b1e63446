"""Stage `hr`: the HR classifier learns from full HR images (cross-entropy)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.datasets import Batch
from training.evaluate import correct
from training.stages.bench import Bench, hit_rate, take_step
from training.stages.classifier import ClassifierStage


class HrStage(ClassifierStage):
    """Cross-entropy on augmented HR views, with CutMix and progressive resizing if asked."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, "hr", bench.model.hr, bench.recipe.hr)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify augmented HR views."""
        views = self.bench.hr_views(batch.images, generator)
        if progress < self.recipe.small_share and self.recipe.small_px:
            size = (self.recipe.small_px, self.recipe.small_px)
            views = F.interpolate(views, size=size, mode="bilinear", antialias=True)
        views, partner, share = cutmix(views, self.recipe.cutmix, generator)
        logits = self.bench.model.hr_logits(views)
        loss = mixed_cross_entropy(logits, batch.labels, partner, share, self.recipe.label_smoothing)
        take_step(loss, self.optimizer)
        return {"loss": loss, "accuracy": hit_rate(logits, batch.labels)}

    def validate(self) -> dict[str, float]:
        """Accuracy on full HR images."""
        right = correct(self.bench.model, self.bench.val, "hr")
        return {"val_accuracy": right.float().mean().item()}


def mixed_cross_entropy(
    logits: Tensor, labels: Tensor, partner: Tensor, share: Tensor, smoothing: float
) -> Tensor:
    """Return the mean cross-entropy of scenes that `cutmix` mixed: both labels by their share."""
    own = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    other = F.cross_entropy(logits, labels[partner], label_smoothing=smoothing, reduction="none")
    return (share * own + (1 - share) * other).mean()


def cutmix(views: Tensor, probability: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Paste a box of another scene into some scenes (Yun et al., 2019), each with its own box.

    Args:
        views: (B, 3, H, W).
        probability: Chance that a scene gets a box.
        generator: Source of the random numbers, on the views' device.

    Returns:
        The mixed views, the partner (B,) of each scene, and the share (B,) that it kept.
    """
    batch, _, height, width = views.shape
    device = views.device
    partner = torch.randperm(batch, device=device, generator=generator)

    def uniform() -> Tensor:
        return torch.rand(batch, device=device, generator=generator)

    side = (uniform()).sqrt() * (uniform() < probability)  # box area ~ U(0, 1), Beta(1, 1)
    inside = [
        ((torch.arange(size, device=device) + 0.5) / size - uniform().view(-1, 1)).abs()
        < side.view(-1, 1) / 2
        for size in (height, width)
    ]
    box = inside[0][:, :, None] & inside[1][:, None, :]
    mixed = torch.where(box[:, None], views[partner], views)
    return mixed, partner, 1 - box.float().mean(dim=(1, 2))

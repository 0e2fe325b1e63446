"""Stage `hr`: the HR classifier learns from full HR images (cross-entropy)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.datasets import Batch
from training.evaluate import correct
from training.hard_positives import draw_counts, draw_squares, hide, patch_pixels, top_patches
from training.parallel import partners, rand
from training.stages.bench import Bench, hit_rate
from training.stages.classifier import ClassifierStage


class HrStage(ClassifierStage):
    """Cross-entropy on augmented HR views; hard positives, CutMix and progressive resizing if asked."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, "hr", bench.model.hr, bench.recipe.hr)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify augmented HR views."""
        views = self.views(batch, generator)
        if progress < self.recipe.small_share and self.recipe.small_px:
            size = (self.recipe.small_px, self.recipe.small_px)
            views = F.interpolate(views, size=size, mode="bilinear", antialias=True)
        views, others, share = cutmix(views, batch.labels, self.recipe.cutmix, generator)
        logits = self.bench.model.hr_logits(views)
        loss = mixed_cross_entropy(logits, batch.labels, others, share, self.recipe.label_smoothing)
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss, "accuracy": hit_rate(logits, batch.labels)}

    def views(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Draw HR views (B, 3, hr_px, hr_px) in 0..1, hidden in part as the recipe asks (paper §7)."""
        bench, recipe = self.bench, self.bench.recipe.hard_positives
        if recipe.augment == "none":
            return bench.hr_views(batch.images, generator)
        if recipe.augment == "cutout":
            views = bench.hr_views(batch.images, generator)
            hidden = draw_squares(views, recipe.cutout_px or views.shape[-1] // 2, generator)
        else:
            if bench.policy is None:
                raise ValueError("hard positives of a policy need one")
            views, lr = bench.views(batch, generator)
            counts = draw_counts(len(views), recipe.most_patches, views.device, generator)
            patches = top_patches(bench.policy.logits(lr), counts)
            hidden = patch_pixels(patches, bench.model.grid, *views.shape[-2:])
        return hide(views, hidden, bench.model.mean)

    def validate(self) -> dict[str, float]:
        """Accuracy on full HR images."""
        right = correct(self.bench.model, self.bench.val, "hr")
        return {"val_accuracy": right.float().mean().item()}


def mixed_cross_entropy(
    logits: Tensor, labels: Tensor, others: Tensor, share: Tensor, smoothing: float
) -> Tensor:
    """Return the mean cross-entropy of scenes that `cutmix` mixed: both labels by their share."""
    own = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    other = F.cross_entropy(logits, others, label_smoothing=smoothing, reduction="none")
    return (share * own + (1 - share) * other).mean()


def cutmix(
    views: Tensor, labels: Tensor, probability: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Paste a box of another scene into some scenes (Yun et al., 2019), each with its own box.

    Args:
        views: (B, 3, H, W).
        labels: (B,) class indices.
        probability: Chance that a scene gets a box.
        generator: Source of the random numbers, on the views' device.

    Returns:
        The mixed views, the label (B,) of what was pasted into each scene, and the share (B,) that it kept.
    """
    batch, _, height, width = views.shape
    device = views.device
    pasted, others = partners(views, labels, generator)

    def uniform() -> Tensor:
        return rand((batch,), device, generator)

    side = (uniform()).sqrt() * (uniform() < probability)  # box area ~ U(0, 1), Beta(1, 1)
    inside = [
        ((torch.arange(size, device=device) + 0.5) / size - uniform().view(-1, 1)).abs()
        < side.view(-1, 1) / 2
        for size in (height, width)
    ]
    box = inside[0][:, :, None] & inside[1][:, None, :]
    mixed = torch.where(box[:, None], pasted, views)
    return mixed, others, 1 - box.float().mean(dim=(1, 2))

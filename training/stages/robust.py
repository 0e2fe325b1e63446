"""Stage `robust`: the HR classifier meets random masks before any policy does (METHOD §8)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.datasets import Batch
from training.evaluate import correct, random_masks, spread_evenly
from training.parallel import rand
from training.stages.bench import Bench, hit_rate
from training.stages.classifier import ClassifierStage
from training.stages.hr import cutmix, mixed_cross_entropy


class RobustStage(ClassifierStage):
    """Cross-entropy on HR views of which each patch is kept with a probability from U(keep_min, 1)."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(bench, "robust", bench.model.hr, bench.recipe.robust)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify randomly masked HR views."""
        views = self.bench.hr_views(batch.images, generator)
        views, others, share = cutmix(views, batch.labels, self.recipe.cutmix, generator)
        shape = (len(batch.labels), self.bench.model.grid.patches)
        keep = rand((len(batch.labels), 1), views.device, generator)
        keep = self.recipe.keep_min + (1 - self.recipe.keep_min) * keep
        masks = (rand(shape, views.device, generator) < keep).float()
        logits = self.bench.model.hr_reader(views)(masks)
        loss = mixed_cross_entropy(logits, batch.labels, others, share, self.recipe.label_smoothing)
        loss = self.bench.taught(loss, F.log_softmax(logits, dim=1), views, self.recipe.distill)
        self.bench.take_step(loss, self.optimizer)
        return {
            "loss": loss,
            "accuracy": hit_rate(logits, batch.labels),
            "sampled": masks.sum(dim=1).mean(),
        }

    def validate(self) -> dict[str, float]:
        """Accuracy with half of the patches at random, and with all of them."""
        model, val = self.bench.model, self.bench.val
        rng = np.random.default_rng(0)
        half = len(val) * model.grid.patches // 2
        counts = spread_evenly(half, len(val), model.grid.patches, rng)
        masks = random_masks(counts, model, rng).to(val.lr.device)
        return {
            "val_accuracy": correct(model, val, "hr", masks).float().mean().item(),
            "val_accuracy_full": correct(model, val, "hr").float().mean().item(),
        }

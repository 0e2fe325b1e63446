"""Stage `lr`: the LR classifier learns from LR images; it starts from the HR classifier's weights if both are alike."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.datasets import Batch
from training.evaluate import correct
from training.stages.bench import Bench, hit_rate
from training.stages.classifier import ClassifierStage


class LrStage(ClassifierStage):
    """Cross-entropy on the LR view."""

    def __init__(self, bench: Bench) -> None:
        if bench.model.card.lr_classifier == bench.model.card.classifier:
            bench.model.lr.load_state_dict(bench.model.hr.state_dict())
        super().__init__(bench, "lr", bench.model.lr, bench.recipe.lr)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify the LR view of an augmented crop."""
        _, lr = self.bench.views(batch, generator)
        logits = self.bench.model.lr_logits(lr)
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.recipe.label_smoothing)
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss, "accuracy": hit_rate(logits, batch.labels)}

    def validate(self) -> dict[str, float]:
        """Accuracy on LR images alone."""
        right = correct(self.bench.model, self.bench.val, "lr")
        return {"val_accuracy": right.float().mean().item()}

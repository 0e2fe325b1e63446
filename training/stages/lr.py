"""Stage `lr`: the LR classifier starts from the HR classifier's weights and learns from LR images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from training.engine import build_optimizer
from training.evaluate import correct
from training.stages.bench import Bench, hit_rate, take_step


class LrStage:
    """Cross-entropy on the LR view, upsampled to the HR size."""

    name = "lr"

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.recipe = bench.recipe.lr
        self.epochs = self.recipe.epochs
        self.batch_size = self.recipe.batch_size
        self.schedule = self.recipe.schedule
        bench.model.lr.load_state_dict(bench.model.hr.state_dict())
        self.optimizer = build_optimizer(
            self.recipe.optimizer,
            [{"params": list(bench.model.lr.parameters()), "lr": self.recipe.learning_rate}],
            self.recipe.weight_decay,
        )

    def train_mode(self) -> None:
        """Only the LR stream learns."""
        self.bench.only_training(self.bench.model.lr)

    def step(
        self, images: Tensor, labels: Tensor, progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Classify the LR view of an augmented crop."""
        lr = self.bench.lr_views(self.bench.hr_views(images, generator), generator)
        logits = self.bench.model.lr_logits(lr)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.label_smoothing)
        take_step(loss, self.optimizer)
        return {"loss": loss, "accuracy": hit_rate(logits, labels)}

    def validate(self) -> dict[str, float]:
        """Accuracy on LR images alone."""
        right = correct(self.bench.model, self.bench.val, "lr")
        return {"val_accuracy": right.float().mean().item()}

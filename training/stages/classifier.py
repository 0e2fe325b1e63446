"""What the stages that train one classifier stream share: `hr`, `lr` and `robust`."""

from __future__ import annotations

from torch import nn

from training.optimizing import build_optimizer
from training.recipe import ClassifierRecipe
from training.stages.bench import Bench


class ClassifierStage:
    """One stream learns by cross-entropy; everything else is frozen."""

    def __init__(self, bench: Bench, name: str, stream: nn.Module, recipe: ClassifierRecipe) -> None:
        self.bench = bench
        self.name = name
        self.stream = stream
        self.recipe = recipe
        self.epochs = recipe.epochs
        self.batch_size = recipe.batch_size
        self.schedule = recipe.schedule
        self.optimizer = build_optimizer(
            recipe.optimizer,
            [{"params": list(stream.parameters()), "lr": recipe.learning_rate}],
            recipe.weight_decay,
        )

    def train_mode(self) -> None:
        """Put the stream into training mode and freeze the rest."""
        self.bench.only_training(self.stream)

"""The scout: a network no larger than the policy that learns to answer as the LR stream does, for `plan --when scout`.

The LR stream reads the LR image upsampled to the HR size, at a classifier's cost. How sure it is of a scene can be had
for a policy's: the scout reads the LR image as it is and learns the LR stream's answers to views that no one has to
label (distillation: Hinton et al., 2015, at temperature 1 and without the labels).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from geozoom.card import ModelCard
from geozoom.networks import NetworkSpec, build_resnet, is_bagnet, narrowed
from training.baselines.reading import Reader, fit_in_turn, lr_correct, placed, seeded
from training.datasets import Batch, Split
from training.engine import Engine
from training.optimizing import build_optimizer
from training.parallel import ALONE
from training.recipe import Recipe, ScoutRecipe
from training.stages import Bench
from training.stages.bench import hit_rate

NAME = "scout"
"""Of its stage, its checkpoint and its table in a recipe."""


class Scout(Reader):
    """A classifier that reads LR images as they are.

    Args:
        card: Of the model whose scout it is.
        spec: Its architecture.
    """

    def __init__(self, card: ModelCard, spec: NetworkSpec) -> None:
        super().__init__(card)
        self.network = build_resnet(spec, len(card.classes))

    def lr_logits(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w), RGB in 0..1, to logits (B, N) float32."""
        logits: Tensor = self.network(self.normalise(lr))
        return logits.float()


class ScoutStage:
    """The scout learns what the LR stream answers to the LR views of random crops, turned every way."""

    name = NAME

    def __init__(self, bench: Bench, scout: Scout) -> None:
        self.bench = bench
        self.scout = scout
        self.recipe: ScoutRecipe = bench.recipe.scout
        self.epochs = self.recipe.epochs
        self.batch_size = self.recipe.batch_size
        self.schedule = "cosine"
        groups: list[dict[str, object]] = [
            {"params": list(scout.parameters()), "lr": self.recipe.learning_rate}
        ]
        self.optimizer = build_optimizer("adamw", groups, self.recipe.weight_decay)
        self.taught_by = bench.folded()

    def train_mode(self) -> None:
        """Put the scout into training mode and freeze the rest."""
        self.bench.only_training(self.scout)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Answer as the LR stream does; what it says of a view holds for the view turned and flipped."""
        _, lr = self.bench.views(batch, generator, self.recipe.min_area)
        with torch.no_grad():
            taught = self.taught_by.lr_logits(lr).log_softmax(dim=1)
        ways = turned(lr) if self.bench.recipe.augmentation.quarter_turns else [lr, lr.flip(3)]
        logits = self.scout.lr_logits(torch.cat(ways))
        taught = taught.repeat(len(ways), 1)
        loss = F.kl_div(logits.log_softmax(dim=1), taught, reduction="batchmean", log_target=True)
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss, "accuracy": hit_rate(logits, taught.argmax(dim=1))}

    def validate(self) -> dict[str, float]:
        """Accuracy on LR images alone."""
        return {"val_accuracy": lr_correct(self.scout, self.bench.val).float().mean().item()}


def turned(lr: Tensor) -> list[Tensor]:
    """Return images (B, 3, h, h) turned by 0°, 90°, 180° and 270°."""
    return [torch.rot90(lr, turns, (2, 3)) for turns in range(4)]


def wants_scout(recipe: Recipe) -> bool:
    """Tell whether a run trains a scout: beside a BagNet the LR stream itself is of the policy's size."""
    return recipe.scout.epochs > 0 and not is_bagnet(recipe.networks.classifier)


def scout_spec(recipe: Recipe, card: ModelCard) -> NetworkSpec:
    """Return the architecture of the scout: the policy's, as narrow as the recipe says."""
    return narrowed(card.policy, recipe.scout.narrowing)


def train_scout(engine: Engine, bench: Bench, split: Split) -> Scout:
    """Train what is missing of the scout, by this process alone, and return it in evaluation mode.

    Args:
        engine: Of the run, whose folder takes its checkpoint.
        bench: Its model's LR stream is the teacher.
        split: The training scenes.

    Raises:
        RunError: As `Engine.fit`.
    """
    engine, bench = replace(engine, team=ALONE), replace(bench, team=ALONE)
    with seeded(engine, NAME):
        scout = placed(engine, Scout(bench.model.card, scout_spec(bench.recipe, bench.model.card)))
    bench.model.eval()
    fit_in_turn(engine, [(ScoutStage(bench, scout), scout)], split)
    return scout.eval().requires_grad_(False)

"""What the baselines that see LR alone share: a network that reads LR images, and how its stages are fitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.card import ModelCard
from training.baselines.recipe import FittingRecipe
from training.checkpoints import Carded
from training.datasets import Split
from training.engine import Engine, Stage, stage_seed
from training.evaluate import ViewedSplit
from training.recipe import ClassifierRecipe
from training.stages import Bench
from training.stages.classifier import ClassifierStage

_Module = TypeVar("_Module", bound=nn.Module)


class Reader(nn.Module, ABC):
    """A network that classifies LR images; its card says the sizes and the normalisation.

    Its parameters are what answering takes: none that was of use in training alone.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        self.card = card
        self.register_buffer("mean", torch.tensor(card.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(card.std).view(1, 3, 1, 1))

    @abstractmethod
    def lr_logits(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w), RGB in 0..1, to logits (B, N) float32."""

    def normalise(self, images: Tensor) -> Tensor:
        """Map RGB in 0..1 (B, 3, H, W) to zero mean and unit deviation, in channels_last."""
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def upsample(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w) to the HR size, as PatchDrop's LR stream does."""
        size = (self.card.hr_px, self.card.hr_px)
        return F.interpolate(lr, size=size, mode="bilinear", align_corners=False)


class ReaderStage(ClassifierStage):
    """A stage of a baseline: it learns as stage `lr` does, but for what its table says.

    Stage `NAME-PART` has the table `[baselines.NAME.PART]`.
    """

    def __init__(
        self, bench: Bench, name: str, reader: Reader, learns: nn.Module, recipe: ClassifierRecipe
    ) -> None:
        super().__init__(bench, name, learns, recipe)
        self.reader = reader
        self.table = f"baselines.{name.replace('-', '.')}"

    def train_mode(self) -> None:
        """Put what learns into training mode and freeze the rest."""
        self.reader.eval().requires_grad_(False)
        super().train_mode()

    def validate(self) -> dict[str, float]:
        """Accuracy on LR images alone."""
        return {"val_accuracy": lr_correct(self.reader, self.bench.val).float().mean().item()}


def as_lr(bench: Bench, recipe: FittingRecipe, **changes: Any) -> ClassifierRecipe:
    """Return the recipe of stage `lr` with a table's own values, and `changes` that its method demands."""
    own = {field.name: getattr(recipe, field.name) for field in fields(FittingRecipe)}
    given = {name: value for name, value in own.items() if value is not None}
    return replace(bench.recipe.lr, **(given | changes))


def unpadded(bench: Bench) -> Bench:
    """Return a bench whose views show nothing beyond a scene's edge.

    Black edges are most of the error of a view, and none of a whole image: who learns to draw them draws worse.
    """
    augmentation = replace(bench.recipe.augmentation, pad_px=0)
    return replace(bench, recipe=replace(bench.recipe, augmentation=augmentation))


@torch.inference_mode()
def lr_correct(reader: Reader, views: ViewedSplit) -> Tensor:
    """Return which scenes a reader classifies correctly, (N,) bool, in evaluation mode."""
    reader.eval()
    found = [reader.lr_logits(lr).argmax(dim=1) for lr in torch.split(views.lr, views.batch_size)]
    return torch.cat(found) == views.split.labels


@contextmanager
def seeded(engine: Engine, name: str) -> Iterator[None]:
    """Draw fresh weights by the seed of a baseline's own, and leave torch's generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage_seed(engine.seed, name))
        yield


def placed(engine: Engine, module: _Module) -> _Module:
    """Return a module on the engine's device, its batch norms shared by the processes that train together."""
    module.to(engine.device).to(memory_format=torch.channels_last)
    return engine.team.synchronise(module)


def fit_in_turn(engine: Engine, steps: Sequence[tuple[Stage, Carded]], split: Split) -> None:
    """Train the stages of a baseline, each with the network that its checkpoint holds, after the last finished one."""
    done = [number for number, (stage, _) in enumerate(steps) if engine.is_done(stage.name)]
    for stage, network in steps[done[-1] if done else 0 :]:
        if engine.is_done(stage.name):
            engine.load(network, stage.name)
        else:
            engine.fit(stage, network, split)

"""Hyper-parameters of the baselines: the recipe's tables `[baselines.NAME]`, all of which may be left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class FittingRecipe:
    """How a baseline's classifier learns: as stage `lr` does, but for what is given here."""

    epochs: int | None = None
    """Passes over the training split; None for those of `lr`."""
    batch_size: int | None = None
    """Scenes a step, in all stages of the baseline; None for that of `lr`."""
    learning_rate: float | None = None
    """Peak learning rate of the classifier; None for that of `lr`."""


@dataclass(frozen=True, kw_only=True)
class KdRecipe(FittingRecipe):
    """Knowledge distillation; the defaults are those of Su and Maji (2017)."""

    temperature: float = 10.0
    """T, by which both networks' logits are divided."""
    weight: float = 2 / 3
    """Share of the loss that the teacher's softened answers give, not the labels."""


@dataclass(frozen=True, kw_only=True)
class BaselinesRecipe:
    """One table for each baseline."""

    kd: KdRecipe = field(default_factory=KdRecipe)


def baseline_rules(baselines: BaselinesRecipe) -> Iterator[tuple[str, bool, str]]:
    """Yield each key, whether its value is possible, and what it must be."""
    kd = baselines.kd
    yield from _fitting_rules("baselines.kd", kd)
    yield "baselines.kd.temperature", 0 < kd.temperature < math.inf, "be positive"
    yield "baselines.kd.weight", 0 <= kd.weight <= 1, "lie in 0..1"


def _fitting_rules(table: str, recipe: FittingRecipe) -> Iterator[tuple[str, bool, str]]:
    yield f"{table}.epochs", recipe.epochs is None or recipe.epochs >= 1, "be at least 1"
    yield f"{table}.batch_size", recipe.batch_size is None or recipe.batch_size >= 2, "be at least 2"
    rate = recipe.learning_rate
    yield f"{table}.learning_rate", rate is None or 0 < rate < math.inf, "be positive"

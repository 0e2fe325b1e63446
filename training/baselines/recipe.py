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
class SrganRecipe(FittingRecipe):
    """SRGAN; the defaults are those of Ledig et al. (2017), but for the epochs."""

    width: int = 64
    """Channels of the generator."""
    blocks: int = 16
    """Residual blocks of the generator."""
    discriminator_width: int = 64
    """Channels of the discriminator's first layers; its last have eight times as many."""
    pixel_epochs: int | None = None
    """Passes in which the generator learns from pixels alone; None for those of `lr`."""
    pixel_learning_rate: float = 1e-4
    """Adam's in these."""
    gan_epochs: int | None = None
    """Passes against the discriminator; None for those of `lr`."""
    gan_learning_rate: float = 1e-4
    """Adam's, of both networks."""
    adversarial_weight: float = 1e-3
    """Weight of the adversarial loss beside the content loss."""


@dataclass(frozen=True, kw_only=True)
class PcnRecipe(FittingRecipe):
    """Partially coupled networks (Wang et al., 2016); the values are ours."""

    coupled: float = 0.5
    """Share of each convolution's filters that the HR and the LR network have in common."""
    sr_widths: tuple[int, int] = (64, 32)
    """Channels of the two hidden convolutions of the super-resolution part."""
    sr_epochs: int | None = None
    """Passes in which that part is trained beforehand; None for those of `lr`."""
    sr_learning_rate: float = 1e-3
    """Adam's in these."""
    huber: float = 0.5
    """Error, in standard deviations of a band, from which on the super-resolution loss grows linearly only."""


@dataclass(frozen=True, kw_only=True)
class BaselinesRecipe:
    """One table for each baseline."""

    kd: KdRecipe = field(default_factory=KdRecipe)
    srgan: SrganRecipe = field(default_factory=SrganRecipe)
    pcn: PcnRecipe = field(default_factory=PcnRecipe)


def baseline_rules(baselines: BaselinesRecipe) -> Iterator[tuple[str, bool, str]]:
    """Yield each key, whether its value is possible, and what it must be."""
    kd = baselines.kd
    yield from _fitting_rules("baselines.kd", kd)
    yield "baselines.kd.temperature", 0 < kd.temperature < math.inf, "be positive"
    yield "baselines.kd.weight", 0 <= kd.weight <= 1, "lie in 0..1"
    srgan = baselines.srgan
    yield from _fitting_rules("baselines.srgan", srgan)
    for key in ("width", "blocks", "discriminator_width"):
        yield f"baselines.srgan.{key}", getattr(srgan, key) >= 1, "be at least 1"
    for key in ("pixel_epochs", "gan_epochs"):
        yield f"baselines.srgan.{key}", _at_least(1, getattr(srgan, key)), "be at least 1"
    for key in ("pixel_learning_rate", "gan_learning_rate"):
        yield f"baselines.srgan.{key}", 0 < getattr(srgan, key) < math.inf, "be positive"
    weight = srgan.adversarial_weight
    yield "baselines.srgan.adversarial_weight", 0 <= weight < math.inf, "be zero or positive"
    pcn = baselines.pcn
    yield from _fitting_rules("baselines.pcn", pcn)
    yield "baselines.pcn.coupled", 0 <= pcn.coupled <= 1, "lie in 0..1"
    yield (
        "baselines.pcn.sr_widths",
        all(width >= 1 for width in pcn.sr_widths),
        "hold two widths of at least 1",
    )
    yield "baselines.pcn.sr_epochs", _at_least(1, pcn.sr_epochs), "be at least 1"
    for key in ("sr_learning_rate", "huber"):
        yield f"baselines.pcn.{key}", 0 < getattr(pcn, key) < math.inf, "be positive"


def _fitting_rules(table: str, recipe: FittingRecipe) -> Iterator[tuple[str, bool, str]]:
    yield f"{table}.epochs", _at_least(1, recipe.epochs), "be at least 1"
    yield f"{table}.batch_size", _at_least(2, recipe.batch_size), "be at least 2"
    rate = recipe.learning_rate
    yield f"{table}.learning_rate", rate is None or 0 < rate < math.inf, "be positive"


def _at_least(least: int, value: int | None) -> bool:
    return value is None or value >= least

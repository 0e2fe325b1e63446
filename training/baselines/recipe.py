"""Hyper-parameters of the baselines: the recipe's tables `[baselines.NAME]`, all of which may be left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class FittingRecipe:
    """How a stage of a baseline learns: as stage `lr` does, but for what is given here."""

    epochs: int | None = None
    """Passes over the training split; None for those of `lr`."""
    batch_size: int | None = None
    """Scenes a step; None for that of `lr`."""
    learning_rate: float | None = None
    """Peak learning rate; None for that of `lr`."""


@dataclass(frozen=True, kw_only=True)
class KdRecipe(FittingRecipe):
    """Knowledge distillation; the defaults are those of Su and Maji (2017)."""

    temperature: float = 10.0
    """T, by which both networks' logits are divided."""
    weight: float = 2 / 3
    """Share of the loss that the teacher's softened answers give, not the labels."""


@dataclass(frozen=True, kw_only=True)
class GeneratorRecipe(FittingRecipe):
    """A stage that trains SRGAN's generator, by Adam; the values are the paper's."""

    batch_size: int | None = 16
    """Scenes a step; None for that of `lr`."""
    learning_rate: float | None = 1e-4
    """Peak learning rate."""


@dataclass(frozen=True, kw_only=True)
class SrRecipe(FittingRecipe):
    """The stage in which PCN learns super-resolution beforehand, by Adam."""

    learning_rate: float | None = 1e-3
    """Peak learning rate."""


@dataclass(frozen=True, kw_only=True)
class SrganRecipe(FittingRecipe):
    """SRGAN; the defaults are those of Ledig et al. (2017), but for the epochs."""

    width: int = 64
    """Channels of the generator."""
    blocks: int = 16
    """Residual blocks of the generator."""
    discriminator_width: int = 64
    """Channels of the discriminator's first layers; its last have eight times as many."""
    pixels: GeneratorRecipe = field(default_factory=GeneratorRecipe)
    """The generator learns from pixels alone."""
    gan: GeneratorRecipe = field(default_factory=GeneratorRecipe)
    """Generator against discriminator."""
    adversarial_weight: float = 1e-3
    """Weight of the adversarial loss beside the content loss."""


@dataclass(frozen=True, kw_only=True)
class PcnRecipe(FittingRecipe):
    """Partially coupled networks (Wang et al., 2016); the values are ours."""

    coupled: float = 0.5
    """Share of each convolution's filters that the HR and the LR network have in common."""
    sr_widths: tuple[int, int] = (64, 32)
    """Channels of the two hidden convolutions of the super-resolution part; 6 at least."""
    sr: SrRecipe = field(default_factory=SrRecipe)
    """That part is trained beforehand."""
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
    yield from _fitting_rules("baselines.srgan.pixels", srgan.pixels)
    yield from _fitting_rules("baselines.srgan.gan", srgan.gan)
    weight = srgan.adversarial_weight
    yield "baselines.srgan.adversarial_weight", 0 <= weight < math.inf, "be zero or positive"
    pcn = baselines.pcn
    yield from _fitting_rules("baselines.pcn", pcn)
    yield "baselines.pcn.coupled", 0 <= pcn.coupled <= 1, "lie in 0..1"
    yield (
        "baselines.pcn.sr_widths",
        all(width >= 6 for width in pcn.sr_widths),
        "hold two widths of at least 6",
    )
    yield from _fitting_rules("baselines.pcn.sr", pcn.sr)
    yield "baselines.pcn.huber", 0 < pcn.huber < math.inf, "be positive"


def _fitting_rules(table: str, recipe: FittingRecipe) -> Iterator[tuple[str, bool, str]]:
    epochs, size, rate = recipe.epochs, recipe.batch_size, recipe.learning_rate
    yield f"{table}.epochs", epochs is None or epochs >= 1, "be at least 1"
    yield f"{table}.batch_size", size is None or size >= 2, "be at least 2"
    yield f"{table}.learning_rate", rate is None or 0 < rate < math.inf, "be positive"

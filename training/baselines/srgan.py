"""SRGAN (Ledig et al., 2017): LR images are upsampled by a generator, and a classifier reads what it drew.

Three stages, as there: the generator learns from pixels (mean squared error), then from a perceptual loss against a
discriminator, content + 10⁻³ adversarial (their Eq. 3), each batch teaching the discriminator first and the generator
after it; last, the HR-CNN goes on learning from super-resolved images, as stage `lr` does from upsampled ones.

**Decided:** the content loss compares features of the run's own HR-CNN after its last group, in the place of VGG19's,
whose weights would be a download; it is a scene's squared error over the mean square of its HR features, since their
scale differs from run to run (the paper's factor of 0.006 is to the same end). That lets the generator know what the
HR-CNN looks at, which helps this baseline. The generator learns from the recipe's views, but without black edges, where
the paper has crops of 96 px; both sides of the game learn by one Adam, whose cosine takes the place of the paper's drop
to a tenth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.card import ModelCard
from geozoom.networks import ResNet, build_network
from training.baselines.reading import Reader, ReaderStage, as_lr, fit_in_turn, placed, seeded, unpadded
from training.baselines.recipe import SrganRecipe
from training.baselines.super_resolution import Discriminator, Generator
from training.datasets import Batch, Split
from training.engine import Engine
from training.stages import Bench
from training.stages.bench import hit_rate


class SuperResolved(Reader):
    """A generator, and a classifier of what it draws."""

    def __init__(self, card: ModelCard, recipe: SrganRecipe) -> None:
        super().__init__(card)
        self.generator = Generator(card.lr_px, card.hr_px, recipe.width, recipe.blocks)
        self.classifier = build_network(card.classifier, len(card.classes), card.grid)

    def lr_logits(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w), RGB in 0..1, to logits (B, N) float32."""
        logits: Tensor = self.classifier(self.normalise(self.generator(lr)))
        return logits.float()


class Srgan(nn.Module):
    """The reader, and the discriminator that it needs in training."""

    def __init__(self, card: ModelCard, recipe: SrganRecipe) -> None:
        super().__init__()
        self.card = card
        self.reader = SuperResolved(card, recipe)
        self.discriminator = Discriminator(card.hr_px, recipe.discriminator_width)


class PixelStage(ReaderStage):
    """The generator learns to draw the HR view of a crop from its LR view, by the mean squared error."""

    def __init__(self, bench: Bench, reader: SuperResolved) -> None:
        recipe = as_lr(bench, bench.recipe.baselines.srgan.pixels, optimizer="adam", weight_decay=0.0)
        super().__init__(unpadded(bench), "srgan-pixels", reader, reader.generator, recipe)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the HR views of LR views."""
        hr, lr = self.bench.views(batch, generator)
        loss = F.mse_loss(self.stream(lr), hr)
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss}

    def validate(self) -> dict[str, float]:
        """PSNR in dB, and accuracy of the HR-CNN as it is on what the generator draws."""
        return super().validate() | {"val_psnr": psnr(self.stream, self.bench)}


class GanStage(ReaderStage):
    """Generator and discriminator learn from each other, and the generator from the HR-CNN's features."""

    def __init__(self, bench: Bench, srgan: Srgan, features: ResNet) -> None:
        self.own = bench.recipe.baselines.srgan
        self.generator, self.discriminator = srgan.reader.generator, srgan.discriminator
        self.features = features
        recipe = as_lr(bench, self.own.gan, optimizer="adam", weight_decay=0.0)
        both = nn.ModuleList([self.generator, self.discriminator])
        super().__init__(unpadded(bench), "srgan-gan", srgan.reader, both, recipe)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Teach the discriminator, then the generator: each step of Adam passes by what has no gradient."""
        hr, lr = self.bench.views(batch, generator)
        drawn = self.generator(lr)
        real, fake = self.reader.normalise(hr), self.reader.normalise(drawn)
        verdicts = self.discriminator(real), self.discriminator(fake.detach())
        caught = _entropy(verdicts[0], real=True) + _entropy(verdicts[1], real=False)
        self.bench.take_step(caught, self.optimizer)
        self.discriminator.requires_grad_(False)
        content = content_loss(self.features, fake, real)
        adversarial = _entropy(self.discriminator(fake), real=True)
        loss = content + self.own.adversarial_weight * adversarial
        self.bench.take_step(loss, self.optimizer)
        self.discriminator.requires_grad_(True)
        return {"loss": loss, "content": content, "adversarial": adversarial, "discriminator": caught}

    def validate(self) -> dict[str, float]:
        """PSNR in dB, and accuracy of the HR-CNN as it is on what the generator draws."""
        return super().validate() | {"val_psnr": psnr(self.generator, self.bench)}


class SrClassifierStage(ReaderStage):
    """The classifier goes on from the HR-CNN on super-resolved images, the generator frozen."""

    def __init__(self, bench: Bench, reader: SuperResolved) -> None:
        recipe = as_lr(bench, bench.recipe.baselines.srgan)
        super().__init__(bench, "srgan", reader, reader.classifier, recipe)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify what the generator draws of the LR view of a crop."""
        _, lr = self.bench.views(batch, generator)
        logits = self.reader.lr_logits(lr)
        loss = F.cross_entropy(logits, batch.labels, label_smoothing=self.recipe.label_smoothing)
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss, "accuracy": hit_rate(logits, batch.labels)}


def content_loss(network: ResNet, drawn: Tensor, real: Tensor) -> Tensor:
    """Return each scene's squared error of features over the real image's mean square, as the mean of scenes.

    Args:
        network: Whose features are compared.
        drawn: (B, 3, H, W) normalised images, which gradients go to.
        real: (B, 3, H, W) normalised HR images.
    """
    with torch.no_grad():
        wanted = network.features(real).float()
    found = network.features(drawn).float()
    errors, squares = ((of**2).mean(dim=(1, 2, 3)) for of in (found - wanted, wanted))
    return (errors / squares.clamp(min=1e-6)).mean()


def _entropy(verdict: Tensor, *, real: bool) -> Tensor:
    """Return the mean cross-entropy of logits (B,) with one answer for all."""
    return F.binary_cross_entropy_with_logits(verdict, torch.full_like(verdict, float(real)))


@torch.inference_mode()
def psnr(generator: nn.Module, bench: Bench) -> float:
    """Return the PSNR in dB of what a generator draws of the validation split, held to 0..1."""
    generator.eval()
    images = bench.val.split.in_order(bench.val.batch_size)
    squares = [
        (generator(lr).clamp(0, 1) - batch.images.float() / 255).square().mean(dim=(1, 2, 3))
        for batch, lr in zip(images, torch.split(bench.val.lr, bench.val.batch_size), strict=True)
    ]
    return -10 * torch.cat(squares).mean().log10().item()


def train(engine: Engine, bench: Bench, split: Split) -> SuperResolved:
    """Train what is missing of SRGAN and its classifier, and return both in evaluation mode.

    Raises:
        TypeError: The bench has no ResNet as teacher, whose features the content loss needs.
        RunError: As `Engine.fit`.
    """
    if not isinstance(bench.teacher, ResNet):
        raise TypeError("SRGAN needs the features of a ResNet as teacher")
    with seeded(engine, "srgan"):
        srgan = Srgan(bench.model.card, bench.recipe.baselines.srgan)
    reader = srgan.reader
    reader.classifier.load_state_dict(bench.teacher.state_dict())
    srgan = placed(engine, srgan)
    fit_in_turn(
        engine,
        [
            (PixelStage(bench, reader), srgan),
            (GanStage(bench, srgan, bench.teacher), srgan),
            (SrClassifierStage(bench, reader), reader),
        ],
        split,
    )
    return reader.eval().requires_grad_(False)

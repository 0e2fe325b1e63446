"""PCN: an HR and an LR network that have part of their filters in common (Wang et al., 2016).

The paper takes HR and LR images for two domains that are close, but not the same. So each layer shares part of its
filters between a network of HR images and one of LR images, and each domain has the rest to itself; layers in front
are trained beforehand for super-resolution, with a robust (Huber) loss; then recognition is learned end to end, and
the LR network alone answers.

Here each network is an SRCNN (Dong et al., 2014: 9×9, 1×1 and 5×5 convolutions) and a classifier of the HR-CNN's
architecture. Stage `pcn-sr` trains the SRCNNs: upsampled LR view → HR view, and HR view → itself. Stage `pcn` trains
everything: cross-entropy of the LR network on the LR view plus that of the HR network on the HR view of a crop.

**Decided**, since the paper's networks are of other sizes: that SRCNN, which passes images on unchanged to begin with
and learns beforehand from views without black edges; that every convolution is coupled, the classifiers' too, half of
its filters by default, while batch norms, biases and linear layers are each domain's own; that both losses weigh the
same and, in stage `pcn`, SRCNNs learn at a tenth of the rate; that both classifiers start from the HR-CNN, as the
LR-CNN does, so that coupling and super-resolution are what sets this row apart. Images are normalised ones; the Huber
loss's bend is in their unit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.card import ModelCard
from geozoom.networks import build_network
from training.baselines.coupling import couple
from training.baselines.reading import Reader, ReaderStage, as_lr, fit_in_turn, placed, seeded, unpadded
from training.baselines.recipe import PcnRecipe
from training.datasets import Batch, Split
from training.engine import Engine
from training.optimizing import build_optimizer
from training.stages import Bench
from training.stages.bench import hit_rate

SRCNN_RATE = 0.1
"""Share of the learning rate that the SRCNNs take in stage `pcn`: they have no batch norms to keep them steady."""


class DomainNetwork(Reader):
    """The network of one domain: SRCNN, then classifier."""

    def __init__(self, card: ModelCard, recipe: PcnRecipe) -> None:
        super().__init__(card)
        first, second = recipe.sr_widths
        convolutions = (
            nn.Conv2d(3, first, 9, padding=4),
            nn.Conv2d(first, second, 1),
            nn.Conv2d(second, 3, 5, padding=2),
        )
        _pass_on(*convolutions)
        self.srcnn = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])
        self.classifier = build_network(card.classifier, len(card.classes), card.grid)

    def logits(self, images: Tensor) -> Tensor:
        """Map normalised images at the HR size (B, 3, H, W) to logits (B, N) float32."""
        logits: Tensor = self.classifier(self.srcnn(images))
        return logits.float()

    def lr_logits(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w), RGB in 0..1, to logits (B, N) float32."""
        return self.logits(self.normalise(self.upsample(lr)))


@torch.no_grad()
def _pass_on(first: nn.Conv2d, second: nn.Conv2d, last: nn.Conv2d) -> None:
    """Let six filters of a fresh SRCNN carry the bands, positive and negative apart, and no other reach its output."""
    for convolution in (first, second, last):
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    first.weight[:6] = 0
    second.weight[:6] = 0
    last.weight[:] = 0
    for row in range(6):
        band, sign = row // 2, 1 - 2 * (row % 2)
        first.weight[row, band, 4, 4] = sign
        second.weight[row, row] = 1
        last.weight[band, row, 2, 2] = sign


class Pcn(nn.Module):
    """Both networks; the LR network holds the filters that they share, and is whole without the other."""

    def __init__(self, card: ModelCard, recipe: PcnRecipe, teacher: nn.Module) -> None:
        super().__init__()
        self.card = card
        self.lr = DomainNetwork(card, recipe)
        self.lr.classifier.load_state_dict(teacher.state_dict())
        self.hr = DomainNetwork(card, recipe)
        self.hr.load_state_dict(self.lr.state_dict())
        couple(self.lr, self.hr, recipe.coupled)


class SrStage(ReaderStage):
    """The SRCNNs of both domains learn to reconstruct the HR view."""

    def __init__(self, bench: Bench, pcn: Pcn) -> None:
        self.pcn = pcn
        self.own = bench.recipe.baselines.pcn
        recipe = as_lr(bench, self.own.sr, optimizer="adam", weight_decay=0.0)
        super().__init__(
            unpadded(bench), "pcn-sr", pcn.lr, nn.ModuleList([pcn.lr.srcnn, pcn.hr.srcnn]), recipe
        )

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Reconstruct the HR view of a crop from its upsampled LR view, and from itself."""
        hr, lr = self.bench.views(batch, generator)
        wanted, given = self.reader.normalise(hr), self.reader.normalise(self.reader.upsample(lr))
        errors = [
            F.huber_loss(network.srcnn(images).float(), wanted, delta=self.own.huber)
            for network, images in ((self.pcn.lr, given), (self.pcn.hr, wanted))
        ]
        loss = errors[0] + errors[1]
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss, "loss_lr": errors[0], "loss_hr": errors[1]}


class PcnStage(ReaderStage):
    """Both networks learn to classify, each in its domain."""

    def __init__(self, bench: Bench, pcn: Pcn) -> None:
        self.pcn = pcn
        recipe = as_lr(bench, bench.recipe.baselines.pcn)
        super().__init__(bench, "pcn", pcn.lr, pcn, recipe)
        shares = {"classifier": 1.0, "srcnn": SRCNN_RATE}
        self.optimizer = build_optimizer(
            recipe.optimizer,
            [
                {
                    "params": [
                        *pcn.lr.get_submodule(part).parameters(),
                        *pcn.hr.get_submodule(part).parameters(),
                    ],
                    "lr": share * recipe.learning_rate,
                }
                for part, share in shares.items()
            ],
            recipe.weight_decay,
        )

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify the LR view of a crop by the LR network, its HR view by the HR network."""
        hr, lr = self.bench.views(batch, generator)
        smoothing = self.recipe.label_smoothing
        logits = self.pcn.lr.lr_logits(lr)
        hr_logits = self.pcn.hr.logits(self.pcn.hr.normalise(hr))
        loss_lr = F.cross_entropy(logits, batch.labels, label_smoothing=smoothing)
        loss = loss_lr + F.cross_entropy(hr_logits, batch.labels, label_smoothing=smoothing)
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss, "loss_lr": loss_lr, "accuracy": hit_rate(logits, batch.labels)}


def train(engine: Engine, bench: Bench, split: Split) -> DomainNetwork:
    """Train what is missing of both networks and return the LR network in evaluation mode.

    Raises:
        ValueError: The bench has no teacher, whose weights both classifiers start from.
        RunError: As `Engine.fit`.
    """
    if bench.teacher is None:
        raise ValueError("PCN needs a teacher")
    with seeded(engine, "pcn"):
        pcn = Pcn(bench.model.card, bench.recipe.baselines.pcn, bench.teacher)
    pcn = placed(engine, pcn)
    fit_in_turn(engine, [(SrStage(bench, pcn), pcn), (PcnStage(bench, pcn), pcn)], split)
    return pcn.lr.eval().requires_grad_(False)

"""STN: the saliency network of Recasens et al. (2018), "Learning to Zoom", as the policy.

Their layer samples an image the more densely the more salient a place is: the sample at x is taken from

    u(x) = Σ_q S(q) k(x, q) q / Σ_q S(q) k(x, q)

with the saliency S ≥ 0 on a grid of places q and a Gaussian k. The classification loss on the sampled image
teaches the network what is salient. PatchDrop's paper takes its top S activated patches. **Decided:** the network is
PatchDrop's policy network, so that both choose with as many parameters; a place is a patch, and beyond the rim the
patches there repeat, as in their code; σ is a third of the scene's side, as theirs is of the map's; the HR classifier
that reads the sampled image is frozen, as in stage `pt`, whose epochs, batches and learning rate it has.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from geozoom.grid import PatchGrid
from geozoom.model import PatchDrop
from training.baselines.rules import Rule, top
from training.datasets import Batch
from training.evaluate import EVALUATION_BATCH, correct
from training.optimizing import build_optimizer
from training.stages.bench import Bench, hit_rate

_SPREAD = 1 / 3
"""σ of the kernel in sides of a scene."""
_POINTS = 32
"""Points of the sampling grid along a side, between which it is interpolated."""


class SaliencySampler:
    """Samples scenes by saliency, differentiably."""

    def __init__(self, grid: PatchGrid, device: torch.device) -> None:
        self.grid = grid
        down = (torch.arange(-grid.rows, 2 * grid.rows) + 0.5) / grid.rows
        across = (torch.arange(-grid.cols, 2 * grid.cols) + 0.5) / grid.cols
        self.places = torch.cartesian_prod(down, across).flip(1).to(device)  # x, y in 0..1
        at = (torch.arange(_POINTS) + 0.5) / _POINTS
        points = torch.cartesian_prod(at, at).flip(1).to(device)
        square = (points[:, None] - self.places[None]).square().sum(dim=-1)
        self.kernel = torch.exp(-square / (2 * _SPREAD**2))

    def positions(self, saliency: Tensor) -> Tensor:
        """Return where samples are taken, (B, points, points, 2) as x, y in 0..1, of a saliency (B, P) above 0."""
        grid = self.grid
        mapped = saliency.float().view(-1, 1, grid.rows, grid.cols)
        rows = torch.arange(-grid.rows, 2 * grid.rows, device=saliency.device).clamp(0, grid.rows - 1)
        cols = torch.arange(-grid.cols, 2 * grid.cols, device=saliency.device).clamp(0, grid.cols - 1)
        weights = mapped[:, 0, rows][:, :, cols].flatten(1)
        pulled = (weights[:, :, None] * self.places).transpose(0, 1).flatten(1)
        with torch.autocast(weights.device.type, enabled=False):  # places in bfloat16 are pixels off
            sums = (self.kernel @ pulled).view(-1, len(weights), 2).transpose(0, 1)
            total = weights @ self.kernel.T
        return (sums / total[..., None]).clamp(0, 1).view(-1, _POINTS, _POINTS, 2)

    def sample(self, hr: Tensor, saliency: Tensor) -> Tensor:
        """Return HR images (B, 3, H, W) sampled by a saliency (B, P), of the same size."""
        coarse = self.positions(saliency).permute(0, 3, 1, 2)
        fine = F.interpolate(coarse, size=hr.shape[-2:], mode="bilinear", align_corners=False)
        return F.grid_sample(hr, 2 * fine.permute(0, 2, 3, 1) - 1, align_corners=False, padding_mode="border")


def saliency(model: PatchDrop, lr: Tensor) -> Tensor:
    """Return the saliency (B, P) of LR images, which sums to 1 over a scene."""
    return model.policy_logits(lr).softmax(dim=1)


def _most_salient(model: PatchDrop, lr: Tensor, _: torch.Generator) -> Tensor:
    with torch.no_grad():
        return torch.cat([model.policy_logits(part) for part in torch.split(lr, EVALUATION_BATCH)])


SALIENT = Rule(preference=_most_salient)
"""Buys the patches that the model's policy network, trained as a saliency network, activates most."""


class StnStage:
    """The policy network learns as a saliency network; the classifiers are frozen."""

    name = "stn"

    def __init__(self, bench: Bench, sampled: float) -> None:
        recipe = bench.recipe.pt
        self.bench = bench
        self.sampled = sampled
        self.epochs, self.batch_size, self.schedule = recipe.epochs, recipe.batch_size, recipe.schedule
        self.sampler = SaliencySampler(bench.model.grid, bench.model.mean.device)
        self.optimizer = build_optimizer(
            "adam",
            [{"params": list(bench.model.policy.parameters()), "lr": recipe.policy_learning_rate}],
            0.0,
        )

    def train_mode(self) -> None:
        """The policy network learns alone."""
        self.bench.only_training(self.bench.model.policy)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify HR views sampled by saliency."""
        model = self.bench.model
        hr, lr = self.bench.views(batch, generator, self.bench.recipe.pt.min_area)
        salient = saliency(model, lr)
        logits = model.hr_logits(self.sampler.sample(hr, salient))
        loss = F.cross_entropy(logits, batch.labels)
        self.bench.take_step(loss, self.optimizer)
        log = salient.detach().clamp_min(1e-12).log()
        return {
            "loss": loss,
            "accuracy": hit_rate(logits, batch.labels),
            "entropy": -(salient.detach() * log).sum(dim=1).mean(),
        }

    def validate(self) -> dict[str, float]:
        """Accuracy of the HR classifier on the most salient patches, about as many as the policy's."""
        model, val = self.bench.model, self.bench.val
        model.eval()
        scores = _most_salient(model, val.lr, torch.Generator(val.lr.device))
        masks = top(scores, torch.full((len(val),), round(self.sampled), device=val.lr.device))
        return {
            "val_accuracy": correct(model, val, "hr", masks).float().mean().item(),
            "val_sampled": masks.sum(dim=1).mean().item(),
        }

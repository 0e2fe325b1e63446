"""STN: the saliency network of Recasens et al. (2018) as a policy; the S patches that it finds most salient are bought.

It learns to enlarge what a classifier needs to see: HR images are resampled so that salient places take more room, and
both learn from the classifier's cross-entropy on them. What chooses patches afterwards is the saliency alone.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.inference import fold_batch_norms
from geozoom.model import PatchDrop
from geozoom.networks import build_resnet
from training.datasets import Batch
from training.engine import build_optimizer
from training.stages import Bench
from training.stages.bench import hit_rate

FWHM = 13 / 31
"""Full width at half maximum of the sampler's Gaussian, as a share of the map's side; theirs has 13 cells of 31."""


class SaliencySampler(nn.Module):
    """Saliency of the LR image, and the classifier that it learns with.

    The saliency network is the beginning of the policy's architecture, through its first group of blocks, and a 1×1
    convolution.
    """

    def __init__(self, model: PatchDrop) -> None:
        super().__init__()
        self.card, self.grid, self.normalise = model.card, model.grid, model.normalise
        begin = build_resnet(model.card.policy, 1)
        blocks = begin.get_submodule("layer1")
        *_, last = (module for module in blocks.modules() if isinstance(module, nn.BatchNorm2d))
        self.saliency = nn.Sequential(
            begin.conv1, begin.bn1, nn.ReLU(), begin.maxpool, blocks, nn.Conv2d(last.num_features, 1, 1)
        )
        self.classifier = copy.deepcopy(model.hr)
        self.to(model.mean.device)

    def forward(self, hr: Tensor, lr: Tensor) -> Tensor:
        """Classify HR images (B, 3, H, W) as the saliency of their LR images resamples them: (B, N) float32."""
        saliency = saliency_of(self.saliency(self.normalise(lr)))
        where = sampling_grid(saliency, hr.shape[-1])
        seen = F.grid_sample(self.normalise(hr), where, mode="bilinear", align_corners=True)
        logits: Tensor = self.classifier(seen.contiguous(memory_format=torch.channels_last))
        return logits.float()


def saliency_of(logits: Tensor) -> Tensor:
    """Return saliency (B, 1, m, n) float32 that sums to 1 in every image."""
    return logits.float().flatten(1).softmax(dim=1).view(logits.shape)


def sampling_grid(saliency: Tensor, side: int) -> Tensor:
    """Return where to sample images so that what is salient takes more room (Recasens et al., Eq. 3–4).

    Args:
        saliency: (B, 1, m, m), not negative.
        side: Of the image that is sampled.

    Returns:
        (B, side, side, 2) x and y in -1..1, the corners of images being at the centres of their corner pixels.
    """
    cells = saliency.shape[-1]
    reach = cells - 1
    steps = torch.arange(-reach, reach + 1, device=saliency.device)
    bell = torch.exp(-4 * torch.log(torch.tensor(2.0)) * (steps / (FWHM * cells)) ** 2)
    kernel = (bell[:, None] * bell)[None, None]
    around = 2 * torch.arange(-reach, cells + reach, device=saliency.device) / max(1, reach) - 1
    # The map goes on beyond its edges, as in theirs: else everything would be drawn to the middle.
    padded = F.pad(saliency, (reach,) * 4, mode="replicate")
    with torch.autocast(saliency.device.type, enabled=False):  # half precision would round places to pixels
        weight = F.conv2d(padded, kernel)
        x = F.conv2d(padded * around, kernel) / weight
        y = F.conv2d(padded * around[:, None], kernel) / weight
    where = torch.cat([x, y], dim=1).clamp(-1, 1)
    return F.interpolate(where, size=(side, side), mode="bilinear", align_corners=True).permute(0, 2, 3, 1)


class SaliencyStage:
    """Cross-entropy on resampled HR views, for as many epochs as `pt` has; both networks learn."""

    name = "stn"

    def __init__(self, bench: Bench, sampler: SaliencySampler) -> None:
        self.bench, self.sampler = bench, sampler
        recipe = bench.recipe.pt
        self.recipe = recipe
        self.epochs, self.batch_size, self.schedule = recipe.epochs, recipe.batch_size, recipe.schedule
        groups = [
            {"params": list(sampler.saliency.parameters()), "lr": recipe.policy_learning_rate},
            {"params": list(sampler.classifier.parameters()), "lr": recipe.classifier_learning_rate},
        ]
        self.optimizer = build_optimizer("adam", groups, 0.0)

    def train_mode(self) -> None:
        """Saliency and its classifier learn."""
        self.sampler.train().requires_grad_(True)

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify resampled views."""
        hr, lr = self.bench.views(batch, generator, self.recipe.min_area)
        logits = self.sampler(hr, lr)
        loss = F.cross_entropy(logits, batch.labels)
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss, "accuracy": hit_rate(logits, batch.labels)}

    @torch.inference_mode()
    def validate(self) -> dict[str, float]:
        """Accuracy on resampled scenes."""
        self.sampler.eval()
        val, right, start = self.bench.val, 0.0, 0
        for batch in val.split.in_order(val.batch_size):
            lr = val.lr[start : start + len(batch.labels)]
            start += len(batch.labels)
            found = self.sampler(batch.images.float() / 255, lr).argmax(dim=1)
            right += (found == batch.labels).float().sum().item()
        return {"val_accuracy": right / len(val)}


class Salient:
    """The S patches of the most saliency."""

    def __init__(self, sampler: SaliencySampler) -> None:
        self.normalise, self.grid = sampler.normalise, sampler.grid
        self.network = fold_batch_norms(sampler.saliency).requires_grad_(False)

    def __call__(self, lr: Tensor, sampled: int, generator: torch.Generator) -> Tensor:
        """Return masks (B, P) of the `sampled` most salient patches."""
        saliency = saliency_of(self.network(self.normalise(lr)))
        patches = F.adaptive_avg_pool2d(saliency, (self.grid.rows, self.grid.cols)).flatten(1)
        return (patches.argsort(dim=1, descending=True).argsort(dim=1) < sampled).float()

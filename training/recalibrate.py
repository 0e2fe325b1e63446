"""Batch norm statistics of the HR stream for what it will meet: whole scenes under the policy's own masks.

Fine-tuning gathers them on augmented crops under sampled masks, and is tested on neither (METHOD §7).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.model import PatchDrop
from geozoom.sensor import simulate_lr
from training.datasets import Split
from training.evaluate import EVALUATION_BATCH, Streams, ViewedSplit, correct, policy_probabilities
from training.recipe import Recipe


@torch.no_grad()
def recalibrate(model: PatchDrop, train: Split, recipe: Recipe, seed: int) -> None:
    """Replace the HR stream's batch norm statistics by their mean over the training scenes.

    Args:
        model: Its HR stream's buffers change, no weight does.
        train: Training scenes; seen whole, at the HR size.
        recipe: Sizes and sensor.
        seed: Of the shuffle and the LR images' noise.
    """
    model.eval()
    device = train.labels.device
    noise = torch.Generator(device).manual_seed(seed)
    with _averaging(model.hr):
        for batch in train.batches(EVALUATION_BATCH, torch.Generator().manual_seed(seed)):
            hr = _resized(batch.images, recipe.data.hr_px)
            if batch.twins is None:
                lr = simulate_lr(hr, recipe.data.lr_px, recipe.sensor, noise)
            else:
                lr = _resized(batch.twins, recipe.data.lr_px)
            model.hr_logits(hr, (model.policy_logits(lr) > 0).float())


def _resized(images: Tensor, side: int) -> Tensor:
    """Return whole scenes (B, 3, side, side) in 0..1."""
    scenes = images.float() / 255
    return F.interpolate(scenes, size=(side, side), mode="bilinear", antialias=True).clamp(0, 1)


def recalibrate_if_better(
    model: PatchDrop, train: Split, val: ViewedSplit, streams: Streams, recipe: Recipe, seed: int
) -> tuple[float, float]:
    """Recalibrate, and keep it only if accuracy on the validation split does not fall.

    Returns:
        Validation accuracy before and after, 0..1.
    """
    masks = (policy_probabilities(model, val) > 0.5).float()
    before = correct(model, val, streams, masks).float().mean().item()
    held = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    recalibrate(model, train, recipe, seed)
    after = correct(model, val, streams, masks).float().mean().item()
    if after < before:
        model.load_state_dict(held)
    return before, after


@contextmanager
def _averaging(network: nn.Module) -> Iterator[None]:
    """Let batch norms gather the plain mean of the batches' statistics from now on."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    try:
        yield
    finally:
        network.eval()
        for norm, value in zip(norms, momentum, strict=True):
            norm.momentum = value

"""Accuracy and S of masks on a classifier, and of the controls that buy as many patches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from geozoom.model import PatchDrop
from geozoom.scores import wilson_interval
from geozoom.sensor import simulate_lr
from training.datasets import Split
from training.recipe import Recipe

EVALUATION_BATCH = 128
CONTROL_DRAWS = 5
"""Random controls are the mean over this many draws."""

Streams = Literal["hr", "lr", "both"]


@dataclass(frozen=True, kw_only=True)
class ViewedSplit:
    """A split with its LR images, which are made once so that every stage sees the same ones."""

    split: Split
    """HR scenes and labels."""
    lr: Tensor
    """(N, 3, lr_px, lr_px) float32 RGB in 0..1: the dataset's own, or simulated with the sensor's noise."""
    batch_size: int = EVALUATION_BATCH
    """Scenes that are classified at once."""

    def __len__(self) -> int:
        return len(self.split)

    def of(self, scenes: Tensor) -> ViewedSplit:
        """Return the scenes at the indices (n,), in that order."""
        return replace(self, split=self.split.only(scenes), lr=self.lr[scenes])


def view_split(split: Split, recipe: Recipe, seed: int) -> ViewedSplit:
    """Take the real LR image of every scene, or simulate it with noise that depends on `seed` alone."""
    generator = torch.Generator(split.labels.device).manual_seed(seed)
    lr_px = recipe.data.lr_px
    lr = [
        simulate_lr(batch.images.float() / 255, lr_px, recipe.sensor, generator)
        if batch.twins is None
        else whole(batch.twins, lr_px)
        for batch in split.in_order(EVALUATION_BATCH)
    ]
    return ViewedSplit(split=split, lr=torch.cat(lr))


def whole(images: Tensor, side: int) -> Tensor:
    """Return whole scenes (B, 3, H, H) uint8, which may be kept larger, as (B, 3, side, side) in 0..1."""
    scenes = images.float() / 255
    if scenes.shape[-1] == side:
        return scenes
    return F.interpolate(scenes, size=(side, side), mode="bilinear", antialias=True).clamp(0, 1)


@torch.inference_mode()
def policy_probabilities(model: PatchDrop, views: ViewedSplit) -> Tensor:
    """Return s (N, P) of every scene, in evaluation mode."""
    model.eval()
    return torch.cat([model.probabilities(lr) for lr in torch.split(views.lr, EVALUATION_BATCH)])


def correct(
    model: PatchDrop,
    views: ViewedSplit,
    streams: Streams,
    bought: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Return which scenes are classified correctly, (N,) bool; the arguments are those of `answers`."""
    return answers(model, views, streams, bought, known).argmax(dim=1) == views.split.labels


@torch.inference_mode()
def answers(
    model: PatchDrop,
    views: ViewedSplit,
    streams: Streams,
    bought: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Return what a classifier answers, in evaluation mode: (N, classes) logits or, of both streams, log probabilities.

    Args:
        model: The classifier.
        views: HR and LR scenes.
        streams: The HR stream alone, the LR stream alone, or both (Eq. 7).
        bought: (N, P) masks; None buys every patch.
        known: (N, classes) logits of the LR stream, where they are there already.
    """
    model.eval()
    found = []
    start = 0
    for batch in views.split.in_order(views.batch_size):
        rows = slice(start, start + len(batch.labels))
        start += len(batch.labels)
        hr = batch.images.float() / 255
        masks = hr.new_ones(len(batch.labels), model.grid.patches) if bought is None else bought[rows]
        if streams == "lr":
            scores = model.lr_logits(views.lr[rows])
        elif streams == "hr":
            scores = model.hr_logits(hr, masks)
        else:
            lr_logits = model.lr_logits(views.lr[rows]) if known is None else known[rows]
            scores = model.mix(model.hr_logits(hr, masks), lr_logits, masks)
        found.append(scores)
    return torch.cat(found)


def spread_evenly(total: int, scenes: int, patches: int, rng: np.random.Generator) -> Tensor:
    """Return patch counts (N,) that add up to `total` and differ by at most one, at random."""
    if total > scenes * patches:
        raise ValueError(f"{total} patches do not fit into {scenes} scenes of {patches}")
    counts = np.full(scenes, total // scenes)
    counts[rng.permutation(scenes)[: total % scenes]] += 1
    return torch.from_numpy(counts)


def centre_masks(counts: Tensor, model: PatchDrop) -> Tensor:
    """Return masks (N, P) with the `counts` patches nearest to the centre of each scene."""
    rank = torch.empty(model.grid.patches, dtype=torch.int64)
    rank[torch.from_numpy(model.grid.centre_order())] = torch.arange(model.grid.patches)
    return (rank < counts.view(-1, 1)).float()


def random_masks(counts: Tensor, model: PatchDrop, rng: np.random.Generator) -> Tensor:
    """Return masks (N, P) with `counts` patches of each scene, chosen uniformly."""
    noise = torch.from_numpy(rng.random((len(counts), model.grid.patches)))
    return (noise.argsort(dim=1).argsort(dim=1) < counts.view(-1, 1)).float()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the results table."""

    name: str
    """What was measured."""
    accuracy: float
    """Share of scenes classified correctly, in percent."""
    sampled: float
    """S, the mean number of patches bought per scene."""
    scenes: int
    """Number of scenes."""

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% Wilson interval of the accuracy, in percent."""
        return wilson_interval(self.accuracy / 100, self.scenes)


def row(name: str, right: Tensor, bought: Tensor | float) -> Row:
    """Make a table row from (N,) correctness and (N, P) masks or a fixed S."""
    sampled = bought if isinstance(bought, float) else bought.sum(dim=1).mean().item()
    return Row(
        name=name,
        accuracy=100 * right.float().mean().item(),
        sampled=sampled,
        scenes=len(right),
    )


def control_rows(
    name: str,
    model: PatchDrop,
    views: ViewedSplit,
    streams: Streams,
    total: int,
    seed: int,
    known: Tensor | None = None,
) -> list[Row]:
    """Return random and fixed-centre at `total` patches over all scenes, spread evenly."""
    rng = np.random.default_rng(seed)
    device = views.lr.device
    scenes = len(views)
    drawn = []
    for _ in range(CONTROL_DRAWS):
        counts = spread_evenly(total, scenes, model.grid.patches, rng)
        drawn.append(correct(model, views, streams, random_masks(counts, model, rng).to(device), known))
    counts = spread_evenly(total, scenes, model.grid.patches, rng)
    centre = correct(model, views, streams, centre_masks(counts, model).to(device), known)
    sampled = total / scenes
    random = Row(
        name=f"{name} · random",
        accuracy=100 * torch.stack(drawn).float().mean().item(),
        sampled=sampled,
        scenes=scenes,
    )
    return [random, row(f"{name} · fixed-centre", centre, sampled)]

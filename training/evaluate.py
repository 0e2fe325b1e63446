"""Accuracy and S of every stage, and of the controls that buy as many patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

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

    def __len__(self) -> int:
        return len(self.split)


def view_split(split: Split, recipe: Recipe, seed: int) -> ViewedSplit:
    """Take the real LR image of every scene, or simulate it with noise that depends on `seed` alone."""
    generator = torch.Generator(split.labels.device).manual_seed(seed)
    lr = [
        simulate_lr(batch.images.float() / 255, recipe.data.lr_px, recipe.sensor, generator)
        if batch.twins is None
        else batch.twins.float() / 255
        for batch in split.in_order(EVALUATION_BATCH)
    ]
    return ViewedSplit(split=split, lr=torch.cat(lr))


@torch.inference_mode()
def policy_probabilities(model: PatchDrop, views: ViewedSplit) -> Tensor:
    """Return s (N, P) of every scene, in evaluation mode."""
    model.eval()
    return torch.cat([model.probabilities(lr) for lr in torch.split(views.lr, EVALUATION_BATCH)])


@torch.inference_mode()
def correct(model: PatchDrop, views: ViewedSplit, streams: Streams, bought: Tensor | None = None) -> Tensor:
    """Return which scenes are classified correctly, (N,) bool, in evaluation mode.

    Args:
        model: The classifier.
        views: HR and LR scenes.
        streams: The HR stream alone, the LR stream alone, or both (Eq. 7).
        bought: (N, P) masks; None buys every patch.
    """
    model.eval()
    right = []
    start = 0
    for batch in views.split.in_order(EVALUATION_BATCH):
        rows = slice(start, start + len(batch.labels))
        start += len(batch.labels)
        hr = batch.images.float() / 255
        masks = hr.new_ones(len(batch.labels), model.grid.patches) if bought is None else bought[rows]
        if streams == "lr":
            scores = model.lr_logits(views.lr[rows])
        elif streams == "hr":
            scores = model.hr_logits(hr, masks)
        else:
            scores = model.class_log_probabilities(hr, views.lr[rows], masks)
        right.append(scores.argmax(dim=1) == batch.labels)
    return torch.cat(right)


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


def with_controls(name: str, model: PatchDrop, views: ViewedSplit, streams: Streams, seed: int) -> list[Row]:
    """Return the rows of a policy and of the two controls at the same S on the same classifier."""
    masks = (policy_probabilities(model, views) > 0.5).float()
    return [
        row(name, correct(model, views, streams, masks), masks),
        *control_rows(name, model, views, streams, round(masks.sum().item()), seed),
    ]


def control_rows(
    name: str, model: PatchDrop, views: ViewedSplit, streams: Streams, total: int, seed: int
) -> list[Row]:
    """Return random and fixed-centre at `total` patches over all scenes, spread evenly."""
    rng = np.random.default_rng(seed)
    device = views.lr.device
    scenes = len(views)
    drawn = []
    for _ in range(CONTROL_DRAWS):
        counts = spread_evenly(total, scenes, model.grid.patches, rng)
        drawn.append(correct(model, views, streams, random_masks(counts, model, rng).to(device)))
    counts = spread_evenly(total, scenes, model.grid.patches, rng)
    centre = correct(model, views, streams, centre_masks(counts, model).to(device))
    sampled = total / scenes
    random = Row(
        name=f"{name} · random",
        accuracy=100 * torch.stack(drawn).float().mean().item(),
        sampled=sampled,
        scenes=scenes,
    )
    return [random, row(f"{name} · fixed-centre", centre, sampled)]

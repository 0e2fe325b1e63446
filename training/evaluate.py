"""Accuracy and S of masks on a classifier, and of the controls that buy as many patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
from training.sweep import scenes_of_a_part, sweep

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


def policy_probabilities(model: PatchDrop, views: ViewedSplit) -> Tensor:
    """Return s (N, P) of every scene, in evaluation mode."""
    parts = torch.split(views.lr, EVALUATION_BATCH)
    pixels = len(views) * model.card.lr_px**2
    return torch.cat(list(sweep(model, "policy", pixels, parts, PatchDrop.probabilities)))


def scout_answers(model: PatchDrop, views: ViewedSplit) -> Tensor:
    """Return the scout's logits (N, classes) of every scene, in evaluation mode."""
    parts = torch.split(views.lr, EVALUATION_BATCH)
    pixels = len(views) * model.card.lr_px**2
    return torch.cat(list(sweep(model, "scout", pixels, parts, PatchDrop.scout_logits)))


def correct(
    model: PatchDrop,
    views: ViewedSplit,
    streams: Streams,
    bought: Tensor | None = None,
    known: Tensor | None = None,
) -> Tensor:
    """Return which scenes are classified correctly, (N,) bool; the arguments are those of `answers`."""
    return correct_each(model, views, streams, [bought], known)[0]


def correct_each(
    model: PatchDrop,
    views: ViewedSplit,
    streams: Streams,
    choices: Sequence[Tensor | None],
    known: Tensor | None = None,
) -> list[Tensor]:
    """Return which scenes are classified correctly, (N,) bool, under each of several masks of every scene.

    The scenes are read once for all of them.

    Args:
        model: The classifier; it is put into evaluation mode.
        views: HR and LR scenes.
        streams: The HR stream alone, the LR stream alone, or both, as the model fuses them.
        choices: (N, P) masks each; None buys every patch.
        known: (N, classes) logits of the LR stream, where they are there already.
    """
    labels = views.split.labels
    return [found == labels for found in _each(model, views, streams, choices, known, _best)]


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
        streams: The HR stream alone, the LR stream alone, or both, as the model fuses them.
        bought: (N, P) masks; None buys every patch.
        known: (N, classes) logits of the LR stream, where they are there already.
    """
    return answers_each(model, views, streams, [bought], known)[0]


def answers_each(
    model: PatchDrop,
    views: ViewedSplit,
    streams: Streams,
    choices: Sequence[Tensor | None],
    known: Tensor | None = None,
) -> list[Tensor]:
    """Return what a classifier answers under each of several masks; as `answers`, scenes read as in `correct_each`."""
    return _each(model, views, streams, choices, known, torch.clone)


def _each(
    model: PatchDrop,
    views: ViewedSplit,
    streams: Streams,
    choices: Sequence[Tensor | None],
    known: Tensor | None,
    keep: Callable[[Tensor], Tensor],
) -> list[Tensor]:
    """Return for each choice of masks what is kept of the answers (b, classes) to each part of the scenes."""
    pixels = len(views) * model.card.hr_px**2
    if known is None and streams != "hr":
        lr_parts = torch.split(views.lr, min(views.batch_size, scenes_of_a_part(model, model.card.hr_px)))
        known = torch.cat(list(sweep(model, "lr", pixels, lr_parts, PatchDrop.lr_logits)))
    if streams == "lr":
        assert known is not None
        return [keep(known) for _ in choices]
    everything = views.lr.new_ones(len(views), model.grid.patches)
    masks = [everything if choice is None else choice for choice in choices]

    def ask(asked: PatchDrop, part: tuple[Tensor, slice]) -> list[Tensor]:
        images, rows = part
        hr = images.float() / 255
        found = []
        for mask in masks:
            scores = asked.hr_logits(hr, mask[rows])
            if streams == "both" and known is not None:
                scores = asked.fuse(scores, known[rows], mask[rows])
            found.append(keep(scores))
        return found

    by_part = sweep(model, "hr", pixels, _parts(model, views), ask)
    return [torch.cat(parts) for parts in zip(*by_part, strict=True)]


def _best(scores: Tensor) -> Tensor:
    return scores.argmax(dim=1)


def _parts(model: PatchDrop, views: ViewedSplit) -> Iterator[tuple[Tensor, slice]]:
    """Yield HR images (b, 3, H, H) uint8, and which scenes they are."""
    start = 0
    for batch in views.split.in_order(views.batch_size):
        for images in torch.split(batch.images, scenes_of_a_part(model, batch.images.shape[-1])):
            yield images, slice(start, start + len(images))
            start += len(images)


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
    masks = []
    for _ in range(CONTROL_DRAWS):
        counts = spread_evenly(total, scenes, model.grid.patches, rng)
        masks.append(random_masks(counts, model, rng).to(device))
    counts = spread_evenly(total, scenes, model.grid.patches, rng)
    masks.append(centre_masks(counts, model).to(device))
    *drawn, centre = correct_each(model, views, streams, masks, known)
    sampled = total / scenes
    random = Row(
        name=f"{name} · random",
        accuracy=100 * torch.stack(drawn).float().mean().item(),
        sampled=sampled,
        scenes=scenes,
    )
    return [random, row(f"{name} · fixed-centre", centre, sampled)]

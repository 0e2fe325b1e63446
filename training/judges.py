"""Judges: classifiers that say what a mask is worth on scenes which they have not learned from.

A classifier of enough epochs answers right on nearly every mask of a scene that it was trained on, so
that its rewards say little of where to look. Each judge learns from all folds of the training split but
one, and rewards the policy on that one (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geozoom.model import PatchDrop
from training.compiling import fastest_kernels
from training.datasets import Batch

Classify = Callable[[PatchDrop, Tensor, Tensor, Tensor], Tensor]
"""Maps a model, HR and LR views and masks to log class probabilities (B, N)."""


@dataclass(frozen=True, kw_only=True)
class Judges:
    """One frozen model for each fold."""

    models: tuple[PatchDrop, ...]
    """The k-th has not seen the scenes of fold k."""
    folds: Tensor
    """(N,) int64 on the CPU, the fold of every scene of the training split."""

    def answer(self, classify: Classify, batch: Batch, hr: Tensor, lr: Tensor, masks: Tensor) -> Tensor:
        """Return log class probabilities (B, N) under masks (B, P), each scene by its own judge."""
        own = self.folds[batch.scenes]
        answers: Tensor | None = None
        for fold, model in enumerate(self.models):
            rows = (own == fold).nonzero().squeeze(1)  # on the CPU: a GPU's would make the host wait for it
            if not len(rows):
                continue
            rows = rows.to(hr.device, non_blocking=True)
            with fastest_kernels(wanted=False):  # a fold's share of a batch is of any size
                part = classify(model, hr[rows], lr[rows], masks[rows])
            if answers is None:
                answers = part.new_empty(len(hr), part.shape[1])
            answers[rows] = part
        assert answers is not None
        return answers


def assign_folds(labels: Tensor, folds: int, seed: int) -> Tensor:
    """Return the fold (N,) of every scene: at random, and as even within each class as it goes."""
    generator = torch.Generator().manual_seed(seed)
    assigned = torch.empty(len(labels), dtype=torch.int64)
    start = 0
    for label in sorted(set(labels.tolist())):
        scenes = (labels.cpu() == label).nonzero().squeeze(1)
        scenes = scenes[torch.randperm(len(scenes), generator=generator)]
        # The next class begins where this one ended, so that small classes do not all favour fold 0.
        assigned[scenes] = (torch.arange(len(scenes)) + start) % folds
        start += len(scenes)
    return assigned

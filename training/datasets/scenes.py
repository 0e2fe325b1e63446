"""Scenes in memory: what every dataset is turned into, and how a batch is drawn from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Scenes drawn from a split."""

    images: Tensor
    """(B, 3, H, W) uint8 RGB."""
    labels: Tensor
    """(B,) int64 class indices."""
    scenes: Tensor
    """(B,) int64, where in the split each scene is."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """One split of a dataset, held as uint8."""

    images: Tensor
    """(N, 3, H, W) uint8 RGB, square."""
    labels: Tensor
    """(N,) int64 class indices."""
    files: tuple[str, ...]
    """Where each scene came from, relative to the dataset's root."""

    def __len__(self) -> int:
        return len(self.files)

    def to(self, device: torch.device) -> Split:
        """Return the split with its tensors on `device`."""
        return Split(images=self.images.to(device), labels=self.labels.to(device), files=self.files)

    def only(self, scenes: Tensor) -> Split:
        """Return the scenes at the indices (n,), in that order."""
        files = tuple(self.files[index] for index in scenes.tolist())
        return Split(images=self.images[scenes], labels=self.labels[scenes], files=files)

    def batches(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield shuffled batches of exactly `size` scenes; a split smaller than that is one batch."""
        order = torch.randperm(len(self), generator=generator)
        size = min(size, len(self))
        for start in range(0, len(self) - size + 1, size):
            chosen = order[start : start + size].to(self.images.device)
            yield Batch(self.images[chosen], self.labels[chosen], chosen)

    def in_order(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images, labels) in file order, the last batch as short as it is."""
        yield from zip(torch.split(self.images, size), torch.split(self.labels, size), strict=True)


@dataclass(frozen=True, kw_only=True)
class SceneData:
    """A dataset: three splits and the names of its classes."""

    name: str
    """Name of the folder or dataset."""
    classes: tuple[str, ...]
    """Class names, in the order of the labels."""
    train: Split
    """Training scenes, a little larger than the HR size to leave room for crops."""
    val: Split
    """Validation scenes at the HR size."""
    test: Split
    """Test scenes at the HR size."""
    val_from: str
    """How the validation split came about, for the run's record."""

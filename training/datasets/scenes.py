"""What every dataset is turned into: three splits, and how a batch is drawn from each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from training.parallel import ALONE, Team


class Batch(NamedTuple):
    """Scenes drawn from a split."""

    images: Tensor
    """(B, 3, H, W) uint8 RGB."""
    labels: Tensor
    """(B,) int64 class indices."""
    scenes: Tensor
    """(B,) int64 on the CPU, where in the split each scene is."""
    twins: Tensor | None = None
    """(B, 3, h, w) uint8 RGB, what a real LR sensor saw of each scene, where the dataset has it."""


class Split(Protocol):
    """One split of a dataset, wherever its pixels are; the same batches for the same generator."""

    @property
    def files(self) -> tuple[str, ...]:
        """Where each scene came from, relative to the dataset's root."""

    @property
    def labels(self) -> Tensor:
        """(N,) int64 class indices, on the device of the batches."""

    def __len__(self) -> int:
        """Return the number of scenes."""

    def to(self, device: torch.device) -> Split:
        """Return the split with its batches on `device`."""

    def only(self, scenes: Tensor) -> Split:
        """Return the scenes at the indices (n,), in that order."""

    def batches(
        self, size: int, generator: torch.Generator, skip: int = 0, team: Team = ALONE
    ) -> Iterator[Batch]:
        """Yield shuffled batches of exactly `size` scenes; a split smaller than that is one batch.

        Args:
            size: Scenes a batch, over all processes.
            generator: Of the shuffle; one permutation is drawn from it.
            skip: Batches at the beginning that are left out, as a resumed epoch needs it.
            team: Of whose processes this one gets its share of each batch.
        """

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield all scenes in file order, the last batch as short as it is."""


@dataclass(frozen=True, kw_only=True)
class HeldSplit:
    """A split held in memory as uint8."""

    images: Tensor
    """(N, 3, H, W) uint8 RGB, square."""
    labels: Tensor
    """(N,) int64 class indices."""
    files: tuple[str, ...]
    """Where each scene came from, relative to the dataset's root."""
    twins: Tensor | None = None
    """(N, 3, h, w) uint8 RGB of a real LR sensor, if there is one."""

    def __len__(self) -> int:
        return len(self.files)

    def to(self, device: torch.device) -> HeldSplit:
        """Return the split with its tensors on `device`."""
        return HeldSplit(
            images=self.images.to(device),
            labels=self.labels.to(device),
            files=self.files,
            twins=None if self.twins is None else self.twins.to(device),
        )

    def only(self, scenes: Tensor) -> HeldSplit:
        """Return the scenes at the indices (n,), in that order."""
        return HeldSplit(
            images=self.images[scenes],
            labels=self.labels[scenes],
            files=tuple(self.files[index] for index in scenes.tolist()),
            twins=None if self.twins is None else self.twins[scenes],
        )

    def batches(
        self, size: int, generator: torch.Generator, skip: int = 0, team: Team = ALONE
    ) -> Iterator[Batch]:
        """Yield shuffled batches of exactly `size` scenes; a split smaller than that is one batch."""
        order = torch.randperm(len(self), generator=generator)
        there = order.to(
            self.images.device
        )  # once: a copy for every batch would make the host wait for the GPU
        for rows in windows(len(self), size, skip, team):
            chosen = there[rows]
            twins = None if self.twins is None else self.twins[chosen]
            yield Batch(self.images[chosen], self.labels[chosen], order[rows], twins)

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield all scenes in file order, the last batch as short as it is."""
        scenes = torch.arange(len(self))
        for start in range(0, len(self), size):
            rows = slice(start, start + size)  # a view, where an index would copy
            twins = None if self.twins is None else self.twins[rows]
            yield Batch(self.images[rows], self.labels[rows], scenes[rows], twins)


def windows(scenes: int, size: int, skip: int, team: Team) -> Iterator[slice]:
    """Yield where in one epoch's order each batch's share lies, the first `skip` batches left out."""
    size = min(size, scenes)
    share = team.share(size)
    for start in range(skip * size, scenes - size + 1, size):
        yield slice(start + share.start, start + share.stop)


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
    mean: tuple[float, float, float]
    """Mean of each band of the training scenes, in 0..1."""
    std: tuple[float, float, float]
    """Standard deviation of each band, in 0..1."""
    notes: tuple[str, ...] = ()
    """What a reader of the results must know: scenes left out, files that are not the published ones."""
    unreadable: tuple[str, ...] = ()
    """Files that were left out, and why each cannot be read."""

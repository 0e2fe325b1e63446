"""The index: which scenes a dataset has, where each lies and what it shows, before any pixel is read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from geozoom.errors import DatasetError
from geozoom.images import Box, Source


@dataclass(frozen=True, kw_only=True)
class SceneIndex:
    """The scenes of one split, in columns."""

    source: Source
    """Reads their pixels."""
    files: tuple[str, ...]
    """Name of each scene's file, relative to the dataset's root."""
    labels: NDArray[np.int64]
    """(N,) class indices."""
    boxes: NDArray[np.float64] | None = None
    """(N, 4) left, top, right, bottom in pixels of the file; None where a file is a scene."""
    places: tuple[str, ...] | None = None
    """What is seen; scenes of one place never fall into two splits. None where each is its own."""
    twin_source: Source | None = None
    """Reads what a real LR sensor saw of each scene."""

    def __len__(self) -> int:
        return len(self.files)

    def only(self, scenes: NDArray[np.int64]) -> SceneIndex:
        """Return the scenes at the indices (n,), in that order."""
        return replace(
            self,
            files=tuple(self.files[scene] for scene in scenes),
            labels=self.labels[scenes],
            boxes=None if self.boxes is None else self.boxes[scenes],
            places=None if self.places is None else tuple(self.places[scene] for scene in scenes),
        )

    def read(self, scene: int, side: int) -> Tensor:
        """Return a scene as (3, side, side) uint8 RGB."""
        return self.source.read(self.files[scene], self.box(scene), side)

    def read_twin(self, scene: int, side: int) -> Tensor:
        """Return what the LR sensor saw of a scene, as (3, side, side) uint8 RGB."""
        if self.twin_source is None:
            raise ValueError("this split has no LR images of its own")
        return self.twin_source.read(self.files[scene], self.box(scene), side)

    def box(self, scene: int) -> Box | None:
        """Return a scene's left, top, right and bottom in pixels of its file; None where it is the file."""
        return None if self.boxes is None else self.boxes[scene]


@dataclass(frozen=True, kw_only=True)
class DatasetIndex:
    """A dataset, listed: three splits and the names of its classes."""

    name: str
    """Name of the folder or dataset."""
    root: Path
    """Where files are relative to."""
    classes: tuple[str, ...]
    """Class names, in the order of the labels."""
    train: SceneIndex
    """Training scenes."""
    val: SceneIndex
    """Validation scenes."""
    test: SceneIndex
    """Test scenes."""
    val_from: str
    """How the validation split came about."""
    train_px: int | None = None
    """Side above which training scenes would only be enlarged; None where that is not known."""
    notes: tuple[str, ...] = ()
    """What a reader of the results must know."""
    unreadable: tuple[str, ...] = ()
    """Files that could not be read while it was listed, and why."""


def hold_out(
    train: SceneIndex, classes: tuple[str, ...], share: float, seed: int
) -> tuple[SceneIndex, SceneIndex]:
    """Split a share of every class off the training scenes, whole places at a time.

    A place whose scenes are of several classes is drawn as one of that which most of them have.

    Returns:
        What is left of train, and the validation split.

    Raises:
        DatasetError: A class has a single scene (or place), so that nothing would be left.
    """
    rng = np.random.default_rng(seed)
    names, first, which = np.unique(
        np.asarray(train.files if train.places is None else train.places),
        return_index=True,
        return_inverse=True,
    )
    pairs, scenes = np.unique(which * len(classes) + train.labels, return_counts=True)
    rising = np.lexsort(
        (-pairs, scenes)
    )  # of several classes the last stays: the commonest, the first of equals
    mostly = np.empty(len(names), dtype=np.int64)
    mostly[pairs[rising] // len(classes)] = pairs[rising] % len(classes)
    held = np.zeros(len(names), dtype=bool)
    for label, name in enumerate(classes):
        # In the order in which they are listed, so that the choice depends on names and seed alone.
        own = np.flatnonzero(mostly == label)
        own = own[np.argsort(first[own])]
        if len(own) < 2:
            among = len(np.unique(which[train.labels == label]))
            if among >= 2:  # most of its places are other classes'
                continue
            what = "image" if train.places is None else "place"
            raise DatasetError(
                f"class {name!r} has {among} training {what}; a validation split needs at "
                "least 2, so add images or a val folder"
            )
        count = min(max(1, round(share * len(own))), len(own) - 1)
        held[own[rng.choice(len(own), size=count, replace=False)]] = True
    apart = held[which]
    return train.only(np.flatnonzero(~apart)), train.only(np.flatnonzero(apart))


def held_out_as(share: float, seed: int, places: str = "") -> str:
    """Say how a validation split was held out, for the run's record."""
    return f"{share:.0%} of every class of train{places}, held out with seed {seed}"


def wrong_layout(root: Path, expected: str) -> DatasetError:
    """Return the answer to a folder that is not the dataset: what was expected, and what is there."""
    if root.is_file():
        return DatasetError(
            f"{root}: is a file; unpack it and name the folder, which is expected to hold {expected}"
        )
    if not root.is_dir():
        return DatasetError(f"{root}: expected {expected}; there is no such folder")
    found = sorted(f"{entry.name}/" if entry.is_dir() else entry.name for entry in root.iterdir())
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return DatasetError(f"{root}: expected {expected}; found {', '.join(found[:8]) or 'nothing'}{more}")


def refuse_strangers(where: Path | str, found: Iterable[str], classes: Iterable[str]) -> None:
    """Refuse classes of another split that train does not have.

    Raises:
        DatasetError: Names the first of them.
    """
    strangers = sorted(set(found) - set(classes))
    if strangers:
        raise DatasetError(
            f"{where}: class {strangers[0]!r} is not in train; give every split the same class folders"
        )

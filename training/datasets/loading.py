"""From an index to splits: every scene is read once, held in memory if all fit, and streamed if not."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from geozoom.cores import usable_cores
from geozoom.errors import DatasetError, OutputError, first_line
from geozoom.files import write_text
from geozoom.images import UNREADABLE
from training.datasets.index import DatasetIndex, SceneIndex
from training.datasets.scenes import HeldSplit, SceneData, Split
from training.datasets.streamed import StreamedSplit
from training.progress import progress_bar

NAMED = 10
"""Unreadable images that a message names; the run's folder has all of them."""
_AT_ONCE = 4096


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How large scenes are kept."""

    hr_px: int
    """Side of the HR image; validation and test scenes have it."""
    lr_px: int
    """Side of the LR image; only scenes with an LR image of their own are kept at it."""
    margin: float
    """Training scenes are kept at `margin` × these, unless they are smaller to begin with."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a dataset is read; nothing of it changes what is read."""

    memory_gib: float = 8.0
    """All splits together are held in memory up to this size, and streamed above it."""
    skip_unreadable: bool = False
    """Leave unreadable scenes out instead of refusing the dataset."""
    survey_file: Path | None = None
    """Remembers what the first reading of a streamed dataset found, so that a resumed run need not repeat it."""
    console: Console | None = None
    """Shows how far the reading is."""


@dataclass(frozen=True, kw_only=True)
class _Read:
    """What one reading of a split found."""

    images: Tensor | None
    """(N, 3, side, side) uint8, if they were to be kept."""
    twins: Tensor | None
    """(N, 3, twin_side, twin_side) uint8, if there are any and they were to be kept."""
    moments: NDArray[np.float64]
    """(N, 2, 3) mean and mean square of each scene's bands in 0..1."""
    unreadable: dict[int, str]
    """Scene → why it cannot be read."""


def load(index: DatasetIndex, sizes: Sizes, reading: Reading) -> SceneData:
    """Read a listed dataset.

    Raises:
        DatasetError: Scenes cannot be read (all of them are counted, the first are named), or leaving them
            out would leave a class without training scenes.
    """
    train_px = round(sizes.hr_px * sizes.margin)
    if index.train_px is not None:
        train_px = min(train_px, max(index.train_px, sizes.hr_px))
    # A twin is cropped with its scene, so that it keeps the same margin.
    twin_px = max(sizes.lr_px, round(sizes.lr_px * train_px / sizes.hr_px))
    sides = {"train": (train_px, twin_px)} | dict.fromkeys(("val", "test"), (sizes.hr_px, sizes.lr_px))
    splits = {"train": index.train, "val": index.val, "test": index.test}
    size = sum(3 * len(split) * sides[name][0] ** 2 for name, split in splits.items())
    held = size <= reading.memory_gib * 2**30
    key = _key(index, sides)
    survey = None if held else _unless_mended(_remembered(reading.survey_file, key), splits, sides)
    reads = (
        {} if survey else {name: _read(split, *sides[name], held, reading) for name, split in splits.items()}
    )
    if survey is None:
        unreadable = {name: read.unreadable for name, read in reads.items()}
        survey = _Survey(moments=_mean_and_std(reads["train"]), unreadable=unreadable)
        if not held and reading.survey_file is not None:
            survey.write(reading.survey_file, key)
    named = [*index.unreadable, *survey.named(splits)]
    if named and not reading.skip_unreadable:
        listed = sum(map(len, splits.values())) + len(index.unreadable)
        more = f"; and {len(named) - NAMED} more" if len(named) > NAMED else ""
        raise DatasetError(
            f"{index.root}: {len(named)} of {listed} images cannot be read; mend or remove them, or leave "
            f"them out with --skip-unreadable: {'; '.join(named[:NAMED])}{more}"
        )
    made: dict[str, Split] = {}
    absent: list[str] = []
    for name, split in splits.items():
        good = np.setdiff1d(np.arange(len(split)), np.array(sorted(survey.unreadable[name]), dtype=np.int64))
        if name == "train":
            _refuse_emptied(index.classes, split.labels[good])
        if not len(good):
            raise DatasetError(f"no image of the {name} split of {index.name} can be read; mend it")
        absent += _absent(name, index.classes, split.labels[good])
        kept = split if len(good) == len(split) else split.only(good)
        labels = torch.from_numpy(kept.labels.copy())
        if not held:
            side, twin_side = sides[name]
            made[name] = StreamedSplit(index=kept, side=side, twin_side=twin_side, labels=labels)
            continue
        images, twins = reads[name].images, reads[name].twins
        assert images is not None
        if len(good) < len(split):
            images, twins = images[good], None if twins is None else twins[good]
        made[name] = HeldSplit(images=images, labels=labels, files=kept.files, twins=twins)
    left_out = (f"{len(named)} unreadable images were left out",) if named else ()
    mean, std = survey.moments
    return SceneData(
        name=index.name,
        classes=index.classes,
        train=made["train"],
        val=made["val"],
        test=made["test"],
        val_from=index.val_from,
        mean=mean,
        std=std,
        notes=(*index.notes, *absent, *left_out),
        unreadable=tuple(named),
    )


Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class _Survey:
    """What is remembered of a dataset that has been read once."""

    moments: tuple[Triple, Triple]
    unreadable: dict[str, dict[int, str]]

    def named(self, splits: dict[str, SceneIndex]) -> list[str]:
        return sorted(
            f"{splits[name].files[scene]} ({why})"
            for name, found in self.unreadable.items()
            for scene, why in found.items()
        )

    def write(self, file: Path, key: str) -> None:
        content = {"key": key, "moments": self.moments, "unreadable": self.unreadable}
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{file.parent}: cannot be created ({error.strerror}); choose another folder"
            ) from error
        write_text(file, json.dumps(content) + "\n")


def _remembered(file: Path | None, key: str) -> _Survey | None:
    if file is None or not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["key"] != key:
            return None
        mean, std = ((float(r), float(g), float(b)) for r, g, b in content["moments"])
        unreadable = {
            name: {int(scene): str(why) for scene, why in found.items()}
            for name, found in content["unreadable"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None  # it is written anew
    return _Survey(moments=(mean, std), unreadable=unreadable)


def _unless_mended(
    survey: _Survey | None, splits: dict[str, SceneIndex], sides: dict[str, tuple[int, int]]
) -> _Survey | None:
    """Return what is remembered, unless a scene that could not be read can be now."""
    for name, found in {} if survey is None else survey.unreadable.items():
        damaged = splits[name].only(np.array(sorted(found), dtype=np.int64))
        if found and len(_read(damaged, *sides[name], False, Reading()).unreadable) < len(found):
            return None
    return survey


def _key(index: DatasetIndex, sides: dict[str, tuple[int, int]]) -> str:
    """Return what a survey was made of: files, boxes and sizes."""
    digest = hashlib.sha256(json.dumps([index.name, sides]).encode())
    for split in (index.train, index.val, index.test):
        digest.update(os.fsencode("\n".join(split.files)))
        digest.update(b"" if split.boxes is None else split.boxes.tobytes())
        digest.update(str(split.twin_source is not None).encode())
    return digest.hexdigest()


def _read(index: SceneIndex, side: int, twin_side: int, keep: bool, reading: Reading) -> _Read:
    """Read every scene of a split once."""
    scenes = len(index)
    images = torch.empty((scenes, 3, side, side), dtype=torch.uint8) if keep else None
    twinned = index.twin_source is not None
    twins = torch.empty((scenes, 3, twin_side, twin_side), dtype=torch.uint8) if keep and twinned else None
    moments = np.zeros((scenes, 2, 3))
    unreadable: dict[int, str] = {}

    def read(scene: int) -> None:
        try:
            image = index.read(scene, side)
            twin = index.read_twin(scene, twin_side) if twinned else None
        except UNREADABLE as error:
            unreadable[scene] = first_line(error)
            return
        flat = image.double().flatten(1) / 255
        moments[scene] = torch.stack([flat.mean(dim=1), (flat**2).mean(dim=1)]).numpy()
        if images is not None:
            images[scene] = image
        if twins is not None and twin is not None:
            twins[scene] = twin

    _for_each(read, scenes, reading.console)
    return _Read(images=images, twins=twins, moments=moments, unreadable=unreadable)


def _for_each(read: Callable[[int], None], scenes: int, console: Console | None) -> None:
    with (
        progress_bar(console or Console(quiet=True)) as bar,
        ThreadPoolExecutor(usable_cores()) as pool,
    ):
        task = bar.add_task("reading", total=scenes)
        # A million futures at once would take a gigabyte.
        for start in range(0, scenes, _AT_ONCE):
            for _ in pool.map(read, range(start, min(start + _AT_ONCE, scenes))):
                bar.advance(task)


def _mean_and_std(train: _Read) -> tuple[Triple, Triple]:
    """Return mean and standard deviation of each band in 0..1, over all readable scenes."""
    good = np.setdiff1d(np.arange(len(train.moments)), np.array(sorted(train.unreadable), dtype=np.int64))
    if not len(good):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)  # the dataset is refused for it
    mean, square = train.moments[good].mean(axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 1e-6))
    return _triple(mean), _triple(std)


def _triple(values: NDArray[np.float64]) -> Triple:
    red, green, blue = (round(float(value), 4) for value in values)
    return red, green, blue


def _absent(split: str, classes: tuple[str, ...], labels: NDArray[np.int64]) -> list[str]:
    """Say which classes a split has no scene of: its accuracy says nothing of them."""
    missing = [classes[label] for label in np.setdiff1d(np.arange(len(classes)), labels)]
    more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
    return [f"{split} has no scene of {', '.join(missing[:NAMED])}{more}"] if missing else []


def _refuse_emptied(classes: tuple[str, ...], labels: NDArray[np.int64]) -> None:
    missing = np.setdiff1d(np.arange(len(classes)), labels)
    if len(missing):
        raise DatasetError(f"class {classes[missing[0]]!r} has no readable training image; mend or remove it")

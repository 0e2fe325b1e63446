"""ImageNet (ILSVRC 2012): a folder per synset, and validation images in folders or flat."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geozoom.errors import DatasetError, first_line
from geozoom.images import ImageFiles, images_by_class
from training.datasets.folder import as_index, list_classes, unread
from training.datasets.index import (
    DatasetIndex,
    SceneIndex,
    held_out_as,
    hold_out,
    refuse_strangers,
    wrong_layout,
)

EXPECTED = (
    "train/nXXXXXXXX/*.JPEG and val/nXXXXXXXX/*.JPEG, or val/ILSVRC2012_val_XXXXXXXX.JPEG with "
    "ILSVRC2012_devkit_t12/data/ or LOC_val_solution.csv"
)
_INNER = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")
"""Where train and val lie below ROOT: as unpacked by hand, or by Kaggle."""
_DEVKITS = ("ILSVRC2012_devkit_t12/data", "devkit/data", "data", "")
_FLAT = re.compile(r"ILSVRC2012_val_(\d{8})\.jpe?g", re.IGNORECASE)
_SYNSET = re.compile(r"n\d{8}")


def index_imagenet(root: Path, *, val_share: float, seed: int) -> DatasetIndex:
    """List ImageNet; its validation images are the test split, and val is held out of train.

    The labels of ImageNet's own test images were never published.

    Args:
        root: The folder that holds `train` and `val`, or Kaggle's folder above it.
        val_share: Share of every class of train that becomes val.
        seed: Seed of that choice.

    Raises:
        DatasetError: The layout is not as expected, or a validation image has no label.
    """
    inner = next((root / part for part in _INNER if (root / part / "train").is_dir()), root)
    train_files = list_classes(inner, "train", EXPECTED)
    other = [name for name in train_files if not _SYNSET.fullmatch(name)]
    if other:
        raise DatasetError(
            f"{inner / 'train'}: {other[0]!r} is not a synset's name; expected {EXPECTED}, or take "
            "--dataset folder"
        )
    classes = tuple(train_files)
    train, val = hold_out(as_index(inner, train_files, classes), classes, val_share, seed)
    return DatasetIndex(
        name="ImageNet",
        root=inner,
        classes=classes,
        train=train,
        val=val,
        test=_index_test(root, inner, classes),
        val_from=held_out_as(val_share, seed),
        notes=(
            "the test split is ImageNet's validation images: the labels of its test images are not public",
            *unread(inner / "train"),
            *unread(inner / "val", read=_FLAT),
        ),
    )


def _index_test(root: Path, inner: Path, classes: tuple[str, ...]) -> SceneIndex:
    folder = inner / "val"
    if not folder.is_dir():
        raise wrong_layout(inner, EXPECTED)
    flat = sorted(file for file in folder.iterdir() if _FLAT.fullmatch(file.name))
    if not flat:
        files = list_classes(inner, "val", EXPECTED)
        refuse_strangers(folder, files, classes)
        return as_index(inner, files, classes)
    in_classes = sum(map(len, images_by_class(folder).values()))
    if in_classes:
        raise DatasetError(
            f"{folder}: holds {in_classes} images in class folders and {len(flat)} beside them "
            f"({flat[0].name}); sort all of them, or none"
        )
    synsets = _flat_labels(root, inner, flat)
    refuse_strangers(folder, synsets, classes)
    number = {name: label for label, name in enumerate(classes)}
    return SceneIndex(
        source=ImageFiles(root=inner),
        files=tuple(str(file.relative_to(inner)) for file in flat),
        labels=np.array([number[synset] for synset in synsets], dtype=np.int64),
    )


def _flat_labels(root: Path, inner: Path, files: list[Path]) -> list[str]:
    """Return the synset of every image of a flat validation folder."""
    for base in dict.fromkeys((root, inner, root.parent)):
        for part in _DEVKITS:
            folder = base / part
            truth, meta = folder / "ILSVRC2012_validation_ground_truth.txt", folder / "meta.mat"
            if truth.is_file() and meta.is_file():
                return _by_devkit(truth, meta, files)
        solution = base / "LOC_val_solution.csv"
        if solution.is_file():
            return _by_kaggle(solution, files)
    raise DatasetError(
        f"{inner / 'val'}: holds {len(files)} images without class folders, and neither "
        "ILSVRC2012_devkit_t12/data/ (ILSVRC2012_validation_ground_truth.txt and meta.mat) nor "
        f"LOC_val_solution.csv is in {root} to say what they show; put one there"
    )


def _by_devkit(truth: Path, meta: Path, files: list[Path]) -> list[str]:
    synsets = _synsets_of_ids(meta)
    try:
        ids = [int(line) for line in truth.read_text(encoding="ascii").split()]
    except ValueError as error:
        raise DatasetError(
            f"{truth}: must hold one number a line ({first_line(error)}); unpack it again"
        ) from error
    found = []
    for file in files:
        number = int(_number(file))
        if not (1 <= number <= len(ids)) or ids[number - 1] not in synsets:
            raise DatasetError(
                f"{file}: has no class in {truth}, which has {len(ids)} lines; unpack both again"
            )
        found.append(synsets[ids[number - 1]])
    return found


def _synsets_of_ids(meta: Path) -> dict[int, str]:
    """Return synset names by ILSVRC2012_ID; those with children are no classes."""
    from scipy.io import loadmat

    try:
        rows: NDArray[np.void] = loadmat(meta, squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows if int(row["num_children"]) == 0}
    except Exception as error:  # scipy raises a dozen kinds for a damaged file
        raise DatasetError(
            f"{meta}: cannot be read ({first_line(error)}); unpack the devkit again"
        ) from error


def _by_kaggle(solution: Path, files: list[Path]) -> list[str]:
    try:
        with solution.open(encoding="utf-8-sig", newline="") as lines:
            rows = {row[0]: row[1].split(" ")[0] for row in csv.reader(lines) if len(row) > 1}
    except (ValueError, csv.Error) as error:
        raise DatasetError(
            f"{solution}: cannot be read as a table in UTF-8 ({first_line(error)}); unpack it again"
        ) from error
    missing = [file for file in files if file.stem not in rows]
    if missing:
        raise DatasetError(f"{missing[0]}: is not in {solution}; unpack both again")
    return [rows[file.stem] for file in files]


def _number(file: Path) -> str:
    match = _FLAT.fullmatch(file.name)
    assert match is not None
    return match.group(1)

"""Any folder of scenes: ROOT/{train,val,test}/CLASS/image."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from geozoom.errors import DatasetError
from geozoom.images import IMAGE_SUFFIXES, UNREADABLE, ImageFiles, images_by_class, is_image, unread_in
from training.datasets.index import (
    DatasetIndex,
    SceneIndex,
    held_out_as,
    hold_out,
    refuse_strangers,
    wrong_layout,
)

EXPECTED = "ROOT/train/CLASS/image, ROOT/test/CLASS/image and, if there is one, ROOT/val/CLASS/image"


def index_folder(root: Path, *, val_share: float, seed: int) -> DatasetIndex:
    """List a tree of {train,val,test}/CLASS/image.

    Args:
        root: The folder that holds `train`, `test` and perhaps `val`.
        val_share: Share of every class of `train` that becomes `val` where the tree has none.
        seed: Seed of that choice.

    Raises:
        DatasetError: The layout is not as expected, or classes differ between splits.
    """
    train_files = list_classes(root, "train", EXPECTED)
    test_files = list_classes(root, "test", EXPECTED)
    classes = tuple(train_files)
    train = as_index(root, train_files, classes)
    if (root / "val").is_dir():
        val_files = list_classes(root, "val", EXPECTED)
        refuse_strangers(root / "val", val_files, classes)
        val, val_from = as_index(root, val_files, classes), "the tree's own val split"
    else:
        train, val = hold_out(train, classes, val_share, seed)
        val_from = held_out_as(val_share, seed)
    refuse_strangers(root / "test", test_files, classes)
    return DatasetIndex(
        name=root.resolve().name,
        root=root,
        classes=classes,
        train=train,
        val=val,
        test=as_index(root, test_files, classes),
        val_from=val_from,
        train_px=_native_px(root / train.files[0]),
        notes=tuple(note for split in ("train", "val", "test") for note in unread(root / split)),
    )


def list_classes(root: Path, split: str, expected: str) -> dict[str, list[Path]]:
    """Return the images of every class folder of a split, classes and images in order of their names.

    Raises:
        DatasetError: There is no such split, or a class (or all of it) is empty.
    """
    folder = root / split
    if not folder.is_dir():
        raise wrong_layout(root, expected)
    files = images_by_class(folder)
    for name in files:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            shown = name.encode(errors="backslashreplace").decode()
            raise DatasetError(
                f"{folder}: the name of the class folder {shown} is no UTF-8; rename it"
            ) from error
    empty = [name for name, listed in files.items() if not listed]
    if not files or empty:
        where = folder / empty[0] if empty else folder
        raise DatasetError(f"{where}: no images ({', '.join(IMAGE_SUFFIXES)}) in it; expected {expected}")
    if split == "train" and len(files) < 2:
        raise DatasetError(f"{folder}: only one class in it; a classifier needs at least two")
    return files


def as_index(root: Path, files: dict[str, list[Path]], classes: tuple[str, ...]) -> SceneIndex:
    """Return the index of listed image files."""
    number = {name: label for label, name in enumerate(classes)}
    return SceneIndex(
        source=ImageFiles(root=root),
        files=tuple(str(file.relative_to(root)) for listed in files.values() for file in listed),
        labels=np.repeat(
            np.array([number[name] for name in files], dtype=np.int64),
            [len(listed) for listed in files.values()],
        ),
    )


def unread(folder: Path, read: re.Pattern[str] | None = None) -> Iterator[str]:
    """Say what of a split is not read: images beside the class folders, where no class is told, and within them.

    Args:
        folder: The split's.
        read: Names of images that are read without a class folder.
    """
    if not folder.is_dir():
        return
    loose = sum(
        is_image(entry) and (read is None or not read.fullmatch(entry.name)) for entry in folder.iterdir()
    )
    if loose:
        yield f"{loose} images beside the classes of {folder.name} are not read"
    yield from unread_in(folder)


def _native_px(file: Path) -> int | None:
    """Return the short side of an image, which upsampling could not add anything to."""
    try:
        with Image.open(file) as image:
            return min(image.size)
    except UNREADABLE:
        return None  # it is named together with all other unreadable ones when the scenes are read

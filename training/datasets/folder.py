"""Any folder of scenes: ROOT/{train,val,test}/CLASS/image."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from geozoom.errors import DatasetError
from training.datasets.scenes import SceneData, Split

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
_EXPECTED = (
    "expected ROOT/train/CLASS/image, ROOT/test/CLASS/image and, if there is one, ROOT/val/CLASS/image"
)


def read_folder(root: Path, *, hr_px: int, margin: float, val_share: float, seed: int) -> SceneData:
    """Read a tree of {train,val,test}/CLASS/image into memory.

    Args:
        root: The folder that holds `train`, `test` and perhaps `val`.
        hr_px: Side of the HR image in pixels; validation and test scenes are resized to it.
        margin: Training scenes are kept at `margin` × `hr_px`, unless they are smaller to begin with.
        val_share: Share of every class of `train` that becomes `val` where the tree has none.
        seed: Seed of that choice.

    Raises:
        DatasetError: The layout is not as expected, classes differ between splits, or images cannot
            be read (all of them are named).
    """
    train_files = _list_split(root, "train")
    test_files = _list_split(root, "test")
    classes = tuple(sorted(train_files))
    if (root / "val").is_dir():
        val_files = _list_split(root, "val")
        val_from = "the tree's own val split"
    else:
        train_files, val_files = _hold_out(train_files, val_share, seed)
        val_from = f"{val_share:.0%} of every class of train, held out with seed {seed}"
    for split, files in (("val", val_files), ("test", test_files)):
        strangers = sorted(set(files) - set(classes))
        if strangers:
            raise DatasetError(
                f"{root / split}: class {strangers[0]!r} is not in train; give every split the same class folders"
            )
    train_px = round(hr_px * margin)
    return SceneData(
        name=root.resolve().name,
        classes=classes,
        train=_decode(root, classes, train_files, min(train_px, _native_px(train_files, hr_px))),
        val=_decode(root, classes, val_files, hr_px),
        test=_decode(root, classes, test_files, hr_px),
        val_from=val_from,
    )


def _list_split(root: Path, split: str) -> dict[str, list[Path]]:
    folder = root / split
    if not folder.is_dir():
        found = ", ".join(sorted(entry.name for entry in root.iterdir())[:8]) if root.is_dir() else ""
        what = f"found {found or 'nothing'}" if root.is_dir() else "there is no such folder"
        raise DatasetError(f"{root}: {_EXPECTED}; {what}")
    files = {
        class_folder.name: sorted(
            file for file in class_folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES
        )
        for class_folder in sorted(folder.iterdir())
        if class_folder.is_dir()
    }
    empty = [name for name, listed in files.items() if not listed]
    if not files or empty:
        where = folder / empty[0] if empty else folder
        raise DatasetError(f"{where}: no images ({', '.join(IMAGE_SUFFIXES)}) in it; {_EXPECTED}")
    if split == "train" and len(files) < 2:
        raise DatasetError(f"{folder}: only one class in it; a classifier needs at least two")
    return files


def _hold_out(
    files: dict[str, list[Path]], share: float, seed: int
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    rng = np.random.default_rng(seed)
    kept: dict[str, list[Path]] = {}
    held: dict[str, list[Path]] = {}
    for name, listed in files.items():
        if len(listed) < 2:
            raise DatasetError(
                f"class {name!r} has {len(listed)} training image; a validation split needs at "
                "least 2, so add images or a val folder"
            )
        count = min(max(1, round(share * len(listed))), len(listed) - 1)
        chosen = set(rng.choice(len(listed), size=count, replace=False).tolist())
        held[name] = [file for index, file in enumerate(listed) if index in chosen]
        kept[name] = [file for index, file in enumerate(listed) if index not in chosen]
    return kept, held


def _native_px(files: dict[str, list[Path]], hr_px: int) -> int:
    """Return the short side of the first image, which upsampling could not add anything to."""
    first = next(iter(files.values()))[0]
    try:
        with Image.open(first) as image:
            return max(min(image.size), hr_px)
    except (OSError, UnidentifiedImageError):
        return hr_px  # _decode names this file together with all other unreadable ones


def _decode(root: Path, classes: Sequence[str], files: dict[str, list[Path]], side: int) -> Split:
    listed = [(file, classes.index(name)) for name in sorted(files) for file in files[name]]
    images = torch.empty((len(listed), 3, side, side), dtype=torch.uint8)
    unreadable: list[str] = []

    def decode(index: int) -> None:
        try:
            images[index] = read_square(listed[index][0], side)
        except (OSError, UnidentifiedImageError, ValueError) as error:
            unreadable.append(f"{listed[index][0]} ({error})")

    with ThreadPoolExecutor() as pool:
        list(pool.map(decode, range(len(listed))))
    if unreadable:
        raise DatasetError(
            f"{len(unreadable)} of {len(listed)} images cannot be read; mend or remove them: "
            + "; ".join(sorted(unreadable)[:10])
        )
    return Split(
        images=images,
        labels=torch.tensor([label for _, label in listed]),
        files=tuple(str(file.relative_to(root)) for file, _ in listed),
    )


def read_square(file: Path, side: int) -> Tensor:
    """Read the central square of an image as (3, side, side) uint8 RGB, antialiased."""
    with Image.open(file) as opened:
        if opened.mode.startswith(("I", "F")):
            raise ValueError(f"pixels of more than 8 bits (mode {opened.mode}); store it as 8-bit RGB")
        image = opened.convert("RGB")
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    square = image.resize((side, side), Image.Resampling.BICUBIC, box=(left, top, left + short, top + short))
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)

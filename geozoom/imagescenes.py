"""Scenes that are image files: a tree of CLASS/image, or fMoW's boxes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geozoom.errors import DatasetError
from geozoom.fmow.boxes import FALSE_DETECTION, Boxes, Listed, look_into, read_boxes, with_context
from geozoom.fmow.images import FmowFiles
from geozoom.fmow.tree import KINDS, join_test
from geozoom.images import IMAGE_SUFFIXES, ImageFiles, Source, images_by_class, is_image, unread_in

SPLITS = ("test", "val", "train")
"""Folders that are splits of a dataset and no classes, the one that is classified by default first."""


@dataclass(frozen=True, kw_only=True)
class ImageScenes:
    """Scenes of image files, in columns of one length N."""

    root: Path
    source: Source
    """Reads their pixels."""
    files: tuple[str, ...]
    """File of each scene, relative to the root."""
    labels: tuple[str, ...]
    """What each scene shows, "" where nothing says so."""
    boxes: NDArray[np.float64] | None = None
    """(N, 4) left, top, right, bottom in pixels, with context; None where a file is a scene."""
    ids: tuple[int, ...] | None = None
    """fMoW's ID of each box in its image."""
    area_m2: NDArray[np.float64] | None = None
    """(N,) ground of each scene in square metres, NaN where nothing says so; None where the model's scene stands."""
    is_fmow: bool = False
    """The challenge's score is meant for these scenes."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""
    unreadable: tuple[str, ...] = ()
    """Files that could not be read while they were listed, and why."""

    def __len__(self) -> int:
        return len(self.files)

    def only(self, rows: NDArray[np.int64]) -> ImageScenes:
        """Return the scenes at the indices (n,), in that order."""
        if len(rows) == len(self):
            return self
        chosen = rows.tolist()
        return replace(
            self,
            files=tuple(self.files[row] for row in chosen),
            labels=tuple(self.labels[row] for row in chosen),
            boxes=None if self.boxes is None else self.boxes[rows],
            ids=None if self.ids is None else tuple(self.ids[row] for row in chosen),
            area_m2=None if self.area_m2 is None else self.area_m2[rows],
        )

    @property
    def stray(self) -> NDArray[np.bool_]:
        """(N,) True for the challenge's boxes that show none of its classes."""
        return np.array([self.is_fmow and label == FALSE_DETECTION for label in self.labels], dtype=bool)


def list_folder(root: Path, split: str | None = None) -> ImageScenes:
    """List a tree of CLASS/image or {train,val,test}/CLASS/image, or a folder of images without labels.

    Args:
        root: The folder.
        split: Which of its splits; None takes test, then val, then train, where there are some.

    Raises:
        DatasetError: There is no such folder or split, or no images are in it.
    """
    folder, chosen = _split_folder(root, split)
    notes = [] if chosen is None else [f"of {root}, the split {chosen} is classified"]
    listed = images_by_class(folder)
    empty = [name for name, files in listed.items() if not files]
    loose = sorted(file for file in folder.iterdir() if is_image(file))
    pairs = [(file, name) for name, files in listed.items() for file in files] + [
        (file, "") for file in loose
    ]
    if not pairs:
        raise DatasetError(
            f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)}) in it; expected CLASS/image, a folder for each class, "
            "or images without labels"
        )
    if empty:
        notes.append(f"{len(empty)} folders hold no images: {', '.join(empty[:5])}")
    notes += unread_in(folder)
    if loose:
        notes.append(
            f"{len(loose)} images lie in {folder} itself and not in a folder named after their class, so that they "
            "have no label"
        )
    return ImageScenes(
        root=root,
        source=ImageFiles(root=root),
        files=tuple(str(file.relative_to(root)) for file, _ in pairs),
        labels=tuple(name for _, name in pairs),
        notes=tuple(notes),
    )


def list_fmow(root: Path, split: str | None = None) -> ImageScenes:
    """List the boxes of all fMoW images below a folder, each with its JSON beside it.

    Of a folder with `test` and `test_gt_mapping.json`, `test` is labelled by its ground truth. Boxes without a
    category have no label, and the challenge's `false_detection` boxes are scenes here, as it counts what a model
    says of them.

    Args:
        root: The dataset, one of its splits, or any folder within it.
        split: Which of its splits; None takes test, then val, then train, where there are some.

    Raises:
        DatasetError: There is no such folder or split, no images of fMoW are in it, or none has a box.
    """
    folder, chosen = _split_folder(root, split)
    notes = [] if chosen is None else [f"of {root}, the split {chosen} is classified"]
    mapping = root / "test_gt_mapping.json"
    files = list(_walk(root, folder))
    ending = next((ending for ending in KINDS if any(file.endswith(ending) for file in files)), None)
    if ending is None:
        raise DatasetError(
            f"{folder}: no images of fMoW in it ({', '.join(f'*{each}' for each in KINDS)}, each with a .json beside "
            "it); give --folder for other images"
        )
    if chosen == "test" and mapping.is_file():
        listed, missing = join_test(root, mapping, ending)
        notes += missing
    else:
        listed = [_entry(root, file) for file in files if file.endswith(ending)]
    boxes = look_into(listed, partial(read_boxes, labelled=False), false_detections=True)
    notes += [f"{count} boxes {why} were left out" for why, count in sorted(boxes.left_out.items())]
    if boxes.empty:
        notes.append(f"{len(boxes.empty)} images have no box: {', '.join(boxes.empty[:5])}")
    if not boxes.files and not boxes.unreadable:
        raise DatasetError(f"{folder}: none of its {len(listed)} images has a box; {'; '.join(notes)}")
    return _of_boxes(root, boxes, tuple(notes))


def _split_folder(root: Path, split: str | None) -> tuple[Path, str | None]:
    """Return the folder to look into, and its name if it is a split."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; give one that holds images")
    found = [name for name in SPLITS if (root / name).is_dir()]
    if split is None:
        return (root / found[0], found[0]) if found else (root, None)
    if not (root / split).is_dir():
        raise DatasetError(
            f"{root}: has no split {split}; " + (f"it has {', '.join(found)}" if found else "it has none")
        )
    return root / split, split


def _walk(root: Path, folder: Path) -> Iterator[str]:
    """Yield all files below a folder, relative to the root, in order of their names."""
    for where, folders, names in os.walk(folder):
        folders.sort()
        inside = os.path.relpath(where, root)
        yield from (os.path.normpath(f"{inside}/{name}") for name in sorted(names))


def _entry(root: Path, file: str) -> Listed:
    return Listed(file=file, category="", place=file, truth=(root / file).with_suffix(".json"))


def _of_boxes(root: Path, boxes: Boxes, notes: tuple[str, ...]) -> ImageScenes:
    annotated = with_context(np.array(boxes.boxes, dtype=np.float64).reshape(-1, 4))
    # What of the context lies beyond the image is not read, and not paid for.
    size = np.array(boxes.sizes, dtype=np.float64).reshape(-1, 2)
    low = np.maximum(annotated[:, :2], 0)
    side = np.minimum(annotated[:, 2:], np.where(size > 0, size, np.inf)) - low
    return ImageScenes(
        root=root,
        source=FmowFiles(root=root),
        files=tuple(boxes.files),
        labels=tuple(boxes.classes),
        boxes=annotated,
        ids=tuple(boxes.ids),
        area_m2=np.maximum(side, 0).prod(axis=1) * np.array(boxes.gsd_m, dtype=np.float64) ** 2,
        is_fmow=True,
        notes=notes,
        unreadable=tuple(boxes.unreadable),
    )

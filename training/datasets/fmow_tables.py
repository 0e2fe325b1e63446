"""fMoW by the CSV files that people share: `label,path` without a header, or with one and a timestamp."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from geozoom.errors import DatasetError
from geozoom.fmow.boxes import (
    CLASSES,
    FALSE_DETECTION,
    Boxes,
    Content,
    Listed,
    look_into,
    read_boxes,
)
from geozoom.images import UNREADABLE

_NAMES = ("{split}.csv", "{split}_62classes.csv")
_KNOWN = {*CLASSES, FALSE_DETECTION}


def list_tables(root: Path) -> tuple[dict[str, Boxes], list[str]] | None:
    """List the splits that CSV files name; None if there are no such files.

    Raises:
        DatasetError: A file has no labels or paths, or labels cannot be named.
    """
    files = {
        split: file
        for split in ("train", "val", "test")
        for name in _NAMES
        if (file := root / name.format(split=split)).is_file()
    }
    if "train" not in files or len(files) == 1:
        return None
    splits = {name: _list_table(root, file) for name, file in files.items()}
    cropped = sum(np.isnan(box[0]) for boxes in splits.values() for box in boxes.boxes)
    notes = [f"{cropped} images have no JSON of their size and were taken as cropped"] if cropped else []
    return splits, notes


def _list_table(root: Path, file: Path) -> Boxes:
    rows = _rows(file)
    if not (root / rows[0][1]).is_file():
        raise DatasetError(f"{file}: {rows[0][1]} is not there; paths are taken relative to {root}")
    named = {path: _class_of(path) for _, path in rows}
    numbers: dict[str, str] = {}
    images = []
    for label, path in rows:
        name = label if label in _KNOWN else named[path]
        if name is None:
            raise DatasetError(
                f"{file}: label {label!r} of {path} has no name; codebases number fMoW's classes differently, so "
                "write class names into the label column, or keep the class folder in the paths"
            )
        if numbers.setdefault(label, name) != name:
            raise DatasetError(
                f"{file}: label {label!r} is {numbers[label]} and {name} by the paths; correct the file"
            )
        images.append(_listed(root, path, name))
    return look_into(images, partial(_content, root))


def _rows(file: Path) -> list[tuple[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in csv.reader(lines) if row]
    columns = [field.strip().lower() for field in rows[0]] if rows else []
    label, path = 0, 1
    if "path" in columns:
        path = columns.index("path")
        label = next((columns.index(name) for name in ("label", "category", "class") if name in columns), -1)
        rows = rows[1:]
    if not rows or label < 0 or any(len(row) <= max(label, path) for row in rows):
        raise DatasetError(
            f"{file}: expected label,path in every line, with or without a header; correct the file"
        )
    return [(row[label].strip(), row[path].strip()) for row in rows]


def _class_of(path: str) -> str | None:
    """Return the class folder that a path goes through."""
    return next((part for part in reversed(PurePosixPath(path).parts[:-1]) if part in _KNOWN), None)


def _listed(root: Path, path: str, name: str) -> Listed:
    parent = PurePosixPath(path).parent
    # Where images of a class share one folder, nothing says which of them show one place.
    place = path if parent.name in (name, "", ".") else str(parent)
    stem = PurePosixPath(path).stem.rpartition("_")[0]
    return Listed(
        file=path,
        category=name,
        place=place,
        truth=(root / path).with_suffix(".json"),
        twin=f"{name}/{parent.name}/{stem}",
    )


def _content(root: Path, image: Listed) -> Content:
    """Return what the image's JSON says, if it is of the image as it is; else the whole image as one scene."""
    whole: Content = {"bounding_boxes": [{"category": image.category, "box": [float("nan")] * 4}]}
    if not image.truth.is_file():
        return whole
    content = read_boxes(image)
    if isinstance(content, str):
        return content
    try:
        with Image.open(root / image.file) as opened:
            size = opened.size
    except UNREADABLE:
        return whole  # it is named when it is read
    # Cropped copies often keep the JSON of the whole image.
    return content if size == (content.get("img_width"), content.get("img_height")) else whole

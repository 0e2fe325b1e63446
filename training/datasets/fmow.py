"""fMoW (Functional Map of the World), fMoW-rgb and fMoW-full, with fMoW-Sentinel as its real LR twin."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from geozoom.errors import DatasetError
from geozoom.fmow.boxes import CLASSES, Boxes, look_into, read_boxes, with_context
from geozoom.fmow.images import FmowFiles, SentinelTwins
from geozoom.fmow.tree import KINDS, in_tree, join_test
from training.datasets.fmow_tables import list_tables
from training.datasets.index import (
    DatasetIndex,
    SceneIndex,
    held_out_as,
    hold_out,
    refuse_strangers,
    wrong_layout,
)

EXPECTED = (
    "{train,val}/CLASS/CLASS_N/CLASS_N_M_rgb.jpg (or _rgb.tif, _ms.tif) with .json beside each, and test/ with "
    "test_gt/ and test_gt_mapping.json; or train.csv and val.csv of label,path"
)
SplitBoxes: TypeAlias = dict[str, Boxes]
_TESTED_ON_SEQ = "the test split is the dataset's seq"


@dataclass(frozen=True, kw_only=True)
class TwinRecipe:
    """Where the real LR images are, and how reflectance is shown."""

    root: Path
    """Folder of fMoW-Sentinel: train.csv, val.csv, test_gt.csv beside train/, val/, test_gt/."""
    white: float
    """Surface reflectance that is shown as white."""
    gamma: float
    """Display gamma."""


def index_fmow(root: Path, *, val_share: float, seed: int, twins: TwinRecipe | None = None) -> DatasetIndex:
    """List fMoW.

    Without labels of `test`, `seq` or, if that is missing too, `val` is the test split, and then whole
    sequences of train are held out as val.

    Args:
        root: The folder that holds `train` and `val`.
        val_share: Share of every class's sequences that becomes val where there is none to spare.
        seed: Seed of that choice.
        twins: Real LR images; scenes without one are left out, all of `seq` too, which fMoW-Sentinel has none of.

    Raises:
        DatasetError: The layout is not as expected, or classes are not fMoW's.
    """
    if (root / "train").is_dir():
        kind, splits, notes = _list_tree(root)
    elif root.is_dir() and (tables := list_tables(root)):
        kind, splits, notes = "fMoW by CSV", *tables
    else:
        raise wrong_layout(root, EXPECTED)
    classes = class_order(splits["train"].classes, root / "train")
    for name, boxes in splits.items():
        refuse_strangers(root / name, boxes.classes, classes)
        notes += [
            f"{name}: {count} boxes {why} were left out" for why, count in sorted(boxes.left_out.items())
        ]
        notes += [f"{name}: {len(boxes.empty)} images without a box were left out"] if boxes.empty else []
    indices = {name: _as_index(root, boxes, classes) for name, boxes in splits.items()}
    if twins is not None:
        _leave_out_seq(root, splits, notes, twins)
        indices = _join_twins(indices, splits, notes, twins)
    train, val, val_from = indices["train"], indices.get("val"), "the dataset's own val split"
    if "test" not in indices:
        indices["test"], val = indices.pop("val"), None
        notes.append("the test split is the dataset's val: labels of test were not found")
    if val is None:
        train, val = hold_out(train, classes, val_share, seed)
        val_from = held_out_as(val_share, seed, "'s sequences")
    for name, split in (("train", train), ("val", val), ("test", indices["test"])):
        if not len(split):
            raise DatasetError(f"{root}: no scene is left in {name} ({'; '.join(notes) or 'it is empty'})")
    return DatasetIndex(
        name=kind if twins is None else f"{kind} with fMoW-Sentinel",
        root=root,
        classes=classes,
        train=train,
        val=val,
        test=indices["test"],
        val_from=val_from,
        notes=tuple(notes),
        unreadable=tuple(line for boxes in splits.values() for line in boxes.unreadable),
    )


def class_order(found: Iterable[str], where: Path) -> tuple[str, ...]:
    """Return the classes that were found, in the official order.

    Raises:
        DatasetError: There is a class that fMoW does not have, or fewer than two.
    """
    names = set(found)
    unknown = sorted(names - set(CLASSES))
    if unknown:
        raise DatasetError(
            f"{where}: class {unknown[0]!r} is none of fMoW's 62; take --dataset folder for other data"
        )
    if len(names) < 2:
        raise DatasetError(f"{where}: fewer than two classes in it; a classifier needs at least two")
    return tuple(name for name in CLASSES if name in names)


def _list_tree(root: Path) -> tuple[str, SplitBoxes, list[str]]:
    images = {name: list(_walk(root, name)) for name in ("train", "val", "seq") if (root / name).is_dir()}
    ending = next(
        (ending for ending in KINDS if any(file.endswith(ending) for file in images["train"])), None
    )
    if ending is None:
        raise wrong_layout(root / "train", EXPECTED)
    listed = {
        name: [in_tree(root, file) for file in files if file.endswith(ending)]
        for name, files in images.items()
    }
    notes: list[str] = []
    sequestered = listed.pop("seq", None)
    mapping = root / "test_gt_mapping.json"
    if mapping.is_file() and (root / "test").is_dir():
        listed["test"], missing = join_test(root, mapping, ending)
        notes += [f"test: {what}" for what in missing]
    elif sequestered:
        listed["test"] = sequestered
        notes.append(_TESTED_ON_SEQ)
    elif "val" not in listed:
        raise wrong_layout(root, EXPECTED)
    splits = {name: look_into(found, read_boxes) for name, found in listed.items()}
    return KINDS[ending], splits, notes


def _walk(root: Path, split: str) -> Iterator[str]:
    """Yield all files of SPLIT/CLASS/SEQUENCE/, relative to the root, in order of their names."""
    for class_folder in _folders(root / split):
        for sequence in _folders(class_folder):
            # os.scandir, since a Path for each of two million files takes minutes.
            with os.scandir(sequence) as entries:
                names = sorted(entry.name for entry in entries)
            yield from (f"{split}/{class_folder.name}/{sequence.name}/{name}" for name in names)


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir())


def _as_index(root: Path, boxes: Boxes, classes: tuple[str, ...]) -> SceneIndex:
    number = {name: label for label, name in enumerate(classes)}
    annotated = np.array(boxes.boxes, dtype=np.float64).reshape(-1, 4)
    whole = np.isnan(annotated[:, 0])
    annotated[~whole] = with_context(annotated[~whole])
    return SceneIndex(
        source=FmowFiles(root=root),
        files=tuple(boxes.files),
        labels=np.array([number[name] for name in boxes.classes], dtype=np.int64),
        boxes=annotated,
        places=tuple(boxes.places),
    )


def _of_seq(boxes: Boxes | None) -> bool:
    """Tell whether what stands for test is seq."""
    return boxes is not None and any(file.startswith("seq/") for file in boxes.files)


def _leave_out_seq(root: Path, splits: SplitBoxes, notes: list[str], twins: TwinRecipe) -> None:
    """Take seq out of the splits where it stands for test and has no real LR images.

    Raises:
        DatasetError: Nothing to test on is left.
    """
    if not _of_seq(splits.get("test")) or (twins.root / "seq.csv").is_file():
        return
    if "val" not in splits:
        raise DatasetError(
            f"{root}: fMoW-Sentinel has no images of seq, and there is no other split to test on; add val, or test "
            "with test_gt_mapping.json"
        )
    del splits["test"]
    if _TESTED_ON_SEQ in notes:
        notes.remove(_TESTED_ON_SEQ)
    notes.append("seq was left out: fMoW-Sentinel has no images of it")


def _join_twins(
    indices: dict[str, SceneIndex], splits: SplitBoxes, notes: list[str], twins: TwinRecipe
) -> dict[str, SceneIndex]:
    """Return the scenes of each split that have real LR images, and note how many have not."""
    joined = {}
    for name, boxes in splits.items():
        joined[name], missing = _with_twins(indices[name], boxes, _folder_of_twins(name, boxes), twins)
        if missing:
            notes.append(f"{name}: {missing} scenes have no image in fMoW-Sentinel and were left out")
    return joined


def _folder_of_twins(split: str, boxes: Boxes) -> str:
    """Return where fMoW-Sentinel has the images of a split: places are numbered anew in each."""
    if split != "test":
        return split
    return "seq" if _of_seq(boxes) else "test_gt"


def _with_twins(index: SceneIndex, boxes: Boxes, folder: str, twins: TwinRecipe) -> tuple[SceneIndex, int]:
    """Return the scenes that fMoW-Sentinel has an image of, and how many it has none of."""
    known = _table_of_twins(twins.root, folder)
    files: dict[str, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    kept = []
    for scene, (twin, size) in enumerate(zip(boxes.twins, boxes.sizes, strict=True)):
        if twin in known and all(size) and not np.isnan(boxes.boxes[scene][0]):
            files[boxes.files[scene]], sizes[boxes.files[scene]] = f"{folder}/{twin}.tif", size
            kept.append(scene)
    source = SentinelTwins(root=twins.root, twins=files, sizes=sizes, white=twins.white, gamma=twins.gamma)
    found = index.only(np.array(kept, dtype=np.int64))
    return replace(found, twin_source=source), len(index) - len(kept)


def _table_of_twins(root: Path, split: str) -> set[str]:
    """Return CLASS/CLASS_N/CLASS_N_M of all images that fMoW-Sentinel's table of a split lists."""
    file = root / f"{split}.csv"
    if not file.is_file():
        raise wrong_layout(root, f"fMoW-Sentinel: {split}.csv beside {split}/CLASS/CLASS_N/CLASS_N_M.tif")
    with file.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        try:
            return {
                f"{row['category']}/{row['category']}_{row['location_id']}/"
                f"{row['category']}_{row['location_id']}_{row['image_id']}"
                for row in rows
            }
        except KeyError as error:
            raise DatasetError(
                f"{file}: has no column {error}; download fMoW-Sentinel's tables again"
            ) from error

"""Where fMoW's images lie, and which JSON says what each of them shows."""

from __future__ import annotations

from pathlib import Path

import orjson

from geozoom.errors import DatasetError, first_line
from geozoom.fmow.boxes import Listed

KINDS = {"_rgb.jpg": "fMoW-rgb", "_rgb.tif": "fMoW-full (rgb)", "_ms.tif": "fMoW-full (ms)"}
"""Endings of an image's name, best first; `_msrgb.jpg`, the same image made otherwise, is none of them."""


def in_tree(root: Path, file: str) -> Listed:
    """Return the entry of an image SPLIT/CLASS/SEQUENCE/NAME, its JSON beside it."""
    _, category, sequence, name = file.split("/")
    return Listed(
        file=file,
        category=category,
        place=file.rpartition("/")[0],
        truth=(root / file).with_suffix(".json"),
        twin=f"{category}/{sequence}/{_stem(name)}",
    )


def _stem(name: str) -> str:
    """Return CLASS_N_M of CLASS_N_M_rgb.jpg."""
    return name.rpartition("_")[0]


def join_test(root: Path, mapping: Path, ending: str) -> tuple[list[Listed], list[str]]:
    """Join test's images, which have numbers for names, to their ground truth; say what has no counterpart.

    Raises:
        DatasetError: The mapping is not what fMoW has.
    """
    try:
        pairs = [(str(row["input"]), str(row["output"])) for row in orjson.loads(mapping.read_bytes())]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{mapping}: not a list of input and output ({first_line(error)}); download it again"
        ) from error
    listed: list[Listed] = []
    empty, gone, unknown = 0, 0, 0
    for truth, output in sorted(pairs):
        category, sequence = Path(truth).parts[-2:]
        number = Path(output).name
        folder = root / "test_gt" / category / sequence
        images = {image.name: image for image in (root / "test" / number).glob(f"*{ending}")}
        if not images:
            empty += 1
            continue
        for file in sorted(folder.glob(f"*{Path(ending).stem}.json")):
            part = file.stem.removeprefix(sequence)  # _M_rgb
            image = images.pop(f"{number}{part}{Path(ending).suffix}", None)
            if image is None:
                gone += 1
                continue
            listed.append(
                Listed(
                    file=str(image.relative_to(root)),
                    category=category,
                    place=f"test/{number}",
                    truth=file,
                    boxes=image.with_suffix(".json") if image.with_suffix(".json").is_file() else None,
                    twin=f"{category}/{sequence}/{_stem(file.stem)}",
                )
            )
        unknown += len(images)
    said = (
        (empty, f"sequences of {mapping.name} have no images"),
        (gone, "images of test_gt are not in their sequence of test"),
        (unknown, "images of test have no ground truth and were left out"),
    )
    return listed, [f"{count} {what}" for count, what in said if count]

"""Miniature datasets with the layouts of the real ones, and scenes read at a size that tests can train on."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image
from rasterio.transform import from_origin
from scipy.io import savemat

from tests.conftest import smooth_noise
from training.datasets import Reading, SceneData, read_dataset
from training.recipe import DataRecipe

COLOURS = ((170, 60, 60), (60, 170, 60), (60, 60, 170), (150, 150, 60))


def read_scenes(
    root: Path,
    dataset: str = "folder",
    *,
    hr_px: int = 32,
    margin: float = 1.0,
    seed: int = 0,
    lr_root: Path | None = None,
    **reading: Any,
) -> SceneData:
    recipe = DataRecipe(hr_px=hr_px, lr_px=8, margin=margin, val_share=0.1)
    return read_dataset(dataset, root, recipe, seed=seed, reading=Reading(**reading), lr_root=lr_root)


def picture(kind: int, seed: int, width: int = 40, height: int = 40) -> np.ndarray[Any, Any]:
    """(height, width, 3) uint8 of a colour for each kind, with noise."""
    noise = smooth_noise(3, height, width, seed=seed).transpose(1, 2, 0)
    return (np.asarray(COLOURS[kind % len(COLOURS)]) + (noise - 0.5) * 60).clip(0, 255).astype(np.uint8)


def write_cifar10(root: Path, *, each: int = 8, classes: int = 3) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [f"class{number}" for number in range(classes)]
    for batch, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        labels = [number for number in range(classes) for _ in range(each)]
        data = np.stack(
            [
                picture(label, 100 * batch + index, 32, 32).transpose(2, 0, 1).reshape(-1)
                for index, label in enumerate(labels)
            ]
        )
        content = {"labels": labels, "data": data, "batch_label": name}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}, protocol=4))
    return root


def write_cifar100(root: Path, *, each: int = 4, classes: int = 5) -> Path:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for split, name in enumerate(("train", "test")):
        labels = [number for number in range(classes) for _ in range(each)]
        data = np.stack(
            [picture(label, 50 * split + label, 32, 32).transpose(2, 0, 1).reshape(-1) for label in labels]
        )
        content = {"fine_labels": labels, "coarse_labels": [0] * len(labels), "data": data}
        (folder / name).write_bytes(pickle.dumps(content, protocol=4))
    names = {
        "fine_label_names": [f"fine{number}" for number in range(classes)],
        "coarse_label_names": ["all"],
    }
    (folder / "meta").write_bytes(pickle.dumps(names, protocol=4))
    return root


SYNSETS = ("n01440764", "n02102040", "n03394916")


def write_imagenet(root: Path, *, flat: bool = False, each: int = 6) -> Path:
    """ILSVRC's train folders, and its val in folders or flat with the devkit."""
    truth = []
    for kind, synset in enumerate(SYNSETS):
        for index in range(each):
            file = root / "train" / synset / f"{synset}_{index}.JPEG"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(kind, 10 * kind + index, 50, 40)).save(file, "JPEG")
    for number in range(1, 7):
        kind = number % len(SYNSETS)
        name = f"ILSVRC2012_val_{number:08}.JPEG"
        file = root / "val" / name if flat else root / "val" / SYNSETS[kind] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(kind, 900 + number, 40, 50)).save(file, "JPEG")
        truth.append(kind)
    if flat:
        write_devkit(root / "ILSVRC2012_devkit_t12" / "data", truth)
    return root


def write_devkit(folder: Path, truth: list[int]) -> None:
    """The devkit numbers synsets in an order of its own, and lists inner nodes of WordNet after the leaves."""
    folder.mkdir(parents=True)
    ids = {kind: len(SYNSETS) - kind for kind in range(len(SYNSETS))}
    kinds = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(number, SYNSETS[kind], "some words", 0) for kind, number in ids.items()]
    rows.append((len(SYNSETS) + 1, "n00001740", "entity", 3))
    savemat(folder / "meta.mat", {"synsets": np.array(rows, dtype=kinds)})
    lines = "".join(f"{ids[kind]}\n" for kind in truth)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(lines)


def box_json(category: str, box: list[float], size: tuple[int, int], **more: Any) -> dict[str, Any]:
    return {
        "img_filename": "x.jpg",
        "img_width": size[0],
        "img_height": size[1],
        "gsd": 0.5,
        "utm": "36S",
        "country_code": "ZZ1",
        "cloud_cover": 3,
        "timestamp": "2016-05-05T10:00:00Z",
        "bounding_boxes": [{"ID": 0, "category": category, "box": box, "visible": "True"}],
    } | more


FMOW = ("airport", "crop_field", "zoo")
FMOW_SIZE = (60, 48)


def write_fmow(root: Path, *, ending: str = "_rgb.jpg", sequences: int = 6, test: bool = True) -> Path:
    """fMoW's tree: two images for each sequence, msrgb twins beside them, test joined by its mapping."""
    for split in ("train", "val"):
        for kind, name in enumerate(FMOW):
            for sequence in range(sequences):
                for image in range(2):
                    folder = root / split / name / f"{name}_{sequence}"
                    stem = f"{name}_{sequence}_{image}"
                    write_fmow_image(folder / f"{stem}{ending}", kind, 7 * sequence + image, name)
                    write_fmow_image(folder / f"{stem}_msrgb.jpg", kind, 0, name)
    mapping = []
    for kind, name in enumerate(FMOW if test else ()):
        number = f"{11978 + 5 * kind:07}"
        truth = root / "test_gt" / name / f"{name}_9"
        truth.mkdir(parents=True)
        write_fmow_image(root / "test" / number / f"{number}_4{ending}", kind, 99, name, category=False)
        content = box_json(name, [10, 8, 30, 20], FMOW_SIZE)
        content["bounding_boxes"].append(
            {"ID": -1, "category": "zoo", "box": [0, 0, 9, 9], "visible": "True"}
        )
        (truth / f"{name}_9_4{Path(ending).stem}.json").write_text(json.dumps(content))
        mapping.append({"input": f"test_gt/{name}/{name}_9", "output": f"test/{number}"})
    if test:
        (root / "test_gt_mapping.json").write_text(json.dumps(mapping))
    return root


def write_fmow_image(file: Path, kind: int, seed: int, name: str, *, category: bool = True) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = picture(kind, seed, *FMOW_SIZE)
    if file.suffix == ".jpg":
        Image.fromarray(pixels).save(file)
    else:
        write_geotiff(file, pixels.transpose(2, 0, 1) if "_rgb" in file.name else multispectral(pixels))
    content = box_json(name, [10, 8, 30, 20], FMOW_SIZE)
    if not category:
        del content["bounding_boxes"][0]["category"]
    file.with_suffix(".json").write_text(json.dumps(content))


def multispectral(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Eight bands of WorldView, 11 bits; red is the fifth, green the third, blue the second."""
    bands = np.full((8, *pixels.shape[:2]), 500, dtype=np.uint16)
    for band, colour in ((5, 0), (3, 1), (2, 2)):
        bands[band - 1] = pixels[..., colour].astype(np.uint16) * 7
    return bands


def write_geotiff(file: Path, pixels: np.ndarray[Any, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = pixels.shape
    with rasterio.open(
        file,
        "w",
        driver="GTiff",
        dtype=str(pixels.dtype),
        count=count,
        height=height,
        width=width,
        crs="EPSG:4326",
        transform=from_origin(13, 52, 0.0001, 0.0001),
    ) as out:
        out.write(pixels)


def write_fmow_sentinel(root: Path, *, sequences: int = 6) -> Path:
    """fMoW-Sentinel beside `write_fmow`'s tree: the first image of each sequence has a twin."""
    rows: dict[str, list[str]] = {"train": [], "val": [], "test_gt": []}
    for split, places in (("train", range(sequences)), ("val", range(sequences)), ("test_gt", range(9, 10))):
        for kind, name in enumerate(FMOW):
            for place in places:
                image = 4 if split == "test_gt" else 0
                file = root / split / name / f"{name}_{place}" / f"{name}_{place}_{image}.tif"
                bands = np.zeros((13, 12, 15), dtype=np.uint16)
                for band, colour in ((4, 0), (3, 1), (2, 2)):
                    bands[band - 1] = round(3000 * (COLOURS[kind][colour] / 255) ** 2.2)
                write_geotiff(file, bands)
                rows[split].append(f"{name},{place},{image},2016-05-05T10:00:00Z")
                rows[split].append(f"{name},{place},105,2017-05-05T10:00:00Z")
    for split, lines in rows.items():
        (root / f"{split}.csv").write_text(
            "\n".join(["category,location_id,image_id,timestamp", *lines]) + "\n"
        )
    return root

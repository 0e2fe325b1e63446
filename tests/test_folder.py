from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geozoom.errors import DatasetError
from geozoom.images import read_square
from tests.datasets import read_scenes
from training.datasets import HeldSplit, SceneData


def read(root: Path, seed: int = 0) -> SceneData:
    return read_scenes(root, margin=1.25, seed=seed)


def test_without_val_a_stratified_share_of_train_is_held_out_by_seed(scene_tree: Path) -> None:
    data = read(scene_tree)
    assert data.classes == ("barren", "built", "water")
    assert (len(data.train), len(data.val), len(data.test)) == (54, 6, 24)
    assert torch.bincount(data.val.labels).tolist() == [2, 2, 2]
    assert not set(data.val.files) & set(data.train.files)
    assert "seed 0" in data.val_from
    assert read(scene_tree).val.files == data.val.files
    assert read(scene_tree, seed=1).val.files != data.val.files


def test_the_trees_own_val_split_is_used(scene_tree: Path) -> None:
    shutil.copytree(scene_tree / "test", scene_tree / "val")
    data = read(scene_tree)
    assert (len(data.train), len(data.val), len(data.test)) == (60, 24, 24)


def test_training_scenes_keep_a_margin_but_are_never_enlarged(scene_tree: Path) -> None:
    data = read_scenes(scene_tree, hr_px=36, margin=1.25)
    assert isinstance(data.train, HeldSplit)
    assert isinstance(data.test, HeldSplit)
    assert data.train.images.shape[-1] == 40  # the files' own size; 45 would be enlarged
    assert data.test.images.shape[-1] == 36


def test_an_oblong_image_gives_its_central_square(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60, 3), dtype=np.uint8)
    pixels[:, 20:40] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert read_square(tmp_path / "wide.png", 20).float().mean() == 200


def test_greyscale_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    Image.new("L", (8, 8), 90).save(tmp_path / "grey.png")
    Image.new("RGBA", (8, 8), (90, 90, 90, 10)).save(tmp_path / "alpha.png")
    for name in ("grey.png", "alpha.png"):
        assert set(read_square(tmp_path / name, 8).flatten().tolist()) == {90}


def test_every_unreadable_image_is_named_at_once(scene_tree: Path) -> None:
    broken = [scene_tree / "train/built/00.png", scene_tree / "train/water/07.png"]
    for file in broken:
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"2 of") as caught:
        read(scene_tree)
    assert all(str(file.relative_to(scene_tree)) in str(caught.value) for file in broken)


def test_images_of_more_than_8_bits_are_refused_rather_than_clipped(scene_tree: Path) -> None:
    deep = np.full((40, 40), 3000, dtype=np.uint16)
    Image.fromarray(deep).save(scene_tree / "train/built/deep.png")
    with pytest.raises(DatasetError, match=r"deep\.png \(pixels of more than 8 bits"):
        read(scene_tree)


@pytest.mark.parametrize(("bands", "suffix"), [(3, "png"), (4, "png"), (2, "png"), (3, "tif"), (4, "tif")])
def test_colours_of_more_than_8_bits_are_refused_rather_than_shown_as_black(
    tmp_path: Path, bands: int, suffix: str
) -> None:
    rasterio = pytest.importorskip("rasterio")
    file = tmp_path / f"deep.{suffix}"
    profile = {"driver": "PNG" if suffix == "png" else "GTiff", "width": 20, "height": 20, "count": bands}
    if suffix == "tif":
        profile["photometric"] = "RGB"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(file, "w", dtype="uint16", **profile) as out:
            out.write(np.full((bands, 20, 20), 3000, dtype=np.uint16))
        with pytest.raises(ValueError, match="more than 8 bits"):
            read_square(file, 8)
        with rasterio.open(file, "w", dtype="uint8", **profile) as out:
            out.write(np.full((bands, 20, 20), 90, dtype=np.uint8))
    assert set(read_square(file, 8).flatten().tolist()) == {90}


def test_images_that_belong_to_no_class_are_counted(scene_tree: Path) -> None:
    assert read(scene_tree).notes == ()
    (scene_tree / "train/water/north/deep").mkdir(parents=True)
    shutil.copy(scene_tree / "train/water/00.png", scene_tree / "train/water/north/deep/00.PNG")
    shutil.copy(scene_tree / "train/water/00.png", scene_tree / "train/water/north/01.png")
    shutil.copy(scene_tree / "train/water/00.png", scene_tree / "test/loose.png")
    assert read(scene_tree).notes == (
        "2 images in folders within the classes of train are not read",
        "1 images beside the classes of test are not read",
    )


def test_a_wrong_layout_is_answered_with_the_one_expected(tmp_path: Path, scene_tree: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        read(tmp_path / "nowhere")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "images").mkdir()
    with pytest.raises(DatasetError, match=r"ROOT/train/CLASS/image.*found images"):
        read(tmp_path / "flat")
    (scene_tree / "test" / "volcano").mkdir()
    shutil.copy(scene_tree / "test/built/00.png", scene_tree / "test/volcano/00.png")
    with pytest.raises(DatasetError, match="class 'volcano' is not in train"):
        read(scene_tree)
    shutil.rmtree(scene_tree / "test" / "volcano")
    shutil.rmtree(scene_tree / "test" / "water")
    assert read(scene_tree).notes == ("test has no scene of water",)
    for file in (scene_tree / "train/built").iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match=r"train/built: no images"):
        read(scene_tree)


def test_batches_are_shuffled_whole_and_of_equal_size(scene_tree: Path) -> None:
    split = read(scene_tree).train
    batches = list(split.batches(16, torch.Generator().manual_seed(0)))
    assert [len(labels) for _, labels, _, _ in batches] == [16, 16, 16]
    (everything,) = split.batches(1000, torch.Generator().manual_seed(0))
    assert sorted(everything[1].tolist()) == sorted(split.labels.tolist())
    assert everything[1].tolist() != split.labels.tolist()

"""fMoW on generated trees with its real layouts, traps included."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geozoom.cli import main
from geozoom.errors import DatasetError
from geozoom.fmow.boxes import CLASSES, with_context
from geozoom.fmow.images import read_tiff
from geozoom.images import read_box
from tests.datasets import (
    COLOURS,
    FMOW,
    FMOW_SIZE,
    box_json,
    multispectral,
    picture,
    read_scenes,
    write_fmow,
    write_fmow_image,
    write_fmow_sentinel,
    write_geotiff,
)
from tests.test_datasets import SMALL, images
from training.datasets import SceneData, index_dataset
from training.engine import Engine
from training.recipe_files import load_recipe
from training.stages import Bench


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def first_json(root: Path, name: str = "airport", sequence: int = 0, image: int = 0) -> Path:
    return root / "train" / name / f"{name}_{sequence}" / f"{name}_{sequence}_{image}_rgb.json"


def scenes(data: SceneData) -> int:
    return len(data.train) + len(data.val) + len(data.test)


@pytest.mark.parametrize(
    ("ending", "name"),
    [("_rgb.jpg", "fMoW-rgb"), ("_rgb.tif", "fMoW-full (rgb)"), ("_ms.tif", "fMoW-full (ms)")],
)
def test_both_editions_are_read_with_test_joined_to_its_ground_truth(
    tmp_path: Path, ending: str, name: str
) -> None:
    data = read_scenes(write_fmow(tmp_path, ending=ending), "fmow")
    assert data.name == name
    assert data.classes == FMOW
    assert (len(data.train), len(data.val), len(data.test)) == (36, 36, 3)
    assert not [file for file in data.train.files if "msrgb" in file]
    assert data.test.labels.tolist() == [0, 1, 2]
    assert data.test.files[0] == f"test/0011978/0011978_4{ending}"
    assert data.notes == ("test: 3 boxes of ID -1 were left out",)
    if "ms" not in ending:  # whose bands are stretched each on its own
        means = images(data.test).float().mean(dim=(2, 3))
        assert means.argmax(dim=1).tolist() == [0, 1, 2]  # red, green, blue


def test_classes_keep_the_official_order_and_there_are_62() -> None:
    assert len(set(CLASSES)) == 62
    assert CLASSES[:3] == ("airport", "airport_hangar", "airport_terminal")
    assert CLASSES[-1] == "zoo"
    assert tuple(sorted(CLASSES)) == CLASSES


def test_without_labels_of_test_val_is_the_test_split_and_sequences_are_held_out_whole(
    tmp_path: Path,
) -> None:
    data = read_scenes(write_fmow(tmp_path, test=False), "fmow")
    assert len(data.test) == 36
    assert {file.split("/")[0] for file in data.test.files} == {"val"}
    sequences = [{Path(file).parent for file in split.files} for split in (data.train, data.val)]
    assert not sequences[0] & sequences[1]
    assert len(data.val) == 6  # both images of one sequence of each class
    assert "sequences, held out with seed 0" in data.val_from
    assert "labels of test were not found" in data.notes[0]


def test_seq_takes_the_place_of_test(tmp_path: Path) -> None:
    root = write_fmow(tmp_path, test=False)
    shutil.copytree(root / "train" / "zoo", root / "seq" / "zoo")
    data = read_scenes(root, "fmow")
    assert set(data.test.labels.tolist()) == {2}
    assert len(data.val) == 36
    assert data.notes == ("the test split is the dataset's seq", "test has no scene of airport, crop_field")


def test_boxes_that_are_no_scenes_are_left_out_and_counted(tmp_path: Path) -> None:
    root = write_fmow(tmp_path)
    good = {"ID": 1, "category": "zoo", "box": [5, 5, 20, 20], "visible": "False"}
    edit(first_json(root), bounding_boxes=good)  # a single dict
    edit(first_json(root, image=1), bounding_boxes=[good | {"box": [5, 5, 20, 2]}])
    edit(
        first_json(root, sequence=1),
        bounding_boxes=[good, good | {"ID": -1}, good | {"category": "false_detection"}],
    )
    edit(first_json(root, sequence=1, image=1), bounding_boxes=[])
    for key in ("raw_location", "utm", "img_width", "img_height"):  # challenge-era JSON says less
        content = json.loads(first_json(root, sequence=2).read_text())
        content.pop(key, None)
        first_json(root, sequence=2).write_text(json.dumps(content))
    data = read_scenes(root, "fmow")
    assert len(data.train) == 36 - 2
    labels = dict(zip(data.train.files, data.train.labels.tolist(), strict=True))
    assert labels["train/airport/airport_0/airport_0_0_rgb.jpg"] == 2  # what the box says, not the folder
    assert {note.split(" were")[0] for note in data.notes} == {
        "train: 1 boxes of 2 px or less",
        "train: 1 boxes of ID -1",
        "train: 1 boxes of class false_detection",
        "train: 1 images without a box",
        "test: 3 boxes of ID -1",
    }


def test_images_of_test_and_their_ground_truth_are_counted_where_one_is_missing(tmp_path: Path) -> None:
    root = write_fmow(tmp_path)
    first, second, third = sorted((root / "test").iterdir())
    shutil.rmtree(first)
    more = second / f"{second.name}_7_rgb.jpg"  # nobody says what it shows
    shutil.copy(second / f"{second.name}_4_rgb.jpg", more)
    truth = next((root / "test_gt" / FMOW[2]).glob("*/*.json"))
    shutil.copy(
        truth, truth.with_name(truth.name.replace("_4_rgb", "_8_rgb"))
    )  # of an image that is not there
    data = read_scenes(root, "fmow")
    assert [Path(file).parent.name for file in data.test.files] == [second.name, third.name]
    assert data.notes[:3] == (
        "test: 1 sequences of test_gt_mapping.json have no images",
        "test: 1 images of test_gt are not in their sequence of test",
        "test: 1 images of test have no ground truth and were left out",
    )


def test_damaged_json_and_images_are_named_together_and_left_out_if_asked(tmp_path: Path) -> None:
    root = write_fmow(tmp_path, ending="_rgb.tif")
    first_json(root).write_text("{")
    first_json(root, image=1).unlink()
    edit(first_json(root, sequence=1), bounding_boxes=[{"ID": 0, "category": "zoo", "box": [1, 2]}])
    edit(first_json(root, sequence=2), bounding_boxes=[{"ID": 0, "category": "zoo", "box": [90, 2, 5, 5]}])
    corrupt = root / "val/zoo/zoo_3/zoo_3_0_rgb.tif"  # as helipad_107_3 is in fMoW-full
    corrupt.write_bytes(corrupt.read_bytes()[:300])
    with pytest.raises(DatasetError, match="5 of 75 images cannot be read") as caught:
        read_scenes(root, "fmow")
    for words in (
        "airport_0_0_rgb.json (not fMoW's JSON",
        "airport_0_1_rgb.json (No such file",
        "airport_1_0_rgb.json (not fMoW's JSON",
        "airport_2_0_rgb.tif (the box",
        "zoo_3_0_rgb.tif (",
    ):
        assert words in str(caught.value)
    data = read_scenes(root, "fmow", skip_unreadable=True)
    assert scenes(data) == 70
    assert "5 unreadable images were left out" in data.notes


@given(st.floats(3, 500), st.floats(3, 500))
def test_the_narrower_a_box_the_more_context_it_gets(width: float, height: float) -> None:
    (left, top, right, bottom) = with_context(np.array([[1000.0, 1000.0, width, height]]))[0]
    ratio = min(width, height) / max(width, height)
    share = next(
        share
        for above, share in ((0.5, 0.15), (0.4, 0.2), (0.3, 0.3), (0.2, 0.5), (0.1, 1), (0, 2))
        if ratio >= above
    )
    assert (1000 - left, right - 1000 - width) == pytest.approx((share * width / 2,) * 2)
    assert (1000 - top, bottom - 1000 - height) == pytest.approx((share * height / 2,) * 2)


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_a_scene_is_its_box_with_context_clipped_to_the_image(tmp_path: Path, suffix: str) -> None:
    pixels = np.zeros((100, 200, 3), dtype=np.uint8)
    pixels[:50, :100] = 200
    file = tmp_path / f"image{suffix}"
    if suffix == ".jpg":
        Image.fromarray(pixels).save(file, quality=100)
    else:
        write_geotiff(file, pixels.transpose(2, 0, 1))
    read = read_box if suffix == ".jpg" else read_tiff
    inside = read(file, np.array([-20.0, -20.0, 100.0, 50.0]), 16)
    assert inside.shape == (3, 16, 16)
    assert inside.float().min() > 150  # without the edge's ringing, the colour of the corner
    half = read(file, np.array([0.0, 0.0, 200.0, 50.0]), 16).float()
    assert half[:, :12, :6].min() > 190
    assert half[:, :12, 10:].max() < 10
    with pytest.raises(ValueError, match="outside of its 200 × 100 pixels"):
        read(file, np.array([200.0, 0.0, 220.0, 20.0]), 16)


def test_a_large_jpeg_is_reduced_while_it_is_decoded_and_looks_the_same(tmp_path: Path) -> None:
    small = picture(0, 3, 150, 150)
    Image.fromarray(small).resize((1200, 1200), Image.Resampling.BICUBIC).save(tmp_path / "a.jpg", quality=98)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    box = np.array([100.0, 200.0, 1000.0, 1100.0])
    reduced, whole = (read_box(tmp_path / name, box, 64).float() for name in ("a.jpg", "a.png"))
    assert (reduced - whole).abs().mean() < 3


def test_sixteen_bit_bands_are_stretched_and_other_counts_refused(tmp_path: Path) -> None:
    write_geotiff(tmp_path / "ms.tif", multispectral(picture(1, 5, 60, 60)))
    scene = read_tiff(tmp_path / "ms.tif", None, 32)
    assert scene.float().mean(dim=(1, 2)).std() < 40  # each band fills its own range
    assert scene.float().std() > 30
    write_geotiff(tmp_path / "two.tif", np.ones((2, 9, 9), dtype=np.uint16))
    with pytest.raises(ValueError, match="2 bands; fMoW has 3, 4 or 8"):
        read_tiff(tmp_path / "two.tif", None, 8)


def write_tables(root: Path, rows: dict[str, list[str]], header: str = "") -> None:
    for name, lines in rows.items():
        (root / name).write_text("\n".join([*([header] if header else []), *lines]) + "\n")


def table_rows(root: Path, split: str, label: Any) -> list[str]:
    files = sorted((root / "fmow" / split).rglob("*_rgb.jpg"))
    files = [file for file in files if not file.name.endswith("_msrgb.jpg")]
    return [f"{label(file.parts[-3])},{file.relative_to(root)}" for file in files]


@pytest.mark.parametrize("style", ["names", "numbers", "satmae"])
def test_csv_splits_are_read_whatever_their_numbering(tmp_path: Path, style: str) -> None:
    write_fmow(tmp_path / "fmow", test=False)
    number = {"airport": "3", "crop_field": "1", "zoo": "0"}  # an order of someone else's
    label = (lambda name: name) if style == "names" else number.__getitem__
    rows = {split: table_rows(tmp_path, split, label) for split in ("train", "val")}
    if style == "satmae":
        rows = {split: [f"{row},2016-05-05T10:00:00Z" for row in lines] for split, lines in rows.items()}
        named = {f"{split}_62classes.csv": lines for split, lines in rows.items()}
        write_tables(tmp_path, named, "label,path,timestamp")
    else:
        write_tables(tmp_path, {f"{split}.csv": lines for split, lines in rows.items()})
    data = read_scenes(tmp_path, "fmow")
    assert data.classes == FMOW
    assert len(data.test) == 36
    assert not {Path(file).parent for file in data.train.files} & {
        Path(file).parent for file in data.val.files
    }
    for file, label_ in zip(data.test.files, data.test.labels.tolist(), strict=True):
        assert Path(file).parts[-3] == FMOW[label_]


def test_cropped_copies_are_taken_whole_whatever_json_lies_beside_them(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for kind, name in enumerate(FMOW):
            for index in range(3):
                file = tmp_path / "crops" / split / name / f"{name}_{index}_0_rgb.jpg"
                write_fmow_image(file, kind, index, name)
                if index:
                    file.with_suffix(".json").unlink()
                else:
                    Image.fromarray(picture(kind, 1, 24, 24)).save(file)
        rows = [
            f"{name},crops/{split}/{name}/{name}_{index}_0_rgb.jpg" for name in FMOW for index in range(3)
        ]
        write_tables(tmp_path, {f"{split}.csv": rows})
    data = read_scenes(tmp_path, "fmow", hr_px=24)
    assert "18 images have no JSON of their size and were taken as cropped" in data.notes
    assert scenes(data) == 18
    listed = index_dataset("fmow", tmp_path, val_share=0.4, seed=0).train
    assert listed.places is not None  # images of one class folder are not taken for one place
    assert len(set(listed.places)) == len(listed)


def test_unusable_tables_are_answered_in_one_sentence(tmp_path: Path) -> None:
    write_fmow(tmp_path / "fmow", test=False)
    rows = {f"{split}.csv": table_rows(tmp_path, split, str) for split in ("train", "val")}
    cases = {
        "airport": "expected label,path in every line",
        "17,pictures/1.jpg": r"pictures/1.jpg is not there; paths are taken relative to",
        "airport,fmow/train/zoo/zoo_0/zoo_0_0_rgb.jpg\nairport,x/airport/y.jpg": "",
    }
    for text, words in cases.items():
        write_tables(tmp_path, rows | {"train.csv": text.split("\n")})
        if words:
            with pytest.raises(DatasetError, match=words):
                read_scenes(tmp_path, "fmow")
    shutil.copy(tmp_path / "fmow/train/zoo/zoo_0/zoo_0_0_rgb.jpg", tmp_path / "1.jpg")
    write_tables(tmp_path, rows | {"train.csv": ["17,1.jpg"]})
    with pytest.raises(DatasetError, match=r"label '17' of 1.jpg has no name"):
        read_scenes(tmp_path, "fmow")
    mixed = [f"5,{line.split(',')[1]}" for line in rows["train.csv"]]
    write_tables(tmp_path, rows | {"train.csv": mixed})
    with pytest.raises(DatasetError, match=r"label '5' is airport and crop_field by the paths"):
        read_scenes(tmp_path, "fmow")


def test_a_wrong_folder_is_answered_with_fmows_layout(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no such folder"):
        read_scenes(tmp_path / "nowhere", "fmow")
    (tmp_path / "images.zip").touch()
    with pytest.raises(DatasetError, match=r"expected \{train,val\}/CLASS/CLASS_N.*; found images.zip"):
        read_scenes(tmp_path, "fmow")
    (tmp_path / "train" / "airport" / "airport_0").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"train: expected .*found airport/"):
        read_scenes(tmp_path, "fmow")


def test_classes_that_are_not_fmows_or_not_in_train_are_named(tmp_path: Path) -> None:
    root = write_fmow(tmp_path / "a")
    edit(first_json(root), bounding_boxes=[{"ID": 0, "category": "volcano", "box": [1, 1, 9, 9]}])
    with pytest.raises(DatasetError, match="class 'volcano' is none of fMoW's 62"):
        read_scenes(root, "fmow")
    root = write_fmow(tmp_path / "b")
    shutil.rmtree(root / "train" / "zoo")
    with pytest.raises(DatasetError, match=r"val: class 'zoo' is not in train"):
        read_scenes(root, "fmow")
    shutil.rmtree(root / "train" / "airport")
    with pytest.raises(DatasetError, match="fewer than two classes"):
        read_scenes(root, "fmow")
    (root / "test_gt_mapping.json").write_text('{"input": 1}')
    with pytest.raises(DatasetError, match="not a list of input and output"):
        read_scenes(root, "fmow")


def test_sentinel_images_take_the_place_of_simulated_lr(tmp_path: Path) -> None:
    root, twins = write_fmow(tmp_path / "fmow"), write_fmow_sentinel(tmp_path / "sentinel")
    data = read_scenes(root, "fmow", lr_root=twins)
    assert data.name == "fMoW-rgb with fMoW-Sentinel"
    assert (len(data.train), len(data.val), len(data.test)) == (18, 18, 3)
    assert "train: 18 scenes have no image in fMoW-Sentinel and were left out" in data.notes
    batch = next(data.test.in_order(3))
    assert batch.twins is not None
    assert batch.twins.shape == (3, 3, 8, 8)
    # Reflectance ρ is shown as (ρ / 0.3)^(1 / gamma); the card's default gamma is 1.
    expected = [[255 * (value / 255) ** 2.2 for value in COLOURS[kind]] for kind in range(3)]
    torch.testing.assert_close(batch.twins.float().mean(dim=(2, 3)), torch.tensor(expected), atol=2, rtol=0)
    streamed = next(read_scenes(root, "fmow", lr_root=twins, memory_gib=0).test.in_order(3))
    assert streamed.twins is not None
    assert torch.equal(streamed.twins, batch.twins)


def test_a_twin_shows_the_part_that_the_box_shows(tmp_path: Path) -> None:
    """The twin covers the whole image at its own resolution: a quarter of one is a quarter of the other."""
    root, twins = write_fmow(tmp_path / "fmow"), write_fmow_sentinel(tmp_path / "sentinel")
    width, height = FMOW_SIZE
    for name in FMOW:
        bands = np.zeros((13, 12, 15), dtype=np.uint16)
        bands[3, 6:, 7:] = 3000  # red in the lower right
        write_geotiff(twins / "test_gt" / name / f"{name}_9" / f"{name}_9_4.tif", bands)
        content = box_json(name, [0.6 * width, 0.6 * height, 0.3 * width, 0.3 * height], FMOW_SIZE)
        (root / "test_gt" / name / f"{name}_9" / f"{name}_9_4_rgb.json").write_text(json.dumps(content))
    batch = next(read_scenes(root, "fmow", lr_root=twins).test.in_order(3))
    assert batch.twins is not None
    assert batch.twins[:, 0].float().min() > 250
    assert batch.twins[:, 1:].float().max() == 0


def test_a_view_cuts_scene_and_twin_alike() -> None:
    recipe = load_recipe(
        "fmow",
        [
            "data.hr_px=32",
            "data.lr_px=8",
            "data.margin=1.0",
            "augmentation.jitter=0.0",
            "augmentation.min_area=0.3",
        ],
    )
    ramp = (torch.arange(64) * 4).to(torch.uint8).view(1, 1, 1, 64).expand(16, 3, 64, 64).contiguous()
    twin = torch.nn.functional.avg_pool2d(ramp.float(), 4).round().to(torch.uint8)
    from training.datasets import Batch

    batch = Batch(ramp, torch.zeros(16, dtype=torch.int64), torch.arange(16), twin)
    bench = Bench.__new__(Bench)
    object.__setattr__(bench, "recipe", recipe)
    hr, lr = bench.views(batch, torch.Generator().manual_seed(0))
    pooled = torch.nn.functional.avg_pool2d(hr, 4)
    assert lr.shape == pooled.shape
    assert (lr - pooled).abs().mean() < 0.03
    assert pooled.flatten(1).mean(dim=1).std() > 0.05  # the crops differ


def test_seq_has_no_twins_of_the_same_numbers_in_test(tmp_path: Path) -> None:
    root, twins = write_fmow(tmp_path / "fmow", test=False), write_fmow_sentinel(tmp_path / "sentinel")
    for name in FMOW:
        write_fmow_image(root / "seq" / name / f"{name}_9" / f"{name}_9_4_rgb.jpg", 0, 1, name)
    assert len(read_scenes(root, "fmow").test) == len(FMOW)
    data = read_scenes(root, "fmow", lr_root=twins)
    assert {file.split("/")[0] for file in data.test.files} == {"val"}
    assert data.notes[0] == "seq was left out: fMoW-Sentinel has no images of it"
    shutil.copytree(twins / "test_gt", twins / "seq")
    shutil.copy(twins / "test_gt.csv", twins / "seq.csv")
    assert {file.split("/")[0] for file in read_scenes(root, "fmow", lr_root=twins).test.files} == {"seq"}
    (twins / "seq.csv").unlink()
    shutil.rmtree(root / "val")
    with pytest.raises(DatasetError, match="no images of seq, and there is no other split to test on"):
        read_scenes(root, "fmow", lr_root=twins)


def test_missing_or_other_tables_of_sentinel_are_named(tmp_path: Path) -> None:
    root, twins = write_fmow(tmp_path / "fmow"), write_fmow_sentinel(tmp_path / "sentinel")
    (twins / "val.csv").write_text("label,path\n1,x\n")
    with pytest.raises(DatasetError, match=r"val.csv: has no column 'category'"):
        read_scenes(root, "fmow", lr_root=twins)
    (twins / "val.csv").unlink()
    with pytest.raises(DatasetError, match=r"expected fMoW-Sentinel: val.csv"):
        read_scenes(root, "fmow", lr_root=twins)


def test_a_twin_of_a_failed_download_is_named(tmp_path: Path) -> None:
    root, twins = write_fmow(tmp_path / "fmow"), write_fmow_sentinel(tmp_path / "sentinel")
    write_geotiff(twins / "val/zoo/zoo_2/zoo_2_0.tif", np.zeros((1, 4, 4), dtype=np.uint16))
    with pytest.raises(DatasetError, match=r"zoo_2_0_rgb.jpg \(1 band, as fMoW-Sentinel has"):
        read_scenes(root, "fmow", lr_root=twins)


def test_all_stages_train_on_real_lr_images(tmp_path: Path) -> None:
    root, twins = write_fmow(tmp_path / "fmow"), write_fmow_sentinel(tmp_path / "sentinel")
    settings = [part for value in SMALL for part in ("--set", value)]
    command = ["train", "--dataset", "fmow", "--root", str(root), "--lr-root", str(twins), "--device", "cpu"]
    out = tmp_path / "run"
    result = CliRunner().invoke(main, [*command, "--out", str(out), "--epochs", "1", *settings])
    assert result.exit_code == 0, result.output
    assert (out / "model.safetensors").is_file()
    assert json.loads((out / "config.json").read_text())["lr_root"] == str(twins)


@pytest.mark.parametrize(("real", "code"), [(True, 1), (False, 0)])
def test_how_real_lr_images_are_read_stays_as_the_run_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real: bool, code: int
) -> None:
    root, twins = write_fmow(tmp_path / "fmow"), write_fmow_sentinel(tmp_path / "sentinel")
    monkeypatch.setattr(Engine, "fit", lambda self, stage, model, _: self.save_weights(model, stage.name))
    settings = [part for value in SMALL for part in ("--set", value)]
    command = ["train", "--dataset", "fmow", "--root", str(root), "--device", "cpu", *settings]
    command += ["--out", str(tmp_path / "run"), *(["--lr-root", str(twins)] if real else [])]
    first = CliRunner().invoke(main, [*command, "--stage", "hr"])
    assert first.exit_code == 0, first.output
    whiter = ["--set", "card.reflectance_white=0.9", "--resume", "--stage", "lr"]
    on = CliRunner().invoke(main, [*command, *whiter])
    assert on.exit_code == code, on.output
    assert real == (
        "was begun with card.reflectance_white = 0.3, by which its LR images are read" in on.output
    )

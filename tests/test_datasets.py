"""CIFAR, ImageNet and what all datasets share, on miniature trees with the real layouts."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from geozoom.cli import main
from geozoom.errors import DatasetError, OutputError
from geozoom.files import write_text
from geozoom.images import ImageFiles
from tests import test_train
from tests.datasets import (
    SYNSETS,
    picture,
    read_scenes,
    write_cifar10,
    write_cifar100,
    write_fmow,
    write_imagenet,
)
from training import DATASETS, STAGES, run
from training.datasets import Batch, HeldSplit, Split
from training.datasets.index import SceneIndex, hold_out
from training.datasets.streamed import StreamedSplit
from training.evaluation import EvaluationRequest, open_run
from training.recipe_files import RECIPES, load_recipe, recipe_of

SHARED = Path(__file__).parents[2] / "shared" / "data"
SMALL = [
    *("data.hr_px=32", "data.lr_px=8", "data.val_share=0.1", "networks.lr_temperature=2.0", "hr.small_px=16"),
    *("networks.classifier=resnet8", "networks.classifier_widths=[4, 8, 8]"),
    *("networks.policy=resnet8", "networks.policy_widths=[4, 8, 8]"),
    *(f"{stage}.batch_size=8" for stage in STAGES),
]


def images(split: Split) -> torch.Tensor:
    return torch.cat([batch.images for batch in split.in_order(7)])


def train(dataset: str, root: Path, out: Path, *more: str, values: Sequence[str] = SMALL) -> None:
    settings = (part for value in values for part in ("--set", value))
    command = ["train", "--dataset", dataset, "--root", str(root), "--out", str(out), "--device", "cpu"]
    result = CliRunner().invoke(main, [*command, "--epochs", "1", *settings, *more])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("recipe", ["default", "paper"])
def test_every_dataset_trains_from_the_command_line_by_its_own_recipes(
    tmp_path: Path, scene_tree: Path, dataset: str, recipe: str
) -> None:
    writers: dict[str, Callable[[Path], Path]] = {
        "cifar10": write_cifar10,
        "cifar100": write_cifar100,
        "imagenet": write_imagenet,
        "fmow": write_fmow,
    }
    root = writers[dataset](tmp_path / "data") if dataset in writers else scene_tree
    out = tmp_path / "run"
    train(dataset, root, out, "--recipe", recipe, "--stage", "hr")
    record = json.loads((out / "config.json").read_text())
    own = {"default": dataset, "paper": f"paper-{dataset}"}[recipe]
    assert record["recipe_name"] == (recipe if dataset == "folder" else own)
    assert record["dataset"] == dataset
    (row,) = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert row["stage"] == "hr"


def test_every_dataset_has_two_recipes() -> None:
    for dataset in DATASETS:
        for name in ("default", "paper"):
            assert (RECIPES / f"{recipe_of(dataset, name)}.toml").is_file()
    assert recipe_of("cifar10", "aid") == "aid"
    assert recipe_of("cifar10", "mine.toml") == "mine.toml"


@pytest.mark.parametrize(
    ("dataset", "stage", "epochs", "batch_size", "penalty"),
    [
        *[
            ("cifar10", *row)
            for row in (("pt", 3400, 1024, 0.5), ("ft1", 1680, 256, 5), ("ft2", 990, 256, 5))
        ],
        *[
            ("cifar100", *row)
            for row in (("pt", 3400, 1024, 0.5), ("ft1", 1680, 256, 5), ("ft2", 990, 256, 5))
        ],
        *[("imagenet", *row) for row in (("pt", 95, 1024, 0.1), ("ft1", 51, 128, 10), ("ft2", 10, 128, 10))],
        ("fmow", "pt", 63, 1024, 0.5),
    ],
)
def test_paper_recipes_hold_the_published_schedule(
    dataset: str, stage: str, epochs: int, batch_size: int, penalty: float
) -> None:
    recipe = load_recipe(recipe_of(dataset, "paper"), [])
    got = getattr(recipe, stage)
    assert (got.epochs, got.batch_size, got.penalty) == (epochs, batch_size, penalty)
    assert (got.estimator, got.reward, got.policy_learning_rate) == ("self_critical", "paper", 1e-4)
    assert got.alpha == ((0.8, 0.8) if "cifar" in dataset else (0.7, 0.95))
    assert recipe.robust.epochs == recipe.judges.folds == 0


def test_cifar_reads_what_torchvision_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for dataset, write, reader in (
        ("cifar10", write_cifar10, torchvision.datasets.CIFAR10),
        ("cifar100", write_cifar100, torchvision.datasets.CIFAR100),
    ):
        root = write(tmp_path / dataset)
        monkeypatch.setattr(reader, "_check_integrity", lambda _: True)
        monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda *_: True)
        data = read_scenes(root, dataset)
        theirs = reader(root, train=False)
        np.testing.assert_array_equal(images(data.test).permute(0, 2, 3, 1).numpy(), theirs.data)
        assert data.test.labels.tolist() == theirs.targets
        assert list(data.classes) == theirs.classes
        assert len(data.train) + len(data.val) == len(reader(root, train=True))
        assert not set(data.train.files) & set(data.val.files)
        assert torch.bincount(data.val.labels).min() >= 1
        assert "state so with every figure" in data.notes[0]  # made here, not by CIFAR's authors


def test_cifar_is_found_by_its_own_folder_and_resized_if_asked(tmp_path: Path) -> None:
    root = write_cifar10(tmp_path)
    data = read_scenes(root / "cifar-10-batches-py", "cifar10", hr_px=64)
    assert images(data.test).shape[1:] == (3, 64, 64)


def test_damaged_cifar_files_are_named(tmp_path: Path) -> None:
    root = write_cifar10(tmp_path)
    folder = root / "cifar-10-batches-py"
    whole = (folder / "data_batch_2").read_bytes()
    content = pickle.loads(whole)  # noqa: S301 (made above)
    cases = {
        whole[:400]: r"data_batch_2: cannot be read",
        pickle.dumps([1]): r"data_batch_2: holds a list, not a dictionary",
        pickle.dumps({"data": content["data"]}): r"data_batch_2: has no 'labels', only data",
        pickle.dumps(content | {"data": content["data"][:, :-1]}): r"data_batch_2: holds uint8 data of shape",
        pickle.dumps(
            content | {"labels": [7] * len(content["labels"])}
        ): r"label 7, but batches.meta names 3",
        pickle.dumps(content | {"labels": [-1] * len(content["labels"])}): r"label -1, but .*; unpack the",
        pickle.dumps(content | {"labels": 3}): r"labels of shape \(\), where",
        pickle.dumps(content | {"labels": ["0"] * len(content["labels"])}): r"<U1 labels of shape",
        pickle.dumps(content | {"labels": [0.5] * len(content["labels"])}): r"float64 labels of shape",
        pickle.dumps(content | {"labels": [[0], [0, 1]]}): r"data_batch_2: 'labels' is no array",
        (folder / "test_batch").read_bytes(): r"test_batch: is the same file as data_batch_2; unpack",
        pickle.dumps({"data": Path("x")}): r"which is no part of CIFAR",  # unpickling runs no code
    }
    for bad, words in cases.items():
        (folder / "data_batch_2").write_bytes(bad)
        with pytest.raises(DatasetError, match=words):
            read_scenes(root, "cifar10")
    (folder / "data_batch_2").write_bytes(whole)
    meta = (folder / "batches.meta").read_bytes()
    for names in ("airplanes", 3, ["cat", "cat", "dog"]):
        (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
        with pytest.raises(DatasetError, match=r"batches.meta: 'label_names' is no list of different names"):
            read_scenes(root, "cifar10")
    (folder / "batches.meta").write_bytes(meta)
    with pytest.raises(DatasetError, match=r"test_batch: is a file; unpack it and name the folder"):
        read_scenes(folder / "test_batch", "cifar10")
    (folder / "data_batch_2").unlink()
    (folder / "data_batch_2").symlink_to("/proc/self/mem")  # a file that cannot be read, by nobody
    with pytest.raises(DatasetError, match=r"data_batch_2: cannot be read"):
        read_scenes(root, "cifar10")
    (folder / "data_batch_2").unlink()
    with pytest.raises(
        DatasetError, match=r"expected cifar-10-batches-py/ .*; found batches.meta, data_batch_1,"
    ):
        read_scenes(root, "cifar10")
    with pytest.raises(DatasetError, match=r"expected cifar-100-python/.*; found cifar-10-batches-py/"):
        read_scenes(root, "cifar100")


@pytest.mark.parametrize("labels", ["folders", "devkit", "kaggle"])
def test_imagenets_validation_images_are_the_test_split_in_any_layout(tmp_path: Path, labels: str) -> None:
    root = write_imagenet(tmp_path / "imagenet", flat=labels != "folders")
    plain = read_scenes(write_imagenet(tmp_path / "plain"), "imagenet")
    if labels == "kaggle":
        inner = root / "ILSVRC" / "Data" / "CLS-LOC"
        inner.mkdir(parents=True)
        for split in ("train", "val"):
            (root / split).rename(inner / split)
        shutil.rmtree(root / "ILSVRC2012_devkit_t12")
        rows = [
            f"ILSVRC2012_val_{number:08},{SYNSETS[number % 3]} 1 2 30 40 {SYNSETS[0]} 5 6 7 8"
            for number in range(1, 7)
        ]
        (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(rows) + "\n")
    data = read_scenes(root, "imagenet")
    assert data.classes == SYNSETS
    assert (len(data.train), len(data.val), len(data.test)) == (15, 3, 6)
    by_name = {
        Path(file).name: label for file, label in zip(data.test.files, data.test.labels.tolist(), strict=True)
    }
    assert by_name == {
        Path(file).name: label
        for file, label in zip(plain.test.files, plain.test.labels.tolist(), strict=True)
    }
    assert by_name["ILSVRC2012_val_00000001.JPEG"] == 1
    assert "validation images" in data.notes[0]


def test_imagenets_traps_are_answered_in_one_sentence(tmp_path: Path) -> None:
    root = write_imagenet(tmp_path / "imagenet", flat=True)
    devkit = root / "ILSVRC2012_devkit_t12" / "data"
    truth = devkit / "ILSVRC2012_validation_ground_truth.txt"
    lines = truth.read_text()
    truth.write_text(lines[:4])
    with pytest.raises(DatasetError, match=r"val_00000003.JPEG: has no class in .* which has 2 lines"):
        read_scenes(root, "imagenet")
    truth.write_text("one\n")
    with pytest.raises(DatasetError, match="one number a line"):
        read_scenes(root, "imagenet")
    truth.write_text(lines)
    (devkit / "meta.mat").write_bytes(b"MATLAB")
    with pytest.raises(DatasetError, match=r"meta.mat: cannot be read"):
        read_scenes(root, "imagenet")
    shutil.rmtree(devkit)
    with pytest.raises(DatasetError, match=r"6 images without class folders.*LOC_val_solution.csv"):
        read_scenes(root, "imagenet")
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n")
    with pytest.raises(DatasetError, match=r"val_00000001.JPEG: is not in"):
        read_scenes(root, "imagenet")
    (root / "LOC_val_solution.csv").write_bytes("ImageId,PredictionString\n".encode("utf-16"))
    with pytest.raises(DatasetError, match=r"LOC_val_solution.csv: cannot be read as a table in UTF-8"):
        read_scenes(root, "imagenet")
    image = root / "val" / "ILSVRC2012_val_00000002.JPEG"
    (root / "val" / SYNSETS[0]).mkdir()
    shutil.copy(image, root / "val" / SYNSETS[0] / image.name)
    with pytest.raises(
        DatasetError, match=r"val: holds 1 images in class folders and 6 beside them .*; sort"
    ):
        read_scenes(root, "imagenet")
    (root / "train" / SYNSETS[0]).rename(root / "train" / "tench")
    with pytest.raises(DatasetError, match=r"'tench' is not a synset's name"):
        read_scenes(root, "imagenet")
    shutil.rmtree(root / "val")
    (root / "train" / "tench").rename(root / "train" / SYNSETS[0])
    with pytest.raises(DatasetError, match=r"expected train/nXXXXXXXX/.*; found .*train/"):
        read_scenes(root, "imagenet")
    with pytest.raises(DatasetError, match="there is no such folder"):
        read_scenes(root / "nowhere", "imagenet")


@pytest.mark.parametrize("split", ["val", "test"])
def test_classes_that_differ_between_splits_are_named(tmp_path: Path, scene_tree: Path, split: str) -> None:
    shutil.copytree(scene_tree / "test", scene_tree / "val")
    shutil.copytree(scene_tree / split / "water", scene_tree / split / "volcano")
    with pytest.raises(DatasetError, match=rf"{split}: class 'volcano' is not in train"):
        read_scenes(scene_tree)
    root = write_imagenet(tmp_path / "imagenet")
    (root / "val" / SYNSETS[0]).rename(root / "val" / "n99999999")
    with pytest.raises(DatasetError, match=r"val: class 'n99999999' is not in train"):
        read_scenes(root, "imagenet")


@pytest.mark.parametrize("flat", [False, True])
def test_what_is_not_read_of_imagenet_is_said(tmp_path: Path, *, flat: bool) -> None:
    root = write_imagenet(tmp_path, flat=flat)
    assert not any("not read" in note for note in read_scenes(root, "imagenet").notes)
    first = next((root / "train" / SYNSETS[0]).iterdir())
    for stray in ("train/loose.JPEG", f"train/{SYNSETS[1]}/deep/x.JPEG", "val/stray.JPEG"):
        (root / stray).parent.mkdir(exist_ok=True)
        shutil.copy(first, root / stray)
    said = [note for note in read_scenes(root, "imagenet").notes if "not read" in note]
    assert said == [
        "1 images beside the classes of train are not read",
        "1 images in folders within the classes of train are not read",
        "1 images beside the classes of val are not read",
    ]


def test_a_class_whose_name_cannot_be_written_down_is_refused(scene_tree: Path) -> None:
    (scene_tree / "train/water").rename(scene_tree / "train" / os.fsdecode(b"caf\xe9"))
    with pytest.raises(DatasetError, match=r"train: the name of the class folder caf\\udce9 is no UTF-8"):
        read_scenes(scene_tree)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    root = write_imagenet(tmp_path)
    for file in (root / "train" / SYNSETS[1]).iterdir():
        file.unlink()
    with pytest.raises(DatasetError, match=rf"{SYNSETS[1]}: no images"):
        read_scenes(root, "imagenet")


def test_grey_and_cmyk_images_become_rgb(tmp_path: Path) -> None:
    root = write_imagenet(tmp_path)
    folder = root / "train" / SYNSETS[0]
    grey, cmyk, named_wrong = (folder / f"{SYNSETS[0]}_{index}.JPEG" for index in range(3))
    Image.new("L", (40, 40), 90).save(grey)
    Image.new("CMYK", (40, 40), (255, 0, 0, 0)).save(cmyk)  # cyan
    Image.new("RGB", (40, 40), (200, 0, 0)).save(named_wrong, "PNG")  # one of ImageNet's JPEGs is a PNG
    data = read_scenes(root, "imagenet")
    means = {
        Path(file).name: image.float().mean(dim=(1, 2))
        for split in (data.train, data.val)
        for file, image in zip(split.files, images(split), strict=True)
    }
    for file, colour in ((grey, (90, 90, 90)), (cmyk, (0, 255, 255)), (named_wrong, (200, 0, 0))):
        torch.testing.assert_close(means[file.name], torch.tensor(colour).float(), atol=3, rtol=0)


@pytest.mark.parametrize("memory_gib", [8.0, 0.0])
def test_unreadable_images_are_named_and_counted_and_left_out_only_if_asked(
    tmp_path: Path, memory_gib: float
) -> None:
    root = write_imagenet(tmp_path / "data")
    broken = [
        root / "train" / SYNSETS[2] / f"{SYNSETS[2]}_3.JPEG",
        next((root / "val" / SYNSETS[0]).iterdir()),
    ]
    for file in broken:
        file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"2 of 24 images cannot be read.*--skip-unreadable") as caught:
        read_scenes(root, "imagenet", memory_gib=memory_gib)
    assert all(file.name in str(caught.value) for file in broken)
    assert str(root) in str(caught.value)
    data = read_scenes(root, "imagenet", memory_gib=memory_gib, skip_unreadable=True)
    assert len(data.train) + len(data.val) + len(data.test) == 22
    assert len(images(data.test)) == 5
    assert not any(file.name in name for file in broken for name in (*data.train.files, *data.test.files))
    assert data.notes[-1] == "2 unreadable images were left out"
    assert len(data.unreadable) == 2
    train("imagenet", root, tmp_path / "run", "--skip-unreadable", "--stage", "hr")
    assert len((tmp_path / "run" / "unreadable.txt").read_text().splitlines()) == 2
    opened = open_run(
        EvaluationRequest(run=tmp_path / "run", device="cpu"), test_train.QUIET
    )  # as the run was begun
    assert len(opened.files) == len(data.test)
    further = ["train", "--out", str(tmp_path / "run"), "--resume", "--stage", "lr", "--device", "cpu"]
    assert CliRunner().invoke(main, further).exit_code == 0


def test_a_class_without_a_readable_image_is_named_even_when_unreadable_ones_are_skipped(
    tmp_path: Path,
) -> None:
    root = write_imagenet(tmp_path)
    for file in (root / "train" / SYNSETS[1]).iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(DatasetError, match=rf"class '{SYNSETS[1]}' has no readable training image"):
        read_scenes(root, "imagenet", skip_unreadable=True)


def same(ours: Batch, theirs: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours[:3], theirs[:3], strict=True))


def test_a_streamed_split_gives_the_batches_of_one_in_memory(scene_tree: Path) -> None:
    held, streamed = read_scenes(scene_tree, margin=1.25), read_scenes(scene_tree, margin=1.25, memory_gib=0)
    assert isinstance(held.train, HeldSplit)
    assert isinstance(streamed.train, StreamedSplit)
    assert (held.mean, held.std) == (streamed.mean, streamed.std)
    chosen = torch.tensor([5, 1, 30])
    for ours, theirs in (
        (streamed.train, held.train),
        (streamed.train.only(chosen), held.train.only(chosen)),
    ):
        assert ours.files == theirs.files
        assert torch.equal(ours.labels, theirs.labels)
        for skip in (0, 2):
            drawn, kept = (
                list(split.batches(16, torch.Generator().manual_seed(3), skip)) for split in (ours, theirs)
            )
            assert len(drawn) == len(kept)
            assert all(same(*pair) for pair in zip(drawn, kept, strict=True))
        assert all(same(*pair) for pair in zip(ours.in_order(7), theirs.in_order(7), strict=True))


def test_skipping_leaves_out_the_first_batches_and_draws_as_much(scene_tree: Path) -> None:
    split = read_scenes(scene_tree).train
    whole, resumed = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    everything, rest = list(split.batches(8, whole)), list(split.batches(8, resumed, 4))
    assert all(same(*pair) for pair in zip(everything[4:], rest, strict=True))
    assert torch.equal(whole.get_state(), resumed.get_state())


def test_a_run_does_not_depend_on_where_its_scenes_are_held(
    commanded_run: tuple[Path, Path], tmp_path: Path
) -> None:
    (tree, in_memory), out = commanded_run, tmp_path / "streamed"
    train("folder", tree, out, "--memory", "0", "--seed", "3", values=test_train.SMALL)
    held, streamed = (load_file(run / "model.safetensors") for run in (in_memory, out))
    assert all(torch.equal(held[name], streamed[name]) for name in held)
    assert (in_memory / "table.json").read_text() == (out / "table.json").read_text()


def test_a_streamed_dataset_is_surveyed_once(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "survey.json"
    first = read_scenes(scene_tree, memory_gib=0, survey_file=file)
    with monkeypatch.context() as patched:
        patched.setattr("training.datasets.loading._read", None)  # calling it would fail
        again = read_scenes(scene_tree, memory_gib=0, survey_file=file)
    assert (again.mean, again.std) == (first.mean, first.std)
    (scene_tree / "train/water/00.png").unlink()
    changed = read_scenes(scene_tree, memory_gib=0, survey_file=file)
    assert len(changed.train) + len(changed.val) == 59
    file.write_text("{")
    assert read_scenes(scene_tree, memory_gib=0, survey_file=file).mean == changed.mean


def test_what_could_not_be_read_is_read_again_once_it_is_mended(scene_tree: Path, tmp_path: Path) -> None:
    survey, file = tmp_path / "run" / "survey.json", scene_tree / "train/water/00.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:60])
    with pytest.raises(DatasetError, match=r"00\.png"):
        read_scenes(scene_tree, memory_gib=0, survey_file=survey)
    left = read_scenes(scene_tree, memory_gib=0, survey_file=survey, skip_unreadable=True)
    assert len(left.train) + len(left.val) == 59
    file.write_bytes(whole)
    for skip in (False, True):
        found = read_scenes(scene_tree, memory_gib=0, survey_file=survey, skip_unreadable=skip)
        assert len(found.train) + len(found.val) == 60
        assert not found.unreadable
    survey.parent.joinpath("file").touch()
    with pytest.raises(OutputError, match="file: cannot be created"):
        read_scenes(scene_tree, memory_gib=0, survey_file=survey.parent / "file" / "survey.json")


def test_names_that_are_no_utf_8_are_read_and_written_all_the_same(scene_tree: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (scene_tree / "train/water/00.png").rename(scene_tree / "train/water" / name)
    recipe = test_train.small_recipe("default", 1)
    out = tmp_path / "run"
    asked = test_train.request(scene_tree, out, recipe, stages=("hr",), memory_gib=0)
    run.train(asked, test_train.QUIET)
    write_text(tmp_path / "names.json", json.dumps([name], ensure_ascii=False))
    assert json.loads((tmp_path / "names.json").read_text()) == [name]


def test_an_image_that_vanishes_while_a_split_is_streamed_is_named(scene_tree: Path) -> None:
    split = read_scenes(scene_tree, memory_gib=0).train
    (scene_tree / split.files[11]).unlink()
    with pytest.raises(DatasetError, match=rf"{split.files[11]}: could be read when the run began"):
        list(split.in_order(4))


def test_real_lr_images_are_for_fmow_alone(scene_tree: Path) -> None:
    with pytest.raises(DatasetError, match="only fMoW has real LR images"):
        read_scenes(scene_tree, lr_root=scene_tree)


def test_only_fmow_needs_the_geographic_libraries_and_no_cpu_a_compiler(
    tmp_path: Path, scene_tree: Path
) -> None:
    roots = {
        "cifar10": write_cifar10(tmp_path / "c"),
        "imagenet": write_imagenet(tmp_path / "i"),
        "folder": scene_tree,
    }
    settings = [part for value in SMALL for part in ("--set", value)]
    others = {"rasterio", "geopandas", "pyproj", "shapely", "affine", "antimeridian", "orjson"}
    others |= {"torch._inductor.compile_fx"}
    code = "import sys; from geozoom.cli import main\n"
    for dataset, root in roots.items():
        out = str(tmp_path / f"run_{dataset}")
        command = ["train", "--dataset", dataset, "--root", str(root), "--out", out, "--device", "cpu"]
        command += ["--epochs", "1", "--stage", "hr", *settings]
        code += f"main({command!r}, standalone_mode=False)\n"
        code += f"main({['evaluate', out, '--device', 'cpu', '-q']!r}, standalone_mode=False)\n"
        code += f"print({dataset!r}, sorted({others!r} & set(sys.modules)))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["cifar10 []", "imagenet []", "folder []"]


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not here: ImageNet's own images are needed")
def test_real_imagenet_images_are_read() -> None:
    data = read_scenes(SHARED / "imagenette_224", "imagenet", hr_px=224)
    assert len(data.classes) == 10
    assert len(data.train) + len(data.val) + len(data.test) == 800
    assert 0.4 < data.mean[0] < 0.55


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"{SHARED} is not here: CIFAR-10's own images are needed")
def test_real_cifar_images_are_read_with_their_classes(tmp_path: Path) -> None:
    packed = np.load(SHARED / "cifar10_jpeg.npz")
    jpeg, offsets, labels = packed["jpeg"], packed["offsets"], packed["labels"]
    root = write_cifar10(tmp_path, classes=10)
    rows = [Image.open(io.BytesIO(jpeg[offsets[i] : offsets[i + 1]].tobytes())) for i in range(20)]
    content = {
        "labels": labels[:20].tolist(),
        "data": np.stack([np.asarray(row.convert("RGB")).transpose(2, 0, 1).reshape(-1) for row in rows]),
    }
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(content, protocol=4))
    data = read_scenes(root, "cifar10")
    assert torch.equal(
        images(data.test)[3], torch.from_numpy(np.asarray(rows[3].convert("RGB")).transpose(2, 0, 1).copy())
    )
    assert data.test.labels.tolist() == labels[:20].tolist()


def test_a_picture_is_what_its_kind_says() -> None:
    """The miniature datasets can be learned."""
    assert all(np.argmax(picture(kind, 5).mean(axis=(0, 1))) == kind for kind in range(3))


@given(
    scenes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=1, max_size=60),
    share=st.floats(0.05, 0.9),
    seed=st.integers(0, 9),
)
@settings(max_examples=50, deadline=None)
def test_no_place_falls_into_two_splits_whatever_classes_its_scenes_are_of(
    scenes: list[tuple[int, int]], share: float, seed: int
) -> None:
    places = [f"p{place}" for place, _ in scenes]
    train = SceneIndex(
        files=tuple(f"{number}.jpg" for number in range(len(scenes))),
        labels=np.array([label for _, label in scenes]),
        places=tuple(places),
        source=ImageFiles(root=Path()),
    )
    if min(len({place for place, own in scenes if own == label}) for label in range(3)) < 2:
        with pytest.raises(DatasetError, match="training place; a validation split needs at least 2"):
            hold_out(train, ("a", "b", "c"), share, seed)
        return
    left, held = hold_out(train, ("a", "b", "c"), share, seed)
    assert left.places is not None
    assert held.places is not None
    assert not set(left.places) & set(held.places)
    assert sorted([*left.files, *held.files]) == sorted(train.files)
    assert len(held)

"""Scenes that are image files: trees of classes and fMoW, their scores, and accuracy against money."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from rich.console import Console

from geozoom.classifiedimages import ClassifiedImages
from geozoom.cli import main
from geozoom.cli.classifying import _show_curve
from geozoom.doubt import log_odds
from geozoom.errors import DatasetError
from geozoom.fmow.boxes import CLASSES
from geozoom.imageclassification import classify_images, sensor_of
from geozoom.images import read_square
from geozoom.imagescenes import list_fmow, list_folder
from geozoom.model import PatchDrop, load_model
from geozoom.money import patches_cost, trace_money
from geozoom.moneycurve import CENTRE, ENTROPY, OWN, POLICY, RANDOM, TWICE, WAYS, MoneyCurve, MoneyPoint
from geozoom.moneycurve import DOUBT as BY_DOUBT
from geozoom.moneycurve import SCOUT as BY_SCOUT
from geozoom.pricelists import load_price_list
from geozoom.prices import PriceList
from geozoom.sensor import Sensor, simulate_lr
from tests.conftest import BY_AREA, DOUBT, DOUBTFUL, DOUBTS_WITH_HR, small_model
from tests.datasets import box_json, picture, read_scenes, write_fmow, write_fmow_image
from training.evaluate import correct, policy_probabilities, view_split
from training.recipe_files import load_recipe

DATA = Path(__file__).parents[2] / "shared" / "data" / "ucmerced"
SENSOR = {"psf_fwhm": 0.8, "gain": 0.05, "offset": 0.02, "noise": 0.01}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def sensing(tmp_path: Path) -> Path:
    """A model whose card knows its sensor."""
    path = tmp_path / "sensing.safetensors"
    small_model(recipe={"sensor": SENSOR}, seed=3).save(path)
    return path


def test_scenes_get_the_classes_of_eq_7_on_what_the_policy_chose(scene_tree: Path, sensing: Path) -> None:
    model = load_model(sensing)
    found = classify_images(list_folder(scene_tree), model=model)
    files = sorted((scene_tree / "test").rglob("*.png"))
    assert found.scenes.files == tuple(str(file.relative_to(scene_tree)) for file in files)
    hr = torch.stack([read_square(file, 32) for file in files]).float() / 255
    # The noise is that of the test split in training: its seed is two above the run's.
    lr = simulate_lr(hr, 8, Sensor(**SENSOR), torch.Generator().manual_seed(model.card.seed + 2))
    with torch.inference_mode():
        bought = (model.probabilities(lr) > 0.5).float()
        expected = model.class_log_probabilities(hr, lr, bought).exp()
        free = model.lr_logits(lr).softmax(1)
    assert 0 < bought.mean() < 1
    assert found.bought.tolist() == bought.bool().tolist()
    top = found.answers["top"]
    np.testing.assert_allclose(
        found.answers["probability"], np.take_along_axis(expected.numpy(), top, axis=1), atol=1e-5
    )
    assert found.answers["lr_class"].tolist() == free.argmax(1).tolist()


def test_accuracy_and_s_are_those_of_trainings_own_evaluation(scene_tree: Path, sensing: Path) -> None:
    model = load_model(sensing)
    recipe = load_recipe(
        "default", ["data.hr_px=32", *(f"sensor.{key}={value}" for key, value in SENSOR.items())]
    )
    views = view_split(read_scenes(scene_tree).test, recipe, seed=2)
    masks = (policy_probabilities(model, views) > 0.5).float()
    right = correct(model, views, "both", masks)
    found = classify_images(list_folder(scene_tree), model=model)
    assert found.scores is not None
    assert found.scores.accuracy == pytest.approx(right.float().mean().item())
    assert found.scores.sampled == pytest.approx(masks.sum(1).mean().item())
    assert found.scores.lr_accuracy == pytest.approx(correct(model, views, "lr").float().mean().item())


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="UC Merced is not beside the repository")
def test_the_shipped_model_has_the_accuracy_of_its_table() -> None:
    found = classify_images(list_folder(DATA)).scores
    assert found is not None
    assert found.scenes == 420
    assert f"{100 * found.accuracy:.1f} {found.sampled:.2f}" == "94.8 6.99"
    assert f"{100 * found.lr_accuracy:.1f}" == "69.0"


def test_splits_are_chosen_and_loose_images_have_no_label(scene_tree: Path) -> None:
    assert len(list_folder(scene_tree)) == 24
    assert len(list_folder(scene_tree, "train")) == 60
    assert len(list_folder(scene_tree / "train")) == 60
    assert set(list_folder(scene_tree / "test").labels) == {"barren", "built", "water"}
    loose = list_folder(scene_tree / "test" / "water")
    assert set(loose.labels) == {""}
    assert "have no label" in loose.notes[-1]
    inside = scene_tree / "test" / "water"
    (inside / "more").mkdir()
    (inside / "00.png").rename(inside / "more" / "00.png")
    (inside / "01.png").rename(inside / "01.gif")
    notes = list_folder(scene_tree).notes
    assert "1 images in folders within the classes of test are not read" in notes
    assert "1 other files in the classes of test are not read: 01.gif" in notes
    with pytest.raises(DatasetError, match="has no split val; it has test, train"):
        list_folder(scene_tree, "val")
    with pytest.raises(DatasetError, match="no such folder"):
        list_folder(scene_tree / "nowhere")
    (scene_tree / "empty" / "a").mkdir(parents=True)
    with pytest.raises(DatasetError, match="no images"):
        list_folder(scene_tree / "empty")


def fmow_model(**changes: Any) -> PatchDrop:
    return small_model(classes=("airport", "crop_field", "zoo"), **changes)


def test_fmows_boxes_are_scenes_and_false_detections_count_against_the_challenge_score(
    tmp_path: Path,
) -> None:
    root = write_fmow(tmp_path / "fmow")
    truth = root / "test_gt" / "zoo" / "zoo_9" / "zoo_9_4_rgb.json"
    content = json.loads(truth.read_text())
    nothing = {"ID": 7, "category": "false_detection", "box": [2, 2, 30, 30], "visible": "True"}
    content["bounding_boxes"].append(nothing)
    truth.write_text(json.dumps(content))
    scenes = list_fmow(root)
    assert [Path(file).name for file in scenes.files] == [
        "0011978_4_rgb.jpg",
        "0011983_4_rgb.jpg",
        *["0011988_4_rgb.jpg"] * 2,
    ]
    assert scenes.labels == ("airport", "crop_field", "zoo", "false_detection")
    assert scenes.ids == (0, 0, 0, 7)
    assert scenes.notes == (f"of {root}, the split test is classified", "3 boxes of ID -1 were left out")
    assert scenes.area_m2 is not None
    # 30 × 20 px of 0.5 m with 15% of context (its ratio is above 0.5).
    assert scenes.area_m2[0] == pytest.approx(30 * 1.15 * 20 * 1.15 / 4)
    found = classify_images(scenes, model=fmow_model())
    assert found.scores is not None
    assert found.scores.scenes == 3
    assert found.labels.strangers == {}
    assert found.scores.stray.sum() == 1
    top = found.answers["top"][:, 0]
    f1 = {}
    for kind, (name, weight) in enumerate((("airport", 0.6), ("crop_field", 0.6), ("zoo", 1.0))):
        if kind in [0, 1, 2, *top.tolist()]:
            f1[name] = (2 * int(top[kind] == kind) / (1 + int((top == kind).sum())), weight)
    expected = sum(value * weight for value, weight in f1.values()) / sum(weight for _, weight in f1.values())
    assert found.challenge_score == pytest.approx(expected)
    assert found.columns()["box_id"] == [0, 0, 0, 7]


def test_any_folder_of_fmow_is_read_with_or_without_labels(tmp_path: Path) -> None:
    root = write_fmow(tmp_path / "fmow")
    assert len(list_fmow(root, "val")) == 36
    assert len(list_fmow(root / "train" / "zoo" / "zoo_1")) == 2
    unlabelled = list_fmow(root / "test")
    assert unlabelled.labels == ("", "", "")
    found = classify_images(unlabelled, model=fmow_model())
    assert found.scores is None
    assert "label" not in found.columns()
    with pytest.raises(DatasetError, match=r"no images of fMoW in it .*give --folder"):
        list_fmow(tmp_path / "fmow" / "test_gt")


def test_json_without_boxes_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a_rgb.jpg"
    write_fmow_image(file, 0, 1, "zoo")
    file.with_suffix(".json").write_text(
        json.dumps(box_json("zoo", [1, 1, 9, 9], (60, 48)) | {"bounding_boxes": []})
    )
    with pytest.raises(
        DatasetError, match=r"none of its 1 images has a box; 1 images have no box: a_rgb\.jpg"
    ):
        list_fmow(tmp_path)
    write_fmow_image(tmp_path / "b_rgb.jpg", 0, 1, "zoo")
    (tmp_path / "c_rgb.jpg").write_bytes(file.read_bytes())  # without JSON
    write_fmow_image(tmp_path / "d_rgb.jpg", 0, 1, "zoo")
    (tmp_path / "d_rgb.json").write_text('{"gsd": 0.5}')
    write_fmow_image(tmp_path / "e_rgb.jpg", 0, 1, "zoo")
    wide = json.loads((tmp_path / "e_rgb.json").read_text()) | {"img_width": "wide"}
    (tmp_path / "e_rgb.json").write_text(json.dumps(wide))
    scenes = list_fmow(tmp_path)
    assert scenes.files == ("b_rgb.jpg",)
    assert "1 images have no box: a_rgb.jpg" in scenes.notes
    with pytest.raises(DatasetError, match="3 images cannot be read") as caught:
        classify_images(scenes, model=fmow_model())
    assert "c_rgb.json (No such file or directory)" in str(caught.value)
    assert "d_rgb.json (not fMoW's JSON: no 'bounding_boxes' in it)" in str(caught.value)
    assert "e_rgb.json (not fMoW's JSON: invalid literal for int()" in str(caught.value)
    assert len(classify_images(scenes, model=fmow_model(), skip_unreadable=True)) == 1


def test_unreadable_images_are_all_named_and_left_out_if_asked(scene_tree: Path, sensing: Path) -> None:
    for name in ("barren/03.png", "water/05.png"):
        (scene_tree / "test" / name).write_bytes(b"\x89PNG")
    with pytest.raises(DatasetError, match="2 images cannot be read") as caught:
        classify_images(list_folder(scene_tree), model=sensing)
    assert "test/barren/03.png" in str(caught.value)
    assert "test/water/05.png" in str(caught.value)
    found = classify_images(list_folder(scene_tree), model=sensing, skip_unreadable=True)
    assert len(found) == 22
    assert [line.split(" (")[0] for line in found.unreadable] == ["test/barren/03.png", "test/water/05.png"]


@pytest.fixture
def classified(scene_tree: Path, sensing: Path) -> tuple[PatchDrop, ClassifiedImages]:
    model = load_model(sensing)
    return model, classify_images(list_folder(scene_tree), model=model)


def test_every_way_spends_the_same_money_and_ends_where_all_is_bought(
    classified: tuple[PatchDrop, ClassifiedImages],
) -> None:
    model, found = classified
    buyable = found.buyable()
    curve = trace_money(model, buyable, BY_AREA, threshold=0.5)
    hr = torch.stack([read_square(found.scenes.root / file, 32) for file in found.scenes.files]).float() / 255
    with torch.inference_mode():
        whole = (model.hr_logits(hr).argmax(1).numpy() == buyable.labels).mean()
    assert found.scores is not None
    assert curve.ways == [way for way in WAYS if way not in (BY_DOUBT, BY_SCOUT, TWICE)]
    for way in curve.ways:
        points = curve.of(way)
        assert points[0].accuracy == pytest.approx(found.scores.lr_accuracy)
        assert points[-1].accuracy == pytest.approx(whole)
        assert [point.sampled for point in points] == sorted(point.sampled for point in points)
        # 24 scenes of 80 m at 100 USD per km²
        assert (points[0].cost, points[-1].cost) == (Decimal("0.00"), Decimal("15.36"))
        assert [point.cost for point in points] == [point.cost for point in curve.of(POLICY)]
        for point in points:
            assert point.low <= point.accuracy <= point.high
            assert float(point.cost) == pytest.approx(100 * point.km2, abs=0.005)
    (own,) = curve.of(OWN)
    assert own.accuracy == pytest.approx(found.scores.accuracy)
    assert own.sampled == found.bought.sum() / 24
    assert own.cost in [point.cost for point in curve.of(RANDOM)]


def test_what_each_way_buys_is_classified_by_eq_7(
    classified: tuple[PatchDrop, ClassifiedImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geozoom.money.has_bfloat16", lambda: False)
    model, found = classified
    buyable = found.buyable()
    curve = trace_money(model, buyable, BY_AREA, threshold=0.5)
    rows = np.arange(len(buyable))
    lr_log = buyable.lr_log

    def accuracy(masks: np.ndarray[Any, Any]) -> float:
        bought = torch.from_numpy(masks).float()
        with torch.inference_mode():
            log = model.fuse(model.hr_logits(buyable.read(rows), bought), lr_log, bought)
        return float((log.argmax(1).numpy() == buyable.labels).mean())

    centre = np.zeros((24, 16), dtype=bool)
    centre[:, model.grid.centre_order()[:4]] = True
    assert [p.accuracy for p in curve.of(CENTRE) if p.sampled == 4] == [pytest.approx(accuracy(centre))]
    entropy = -(lr_log.exp() * lr_log).sum(1).numpy()
    gated = np.repeat((entropy >= np.sort(entropy)[-6])[:, None], 16, axis=1)
    assert [p.accuracy for p in curve.of(ENTROPY) if p.sampled == 4] == [pytest.approx(accuracy(gated))]
    best = buyable.s >= np.sort(buyable.s.ravel())[-96]
    assert [p.accuracy for p in curve.of(POLICY) if p.sampled == 4] == [pytest.approx(accuracy(best))]
    model.card = replace(model.card, doubt=DOUBT)
    asked = trace_money(model, buyable, BY_AREA, threshold=0.5)
    assert asked.ways == [way for way in WAYS if way not in (BY_SCOUT, TWICE)]
    assert asked.of(POLICY) == curve.of(POLICY)
    value = DOUBT.marginals(buyable.s, log_odds(lr_log.numpy()))
    worth = most_worth(value, buyable.s, 96)
    assert [p.accuracy for p in asked.of(BY_DOUBT) if p.sampled == 4] == [pytest.approx(accuracy(worth))]


def most_worth(value: np.ndarray[Any, Any], s: np.ndarray[Any, Any], total: int) -> np.ndarray[Any, Any]:
    """The patches (N, P) that are worth most, of those that are worth as much the more probable ones."""
    bought = np.zeros(value.size, dtype=bool)
    bought[np.lexsort((-s.ravel(), -value.ravel()))[:total]] = True
    return bought.reshape(value.shape)


def test_the_scout_is_asked_about_every_scene(scene_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geozoom.money.has_bfloat16", lambda: False)
    monkeypatch.setattr("geozoom.imageclassification.FORWARD_PX", 10 * 32**2)  # several batches
    model = small_model(**DOUBTFUL, recipe={"sensor": SENSOR}, seed=3)
    found = classify_images(list_folder(scene_tree), model=model)
    buyable = found.buyable()
    hr = buyable.read(np.arange(24))
    lr = simulate_lr(hr, 8, Sensor(**SENSOR), torch.Generator().manual_seed(model.card.seed + 2))
    with torch.inference_mode():
        known = model.scout_logits(lr).log_softmax(1)
    assert buyable.scout_log is not None
    torch.testing.assert_close(buyable.scout_log, known, atol=1e-5, rtol=1e-4)
    curve = trace_money(model, buyable, BY_AREA, threshold=0.5)
    assert curve.ways == [way for way in WAYS if way != TWICE]
    doubt = model.card.scout_doubt
    assert doubt is not None
    value = doubt.marginals(buyable.s, log_odds(known.numpy()))
    bought = torch.from_numpy(most_worth(value, buyable.s, 96)).float()
    with torch.inference_mode():
        log = model.fuse(model.hr_logits(hr, bought), buyable.lr_log, bought)
    right = float((log.argmax(1).numpy() == buyable.labels).mean())
    assert [p.accuracy for p in curve.of(BY_SCOUT) if p.sampled == 4] == [pytest.approx(right)]


def test_the_second_of_two_rounds_sees_what_the_first_one_bought(
    classified: tuple[PatchDrop, ClassifiedImages], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geozoom.money.has_bfloat16", lambda: False)
    model, found = classified
    model.card = replace(model.card, doubt=DOUBT, doubts_with_hr=DOUBTS_WITH_HR)
    buyable = found.buyable()
    told: list[tuple[int, int]] = []
    curve = trace_money(
        model, buyable, BY_AREA, threshold=0.5, progress=lambda done, total: told.append((done, total))
    )
    assert told == sorted(told)
    assert told[-1] == (48, 48)  # the scenes are read for each round
    hr = buyable.read(np.arange(24))

    def said(masks: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        bought = torch.from_numpy(masks).float()
        with torch.inference_mode():
            return model.fuse(model.hr_logits(hr, bought), buyable.lr_log, bought).numpy()

    known = log_odds(buyable.lr_log.numpy())
    first = most_worth(DOUBT.marginals(buyable.s, known), buyable.s, 48)
    count = first.sum(axis=1)
    assert 0 < (count > 0).sum() < 24
    sure = np.where(count > 0, log_odds(said(first)), known)
    left = np.where(first, 0, buyable.s).astype(np.float32)
    value = np.stack(
        [
            (DOUBT, *DOUBTS_WITH_HR)[min(n, 15)].marginals(left[i : i + 1], sure[i : i + 1])[0]
            for i, n in enumerate(count)
        ]
    )
    both = most_worth(np.where(first, np.inf, value), buyable.s, 96)
    right = float((said(both).argmax(1) == buyable.labels).mean())
    assert [p.accuracy for p in curve.of(TWICE) if p.sampled == 4] == [pytest.approx(right)]
    assert (both != most_worth(DOUBT.marginals(buyable.s, known), buyable.s, 96)).any()
    assert [p.cost for p in curve.of(TWICE)] == [p.cost for p in curve.of(POLICY)]


def test_images_that_do_not_fit_in_memory_are_read_again(
    scene_tree: Path, sensing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(sensing)
    held = classify_images(list_folder(scene_tree), model=model)
    monkeypatch.setattr("geozoom.imageclassification.HELD_BYTES", 0)
    again = classify_images(list_folder(scene_tree), model=model)
    assert again.held is None
    rows = np.array([5, 2, 17])
    assert torch.equal(held.buyable().read(rows), again.buyable().read(rows))


def test_patches_cost_the_rate_without_minimums() -> None:
    shipped = load_price_list("skywatch-archive-50cm")
    assert shipped.minimum_km2 == 1
    assert patches_cost(shipped, 10**7) == Decimal("1.00")  # 0.1 km² at 10 USD per km²
    assert patches_cost(shipped, 0) == 0
    facts = {"name": "s", "currency": "USD", "source": "made for tests", "effective_date": None}
    per_scene = PriceList(
        **facts,  # type: ignore[arg-type]
        billing="per-scene",
        price_per_scene=Decimal(60),
        trust="illustrative",
        shape=replace(BY_AREA.shape, max_width_km=Decimal(2), max_height_km=Decimal(3)),
    )
    assert patches_cost(per_scene, 10**8) == Decimal("10.00")


def test_nothing_is_priced_without_a_size_on_the_ground(scene_tree: Path) -> None:
    found = classify_images(list_folder(scene_tree), model=small_model(scene_m=None))
    with pytest.raises(DatasetError, match="give --scene-m"):
        found.buyable()
    assert found.buyable(40).area_dm2[0, 0] == 10_000


def test_a_card_without_a_sensor_gives_plain_area_averages() -> None:
    assert sensor_of(small_model().card) == Sensor()


def test_the_command_writes_answers_scores_and_curve(scene_tree: Path, sensing: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"out{suffix}" for suffix in (".csv", ".json", ".parquet")]
    scores, curve = tmp_path / "scores", tmp_path / "curve.csv"
    asked = ["--folder", scene_tree, "--model", sensing]
    result = run(
        "classify", *asked, "-o", outputs[0], "--json", "--scores", scores, "--curve", curve,
        *("--curve", tmp_path / "curve.svg", "--curve", tmp_path / "curve.json"),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    for path in outputs[1:]:
        assert run("classify", *asked, "-q", "-o", path).exit_code == 0
    rows = rows_of(outputs[0])
    content = json.loads(outputs[1].read_text())
    table = pyarrow.parquet.read_table(outputs[2]).to_pylist()
    assert [row["file"] for row in rows] == [row["file"] for row in content["scenes"]]
    assert content["scenes"] == table
    assert set(rows[0]) >= {
        "label",
        "class",
        "probability",
        "class_3",
        "patches_used",
        "hr_share",
        "lr_class",
    }
    right = sum(row["label"] == row["class"] for row in rows)
    assert summary["scores"]["accuracy"] == pytest.approx(right / 24, abs=1e-6)
    assert sum(int(row["patches_used"]) for row in rows) == summary["totals"]["patches_used"]
    assert sorted(file.name for file in scores.iterdir()) == [
        "classes.csv",
        "confusion.png",
        "reliability.png",
        "scores.json",
    ]
    for name in ("confusion.png", "reliability.png"):
        with Image.open(scores / name) as image:
            assert min(image.size) > 300
    assert json.loads((scores / "scores.json").read_text())["scores"] == summary["scores"]
    assert [row["class"] for row in rows_of(scores / "classes.csv")] == [
        "barren",
        "built",
        "water",
    ]
    points = json.loads((tmp_path / "curve.json").read_text())["points"]
    assert [row["cost"] for row in rows_of(curve)] == [point["cost"] for point in points]
    assert "<svg" in (tmp_path / "curve.svg").read_text()
    # No output is overwritten without being asked.
    for more in (["-o", outputs[0]], ["-o", tmp_path / "n.csv", "--scores", scores], ["--curve", curve]):
        refused = run("classify", *asked, *more)
        assert refused.exit_code == 1
        assert "already" in refused.stderr
    assert not (tmp_path / "n.csv").exists()
    streamed = run("classify", *asked, "-q")
    assert json.loads(streamed.stdout) == content


def test_classes_that_the_model_does_not_know_are_named_and_not_scored(
    scene_tree: Path, sensing: Path
) -> None:
    (scene_tree / "test" / "water").rename(scene_tree / "test" / "volcano")
    (scene_tree / "test" / "built").rename(scene_tree / "test" / "Built")
    result = run("classify", "--folder", scene_tree, "--model", sensing, "-o", scene_tree / "o.csv")
    assert result.exit_code == 0, result.output
    assert "does not know 1 of the labels' classes" in result.stderr
    assert "volcano (8)" in result.stderr
    assert "16 labelled scenes" in result.stderr
    asked = ["--folder", scene_tree / "test" / "volcano", "--model", sensing, "--scores", scene_tree / "s"]
    result = run("classify", *asked)
    assert result.exit_code == 1
    assert "its scenes have no labels, which --scores needs" in result.stderr
    for name in ("barren", "Built"):
        (scene_tree / "test" / name).rename(scene_tree / "test" / f"x{name}")
    result = run("classify", "--folder", scene_tree, "--model", sensing, "--curve", scene_tree / "c.png")
    assert result.exit_code == 1
    assert (
        "the model knows none of its classes (volcano, xBuilt, xbarren), so --curve has nothing"
        in result.stderr
    )
    assert not list(scene_tree.glob("c.png"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fmow", "x", "--orders", "y"], "give one of --orders, --folder and --fmow"),
        ([], "give one of --orders, --folder and --fmow"),
        (["--fmow", "x", "--lr", "y"], "--lr does not go with --fmow"),
        (["--folder", "x", "--hr-scale", "1"], "--hr-scale does not go with --folder"),
        (["--orders", "x", "--lr", "y", "--hr", "z", "--split", "test"], "--split does not go with --orders"),
        (["--orders", "x", "--lr", "y"], "give the deliveries"),
        (["--orders", "x", "--hr", "y"], "as --lr"),
        (["--folder", "x", "--prices", "y"], "--prices and --uplift are for --curve"),
        (["--folder", "x", "--scene-m", "100"], "--scene-m is for --curve"),
        (["--folder", "x", "-o", "a.csv", "--curve", "./a.csv"], "a.csv is named for two outputs"),
        (["--folder", "x", "--curve", "a.csv", "--curve", "a.csv"], "a.csv is named for two outputs"),
        (["--folder", "x", "--scores", "s", "-o", "s/a.csv"], "s/a.csv lies in s, which --scores makes anew"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(arguments: list[str], message: str) -> None:
    result = run("classify", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_wrong_suffix_or_split_is_answered_in_one_sentence(scene_tree: Path, sensing: Path) -> None:
    for more, words in (
        (["-o", scene_tree / "o.geojson"], "end the name in one of .csv, .json, .parquet"),
        (["--curve", scene_tree / "c.pdf"], "end the name in one of .csv, .json, .png, .svg"),
        (["--split", "val"], "has no split val"),
    ):
        result = run("classify", "--folder", scene_tree, "--model", sensing, *more)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        assert words in result.stderr


def test_the_table_of_every_way_fits_an_ordinary_terminal() -> None:
    points = tuple(
        MoneyPoint(way=way, cost=Decimal("12345.67"), km2=9.5, sampled=16.0, accuracy=1, low=1, high=1)
        for way in (*WAYS, OWN)
    )
    told = io.StringIO()
    _show_curve(
        Console(file=told, width=80),
        MoneyCurve(points=points, scenes=9, currency="USD", price_list="a list", seed=0),
    )
    table = told.getvalue().split("the policy at")[0]
    assert "…" not in table
    assert table.count("100.0") == len(WAYS)
    assert table.count("classifier") == 2


def test_grey_and_odd_images_are_read_like_training_does(tmp_path: Path, sensing: Path) -> None:
    for name, image in (
        ("grey.png", Image.fromarray(picture(0, 1)[..., 0])),
        ("alpha.png", Image.fromarray(picture(0, 1)).convert("RGBA")),
        ("wide.bmp", Image.fromarray(picture(0, 1, 90, 33))),
    ):
        (tmp_path / "water").mkdir(exist_ok=True)
        image.save(tmp_path / "water" / name)
    found = classify_images(list_folder(tmp_path), model=sensing)
    assert len(found) == 3
    assert found.labels.known.all()
    assert "false_detection" not in CLASSES

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from geozoom.cli import main
from geozoom.doubt import log_odds
from geozoom.errors import RunError
from geozoom.fusion import fuse_streams
from geozoom.networks import NetworkSpec
from tests.conftest import small_model
from tests.datasets import read_scenes
from tests.test_train import QUIET, copied_before, request, small_recipe
from training import STAGES
from training.baselines.rules import gate, top
from training.checkpoints import read_checkpoint, write_checkpoint
from training.comparing.comparison import TableRequest
from training.comparing.runs import train_run
from training.decomposition import LINES, Spending, summed_streams, write_spend
from training.doubting import doubted_masks
from training.evaluate import Row, ViewedSplit, answers, centre_masks, correct, policy_probabilities
from training.evaluation import EvaluationRequest, open_run
from training.figures.comparison import ComparedRun, draw_comparison
from training.recalibrate import load_as_shipped
from training.recipe_files import load_recipe, recipe_from
from training.record import read_record
from training.results import ROUNDS, Results
from training.rounds import further_masks, in_rounds
from training.run import train
from training.side_channel import read_by_hr_stream, read_linearly

Rows = list[dict[str, Any]]
FIGURES = ("comparison", "dropping", "examples", "habits")


@pytest.fixture(scope="module")
def folder(whole_run: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of scenes, a run of it, and another with a dearer Ft-2."""
    folder = tmp_path_factory.mktemp("evaluated")
    tree, run = whole_run
    root = Path(shutil.copytree(tree, folder / "scenes"))
    shutil.copytree(run, folder / "run")
    edit(folder / "run" / "config.json", lambda record: record.update(root=str(root)))
    dear = copied_before(run, "ft2", folder / "dear")
    recipe = small_recipe("default", 3, "ft2.price=0.2")
    train(request(root, dear, recipe, resume=True), QUIET)
    return folder


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may spoil."""
    return Path(shutil.copytree(folder / "run", tmp_path / "run"))


def evaluate(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["evaluate", *map(str, arguments), "--device", "cpu"])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def table(run: Path) -> Rows:
    rows: Rows = json.loads((run / "table.json").read_text())
    return rows


def read_csv(file: Path) -> Rows:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def edit(file: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_a_run_is_measured_again_as_its_training_measured_it(copied: Path) -> None:
    result = evaluate(copied, "--json")
    said = json.loads(result.stdout)
    assert said["rows"] == table(copied)
    assert json.loads((copied / "evaluation-test.json").read_text()) == said
    assert (said["complete"], said["scenes"], said["split"]) == (True, 24, "test")
    assert "Ft-2 · mask alone" in result.stderr
    evaluate(copied, code=1)  # the file is there
    for size in (1, 5):
        other = json.loads(evaluate(copied, "--overwrite", "--batch-size", size, "--json").stdout)
        assert other["rows"] == said["rows"]


def test_scenes_and_split_can_be_chosen(copied: Path) -> None:
    some = json.loads(evaluate(copied, "--scenes", 10, "-o", copied / "some.json", "--json").stdout)
    assert {row["scenes"] for row in some["rows"] if "HR stream" not in row["name"]} == {10}
    one = json.loads(evaluate(copied, "--scenes", 1, "-o", copied / "one.json", "--json").stdout)
    assert not [
        row for row in one["rows"] if "HR stream" in row["name"]
    ]  # there is no other scene to lend patches
    val = evaluate(copied, "--split", "val", "--json", "-q")
    assert json.loads(val.stdout)["scenes"] == 6
    assert val.stderr == ""


def test_an_unfinished_run_is_measured_as_far_as_it_is(copied: Path) -> None:
    checkpoints = copied / "checkpoints"
    for file in (*checkpoints.glob("ft*"), copied / "model.safetensors", copied / "table.json"):
        file.unlink()
    weights, _, _ = read_checkpoint(checkpoints / "pt.safetensors")
    model = small_model(classifier=NetworkSpec(name="resnet8", widths=(4, 8, 8)))
    model.load_state_dict(weights)
    write_checkpoint(checkpoints / "pt.safetensors", model, {"done": "false", "epoch": "1", "step": "2"})
    result = evaluate(copied, "--json", "--figures", copied / "figures")
    said = json.loads(result.stdout)
    assert [row["name"] for row in said["rows"]] == [
        "LR-CNN",
        "HR-CNN",
        "Pt",
        "Pt · random",
        "Pt · fixed-centre",
    ]
    assert not said["complete"]
    assert said["stages"]["pt"] == {"epoch": 1, "epochs": 3}
    assert "pt has 1 of 3 epochs; ft1 has not begun; ft2 has not begun" in result.stderr
    assert (copied / "figures" / "dropping.png").is_file()
    write_checkpoint(checkpoints / "ft1.safetensors", model, {"done": "false", "epoch": "0", "step": "2"})
    result = evaluate(copied, "--overwrite", "--json")
    assert "Ft-1" in [row["name"] for row in json.loads(result.stdout)["rows"]]
    assert "ft1 has 0 of 3 epochs; ft2 has not begun" in result.stderr
    for file in checkpoints.iterdir():
        if file.name != "hr.safetensors":
            file.unlink()
    result = evaluate(copied, "--overwrite", "--json", "--figures", copied / "none")
    assert [row["name"] for row in json.loads(result.stdout)["rows"]] == ["HR-CNN"]
    assert "no figures: the run has no policy yet" in result.stderr
    (checkpoints / "hr.safetensors").unlink()
    assert "has no checkpoint of stage hr yet" in evaluate(copied, "--overwrite", code=1).stderr


def test_a_run_of_before_its_record_said_where_its_data_is_needs_root(folder: Path, copied: Path) -> None:
    def forget(record: dict[str, Any]) -> None:
        for key in ("root", "mean", "std"):
            del record[key]

    edit(copied / "config.json", forget)
    assert "give --root" in evaluate(copied, code=1).stderr
    said = json.loads(evaluate(copied, "--root", folder / "scenes", "--json").stdout)
    assert said["rows"] == table(copied)


def test_another_grid_or_other_classes_are_refused(folder: Path, copied: Path, tmp_path: Path) -> None:
    tree = Path(shutil.copytree(folder / "scenes", tmp_path / "other"))
    for split in ("train", "test"):
        (tree / split / "water").rename(tree / split / "aquatic")
    said = evaluate(copied, "--root", tree, code=1).stderr
    assert "other has 'aquatic' as class 0, where the run has 'barren'" in said
    for split in ("train", "test"):
        shutil.copytree(tree / split / "aquatic", tree / split / "wood")
    assert "other has 4 classes, and the run has 3" in evaluate(copied, "--root", tree, code=1).stderr
    edit(copied / "config.json", lambda record: record["recipe"]["data"].update(grid_rows=2))
    assert "is of a grid of 4 × 4 patches, not 2 × 4" in evaluate(copied, code=1).stderr


def test_files_that_are_not_the_runs_own_are_said(folder: Path, copied: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(folder / "scenes", tmp_path / "scenes"))
    asked = ("--overwrite", "--root")
    assert "other files" not in evaluate(copied, *asked, moved).stderr
    (moved / "train" / "water" / "00.png").rename(moved / "test" / "water" / "zz.png")
    assert "note: these are other files than the run's" in evaluate(copied, *asked, moved).stderr
    edit(copied / "config.json", lambda record: record.update(root=str(moved)))
    assert "was begun with other files" in evaluate(copied, *asked, moved, code=1).stderr


def test_what_cannot_be_measured_is_answered_in_one_sentence(
    folder: Path, copied: Path, tmp_path: Path
) -> None:
    assert "is no run" in evaluate(tmp_path, code=1).stderr
    assert "--dataset needs --root" in evaluate(copied, "--dataset", "cifar10", code=2).stderr
    assert "give --figures DIR" in evaluate(copied, folder / "dear", code=2).stderr
    of_some = (copied, folder / "dear", "--figures", tmp_path / "figures", "--scenes", 5)
    assert "leave --split, --scenes and --dataset out" in evaluate(*of_some, code=2).stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    assert (
        "holds other things than figures" in evaluate(copied, "--figures", tmp_path / "mine", code=1).stderr
    )
    model = copied / "model.safetensors"
    whole = model.read_bytes()
    model.write_bytes(whole[:1000])
    said = evaluate(copied, code=1).stderr
    assert "model.safetensors: not a readable safetensors file" in said
    assert "`geozoom train --resume` writes a run's own again" in said
    model.write_bytes(whole)
    file = copied / "checkpoints" / "ft1.safetensors"
    file.write_bytes(file.read_bytes()[:50])
    assert "ft1.safetensors: the checkpoint cannot be read" in evaluate(copied, code=1).stderr
    (copied / "config.json").write_text('{"recipe": 3}')
    assert "is not what `geozoom train` writes" in evaluate(copied, code=1).stderr


@pytest.mark.parametrize("left", [None, 1000])
def test_a_table_finishes_a_run_again_whose_model_is_gone_or_damaged(
    copied: Path, monkeypatch: pytest.MonkeyPatch, left: int | None
) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr("training.comparing.runs.train", lambda request, _: asked.append(request.stages))
    record = read_record(copied)
    recipe = recipe_from(record["recipe"])
    asked_for = TableRequest(
        dataset="folder",
        root=Path(record["root"]),
        out=copied.parent,
        recipe=recipe,
        recipe_name=record["recipe_name"],
        seeds=(record["seed"],),
        device="cpu",
    )
    run = (asked_for, copied, recipe, record["seed"], STAGES, "PatchDrop", QUIET)
    train_run(*run)
    assert not asked, "it is finished"
    model = copied / "model.safetensors"
    model.write_bytes(model.read_bytes()[:left]) if left else model.unlink()
    train_run(*run)
    assert asked == [STAGES]


def test_only_finished_runs_of_the_same_data_are_compared(folder: Path, copied: Path, tmp_path: Path) -> None:
    compare = (folder / "dear", copied, "--figures", tmp_path / "figures", "-o", tmp_path / "e.json")
    other = Path(shutil.copytree(folder / "scenes", tmp_path / "other"))
    (other / "test" / "water" / "00.png").rename(other / "test" / "water" / "zz.png")
    assert "was begun with other files" in evaluate(*compare, "--root", other, code=1).stderr
    (copied / "table.json").rename(copied / "away.json")
    assert "is not finished" in evaluate(*compare, code=1).stderr
    (copied / "table.json").write_text("[{}]")
    assert "table.json: cannot be read" in evaluate(*compare, code=1).stderr
    (copied / "away.json").replace(copied / "table.json")
    edit(copied / "config.json", lambda record: record["recipe"]["data"].update(lr_px=4))
    assert "neither half of figure 5" in evaluate(*compare, code=1).stderr
    edit(copied / "config.json", lambda record: record["recipe"]["data"].update(grid_rows=2))
    assert "is of another grid" in evaluate(*compare, code=1).stderr
    edit(copied / "config.json", lambda record: record.update(data="elsewhere"))
    assert "is of other data than" in evaluate(*compare, code=1).stderr
    assert not (tmp_path / "figures").exists()


def test_what_else_sets_compared_runs_apart_is_said(folder: Path, copied: Path, tmp_path: Path) -> None:
    edit(copied / "config.json", lambda record: record["recipe"]["hr"].update(epochs=9))
    asked = (folder / "dear", copied, "--figures", tmp_path / "figures", "-o", tmp_path / "e.json")
    said = evaluate(*asked).stderr
    assert "note: run differs from dear in more than figure 5 shows: hr.epochs = 9 (not 3)" in said


@pytest.fixture(scope="module")
def figures(folder: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
    """The figures of the run beside the dear one, and the rows of the run."""
    asked = (
        folder / "run",
        folder / "dear",
        "--figures",
        folder / "figures",
        "-o",
        folder / "e.json",
        "--json",
    )
    rows = json.loads(evaluate(*asked).stdout)["rows"]
    return folder / "figures", {row["name"]: row for row in rows}


def test_every_figure_is_a_picture_with_its_data_beside_it(figures: tuple[Path, Any], folder: Path) -> None:
    drawn, _ = figures
    assert {file.name for file in drawn.iterdir()} == {
        f"{name}{suffix}" for name in FIGURES for suffix in (".png", ".csv")
    }
    for name in FIGURES:
        with Image.open(drawn / f"{name}.png") as picture:
            assert min(picture.size) >= 500
            assert len(set(picture.convert("L").tobytes())) > 20
    again = (folder / "run", "--figures", drawn, "-o", folder / "again.json")
    assert "holds figures already; give --overwrite" in evaluate(*again, code=1).stderr


def test_accuracy_as_patches_are_dropped_begins_at_all_and_ends_at_none(figures: tuple[Path, Any]) -> None:
    drawn, rows = figures
    found: dict[str, dict[str, dict[int, float]]] = {}
    for line in read_csv(drawn / "dropping.csv"):
        points = found.setdefault(line["classifier"], {}).setdefault(line["order"], {})
        points[int(line["dropped"])] = float(line["accuracy"])
    hr, both = found["HR-CNN, which has seen no mask"], found["Ft-2, both streams"]
    assert set(hr) == set(both) == {"learned", "fixed-centre", "random"}
    for order in hr:
        assert list(hr[order]) == [0, 2, 4, 6, 8, 10, 12, 14, 16]
        assert hr[order][0] == pytest.approx(rows["HR-CNN"]["accuracy"], abs=1e-3)
        assert both[order][16] == pytest.approx(rows["LR-CNN"]["accuracy"], abs=1e-3)


def test_accuracy_by_s_and_the_map_of_patches_add_up_to_the_table(figures: tuple[Path, Any]) -> None:
    drawn, rows = figures
    lines = read_csv(drawn / "habits.csv")
    by_count = [line for line in lines if line["what"].startswith("accuracy")]
    scenes = sum(int(line["scenes"]) for line in by_count)
    assert scenes == rows["Ft-2"]["scenes"] == 24
    right = sum(float(line["value"]) * int(line["scenes"]) for line in by_count) / scenes
    assert right == pytest.approx(rows["Ft-2"]["accuracy"], abs=1e-3)
    bought = [float(line["value"]) for line in lines if line["what"].startswith("share")]
    assert len(bought) == 16
    assert sum(bought) == pytest.approx(rows["Ft-2"]["sampled"], abs=1e-3)


def test_examples_are_of_different_classes_and_say_what_was_bought(figures: tuple[Path, Any]) -> None:
    lines = read_csv(figures[0] / "examples.csv")
    assert len(lines) == 8
    assert set(Counter(line["label"] for line in lines)) == {"barren", "built", "water"}
    for line in lines:
        assert line["file"].split("/")[1] == line["label"]
        assert len(line["bought"].split()) == int(line["S"])


def test_runs_are_compared_against_ds_and_against_price(figures: tuple[Path, Any], folder: Path) -> None:
    drawn, rows = figures
    dear = {row["name"]: row for row in table(folder / "dear")}
    lines = [line for line in read_csv(drawn / "comparison.csv") if line["row"] == "Ft-2"]
    by_ds = [line for line in lines if line["against"].startswith("ds")]
    assert [float(line["at"]) for line in by_ds] == [4.0]  # the other one has another price
    by_price = {
        float(line["at"]): float(line["accuracy"]) for line in lines if line["against"].startswith("λ")
    }
    assert by_price == pytest.approx(
        {0.12: rows["Ft-2"]["accuracy"], 0.2: dear["Ft-2"]["accuracy"]}, abs=1e-3
    )


def test_a_linear_reader_finds_what_masks_tell_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (600,), generator=generator)
    masks = (torch.rand(600, 16, generator=generator) < 0.5).float()
    telling = masks.clone()
    telling[torch.arange(600), labels] = 1  # patch k is always bought of class k
    telling[torch.arange(600), (labels + 1) % 4] = 0
    for given, low, high in ((telling, 0.8, 1.0), (masks, 0.15, 0.35)):
        right = read_linearly((given[:400], labels[:400]), (given[400:], labels[400:]), 4)
        assert low <= right.float().mean().item() <= high


def by_mask(images: Tensor) -> Tensor:
    """Answer class 0 where the first patch is masked, else class 1."""
    masked = (images[:, :, :8, :8].abs().sum(dim=(1, 2, 3)) == 0).float()
    return torch.stack([masked, 1 - masked, torch.zeros_like(masked)], dim=1)


def by_colour(images: Tensor) -> Tensor:
    """Answer water where the scene is rather blue, else barren."""
    blue = images[:, 2].mean(dim=(1, 2)) - images[:, 0].mean(dim=(1, 2))
    return torch.stack([-blue, torch.full_like(blue, -9), blue], dim=1)


def test_only_a_classifier_that_reads_masks_is_right_about_a_mask_alone(
    scene_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model()
    split = read_scenes(scene_tree).train
    split = split.only((split.labels != 1).nonzero().squeeze(1))  # barren and water
    views = ViewedSplit(split=split, lr=torch.zeros(len(split), 3, 8, 8))
    masks = torch.ones(len(split), 16)
    masks[split.labels == 0, 0] = 0
    monkeypatch.setattr(model.hr, "forward", by_colour)
    whole = model.hr_logits(next(split.in_order(99)).images.float() / 255).argmax(dim=1)
    assert (whole == split.labels).all()
    assert read_by_hr_stream(model, views, masks, seed=0).float().mean().item() < 0.75
    monkeypatch.setattr(model.hr, "forward", by_mask)
    # It answers 0 of barren scenes, whose first patch is masked, and 1, which is wrong, of all others.
    told = read_by_hr_stream(model, views, masks, seed=0)
    assert told.sum() == (split.labels == 0).sum()


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return open_run(EvaluationRequest(run=folder / "run", device="cpu"), QUIET).results


@pytest.fixture(scope="module")
def val(folder: Path) -> ViewedSplit:
    return open_run(EvaluationRequest(run=folder / "run", device="cpu", split="val"), QUIET).results.views


def test_eq_7_mixes_the_streams_as_they_are(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[tuple[str, float]] = set()

    def told(fusion: str, hr: Tensor, lr: Tensor, bought: Tensor, temperature: float) -> Tensor:
        asked.add((fusion, temperature))
        return fuse_streams(fusion, hr, lr, bought, temperature)

    monkeypatch.setattr("geozoom.model.fuse_streams", told)
    assert "Ft-2 · streams mixed by Eq. 7" in [row.name for row in results.rows()]
    assert asked == {("product", 2.0), ("mixture", 1.0)}


def test_when_and_where_are_told_apart_at_equal_money(
    folder: Path, results: Results, val: ViewedSplit
) -> None:
    with results.engine.autocast():  # as the table was measured
        rows = {row.name: row for row in Spending.of_stage(results, val).decompose()}
    (own,) = [row for row in table(folder / "run") if row["name"] == "Ft-2"]
    assert rows["when and where"].accuracy == pytest.approx(own["accuracy"])
    assert rows["when and where"].sampled == pytest.approx(own["sampled"])
    assert len(rows) == 11
    # The same money, to the patch.
    assert len({round(row.sampled * row.scenes) for row in rows.values()}) == 1


@pytest.mark.parametrize(("way", "rounds"), list(ROUNDS.items()))
def test_a_round_sees_what_those_before_bought(way: str, rounds: int, folder: Path, results: Results) -> None:
    assert results.finished is not None
    card = results.finished.card
    assert card.doubt is not None
    assert card.doubts_with_hr is not None
    with results.engine.autocast():
        found = results.spent(way)
        known = results.known()
        assert known is not None
        load_as_shipped(results.engine, results.model, "ft2")
        s = policy_probabilities(results.model, results.views)
        total = round((s > 0.5).sum().item())
        there = doubted_masks(card.doubt, s, known, round(total / rounds))
        for number in range(2, rounds + 1):
            said = answers(results.model, results.views, "both", there).numpy()
            odds = np.where(there.sum(dim=1) > 0, log_odds(said), log_odds(known.numpy()))
            more = further_masks(
                (card.doubt, *card.doubts_with_hr), s, there, odds, round(total * number / rounds)
            )
            assert 0 < there.sum() < more.sum()
            assert (more >= there).all()
            there = more
        right = correct(results.model, results.views, "both", there)
    assert there.sum() == total
    assert found.accuracy == pytest.approx(100 * right.float().mean().item())
    assert found.sampled == pytest.approx(total / len(s))
    rows = {row["name"]: row for row in table(folder / "run")}
    assert rows[f"Ft-2 · {way}"]["accuracy"] == pytest.approx(found.accuracy, abs=0.01)
    blind = replace(results, finished=None)
    with pytest.raises(RunError, match=f"no finished model that knows of {way}"):
        blind.spent(way)


def test_accuracy_by_spend_begins_with_lr_alone_and_ends_with_all_patches(
    results: Results, val: ViewedSplit, tmp_path: Path
) -> None:
    rows = Spending.of_stage(results, val).accuracy_by_spend()
    everything = torch.ones(len(results.views), results.model.grid.patches)
    lr, hr = (correct(results.model, results.views, "both", masks) for masks in (0 * everything, everything))
    for way in LINES:
        line = [row for row in rows if row["way"] == way]
        assert [row["S"] for row in line] == [float(step) for step in range(17)]
        assert line[0]["accuracy"] == pytest.approx(100 * lr.float().mean().item())
        assert line[-1]["accuracy"] == pytest.approx(100 * hr.float().mean().item())
    write_spend(rows, tmp_path / "spend.png")
    assert len(read_csv(tmp_path / "spend.csv")) == len(rows) == 136
    with Image.open(tmp_path / "spend.png") as picture:
        picture.load()


def test_a_spending_is_worth_what_its_masks_are(results: Results, val: ViewedSplit) -> None:
    """Of every way and a spend between, read scene by scene under the masks that it buys."""
    spending = Spending.of_stage(results, val)
    rows = {(row["way"], row["S"]): row["accuracy"] for row in spending.accuracy_by_spend()}
    model, views, known, s = spending.model, spending.views, spending.known, spending.s
    assert known is not None
    total = 5 * len(views)
    even = torch.full((len(views),), 5)
    threshold = s.flatten().sort(descending=True).values[total]
    assert (s > threshold).sum() == total  # no two alike, there at least

    def ask(masks: Tensor) -> NDArray[np.float64]:
        return log_odds(answers(model, views, "both", masks, known).numpy())

    masks = {
        "policy": (s > threshold).float(),
        "policy's patches, evenly": top(s, even),
        "fixed-centre": centre_masks(even, model),
        "LR doubt, policy's patches": doubted_masks(spending.doubts[0], s, known, total),
        "LR entropy": centre_masks(gate(even, known, 16), model),
        **{
            f"{way}, policy's patches": in_rounds(
                ask, log_odds(known.numpy()), spending.doubts, s, total, rounds
            )
            for way, rounds in ROUNDS.items()
        },
    }
    assert {*masks, "random"} == set(LINES)
    for way, bought in masks.items():
        assert bought.sum() == total
        right = correct(model, views, "both", bought, known)
        assert rows[way, 5.0] == pytest.approx(100 * right.float().mean().item()), way


def test_the_published_codes_rule_adds_the_logits_of_both_streams(results: Results) -> None:
    rule = summed_streams(results)
    model, views = results.model, results.views
    masks = (policy_probabilities(model, views) > 0.5).float()
    assert rule.sampled == masks.sum(dim=1).mean().item()
    masked = torch.cat(
        [
            model.hr_logits(batch.images.float() / 255, masks[batch.scenes])
            for batch in views.split.in_order(64)
        ]
    )
    added = masked + model.lr_logits(views.lr)
    right = added.argmax(dim=1) == views.split.labels
    assert rule.accuracy == pytest.approx(100 * right.float().mean().item())


def test_figure_5_is_drawn_of_runs_that_buy_nothing(tmp_path: Path) -> None:
    names = ("HR-CNN", "LR-CNN", "Pt", "Ft-1", "Ft-2")
    rows = {name: Row(name=name, accuracy=80.0, sampled=0.0, scenes=100) for name in names}
    runs = [
        ComparedRun(name=str(px), recipe=load_recipe("default", [f"data.lr_px={px}"]), rows=rows)
        for px in (8, 12)
    ]
    draw_comparison(runs, tmp_path / "comparison.png")
    assert {line["S"] for line in read_csv(tmp_path / "comparison.csv")} == {"", "0.0"}

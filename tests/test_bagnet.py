"""BagNets: patches one by one, only those that were bought, and through training, cards and classification."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geozoom.bagnet import BagNet, cut_patches, gather_patches
from geozoom.cli import main
from geozoom.errors import ModelError, RecipeError
from geozoom.grid import PatchGrid
from geozoom.imageclassification import classify_images
from geozoom.imagescenes import list_folder
from geozoom.inference import for_inference
from geozoom.model import PatchDrop, load_model
from geozoom.money import _answers
from geozoom.networks import NetworkSpec, build_network
from tests.conftest import small_model
from tests.datasets import read_scenes, write_cifar10
from training import STAGES
from training.evaluate import view_split
from training.recipe_files import load_recipe
from training.stages import Bench, FineTuning, PreTraining

SPEC = NetworkSpec(name="bagnet-resnet8", widths=(4, 8, 8))
assert_close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


def bag_model(**changes: Any) -> PatchDrop:
    """A small model with a BagNet, whose batch norms are not those of a fresh network."""
    model = small_model(**({"classifier": SPEC} | changes))
    for norm in model.hr.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
    return model


@cache
def shared_model() -> PatchDrop:
    """The same for tests that leave it as it is."""
    return bag_model()


def bag_of(model: PatchDrop) -> BagNet:
    assert isinstance(model.hr, BagNet)
    return model.hr


@contextmanager
def seen_patches(model: PatchDrop) -> Iterator[list[int]]:
    """Collect how many patches each forward of the network sees."""
    counts: list[int] = []
    stem = bag_of(model).network.get_submodule("conv1")
    hook = stem.register_forward_pre_hook(lambda _, inputs: counts.append(len(inputs[0])))
    yield counts
    hook.remove()


def images(scenes: int, side: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(scenes, 3, side, side, generator=torch.Generator().manual_seed(seed))


def test_patches_are_the_grids_windows_in_row_major_order() -> None:
    grid = PatchGrid(rows=2, cols=3)
    scenes = torch.rand(2, 3, 8, 12)
    patches = cut_patches(scenes, grid).flatten(1, 2)
    for patch in range(grid.patches):
        rows, cols = grid.window(patch, 8, 12)
        assert_close(patches[:, patch].permute(0, 3, 1, 2), scenes[..., rows, cols])
    bought = torch.tensor([[0, 1, 0, 0, 0, 1], [0, 0, 0, 0, 1, 0]])
    found, scene = gather_patches(scenes, bought, grid)
    assert scene.tolist() == [0, 0, 1]
    assert_close(found.permute(0, 2, 3, 1), patches[[0, 0, 1], [1, 5, 4]])
    with pytest.raises(ValueError, match="33 × 32 px cannot be cut into 2 × 3"):
        cut_patches(torch.rand(1, 3, 33, 32), grid)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 5), st.floats(0, 1), st.integers(0, 999))
def test_gathered_patches_give_the_masked_sum_of_evidence(scenes: int, share: float, seed: int) -> None:
    model = shared_model()
    hr = images(scenes, seed=seed)
    bought = (torch.rand(scenes, 16, generator=torch.Generator().manual_seed(seed)) < share).float()
    with torch.inference_mode(), seen_patches(model) as seen:
        gathered = model.hr_logits(hr, bought)
        assert sum(seen) == bought.sum()
        evidence = bag_of(model).evidence(model.normalise(hr))
    by_hand = torch.stack(
        [sum((evidence[n, p] for p in range(16) if bought[n, p]), torch.zeros(3)) / 16 for n in range(scenes)]
    )
    assert_close(gathered, by_hand)
    assert_close(model.hr_reader(hr)(bought), by_hand)


def test_with_all_patches_it_is_the_whole_bagnet_and_with_none_it_is_uniform() -> None:
    model, hr = shared_model(), images(3)
    with torch.inference_mode():
        whole = model.hr_logits(hr)
        assert_close(model.hr_logits(hr, torch.ones(3, 16)), whole)
        one_by_one = torch.stack(
            [bag_of(model).network(model.normalise(hr[..., rows, cols]))
             for rows, cols in (model.grid.window(patch, 32, 32) for patch in range(16))]
        ).mean(dim=0)  # fmt: skip
        assert_close(whole, one_by_one)
        with seen_patches(model) as seen:
            none = model.hr_logits(hr, torch.zeros(3, 16))
        assert seen == []
    assert none.tolist() == [[0.0] * 3] * 3


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 999))
def test_gradients_of_gathered_patches_are_those_of_all_under_the_mask(seed: int) -> None:
    model = bag_model()
    hr = images(3, seed=seed)
    bought = (torch.rand(3, 16, generator=torch.Generator().manual_seed(seed)) < 0.5).float()
    labels = torch.tensor([0, 1, 2])
    found = []
    for logits in (model.hr_logits(hr, bought), model.hr_reader(hr)(bought)):
        loss = nn.functional.cross_entropy(logits, labels)
        found.append(torch.autograd.grad(loss, list(model.hr.parameters())))
    for gathered, masked in zip(*found, strict=True):
        assert_close(gathered, masked)


@pytest.mark.parametrize(("name", "side"), [("bagnet-resnet8", 32), ("bagnet-resnet18", 224)])
def test_the_receptive_field_of_evidence_is_its_patch(name: str, side: int) -> None:
    widths = (4, 8, 8) if side == 32 else (4, 4, 8, 8)
    model = bag_model(classifier=NetworkSpec(name=name, widths=widths), hr_px=side)
    hr = images(1, side).requires_grad_()
    evidence = bag_of(model).evidence(model.normalise(hr))[0]
    for patch in (0, 6, 15):
        (slope,) = torch.autograd.grad(evidence[patch].sum(), hr, retain_graph=True)
        rows, cols = model.grid.window(patch, side, side)
        inside = slope[..., rows, cols].abs().sum(dim=(0, 1))
        assert (inside > 0).float().mean() > 0.95  # all of the patch counts, and nothing else
        assert slope.abs().sum().item() == pytest.approx(inside.sum().item(), rel=1e-5)
        changed = images(1, side, seed=1)
        changed[..., rows, cols] = hr.detach()[..., rows, cols]
        again = bag_of(model).evidence(model.normalise(changed))[0]
        assert_close(again[patch], evidence[patch])
        assert not torch.allclose(again[5], evidence[5], atol=1e-3)


def test_a_card_brings_a_bagnet_back_with_its_grid(tmp_path: Path) -> None:
    model = bag_model(grid_rows=2, grid_cols=4)
    model.save(tmp_path / "bag.safetensors")
    again = load_model(tmp_path / "bag.safetensors")
    assert again.card == model.card
    assert again.card.classifier == SPEC
    assert bag_of(again).grid == PatchGrid(rows=2, cols=4)
    bought = torch.tensor([[1.0, 0, 0, 1, 0, 0, 1, 0]])
    assert_close(again.hr_logits(images(1), bought), model.hr_logits(images(1), bought))


def test_the_lr_stream_beside_a_bagnet_is_the_policys_network_and_reads_lr_as_it_is() -> None:
    model = shared_model()
    assert model.card.lr_classifier == model.card.policy
    sides: list[int] = []
    hook = model.lr.register_forward_pre_hook(lambda _, inputs: sides.append(inputs[0].shape[-1]))
    lr, bought = torch.rand(2, 3, 8, 8), torch.eye(16)[:2]
    mixed = model.class_log_probabilities(images(2), lr, bought)
    hook.remove()
    assert sides == [8]
    assert_close(mixed.exp().sum(dim=1), torch.ones(2))


def test_a_policy_begins_as_the_lr_stream_that_is_like_it_but_for_its_last_layer(scene_tree: Path) -> None:
    val, policy = read_scenes(scene_tree).val, shared_model().card.policy
    for model, start, taken in (
        (bag_model(), "lr", True),
        (bag_model(), "fresh", False),
        (small_model(classifier=policy), "lr", False),  # of one architecture, but it reads LR upsampled
    ):
        recipe = load_recipe("default", ["data.hr_px=32", "judges.folds=0", f"pt.start={start}"])
        fresh = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
        PreTraining(Bench(model=model, recipe=recipe, val=view_split(val, recipe, seed=0)))
        begun, lr = model.policy.state_dict(), model.lr.state_dict()
        assert not torch.equal(fresh["conv1.weight"], lr["conv1.weight"]) or not taken
        for name, tensor in begun.items():
            expected = lr[name] if taken and not name.startswith("fc.") else fresh[name]
            assert torch.equal(tensor, expected), name
    assert load_recipe("paper", []).pt.start == "fresh"


def test_classify_computes_only_what_was_bought(scene_tree: Path) -> None:
    model = bag_model()
    with seen_patches(model) as seen:  # copies of a module keep its hooks
        found = classify_images(list_folder(scene_tree), model=model)
    assert 0 < found.bought.mean() < 1
    assert sum(seen) == found.bought.sum()


def test_a_curve_asks_a_bagnet_once_for_all_of_its_masks(
    scene_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geozoom.money.has_bfloat16", lambda: False)
    model = bag_model()
    buyable = classify_images(list_folder(scene_tree), model=model).buyable()
    masks = np.random.default_rng(0).random((6, 24, 16)) < np.linspace(0, 1, 6)[:, None, None]
    with seen_patches(model) as seen:
        ((rows, answered),) = _answers(model, buyable, masks, None)
    assert sum(seen) == 24 * 16
    assert rows.tolist() == list(range(24))
    hr = buyable.read(rows)
    for mask, found in zip(masks, answered, strict=True):
        bought = torch.from_numpy(mask).float()
        with torch.inference_mode():
            log = model.fuse(model.hr_logits(hr, bought), buyable.lr_log, bought)
        assert_close(found, log)


def test_folded_batch_norms_change_no_answer() -> None:
    model, hr = shared_model(), images(4)
    bought = (torch.rand(4, 16, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    with torch.inference_mode():
        folded = for_inference(model).hr_logits(hr, bought)
        assert_close(folded, model.hr_logits(hr, bought))


def train(root: Path, out: Path, *more: str) -> str:
    sizes = ["data.hr_px=32", "hr.small_px=16", "judges.folds=0", "networks.policy_widths=[4, 8, 8]"]
    sizes += ["networks.classifier=resnet8", "networks.classifier_widths=[4, 8, 8]"]
    batches = (f"{stage}.batch_size=16" for stage in STAGES)
    asked = ["--root", str(root), "--out", str(out), "--device", "cpu", "--epochs", "1", *more]
    set_ = [part for key in (*sizes, *batches) for part in ("--set", key)]
    result = CliRunner().invoke(main, ["train", "--model", "bagnet", *set_, *asked])
    assert result.exit_code == 0, result.output
    return result.output


def test_train_takes_a_bagnet_through_every_stage_to_a_model_that_classifies(
    scene_tree: Path, tmp_path: Path
) -> None:
    train(scene_tree, tmp_path / "run", "--stage", "hr")
    train(scene_tree, tmp_path / "run", "--resume")
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["stage"] for row in log] == list(STAGES)
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert record["recipe"]["networks"]["classifier"] == "bagnet-resnet8"
    model = load_model(tmp_path / "run" / "model.safetensors")
    with seen_patches(model) as seen:
        found = classify_images(list_folder(scene_tree), model=model)
    assert sum(seen) == found.bought.sum()
    table = {row["name"]: row for row in json.loads((tmp_path / "run" / "table.json").read_text())}
    assert found.scores is not None
    assert found.scores.accuracy == pytest.approx(table["Ft-2"]["accuracy"] / 100, abs=0.02)


@pytest.mark.parametrize(
    ("stage", "estimator"), [(PreTraining, "rloo"), (partial(FineTuning, name="ft1"), "straight_through")]
)
def test_a_step_of_training_computes_every_patch_once_for_all_its_masks(
    stage: Callable[[Bench], PreTraining | FineTuning], estimator: str, scene_tree: Path
) -> None:
    keys = ["data.hr_px=32", "judges.folds=0", *(f"{name}.batch_size=16" for name in ("pt", "ft1"))]
    keys += [f"{name}.estimator={estimator}" for name in ("pt", "ft1")]
    recipe = load_recipe("default", [*keys, "ft1.distill=0"])
    data, model = read_scenes(scene_tree), bag_model()
    bench = Bench(model=model, recipe=recipe, val=view_split(data.val, recipe, seed=0))
    trained = stage(bench)
    trained.train_mode()
    before = [parameter.clone() for parameter in model.policy.parameters()]
    batch = next(data.train.batches(16, torch.Generator().manual_seed(0)))
    with seen_patches(trained.frozen if isinstance(trained, PreTraining) else model) as seen:
        trained.step(batch, 0.5, torch.Generator().manual_seed(0))
    assert seen == [16 * 16]
    moved = zip(before, model.policy.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in moved)


def test_a_bagnet_is_refused_where_it_makes_no_sense() -> None:
    with pytest.raises(RecipeError, match=r"networks\.policy is impossible: it must see the whole LR image"):
        load_recipe("default", ["networks.policy=bagnet-resnet8"])
    with pytest.raises(RecipeError, match=r"hr\.small_px is impossible: it must be a multiple of the 4 × 4"):
        load_recipe("default", ["hr.small_px=90"], bagnet=True)
    assert load_recipe("imagenet", [], bagnet=True).networks.classifier == "bagnet-resnet50"
    with pytest.raises(ModelError, match="choose one of"):
        build_network(NetworkSpec(name="bagnet-resnet9000"), 10)


def test_the_table_measures_all_rows_in_one_run_and_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = write_cifar10(tmp_path / "data"), tmp_path / "table"
    keys = ["networks.classifier=resnet8", "networks.classifier_widths=[4, 8, 8]", "robust.epochs=0"]
    keys += ["networks.policy_widths=[4, 8, 8]", *(f"{stage}.batch_size=32" for stage in STAGES)]
    asked = ["table", "--table", "bagnet", "--dataset", "cifar10", "--root", str(root), "--out", str(out)]
    asked += ["--epochs", "1", "--device", "cpu", *(part for key in keys for part in ("--set", key))]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0, result.output
    assert (
        "BagNet, seed 0: stages hr, lr, pt, ft1\n" in result.output
    )  # a run that reads its data once for all
    rows = {row["name"]: row for row in json.loads((out / "table.json").read_text())["rows"]}
    masked = ("Fixed-H", "Fixed-V", "Stochastic", "STN")
    assert list(rows) == ["BagNet, all patches", "CNN", *masked, "PatchDrop"]
    assert rows["PatchDrop"]["published_ft1_accuracy"] == 92.7
    assert rows["CNN"]["ft1_sampled"] == rows["BagNet, all patches"]["pt_sampled"] == 16
    assert rows["BagNet, all patches"]["of_bagnet"] == 1
    for name in masked:
        assert rows[name]["ft1_sampled"] == pytest.approx(rows["PatchDrop"]["ft1_sampled"], abs=0.05)
        assert (out / "bagnet" / "baselines" / name.lower() / "checkpoints" / "ft1.safetensors").is_file()
    assert all(row["ms_per_image"] > 0 for row in rows.values())
    assert "256 images at once" not in (out / "table.md").read_text()  # there are 24
    # Given again, it trains and recalibrates nothing and finds the same.
    monkeypatch.setattr("training.recalibrate.recalibrate", None)
    logs = {file: file.read_text() for file in out.rglob("log.jsonl")}
    assert len(logs) == 2 + len(masked)
    again = CliRunner().invoke(main, asked)
    assert again.exit_code == 0, again.output
    assert {file: file.read_text() for file in out.rglob("log.jsonl")} == logs
    found = [row["ft1_accuracy"] for row in json.loads((out / "table.json").read_text())["rows"]]
    assert found == [row["ft1_accuracy"] for row in rows.values()]
    for more, words in (
        (["--seeds", "7"], "was begun with another"),
        (["--seeds", "0,1"], "is of one seed"),
        (["--set", "networks.classifier=bagnet-resnet8"], "set networks.classifier to a CNN"),
    ):
        refused = CliRunner().invoke(main, [*asked, *more])
        assert refused.exit_code == 1
        assert words in refused.stderr

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import chisquare
from torch.nn import functional as F

from geozoom.cli import main
from geozoom.errors import RunError
from geozoom.grid import PatchGrid
from tests.conftest import small_model
from tests.datasets import read_scenes
from tests.test_train import QUIET, SMALL, log, request, small_recipe, without_time
from training.checkpoints import Position, write_checkpoint
from training.engine import Engine
from training.evaluate import view_split
from training.hard_positives import draw_counts, draw_squares, hide, patch_pixels, top_patches
from training.policies import checksum, load_policy
from training.run import train
from training.stages import Bench, HrStage

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (3, 16), elements=st.floats(-40, 40, width=16)),
    st.lists(st.integers(1, 15), min_size=3, max_size=3),
)
def test_exactly_the_top_patches_are_hidden(logits: np.ndarray[Any, Any], counts: list[int]) -> None:
    found = top_patches(torch.from_numpy(logits), torch.tensor(counts))
    for row, count, chosen in zip(logits.tolist(), counts, found.tolist(), strict=True):
        best = sorted(range(16), key=lambda patch: (-row[patch], patch))[:count]
        assert sorted(best) == [patch for patch in range(16) if chosen[patch]]


def test_one_to_four_patches_are_hidden_about_as_often() -> None:
    counts = draw_counts(20_000, 4, CPU, generator())
    found = torch.bincount(counts, minlength=6).tolist()
    assert (found[0], found[5]) == (0, 0)
    assert chisquare(found[1:5]).pvalue > 1e-3


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 20), st.integers(4, 20), st.integers(4, 20), st.integers(0, 1000))
def test_cutout_hides_a_square_around_a_pixel_clipped_at_the_border(
    side: int, height: int, width: int, seed: int
) -> None:
    found = draw_squares(torch.zeros(5, 3, height, width), side, generator(seed))
    again = generator(seed)
    rows, cols = (torch.rand((5, 1), generator=again).squeeze(1) * size for size in (height, width))
    for image, row, col in zip(found.numpy(), rows.int().tolist(), cols.int().tolist(), strict=True):
        expected = np.zeros((height, width), dtype=bool)
        top, left = row - side // 2, col - side // 2
        expected[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = True
        np.testing.assert_array_equal(image, expected)


def test_every_pixel_may_be_the_centre_of_a_square() -> None:
    centres = draw_squares(torch.zeros(4000, 3, 8, 8), 1, generator()).flatten(1).float().argmax(dim=1)
    assert chisquare(torch.bincount(centres, minlength=64).tolist()).pvalue > 1e-3


def test_what_is_hidden_shows_the_mean_colour_and_the_rest_stays() -> None:
    views, colour = torch.rand(2, 3, 8, 8), torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    patches = torch.zeros(2, 16, dtype=torch.bool)
    patches[0, 5] = patches[1, 3] = True
    pixels = patch_pixels(patches, PatchGrid(), 8, 8)
    assert pixels.sum().item() == 8
    hidden = hide(views, pixels, colour)
    torch.testing.assert_close(hidden[0, :, 2:4, 2:4], colour[0].expand(3, 2, 2))
    torch.testing.assert_close(hidden[1, :, 0:2, 6:8], colour[0].expand(3, 2, 2))
    assert torch.equal(hidden.masked_fill(pixels[:, None], 0), views.masked_fill(pixels[:, None], 0))


def test_stage_hr_hides_the_best_patches_of_the_lr_view_of_the_same_crop(
    scene_tree: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.safetensors"
    theirs = small_model(3)
    theirs.save(file)
    keys = ("hard_positives.augment=patchdrop", f"hard_positives.policy={file}", "hr.cutmix=0.0")
    recipe, data, model = small_recipe("default", 1, *keys), read_scenes(scene_tree), small_model()
    policy = load_policy(file, grid=model.grid, lr_px=8, device=CPU)
    bench = Bench(model=model, recipe=recipe, val=view_split(data.val, recipe, seed=0), policy=policy)
    batch = next(data.train.batches(48, generator()))
    plain, lr = bench.views(batch, generator(7))
    shown = HrStage(bench).views(batch, generator(7))
    gone = (shown != plain).any(dim=1).float()
    by_patch = F.avg_pool2d(gone, 8).flatten(1)  # of a patch all pixels are hidden, or none
    assert torch.equal(by_patch, by_patch.round())
    counts = by_patch.sum(dim=1).long()
    assert set(counts.tolist()) == {1, 2, 3, 4}
    with torch.inference_mode():
        order = theirs.probabilities(lr).argsort(dim=1, descending=True)
    for patches, best, count in zip(by_patch, order.tolist(), counts.tolist(), strict=True):
        assert set(patches.nonzero().flatten().tolist()) == set(best[:count])
    where = gone[:, None].bool().expand_as(shown)
    assert torch.equal(shown[where], model.mean.expand_as(shown)[where])


def test_without_augmentation_stage_hr_is_what_it_was(scene_tree: Path) -> None:
    recipe, data = small_recipe(), read_scenes(scene_tree)
    bench = Bench(model=small_model(), recipe=recipe, val=view_split(data.val, recipe, seed=0))
    batch = next(data.train.batches(16, generator()))
    assert torch.equal(HrStage(bench).views(batch, generator(1)), bench.hr_views(batch.images, generator(1)))


def augmented(policy: Path | None, *extra: str, epochs: int = 3) -> Any:
    keys = [] if policy is None else ["hard_positives.augment=patchdrop", f"hard_positives.policy={policy}"]
    return small_recipe("default", epochs, *keys, *extra)


@pytest.mark.parametrize("augment", ["cutout", "patchdrop"])
def test_a_killed_run_with_hard_positives_goes_on_as_if_nothing_had_happened(
    whole_run: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, augment: str
) -> None:
    monkeypatch.setattr("training.engine.CHECKPOINT_INTERVAL_S", 0.0)
    tree, run = whole_run
    recipe = augmented(run) if augment == "patchdrop" else augmented(None, "hard_positives.augment=cutout")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(request(tree, whole, recipe, stages=("hr",)), QUIET)
    keep = Engine._keep

    def kill(self: Engine, stage: Any, model: Any, states: Any, at: Position) -> None:
        if (at.epoch, at.step) == (1, 2):
            raise KeyboardInterrupt
        keep(self, stage, model, states, at)

    with monkeypatch.context() as patched:
        patched.setattr(Engine, "_keep", kill)
        with pytest.raises(KeyboardInterrupt):
            train(request(tree, killed, recipe, stages=("hr",)), QUIET)
    # From the record alone, as `geozoom train --resume` takes it.
    again = CliRunner().invoke(main, ["train", "--out", str(killed), "--resume", "--stage", "hr", "-q"])
    assert again.exit_code == 0, again.output
    assert without_time(log(killed)) == without_time(log(whole))
    plain = without_time(log(run))[:3]
    assert without_time(log(whole)) != plain
    policy = json.loads((killed / "config.json").read_text())["policy"]
    if augment == "patchdrop":
        file = run / "checkpoints" / "ft1.safetensors"
        assert policy == {"file": str(file), "sha256": checksum(file)}
    else:
        assert policy is None


def test_a_policy_comes_from_a_run_a_stage_or_a_shipped_model(whole_run: tuple[Path, Path]) -> None:
    _, run = whole_run
    lr = torch.rand(4, 3, 8, 8, generator=generator())

    def answers(path: Path) -> torch.Tensor:
        return load_policy(path, grid=PatchGrid(), lr_px=8, device=CPU).logits(lr)

    by_run = answers(run)
    assert torch.equal(by_run, answers(run / "checkpoints" / "ft1.safetensors"))
    assert not torch.equal(by_run, answers(run / "checkpoints" / "pt.safetensors"))
    by_ft2 = answers(run / "checkpoints" / "ft2.safetensors")
    torch.testing.assert_close(answers(run / "model.safetensors"), by_ft2, rtol=1e-2, atol=1e-2)  # in half


def test_policies_that_cannot_be_used_are_refused_by_name(
    whole_run: tuple[Path, Path], tmp_path: Path
) -> None:
    _, finished = whole_run
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    checkpoints = run / "checkpoints"
    (tmp_path / "notes.safetensors").write_text("hello")
    (tmp_path / "empty").mkdir()
    small_model(grid_rows=2, hr_px=32).save(tmp_path / "two.safetensors")
    small_model(lr_px=16).save(tmp_path / "sixteen.safetensors")
    shutil.copy(checkpoints / "ft1.safetensors", tmp_path / "alone.safetensors")
    unfinished = small_model()
    write_checkpoint(
        checkpoints / "pt.safetensors", unfinished, {"done": "false", "stage": "pt", "epoch": "1"}
    )
    for path, words in (
        (tmp_path / "none.safetensors", "there is no such policy; give a run"),
        (tmp_path / "empty", "is no run of `geozoom train`"),
        (tmp_path / "notes.safetensors", "the policy cannot be read"),
        (tmp_path / "two.safetensors", "is a policy of a grid of 2 × 4 patches, and the run's is 4 × 4"),
        (tmp_path / "sixteen.safetensors", "LR images of 16 px, and the run's have 8"),
        (tmp_path / "alone.safetensors", "is a checkpoint outside of its run"),
        (checkpoints / "hr.safetensors", "is of stage hr, which trains no policy"),
        (checkpoints / "pt.safetensors", "its stage is not trained to its end"),
    ):
        with pytest.raises(RunError, match=words) as caught:
            load_policy(path, grid=PatchGrid(), lr_px=8, device=CPU)
        assert str(caught.value).startswith(str(path))
    (checkpoints / "ft1.safetensors").unlink()
    with pytest.raises(RunError, match=r"run: has not trained its stage ft1 yet"):
        load_policy(run, grid=PatchGrid(), lr_px=8, device=CPU)


def test_a_run_keeps_to_its_policy_until_stage_hr_is_done(scene_tree: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "model.safetensors", tmp_path / "run"
    small_model(1).save(file)
    recipe = augmented(file, "judges.folds=0", epochs=1)
    train(request(scene_tree, out, recipe, stages=("hr",)), QUIET)
    held = json.loads((out / "config.json").read_text())["policy"]
    done = out / "checkpoints" / "hr.safetensors"
    kept = done.read_bytes()
    done.unlink()
    small_model(2).save(file)
    with pytest.raises(RunError, match="is not the policy any more that"):
        train(request(scene_tree, out, recipe, stages=("hr",), resume=True), QUIET)
    file.unlink()
    with pytest.raises(RunError, match="there is no such policy"):
        train(request(scene_tree, out, recipe, stages=("hr",), resume=True), QUIET)
    done.write_bytes(kept)
    train(request(scene_tree, out, recipe, stages=("lr",), resume=True), QUIET)
    assert json.loads((out / "config.json").read_text())["policy"] == held
    with pytest.raises(RunError, match="another recipe table 'hard_positives'"):
        train(request(scene_tree, out, small_recipe("default", 1, "judges.folds=0"), resume=True), QUIET)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--augment", "patchdrop"], "must come with a policy where it is patchdrop (--policy)"),
        (
            ["--policy", "somewhere"],
            "must be left out where hard_positives.augment (--augment) is not patchdrop",
        ),
        (["--augment", "cutout", "--policy", "p"], "must be left out where"),
        (
            ["--augment", "patchdrop", "--policy", "none.safetensors"],
            "none.safetensors: there is no such policy",
        ),
        (["--set", "hard_positives.augment=erase"], "be one of none, cutout, patchdrop"),
        (["--augment", "cutout", "--set", "hard_positives.cutout_px=33"], "lie in 0..hr_px"),
        (
            ["--augment", "patchdrop", "--policy", "p", "--set", "hard_positives.most_patches=16"],
            "lie in 1..15, to leave one of 16 patches",
        ),
    ],
)
def test_wrong_flags_are_said_in_a_sentence_and_leave_nothing_behind(
    scene_tree: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    out = tmp_path / "run"
    values = [part for value in SMALL for part in ("--set", value)]
    asked = ["train", "--root", str(scene_tree), "--out", str(out), "--device", "cpu", *values, *options]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert words in line
    assert not out.exists()

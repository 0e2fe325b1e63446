from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from geozoom.model import PatchDrop
from tests.conftest import small_model
from tests.datasets import read_scenes
from tests.test_train import small_recipe
from training.evaluate import Streams, ViewedSplit, answers, correct, correct_each, view_split
from training.sweep import sweep


@pytest.fixture
def views(scene_tree: Path) -> ViewedSplit:
    return view_split(read_scenes(scene_tree).train, small_recipe(), seed=0)


def masks(views: ViewedSplit, seed: int) -> Tensor:
    return (torch.rand(len(views), 16, generator=torch.Generator().manual_seed(seed)) < 0.5).float()


@pytest.mark.parametrize("streams", ["hr", "lr", "both"])
@pytest.mark.parametrize("part_px", [20 * 32**2, 2**20])  # folded and in parts, or as it is
def test_answers_are_the_models_own_for_every_mask(
    views: ViewedSplit, monkeypatch: pytest.MonkeyPatch, streams: Streams, part_px: int
) -> None:
    monkeypatch.setattr("training.sweep.PART_PX", part_px)
    model = small_model()
    choices = [masks(views, 1), None, masks(views, 2)]
    (batch,) = views.split.in_order(len(views))
    hr = batch.images.float() / 255
    right = correct_each(model, views, streams, choices)
    for choice, found in zip(choices, right, strict=True):
        bought = torch.ones(len(views), 16) if choice is None else choice
        with torch.inference_mode():
            plain = {
                "hr": model.hr_logits(hr, bought),
                "lr": model.lr_logits(views.lr),
                "both": model.class_log_probabilities(hr, views.lr, bought),
            }[streams]
        torch.testing.assert_close(answers(model, views, streams, choice), plain, rtol=1e-3, atol=1e-4)
        assert torch.equal(found, plain.argmax(dim=1) == batch.labels)
        known = model.lr_logits(views.lr).detach()
        assert torch.equal(found, correct(model, views, streams, choice, known))


def test_answers_depend_neither_on_threads_nor_on_what_they_are_batched_with(
    views: ViewedSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, mask = small_model(), masks(views, 1)
    whole = answers(model, views, "both", mask)
    monkeypatch.setattr("training.sweep.PART_PX", 7 * 32**2)
    try:
        torch.set_num_threads(3)
        parted = answers(model, views, "both", mask)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert torch.equal(parted, answers(model, views, "both", mask))
    torch.testing.assert_close(parted, whole, rtol=1e-4, atol=1e-5)


def test_the_callers_precision_holds_in_every_thread_and_errors_come_through() -> None:
    model = small_model()
    parts = [torch.rand(2, 3, 8, 8) for _ in range(9)]

    def ask(asked: PatchDrop, part: Tensor) -> Tensor:
        if len(part) == 1:
            raise ValueError("one scene alone")
        return asked.policy(part)  # type: ignore[no-any-return]

    try:
        torch.set_num_threads(2)
        with torch.autocast("cpu", torch.bfloat16):
            kinds = {found.dtype for found in sweep(model, "policy", 0, parts, ask)}
        assert kinds == {torch.bfloat16}
        assert {found.dtype for found in sweep(model, "policy", 0, parts, ask)} == {torch.float32}
        with pytest.raises(ValueError, match="one scene alone"):
            list(sweep(model, "policy", 0, [*parts, torch.rand(1, 3, 8, 8)], ask))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)

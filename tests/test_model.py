from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from geozoom.card import ModelCard
from geozoom.errors import ModelError
from geozoom.fusion import mix_streams
from geozoom.grid import PatchGrid
from geozoom.model import PatchDrop, load_model, on_pixels
from tests.conftest import small_card, small_model


@settings(deadline=None)
@given(st.integers(0, 16), st.integers(2, 9), st.floats(0.1, 30))
def test_eq_7_mixes_probabilities_by_the_share_of_bought_patches(
    bought: int, classes: int, spread: float
) -> None:
    torch.manual_seed(bought)
    hr, lr = spread * torch.randn(2, 3, classes)
    mask = torch.zeros(3, 16)
    mask[:, :bought] = 1
    mixed = mix_streams(hr, lr, mask).exp()
    share = bought / 16
    expected = share * hr.softmax(1) + (1 - share) * lr.softmax(1)
    torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("bought", [0.0, 1.0])
def test_with_no_patch_or_all_of_them_one_stream_decides_and_gradients_stay_finite(bought: float) -> None:
    hr = torch.tensor([[80.0, -80.0]], requires_grad=True)
    lr = torch.tensor([[-80.0, 80.0]], requires_grad=True)
    mixed = mix_streams(hr, lr, torch.full((1, 4), bought))
    assert mixed.argmax().item() == (0 if bought else 1)
    mixed[0, 0].backward()  # type: ignore[no-untyped-call]
    assert hr.grad is not None
    assert torch.isfinite(hr.grad).all()


def test_what_lies_under_a_masked_patch_cannot_be_seen(model: PatchDrop) -> None:
    torch.manual_seed(1)
    lr, hr = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32)
    bought = (torch.arange(16) % 3 == 0).float()[None]
    before = model.class_log_probabilities(hr, lr, bought)
    changed = hr.clone()
    for patch in range(16):
        rows, cols = model.grid.window(patch, 32, 32)
        if not bought[0, patch]:
            changed[..., rows, cols] = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(model.class_log_probabilities(changed, lr, bought), before)
    rows, cols = model.grid.window(0, 32, 32)
    changed[..., rows, cols] = 1 - changed[..., rows, cols]
    assert not torch.allclose(model.class_log_probabilities(changed, lr, bought), before)


def test_the_temperature_softens_the_lr_stream_where_the_streams_are_mixed() -> None:
    torch.manual_seed(0)
    hr, lr = torch.randn(2, 6, 3)
    bought = (torch.rand(6, 16) < 0.5).float()
    bought[0] = 0
    model = small_model(lr_temperature=2.5)
    fused = model.fuse(hr, lr, bought)
    torch.testing.assert_close(fused[1:], mix_streams(hr, lr / 2.5, bought)[1:])
    torch.testing.assert_close(fused[0], lr[0].log_softmax(0))
    torch.testing.assert_close(small_model().fuse(hr, lr, bought), mix_streams(hr, lr, bought))


def test_a_product_multiplies_the_streams_where_hr_was_bought_and_is_lr_alone_elsewhere() -> None:
    torch.manual_seed(0)
    hr, lr = torch.randn(2, 6, 3)
    bought = (torch.rand(6, 16) < 0.5).float()
    bought[0] = 0
    hr[0] = torch.inf  # whatever a stream says that has seen nothing
    fused = small_model(fusion="product", lr_temperature=2.0).fuse(hr, lr, bought).exp()
    together = hr[1:].softmax(1) * (lr[1:] / 2).softmax(1)
    torch.testing.assert_close(fused[1:], together / together.sum(dim=1, keepdim=True))
    torch.testing.assert_close(fused[0], lr[0].softmax(0))


@pytest.mark.parametrize("fusion", ["mixture", "product"])
def test_ft2_learns_by_eq_7_whatever_the_finished_model_does(fusion: str) -> None:
    hr, lr = torch.randn(2, 6, 3)
    bought = (torch.rand(6, 16) < 0.5).float()
    model = small_model(fusion=fusion, lr_temperature=2.0)
    by_eq_7 = small_model(fusion="mixture", lr_temperature=2.0).fuse(hr, lr, bought)
    torch.testing.assert_close(model.mix(hr, lr, bought), by_eq_7)


def test_a_card_without_a_fusion_is_of_a_model_that_mixes(model: PatchDrop) -> None:
    told = json.loads(model.card.to_json())
    del told["fusion"]
    assert ModelCard.from_json(json.dumps(told)).fusion == "mixture"
    with pytest.raises(ModelError, match="impossible"):
        ModelCard.from_json(json.dumps(told | {"fusion": "sum"}))


def test_without_hr_the_answer_is_the_lr_streams(model: PatchDrop) -> None:
    lr, hr = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 32, 32)
    mixed = model.class_log_probabilities(hr, lr, torch.zeros(4, 16))
    torch.testing.assert_close(mixed, model.lr_logits(lr).log_softmax(1))


@pytest.mark.parametrize(("half", "tolerance"), [(False, 0.0), (True, 5e-2)])
def test_a_checkpoint_comes_back_with_its_card(tmp_path: Path, half: bool, tolerance: float) -> None:
    model = small_model(metrics={"table": {"Ft-2": {"accuracy": 95.0}}}, recipe={"hr": {"epochs": 1}})
    path = tmp_path / "model.safetensors"
    model.save(path, half=half)
    again = load_model(path)
    assert again.card == model.card
    assert not again.training
    lr = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(
        again.policy_logits(lr), model.policy_logits(lr), rtol=tolerance, atol=tolerance + 1e-6
    )
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_checkpoint_is_open_to_whom_other_files_are(tmp_path: Path, model: PatchDrop) -> None:
    path, other = tmp_path / "model.safetensors", tmp_path / "other.txt"
    model.save(path)
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode


def test_half_precision_halves_the_file(tmp_path: Path) -> None:
    model = PatchDrop(small_card())
    model.save(tmp_path / "whole.safetensors")
    model.save(tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.7 * sizes[0]


def test_every_unusable_checkpoint_is_named_with_its_reason(tmp_path: Path, model_file: Path) -> None:
    short = tmp_path / "short.safetensors"
    short.write_bytes(model_file.read_bytes()[:-100])
    text = tmp_path / "text.safetensors"
    text.write_text("not a model at all, but long enough to have a header length")
    bare = tmp_path / "bare.safetensors"
    save_file({"weight": torch.zeros(2)}, bare)
    stranger = tmp_path / "stranger.safetensors"
    save_file(
        {"weight": torch.zeros(2)},
        stranger,
        {"geozoom_model_card": small_card().to_json()},
    )
    for path, words in (
        (tmp_path / "missing.safetensors", "no such model"),
        (short, "not a readable safetensors file"),
        (text, "not a readable safetensors file"),
        (bare, "without geozoom's model card"),
        (stranger, "do not fit the model card"),
    ):
        with pytest.raises(ModelError, match=words) as caught:
            load_model(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "change",
    [{"grid_rows": 0}, {"lr_px": "8"}, {"lr_px": 99}, {"scene_m": -80}, {"mean": [0.5]}, {"std": [0, 1, 1]}],
)
def test_a_card_with_impossible_sizes_is_refused(change: dict[str, Any]) -> None:
    content = json.loads(small_card().to_json()) | change
    with pytest.raises(ModelError, match="model card"):
        ModelCard.from_json(json.dumps(content))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 99}', '{"format": 1, "name": "x"}'])
def test_an_unreadable_card_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        ModelCard.from_json(text)


@given(rows=st.integers(1, 9), cols=st.integers(1, 9), down=st.integers(1, 120), across=st.integers(1, 120))
@settings(max_examples=60, deadline=None)
def test_a_patch_covers_its_own_pixels_at_every_size(rows: int, cols: int, down: int, across: int) -> None:
    grid = PatchGrid(rows=rows, cols=cols)
    numbers = torch.arange(2.0 * grid.patches).view(2, grid.patches)
    found = on_pixels(numbers, grid, rows * down, cols * across)
    wanted = numbers.view(2, 1, rows, cols).repeat_interleave(down, dim=2).repeat_interleave(across, dim=3)
    assert torch.equal(found, wanted)

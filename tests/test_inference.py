from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
import torch

from geozoom.inference import Runner, fold_batch_norms, lr_runner, policy_runner, scout_runner
from geozoom.model import PatchDrop, load_model
from geozoom.networks import NETWORK_NAMES, NetworkSpec, build_network
from tests.conftest import DOUBTFUL, small_model

RunnerOf: TypeAlias = Callable[[PatchDrop], Runner]


@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_folding_batch_norms_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(NetworkSpec(name=name), 5)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    images = torch.randn(2, 3, 32, 32)
    folded = fold_batch_norms(network)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        expected = network.eval()(images)
        torch.testing.assert_close(
            folded(images), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())
        )


@pytest.mark.parametrize("half", [True, False])
def test_the_runner_decides_as_the_shipped_policy_does(monkeypatch: pytest.MonkeyPatch, half: bool) -> None:
    monkeypatch.setattr("geozoom.inference.has_bfloat16", lambda: half)
    model = load_model()
    images = np.random.default_rng(0).random((500, 3, 8, 8), dtype=np.float32)
    s = policy_runner(model).answers(images)
    with torch.inference_mode():
        expected = model.probabilities(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(s, expected, atol=6e-3 if half else 1e-4)
    assert np.mean((s > 0.5) != (expected > 0.5)) <= 0.001


@pytest.mark.parametrize("classifier", ["resnet32", "bagnet-resnet32"])
def test_the_lr_stream_answers_as_the_trained_one(monkeypatch: pytest.MonkeyPatch, classifier: str) -> None:
    monkeypatch.setattr("geozoom.inference.has_bfloat16", lambda: False)
    model = small_model(classifier=NetworkSpec(name=classifier, widths=(4, 8, 8)))
    images = np.random.default_rng(0).random((30, 3, 8, 8), dtype=np.float32)
    with torch.inference_mode():
        expected = model.lr_logits(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(lr_runner(model).answers(images), expected, atol=1e-4)


@pytest.mark.parametrize("runner_of", [policy_runner, scout_runner, lr_runner])
def test_a_scene_is_decided_alone(monkeypatch: pytest.MonkeyPatch, runner_of: RunnerOf) -> None:
    monkeypatch.setattr("geozoom.inference.BATCH_PX", 16 * 64)
    monkeypatch.setattr("geozoom.inference.LR_BATCH_PX", 16 * 32**2)
    runner = runner_of(small_model(**DOUBTFUL))
    assert runner.batch == 16
    images = np.random.default_rng(0).random((40, 3, 8, 8), dtype=np.float32)
    together = runner.answers(images)
    np.testing.assert_array_equal(runner.answers(images[7:9]), together[7:9])
    np.testing.assert_array_equal(runner.answers(images[::-1].copy()), together[::-1])


@pytest.mark.parametrize("sizes", [[], [1], [3, 0, 700, 1]])
def test_a_stream_of_blocks_gives_what_each_gives_alone(sizes: list[int]) -> None:
    runner = policy_runner(small_model())
    blocks = [np.random.default_rng(size).random((size, 3, 8, 8), dtype=np.float32) for size in sizes]
    found = list(runner.stream(enumerate(blocks)))
    assert [item for item, _ in found] == list(range(len(sizes)))
    for (_, streamed), block in zip(found, blocks, strict=True):
        assert np.array_equal(streamed, runner.answers(block))

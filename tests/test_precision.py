"""Half precision where the device multiplies it, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from geozoom.cli import main
from tests.test_train import SMALL
from training.precision import in_half

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_half_precision_is_used_where_it_is_asked_for_and_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    for has in (True, False):
        monkeypatch.setattr("training.precision.has_bfloat16", lambda has=has: has)
        monkeypatch.setattr(
            "torch.cuda.is_bf16_supported",
            lambda has=has, including_emulation=True: has or including_emulation,
        )
        for device in (CPU, GPU):
            assert in_half("bf16", device) is has
            assert not in_half("fp32", device)


def test_a_run_says_what_it_computes_in(
    scene_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.precision.has_bfloat16", lambda: False)
    settings = [part for value in SMALL for part in ("--set", value)]
    command = ["train", "--root", str(scene_tree), "--out", str(tmp_path / "run"), "--device", "cpu"]
    result = CliRunner().invoke(main, [*command, "--stage", "hr", "--epochs", "1", *settings])
    assert result.exit_code == 0, result.output
    assert "on cpu, in float32, as it does not multiply bfloat16" in " ".join(result.stderr.split())
    assert json.loads((tmp_path / "run" / "config.json").read_text())["computed_in"] == "float32"

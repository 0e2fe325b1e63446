"""Training on an emulated GPU: devices are not mixed, and no step waits for the device."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import write_scene_tree
from tests.test_train import SMALL

ROOT = Path(__file__).parent.parent


def on_emulated_cuda(folder: Path, *command: str) -> dict[str, int]:
    """Run a command of geozoom on an emulated GPU; return where its steps keep waiting for it."""
    settings = [part for value in (*SMALL, "compile=off") for part in ("--set", value)]
    run = subprocess.run(
        [sys.executable, "-m", "tests.emulated_cuda", str(folder / "waits.json"), *command, *settings],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "note: nvJPEG" not in run.stderr
    found: dict[str, int] = json.loads((folder / "waits.json").read_text())
    return {place: times for place, times in found.items() if times > 1}  # what is kept is copied once


def test_no_stage_mixes_devices_or_waits_in_a_step(tmp_path: Path) -> None:
    tree = write_scene_tree(tmp_path / "scenes", "jpg")
    # Decoded on the device, as they are not held in memory.
    command = ["train", "--root", str(tree), "--out", str(tmp_path / "run"), "--epochs", "1", "--memory", "0"]
    assert on_emulated_cuda(tmp_path, *command, "--device", "cuda") == {}


@pytest.mark.slow
def test_no_baseline_mixes_devices_or_waits_in_a_step(tmp_path: Path) -> None:
    tree = write_scene_tree(tmp_path / "scenes")
    command = ["table", "--dataset", "folder", "--root", str(tree), "--out", str(tmp_path / "table")]
    short = ["--epochs", "1", "--set", "judges.folds=0", "--set", "scout.epochs=0"]
    assert on_emulated_cuda(tmp_path, *command, *short, "--device", "cuda") == {}

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from geozoom.files import sweep, written_aside


@pytest.mark.skipif(os.name != "posix", reason="asks whether a process lives")
def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    below = tmp_path / "checkpoints"
    below.mkdir()
    for name in (
        f".{gone.pid}.part.safetensors",
        f".{gone.pid}.part",
        f".{gone.pid}.other",
        "hr.safetensors",
    ):
        (below / name).write_text("x")
    with written_aside(below / "lr.safetensors") as aside:  # of this process, which lives
        aside.write_text("x")
        sweep(tmp_path)
    assert sorted(file.name for file in below.iterdir()) == sorted(
        [f".{gone.pid}.other", "hr.safetensors", "lr.safetensors"]
    )

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from geozoom.errors import OutputError
from geozoom.files import sweep, write_text, written_aside


@pytest.mark.skipif(os.name != "posix", reason="asks whether a process lives")
def test_what_a_killed_process_left_half_written_is_swept(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    below = tmp_path / "checkpoints"
    below.mkdir()
    others = [f".{gone.pid}.other", f".movie.{gone.pid}.part.mkv", f".project.{gone.pid}.part"]
    for folder in (f".figures.{gone.pid}.part", others[2]):
        (below / folder).mkdir()
        (below / folder / "dropping.png").touch()
    for name in (
        f".{gone.pid}.part.safetensors",
        f".{gone.pid}.part",
        *others[:2],
        "hr.safetensors",
    ):
        (below / name).write_text("x")
    with written_aside(below / "lr.safetensors") as aside:  # of this process, which lives
        aside.write_text("x")
        sweep(tmp_path, below=False)
        assert (below / f".{gone.pid}.part").exists(), "it lies further down"
        sweep(tmp_path)
    assert sorted(file.name for file in below.iterdir()) == sorted(
        [*others, "hr.safetensors", "lr.safetensors"]
    )


def test_a_read_only_file_system_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)  # of a file that is not even there
    with pytest.raises(OutputError, match=r"record.json: cannot be written \(Read-only file system\)"):
        write_text(tmp_path / "record.json", "{}")

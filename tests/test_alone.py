"""Two processes do not work in one folder at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from geozoom.cli import main
from geozoom.errors import RunError
from tests.test_train import QUIET, request, small_recipe
from training.alone import alone_in
from training.run import train

fcntl = pytest.importorskip("fcntl", reason="locks are POSIX's")

HOLDER = """
import sys, time
from pathlib import Path
from training.alone import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_held_by_one_process_until_that_ends_however_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, folder], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match=r"one: another process works in it; wait until"), alone_in(folder):
        pass
    theirs = folder / f".{holder.pid}.part"
    theirs.mkdir()
    holder.kill()
    holder.communicate()
    with alone_in(folder):
        assert theirs.exists(), "what is not known to be a run's is left alone"


def test_a_folder_that_its_holder_removes_is_made_and_held_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lock = tmp_path / "one", fcntl.flock
    locked: list[int] = []

    def late(held: int, how: int) -> None:
        if not locked:
            folder.rmdir()  # as who held it does, between opening and locking it
        locked.append(how)
        lock(held, how)

    with monkeypatch.context() as patched:
        patched.setattr("training.alone.fcntl.flock", late)
        holding = alone_in(folder)
        holding.__enter__()
    assert len(locked) == 2
    with pytest.raises(RunError, match="another process works in it"), alone_in(folder):
        pass
    holding.__exit__(None, None, None)
    assert not folder.exists()


def test_folders_in_which_nothing_was_written_do_not_stay(tmp_path: Path) -> None:
    with alone_in(tmp_path / "runs" / "one"):
        assert (tmp_path / "runs" / "one").is_dir()
    assert not list(tmp_path.iterdir())
    with alone_in(tmp_path / "runs" / "two"):
        (tmp_path / "runs" / "two" / "log").touch()
    assert (tmp_path / "runs" / "two" / "log").exists()
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file: cannot be created or opened"), alone_in(tmp_path / "file"):
        pass


def test_neither_train_nor_table_begins_where_another_works(scene_tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    asked = ["table", "--root", str(scene_tree), "--out", str(out), "--rows", "hr-cnn", "--device", "cpu"]
    with alone_in(out):
        with pytest.raises(RunError, match="another process works in it"):
            train(request(scene_tree, out, small_recipe("default", 1)), QUIET)
        result = CliRunner().invoke(main, asked)
    assert (result.exit_code, "out: another process works in it" in result.output) == (1, True)
    assert not out.exists()

"""Writing files whole or not at all."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from geozoom.errors import OutputError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def written_aside(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a name beside `path`; rename it to `path` at the end, or remove it if anything fails.

    Without `replace`, what another process has put at `path` in the meantime stays.

    Raises:
        OutputError: The file cannot be written.
    """
    aside = path.with_name(f".{os.getpid()}.part{path.suffix}")
    try:
        yield aside
        if replace:
            aside.replace(path)
        else:
            _put_unless_there(aside, path)
    except OSError as error:
        raise OutputError(f"{str(path)[:200]}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # a read-only file system has none to remove, and has been told of
            aside.unlink(missing_ok=True)


def sweep(folder: Path, *, below: bool = True) -> None:
    """Remove what processes of this machine that were killed have left half-written in a folder, and below it."""
    if os.name != "posix":  # elsewhere it cannot be asked whether a process lives
        return
    for where, folders, files in os.walk(folder):  # which passes over what vanishes in the meantime
        for name in files:
            if _is_left(name, r"\.(\d+)\.part(\..*)?"):
                with suppress(OSError):
                    Path(where, name).unlink()
        for name in list(folders):
            if _is_left(name, r"\.figures\.(\d+)\.part"):
                folders.remove(name)
                shutil.rmtree(Path(where, name), ignore_errors=True)
        if not below:
            return


def _is_left(name: str, pattern: str) -> bool:
    process = re.fullmatch(pattern, name)
    return process is not None and not _lives(int(process[1]))


def _lives(process: int) -> bool:
    with suppress(PermissionError, OverflowError):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
    return True


def _put_unless_there(aside: Path, path: Path) -> None:
    try:
        os.link(aside, path)
    except OSError:  # it is there, or the file system has no hard links
        if not path.exists():
            aside.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all; bytes of file names that are no UTF-8 become escapes.

    Raises:
        OutputError: The file cannot be written.
    """
    with written_aside(path) as aside:
        aside.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def on_stdout() -> Iterator[TextIO]:
    """Yield stdout to write data to, and see that all of it arrives.

    Raises:
        OutputError: It cannot be written.
    """
    if sys.stdout is None:  # closed, or a window without a console
        yield io.StringIO()
        return
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # the reader has seen enough
    except OSError as error:
        raise OutputError(f"stdout: cannot be written ({error.strerror})") from error


def check_output(path: Path, *, overwrite: bool, suffixes: tuple[str, ...]) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        OutputError: The suffix is not known, the file exists, or its folder cannot be written.
    """
    if path.suffix.lower() not in suffixes:
        raise OutputError(
            f"{path}: the format of {path.suffix or 'a name without suffix'} is not known; "
            f"end the name in one of {', '.join(suffixes)}"
        )
    if path.suffix.lower() == ".parquet":
        _require_parquet(path)
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; name a file")
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: exists already; give --overwrite or another name")
        # Trying is the only sure test: permission bits do not speak for root or network drives.
        with tempfile.TemporaryFile(dir=path.parent):
            return
    except OSError as error:
        raise OutputError(
            f"{str(path.parent)[:200]}: cannot be written to ({error.strerror}); choose another folder"
        ) from error


def _require_parquet(path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise OutputError(
            f"{path}: GeoParquet needs pyarrow; install it with pip install 'geozoom[parquet]'"
        ) from error


def check_folder(folder: Path, ours: re.Pattern[str], what: str, *, overwrite: bool) -> None:
    """Refuse a folder that is to be written whole, before any work is done for it.

    Args:
        folder: The folder.
        ours: Names of the files that it may hold already.
        what: What these are.
        overwrite: They may be replaced.

    Raises:
        OutputError: It is a file or holds something, which only such files with `overwrite` may be; or the folder
            around it is missing.
    """
    shown = str(folder)[:200]
    if folder.name in ("", ".."):
        raise OutputError(f"{shown}: is replaced whole by what is written; name a folder in it")
    try:
        if folder.is_file():
            raise OutputError(f"{shown}: is a file; name a folder for the {what}")
        held = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
        if not folder.parent.is_dir():
            raise OutputError(f"{folder.parent}: is no folder; make it first, or choose another")
    except OSError as error:
        raise OutputError(
            f"{shown}: cannot be looked into ({error.strerror}); choose another folder"
        ) from error
    others = [name for name in held if not ours.fullmatch(name)]
    if others:
        raise OutputError(f"{shown}: holds other things than {what} ({others[0]}); choose another folder")
    if held and not overwrite:
        raise OutputError(f"{shown}: holds {what} already; give --overwrite or another folder")


def write_tensors(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Write tensors as safetensors, whole or not at all.

    Raises:
        OutputError: The file cannot be written; the one before it is still there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with written_aside(path) as aside:
        try:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, aside, header
            )
            aside.chmod(_mode_of_new_files())  # safetensors lets nobody else read it
        except SafetensorError as error:  # of a full disk too, which is no OSError to it
            raise OutputError(f"{str(path)[:200]}: cannot be written ({error})") from error


def _mode_of_new_files() -> int:
    """Return what files of this user are open to; the mask can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask


@contextmanager
def folder_written_aside(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`; rename it to `folder` at the end, or remove it if anything fails.

    A folder of that name is replaced whole, so that nothing of it stays beside what is new.

    Raises:
        OutputError: The folder cannot be written.
    """
    aside, before = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    try:
        aside.mkdir()
        yield aside
        if folder.exists():
            folder.replace(before)
        try:
            aside.replace(folder)
        except OSError:
            if before.exists():
                before.replace(folder)
            raise
        shutil.rmtree(before, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{str(folder)[:200]}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)

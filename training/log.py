"""The log of a run: a line of JSON for every epoch, mirrored for TensorBoard where that is installed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from geozoom.errors import OutputError, RunError
from geozoom.files import write_text


class RunLog:
    """The log in one folder; its lines are the truth, the events of TensorBoard are made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "log.jsonl"
        self._events: Any = None

    def rows(self) -> list[dict[str, Any]]:
        """Return all rows, without a line that a kill cut short.

        Raises:
            RunError: A line says something else than an epoch of a stage.
        """
        if not self.file.is_file():
            return []
        rows = []
        lines = self.file.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError:
                continue  # its epoch is run again
            if not _is_row(row):
                raise RunError(
                    f"{self.file}: line {number} is no epoch of a stage; restore the file from a copy, or take that "
                    "line out"
                )
            rows.append(row)
        return rows

    def add(self, stage: str, epoch: int, metrics: dict[str, float]) -> None:
        """Append the metrics of one epoch.

        Raises:
            OutputError: The log cannot be written; its rows before are still there.
        """
        row = {"stage": stage, "epoch": epoch} | {name: round(value, 5) for name, value in metrics.items()}
        try:
            # Before the events: on a full disk the thread that writes them dies with a traceback.
            with self.file.open("a", encoding="utf-8") as log:
                log.write(json.dumps(row) + "\n")
            if self._events is None:
                self._events = _open_events(self.folder, self.rows())
            else:
                _mirror(self._events, row)
        except OSError as error:
            raise OutputError(f"{self.file}: cannot be written ({error.strerror or error})") from error

    def drop_after(self, stage: str, epoch: int) -> None:
        """Drop the rows of epochs that a kill undid, which are about to be run again."""
        if not self.file.is_file():
            return
        kept = [row for row in self.rows() if row["stage"] != stage or row["epoch"] <= epoch]
        write_text(self.file, "".join(json.dumps(row) + "\n" for row in kept))
        self.close()

    def close(self) -> None:
        """Finish the events; the next row opens them again, made anew of all rows."""
        if self._events:
            self._events.close()
        self._events = None


def _is_row(row: object) -> bool:
    kinds: dict[str, type | tuple[type, ...]] = {"stage": str, "epoch": int, "seconds": (int, float)}
    return isinstance(row, dict) and all(isinstance(row.get(key), kind) for key, kind in kinds.items())


def _open_events(folder: Path, rows: list[dict[str, Any]]) -> Any:
    """Return a writer that holds these rows and nothing else, or False without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return False
    shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    writer = SummaryWriter(str(folder / "tensorboard"))
    for row in rows:
        _mirror(writer, row)
    return writer


def _mirror(events: Any, row: dict[str, Any]) -> None:
    if not events:
        return
    for name, value in row.items():
        if name not in ("stage", "epoch"):
            events.add_scalar(f"{row['stage']}/{name}", value, row["epoch"])
    events.flush()

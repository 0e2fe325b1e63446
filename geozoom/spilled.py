"""Candidates of mosaics too large for memory: in a file, found again by the square of a tile that they lie in."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geozoom.card import ModelCard
from geozoom.errors import OutputError
from geozoom.hosts import Hosts
from geozoom.patches import Patches
from geozoom.scenes import lattice_shape
from geozoom.tiles import Tile
from geozoom.windows import Window

PARTS = 8
"""Parts of a square's side of which it is known what they are worth."""
_SQUARE_CELLS = 256
"""Cells of a square's side, about: of 20 m patches five kilometres, in which orders of a square kilometre have room."""
_BUFFERED = 2**21
"""Candidates that are written at once."""
_PACKED = np.dtype(
    [
        ("tile", "<i4"),
        ("row", "<i4"),
        ("col", "<i4"),
        ("patch", "u1"),
        ("probability", "<f4"),
        ("value", "<f4"),
    ]
)


def _folder() -> str:
    """Return a folder for large temporary files: `/tmp` may be memory, which `/var/tmp` is not."""
    large = "/var/tmp"  # noqa: S108 a file without a name, which nobody can guess
    named = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    return large if not named and os.access(large, os.W_OK) else tempfile.gettempdir()


class Spilled:
    """Candidate patches in a temporary file, which is gone when the process is, however it ends.

    Raises:
        OutputError: There is no room for temporary files.
    """

    def __init__(self, tiles: Sequence[Tile], card: ModelCard, hosts: Hosts | None = None) -> None:
        """Open the file.

        Args:
            tiles: The tiles.
            card: Says how large a patch is.
            hosts: On which tile's cells, and so in whose squares, each patch lies; None if each is on its own tile's.
        """
        self._grid = card.grid
        self._hosts = hosts
        cells = _SQUARE_CELLS // max(card.grid.rows, card.grid.cols)
        self.part = max(1, cells // PARTS)
        """Scenes of the side of a part of a square."""
        self._side = self.part * PARTS
        self._scenes = [lattice_shape(tile, card.lr_px) for tile in tiles]
        # The last of a row is between half a square and one and a half, as little is ordered on slivers.
        self.squares = [
            (max(1, round(rows / self._side)), max(1, round(cols / self._side)))
            for rows, cols in self._scenes
        ]
        """Rows and columns of squares of each tile."""
        self.worth = [np.zeros((-(-rows // self.part), -(-cols // self.part))) for rows, cols in self._scenes]
        """Of each tile, what the candidates of each part of its squares are worth together."""
        self.largest = 0.0
        """The most that a candidate is worth."""
        self._folder = _folder()
        with self._room():
            self._file = tempfile.TemporaryFile(prefix="geozoom-", dir=self._folder)  # noqa: SIM115 as long as this object
        weakref.finalize(self, self._file.close)
        self._extents: dict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
        self._buffers: dict[int, list[tuple[NDArray[Any], NDArray[Any]]]] = defaultdict(list)
        self._buffered = self._count = 0

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"{self._folder}: no room for the candidates of so large a mosaic ({error.strerror}); set TMPDIR to "
                "a folder that has"
            ) from error

    @property
    def total(self) -> float:
        """What all candidates are worth."""
        return float(sum(worth.sum() for worth in self.worth))

    def add(
        self,
        tile: int,
        row: NDArray[Any],
        col: NDArray[Any],
        patch: NDArray[Any],
        probability: NDArray[np.float32],
        value: NDArray[np.float32],
    ) -> None:
        """Add candidates of a tile.

        Args:
            tile: Index of the tile.
            row: (M,) lattice rows of their scenes.
            col: (M,) lattice columns.
            patch: (M,) patch ids.
            probability: (M,) s_p.
            value: (M,) what each is worth.

        Raises:
            OutputError: There is no room for temporary files.
        """
        columns = (row, col, patch, probability, value)
        if len(row) > _BUFFERED:
            for start in range(0, len(row), _BUFFERED):
                self.add(tile, *(column[start : start + _BUFFERED] for column in columns))
            return
        rows = np.empty(len(row), dtype=_PACKED)
        for name, column in zip(_PACKED.names or (), (tile, *columns), strict=True):
            rows[name] = column
        self.largest = max(self.largest, float(value.max(initial=0)))
        for host, mine, scene_row, scene_col in self._places(tile, row, col, patch):
            np.add.at(self.worth[host], (scene_row // self.part, scene_col // self.part), value[mine])
            down, across = self.squares[host]
            square = np.minimum(scene_row // self._side, down - 1) * across
            square += np.minimum(scene_col // self._side, across - 1)
            self._buffers[host].append((square, rows[mine]))
        self._buffered += len(row)
        self._count += len(row)
        if self._buffered >= _BUFFERED:
            self._flush()

    def _places(
        self, tile: int, row: NDArray[Any], col: NDArray[Any], patch: NDArray[Any]
    ) -> Iterator[tuple[int, slice | NDArray[np.int64], NDArray[Any], NDArray[Any]]]:
        """Yield tiles on whose cells a tile's candidates are ordered, which ones, and the scenes there they lie in."""
        if self._hosts is None or not self._hosts.some(tile):
            yield tile, slice(None), row, col
            return
        rows, cols = self._grid.rows, self._grid.cols
        at_row = (row * rows + patch // cols).astype(np.int32)
        at_col = (col * cols + patch % cols).astype(np.int32)
        host = self._hosts.of(tile, at_row, at_col)
        for each in np.unique(host).tolist():
            mine = np.flatnonzero(host == each)
            there_row, there_col = self._hosts.cells(tile, each, at_row[mine], at_col[mine])
            yield each, mine, there_row // rows, there_col // cols

    def _flush(self) -> None:
        """Write what is buffered, square by square."""
        at = self._count - self._buffered
        for tile, parts in self._buffers.items():
            rows = np.concatenate([part for _, part in parts])
            square = np.concatenate([squares for squares, _ in parts])
            across = self.squares[tile][1]
            order = np.argsort(square, kind="stable")
            with self._room():
                self._file.seek(0, 2)
                self._file.write(rows[order].tobytes())
                self._file.flush()
            found, starts = np.unique(square[order], return_index=True)
            for each, (start, end) in zip(
                found.tolist(), pairwise([*starts.tolist(), len(rows)]), strict=True
            ):
                self._extents[tile, *divmod(each, across)].append((at + start, end - start))
            at += len(rows)
        self._buffers.clear()
        self._buffered = 0

    def cells(self, window: Window) -> tuple[int, int, int, int]:
        """Return the first row and column, the rows and the columns of a window on its tile's lattice of patches."""
        found = []
        for first, count, squares, scenes, side in zip(
            (window.top, window.left),
            (window.rows, window.cols),
            self.squares[window.tile],
            self._scenes[window.tile],
            (self._grid.rows, self._grid.cols),
            strict=True,
        ):
            begin = first * self._side
            end = scenes if first + count == squares else (first + count) * self._side
            found.append((begin * side, (end - begin) * side))
        (top, rows), (left, cols) = found
        return top, left, rows, cols

    def holds_some(self, window: Window) -> bool:
        """Tell whether a window holds a candidate."""
        self._flush()
        return bool(self._extents_in(window))

    def load(self, windows: Sequence[Window]) -> tuple[Patches, list[slice]]:
        """Return the candidates in some windows, and which rows each window has.

        They come window by window, in each square by square, and in these by tile, scene and patch, however they were
        scored.

        Args:
            windows: The windows.

        Raises:
            OutputError: The temporary file cannot be read.
        """
        self._flush()
        squares = [self._extents_in(window) for window in windows]
        counts = [sum(count for extents in each for _, count in extents) for each in squares]
        loaded = Patches.empty(sum(counts))
        done, spans = 0, []
        for each, count in zip(squares, counts, strict=True):
            spans.append(slice(done, done + count))
            for extents in each:
                rows = self._read(extents)
                part = slice(done, done + len(rows))
                loaded.tile[part] = rows["tile"]
                loaded.scene_row[part], loaded.scene_col[part] = rows["row"], rows["col"]
                loaded.patch[part] = rows["patch"]
                loaded.probability[part], loaded.value[part] = rows["probability"], rows["value"]
                done += len(rows)
        return loaded, spans

    def _extents_in(self, window: Window) -> list[list[tuple[int, int]]]:
        """Return where the candidates of each square of a window lie in the file."""
        return [
            self._extents[window.tile, row, col]
            for row in range(window.top, window.top + window.rows)
            for col in range(window.left, window.left + window.cols)
            if (window.tile, row, col) in self._extents
        ]

    def _read(self, extents: Sequence[tuple[int, int]]) -> NDArray[Any]:
        rows = np.empty(sum(count for _, count in extents), dtype=_PACKED)
        done = 0
        for start, count in extents:
            with self._room():
                self._file.seek(start * _PACKED.itemsize)
                read = self._file.read(count * _PACKED.itemsize)
            if len(read) < count * _PACKED.itemsize:
                raise OutputError(
                    f"{self._folder}: a temporary file ends early; make room there and plan again"
                )
            rows[done : done + count] = np.frombuffer(read, dtype=_PACKED)
            done += count
        key = (rows["row"].astype(np.int64) << 32 | rows["col"]) * self._grid.patches + rows["patch"]
        if (rows["tile"] == rows["tile"][:1]).all():
            return rows if (np.diff(key) > 0).all() else rows[np.argsort(key, kind="stable")]
        return rows[np.lexsort((key, rows["tile"]))]

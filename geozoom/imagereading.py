"""The pixels of image scenes, in full batches, decoded by threads."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geozoom.cores import usable_cores
from geozoom.errors import first_line
from geozoom.images import UNREADABLE
from geozoom.imagescenes import ImageScenes

BATCH = 128
"""Scenes that are read and seen by the sensor at once, as in training's evaluation: its noise is drawn by batch."""


def read_batches(scenes: ImageScenes, side: int) -> Iterator[tuple[NDArray[np.int64], Tensor, list[str]]]:
    """Yield rows, their images (b, 3, side, side) uint8, and what cannot be read; full batches of what can."""
    waiting_rows = np.empty(0, dtype=np.int64)
    waiting = torch.empty((0, 3, side, side), dtype=torch.uint8)
    with ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode") as pool:
        for start in range(0, len(scenes), BATCH):
            rows = np.arange(start, min(start + BATCH, len(scenes)))
            images, why = read_scenes(scenes, rows, side, pool)
            good = np.array([row not in why for row in rows.tolist()], dtype=bool)
            waiting_rows = np.concatenate([waiting_rows, rows[good]])
            waiting = torch.cat([waiting, images[torch.from_numpy(good)]])
            full = len(waiting_rows) if start + BATCH >= len(scenes) else len(waiting_rows) // BATCH * BATCH
            yield waiting_rows[:full], waiting[:full], list(why.values())
            waiting_rows, waiting = waiting_rows[full:], waiting[full:]


def read_scenes(
    scenes: ImageScenes, rows: NDArray[np.int64], side: int, pool: ThreadPoolExecutor
) -> tuple[Tensor, dict[int, str]]:
    """Return the images (n, 3, side, side) uint8 of rows, and by row what cannot be read."""
    images = torch.empty((len(rows), 3, side, side), dtype=torch.uint8)
    why: dict[int, str] = {}

    def read(at: int, row: int) -> None:
        box = None if scenes.boxes is None else scenes.boxes[row]
        try:
            images[at] = scenes.source.read(scenes.files[row], box, side)
        except UNREADABLE as error:
            why[row] = f"{scenes.files[row]} ({first_line(error)})"

    for _ in pool.map(read, range(len(rows)), rows.tolist()):
        pass
    return images, dict(sorted(why.items()))

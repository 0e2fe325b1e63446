"""Splits too large for memory: files are decoded by threads, a few batches ahead of the training.

Decoding has no randomness of its own, and the shuffle is that of a split in memory, so that a run on a CPU does
not depend on where its pixels were held or on the number of threads. What a GPU is trained on, it decodes itself where
it is JPEG; what anything is measured on, the CPU decodes everywhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geozoom.cores import usable_cores
from geozoom.errors import DatasetError, first_line
from geozoom.images import UNREADABLE, ImageFiles
from training.datasets.index import SceneIndex
from training.datasets.nvjpeg import decode as decode_jpegs
from training.datasets.nvjpeg import read_encoded, works_on
from training.datasets.scenes import Batch, windows
from training.parallel import ALONE, Team

BATCHES_AHEAD = 2
"""Batches that are being decoded while one is trained on."""


@dataclass(frozen=True, kw_only=True)
class StreamedSplit:
    """A split whose scenes are read when they are needed."""

    index: SceneIndex
    """The scenes; all of them have been read once and found good."""
    side: int
    """Side of the images in pixels."""
    twin_side: int
    """Side of the images of a real LR sensor, where the index has them."""
    labels: Tensor
    """(N,) int64 class indices, on the device that batches go to."""
    decodes_there: bool = False
    """Whether that device decodes JPEG to train on itself."""

    @property
    def files(self) -> tuple[str, ...]:
        """Where each scene comes from, relative to the dataset's root."""
        return self.index.files

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device) -> StreamedSplit:
        """Return the split with its batches on `device`."""
        labels = self.labels.to(device)
        return replace(self, labels=labels, decodes_there=works_on(labels.device))

    def only(self, scenes: Tensor) -> StreamedSplit:
        """Return the scenes at the indices (n,), in that order."""
        return replace(self, index=self.index.only(scenes.cpu().numpy()), labels=self.labels[scenes])

    def batches(
        self, size: int, generator: torch.Generator, skip: int = 0, team: Team = ALONE
    ) -> Iterator[Batch]:
        """Yield shuffled batches of exactly `size` scenes; a split smaller than that is one batch."""
        order = torch.randperm(len(self), generator=generator)
        return self._decoded((order[rows] for rows in windows(len(self), size, skip, team)), self._encoded)

    def in_order(self, size: int) -> Iterator[Batch]:
        """Yield all scenes in file order, the last batch as short as it is."""
        return self._decoded(torch.split(torch.arange(len(self)), size), lambda _: None)

    def _decoded(self, chunks: Iterable[Tensor], encoded: Callable[[int], Tensor | None]) -> Iterator[Batch]:
        pool = ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode")
        begun: deque[Callable[[], Batch]] = deque()
        try:
            for chosen in chunks:
                begun.append(self._begin(pool, chosen, encoded))
                if len(begun) > BATCHES_AHEAD:
                    yield begun.popleft()()
            while begun:
                yield begun.popleft()()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(
        self, pool: ThreadPoolExecutor, chosen: Tensor, encoded_by: Callable[[int], Tensor | None]
    ) -> Callable[[], Batch]:
        """Hand a batch to the threads; return what waits for it."""
        device = self.labels.device
        pinned = device.type == "cuda"
        twinned = self.index.twin_source is not None
        with torch.inference_mode(False):  # evaluation runs in that mode, and the threads do not
            images = _empty(len(chosen), self.side, pinned=pinned)
            twins = _empty(len(chosen), self.twin_side, pinned=pinned) if twinned else None

        encoded: dict[int, Tensor] = {}

        def decode(row: int, scene: int) -> None:
            with self._readable(scene):
                found = encoded_by(scene)
                if found is None:
                    images[row] = self.index.read(scene, self.side)
                else:
                    encoded[row] = found
                if twins is not None:
                    twins[row] = self.index.read_twin(scene, self.twin_side)

        parts: list[Future[None]] = [
            pool.submit(decode, row, scene) for row, scene in enumerate(chosen.tolist())
        ]

        def finished() -> Batch:
            for part in parts:
                part.result()
            decoded = self._decoded_on_gpu(encoded, images, chosen) if encoded else {}
            there = images.to(device, non_blocking=True)
            for row, image in decoded.items():
                there[row] = image
            where = chosen.pin_memory() if pinned else chosen
            return Batch(
                there,
                self.labels[where.to(device, non_blocking=True)],
                chosen,
                None if twins is None else twins.to(device, non_blocking=True),
            )

        return finished

    @contextmanager
    def _readable(self, scene: int) -> Iterator[None]:
        try:
            yield
        except UNREADABLE as error:
            raise DatasetError(
                f"{self.files[scene]}: could be read when the run began, and cannot now ({first_line(error)})"
            ) from error

    def _encoded(self, scene: int) -> Tensor | None:
        """Return the bytes of a scene's file where the GPU is to decode it."""
        source = self.index.source
        if not self.decodes_there or not isinstance(source, ImageFiles):
            return None
        return read_encoded(source.root / self.index.files[scene])

    def _decoded_on_gpu(
        self, encoded: dict[int, Tensor], images: Tensor, chosen: Tensor
    ) -> dict[int, Tensor]:
        """Decode rows of a batch; those that the GPU refuses are put into `images` by the CPU."""
        boxes = [self.index.box(int(chosen[row])) for row in encoded]
        found = decode_jpegs(list(encoded.values()), boxes, self.side, self.labels.device)
        for row, image in zip(encoded, found, strict=True):
            if image is None:
                with self._readable(int(chosen[row])):
                    images[row] = self.index.read(int(chosen[row]), self.side)
        return {row: image for row, image in zip(encoded, found, strict=True) if image is not None}


def _empty(scenes: int, side: int, *, pinned: bool) -> Tensor:
    return torch.empty((scenes, 3, side, side), dtype=torch.uint8, pin_memory=pinned)

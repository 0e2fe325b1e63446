"""Passes of a frozen model over many scenes, at the machine's speed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Literal, TypeVar

import torch

from geozoom.inference import for_inference
from geozoom.model import PatchDrop
from training.compiling import as_written

_Part = TypeVar("_Part")
_Found = TypeVar("_Found")

PART_PX = 2**20
"""Pixels of a part on a CPU: 50 scenes of 144 px. Of larger ones activations leave the cache."""


def scenes_of_a_part(model: PatchDrop, side: int) -> int:
    """Return how many scenes of side × side pixels one thread best takes at once; on a GPU, any number."""
    return max(1, PART_PX // side**2) if model.mean.device.type == "cpu" else 2**30


def sweep(
    model: PatchDrop,
    network: Literal["policy", "hr", "lr", "scout"],
    pixels: int,
    parts: Iterable[_Part],
    ask: Callable[[PatchDrop, _Part], _Found],
) -> Iterator[_Found]:
    """Yield what a model answers to each part, in order; it is in evaluation mode, and the caller's autocast holds.

    On a CPU batch norms are folded, and every thread works on a part alone: threads that share one wait for each
    other at every layer, and long where other work wants a core. No answer depends on the number of threads.

    Args:
        model: The model.
        network: Which of its networks is asked.
        pixels: Of its images, all parts together.
        parts: What it is asked about, a batch each.
        ask: Maps the model and a part to an answer; called without gradient, from several threads.
    """
    model.eval()
    kind = model.mean.device.type
    half, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    worth = kind == "cpu" and pixels > PART_PX  # of fewer, folding takes longer than it saves
    asked = for_inference(model, [network]) if worth else model

    def answer(part: _Part) -> _Found:
        autocast = torch.autocast(kind, dtype, enabled=half, cache_enabled=False)
        with torch.inference_mode(), autocast, as_written(model.mean.device):
            return ask(asked, part)

    threads = torch.get_num_threads()
    if kind != "cpu" or threads == 1:
        yield from map(answer, parts)
        return
    pool = ThreadPoolExecutor(threads, "sweep", initializer=torch.set_num_threads, initargs=(1,))
    begun: deque[Future[_Found]] = deque()
    try:
        for part in parts:
            begun.append(pool.submit(answer, part))
            if len(begun) > 2 * threads:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        torch.set_num_threads(threads)  # threads that begin later would have the pool's

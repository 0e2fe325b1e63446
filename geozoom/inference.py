"""Policy and LR stream as planning runs them: the same decisions as the trained networks, at the machine's speed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from geozoom.model import PatchDrop

_T = TypeVar("_T")

BATCH_PX = 2**17
"""Pixels of a policy's batch: 2,048 scenes of 8 px, 41 of 56 px."""
LR_BATCH_PX = 2**20
"""Pixels of the LR stream's batch: 50 scenes, which it reads at 144 px."""
MOST_THREADS = 16
"""Batches at once; each holds its activations in memory."""


class Runner:
    """Asks a network about scenes in batches of one shape, a thread for each core.

    Where the CPU multiplies bfloat16 itself, convolutions do so, which takes half the time. The shape of a batch never
    changes, and one thread works on a batch alone, so that what is said of a scene depends neither on what else was
    planned with it nor on the number of cores; threads that shared a batch would also wait for each other at every
    layer whenever the reader needs a core.
    """

    def __init__(self, ask: Callable[[Tensor], Tensor], outputs: int, batch: int) -> None:
        """Begin no work yet.

        Args:
            ask: Maps LR images (batch, 3, h, w), RGB in 0..1, to (batch, outputs); called from several threads.
            outputs: What it says of a scene.
            batch: Scenes that it is asked about at once.
        """
        self.batch = batch
        self.half = has_bfloat16()
        self._ask = ask
        self._outputs = outputs
        self._threads = min(torch.get_num_threads(), MOST_THREADS)
        self._pool = ThreadPoolExecutor(
            self._threads, "runner", initializer=torch.set_num_threads, initargs=(1,)
        )

    def answers(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map LR images (N, 3, h, w), RGB in 0..1, to what the network says of them, (N, outputs)."""
        return self._start(images)()

    def stream(
        self, items: Iterable[tuple[_T, NDArray[np.float32]]]
    ) -> Iterator[tuple[_T, NDArray[np.float32]]]:
        """Yield each item with the `answers` to the images beside it.

        Threads begin with the next item's images while one item's are waited for: none of them idles at the
        end of an item.
        """
        begun: tuple[_T, Callable[[], NDArray[np.float32]]] | None = None
        for item, images in items:
            following = (item, self._start(images))
            if begun is not None:
                yield begun[0], begun[1]()
            begun = following
        if begun is not None:
            yield begun[0], begun[1]()

    def _start(self, images: NDArray[np.float32]) -> Callable[[], NDArray[np.float32]]:
        """Begin what `answers` does; the function returned waits for it and gives its result."""
        count = len(images)
        found = np.empty((count, self._outputs), dtype=np.float32)

        def run(start: int) -> None:
            part = images[start : start + self.batch]
            if len(part) < self.batch:
                part = np.concatenate([part, np.zeros((self.batch - len(part), *part.shape[1:]), part.dtype)])
            found[start : start + self.batch] = self._run(part)[: count - start]

        batches = [self._pool.submit(run, start) for start in range(0, count, self.batch)]

        def wait() -> NDArray[np.float32]:
            for batch in batches:
                batch.result()
            return found

        return wait

    @torch.inference_mode()
    def _run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            said = self._ask(torch.from_numpy(images))
        return np.asarray(said.float().numpy())


def policy_runner(model: PatchDrop) -> Runner:
    """Return what maps scenes to s (N, P), the probability of each patch.

    Batch norms are folded into the convolutions before them. bfloat16 changes fewer than 1 of 1,000 actions, all of
    them within a few thousandths of 0.5 (tests/benchmarks/granule.py counts them).
    """
    folded = for_inference(model, ["policy"])
    return Runner(folded.probabilities, model.grid.patches, max(1, BATCH_PX // model.card.lr_px**2))


def lr_runner(model: PatchDrop) -> Runner:
    """Return what maps scenes to the LR stream's logits (N, classes), batch norms folded."""
    side = model.lr_side
    folded = for_inference(model, ["lr"])
    return Runner(folded.lr_logits, len(model.card.classes), max(1, LR_BATCH_PX // side**2))


def scout_runner(model: PatchDrop) -> Runner:
    """Return what maps scenes to the scout's logits (N, classes), batch norms folded."""
    folded = for_inference(model, ["scout"])
    return Runner(folded.scout_logits, len(model.card.classes), max(1, BATCH_PX // model.card.lr_px**2))


def for_inference(model: PatchDrop, networks: Sequence[str] = ("policy", "hr", "lr", "scout")) -> PatchDrop:
    """Return a copy of a model, in evaluation mode, whose networks have their batch norms folded.

    Networks that are not among `networks` are the model's own, as they are.
    """
    made: dict[int, nn.Module] = {}
    for name in ("policy", "hr", "lr", "scout"):
        own = getattr(model, name)
        if own is None:
            continue
        made[id(own)] = (
            fold_batch_norms(own).to(memory_format=torch.channels_last) if name in networks else own
        )
    folded = copy.deepcopy(model, made)
    folded.training = False
    return folded


def has_bfloat16() -> bool:
    """Tell whether the CPU multiplies bfloat16 itself; where it does not, it would be slower."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("avx512_bf16") or known.get("amx_bf16") or known.get("bf16"))


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Return a copy of a network in evaluation mode whose convolutions do their batch norms' work.

    A batch norm follows the convolution registered right before it, as in every network here.
    """
    folded = copy.deepcopy(network).eval()
    for module in folded.modules():
        before: tuple[str, nn.Conv2d] | None = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d) and before is not None:
                setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
                setattr(module, name, nn.Identity())
            before = (name, child) if isinstance(child, nn.Conv2d) else before
    return folded

"""What the two streams answer of a batch of scenes, in columns."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geozoom.card import ModelCard
from geozoom.features import Column
from geozoom.model import PatchDrop

TOP = 3
"""Classes reported of each scene."""


class Answers(TypedDict):
    """The answers of N scenes."""

    top: NDArray[np.int64]
    """(N, 3) the most probable classes."""
    probability: NDArray[np.float64]
    """(N, 3) their probabilities."""
    lr_class: NDArray[np.int64]
    """(N,) the class that the LR stream alone gives: what one would have known for free."""
    lr_probability: NDArray[np.float64]
    """(N,) its probability."""


@torch.inference_mode()
def scouted(model: PatchDrop, lr: Tensor) -> Tensor | None:
    """Return the scout's log-probabilities (B, N) of LR images (B, 3, h, w), RGB in 0..1; None without a scout."""
    return None if model.scout is None else model.scout_logits(lr).log_softmax(dim=1)


@torch.inference_mode()
def fused(model: PatchDrop, lr: Tensor, hr: Tensor, bought: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
    """Return log-probabilities (B, N) of both streams, and of LR alone; the arguments are those of `answer`."""
    lr_log = torch.log_softmax(model.lr_logits(lr), dim=1)
    log_probability = lr_log.clone()
    used = np.flatnonzero(bought.any(axis=1))
    if len(used):
        masks = torch.from_numpy(bought[used]).float()
        log_probability[used] = model.fuse(model.hr_logits(hr, masks), lr_log[used], masks)
    return log_probability, lr_log


@torch.inference_mode()
def answer(model: PatchDrop, lr: Tensor, hr: Tensor, bought: NDArray[np.bool_]) -> tuple[Answers, Tensor]:
    """Classify a batch with both streams.

    Args:
        model: The classifier.
        lr: (B, 3, h, w) float32 RGB in 0..1.
        hr: (b, 3, H, W) float32 RGB in 0..1 of the scenes with HR, in the order of the batch.
        bought: (B, P) True for patches whose HR is used; some in b of the scenes.

    Returns:
        The answers, their probabilities calibrated by the model card, and the LR stream's own log-probabilities (B, N).
    """
    log_probability, lr_log = fused(model, lr, hr, bought)
    sampled = torch.from_numpy(bought.sum(axis=1))
    # By what both streams say: sharpened probabilities of unlikely classes may tie at zero.
    top = log_probability.topk(min(TOP, lr_log.shape[1]), dim=1).indices
    free = lr_log.argmax(dim=1, keepdim=True)
    stated = model.calibrate(log_probability, sampled).exp()
    stated_free = model.calibrate(lr_log, torch.zeros_like(sampled)).exp()
    return {
        "top": top.numpy(),
        "probability": stated.gather(1, top).double().numpy(),
        "lr_class": free.squeeze(1).numpy(),
        "lr_probability": stated_free.gather(1, free).squeeze(1).double().numpy(),
    }, lr_log


def answer_columns(card: ModelCard, answers: Answers) -> dict[str, Column]:
    """Return the answers as they are written: classes by name, the best first, and what LR alone says."""
    classes = np.asarray(card.classes)
    columns: dict[str, Column] = {}
    for rank in range(answers["top"].shape[1]):
        suffix = f"_{rank + 1}" if rank else ""
        columns[f"class{suffix}"] = classes[answers["top"][:, rank]]
        columns[f"probability{suffix}"] = answers["probability"][:, rank].round(6)
    return columns | {
        "lr_class": classes[answers["lr_class"]],
        "lr_probability": answers["lr_probability"].round(6),
    }

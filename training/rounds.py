"""Rounds of buying: a part of the patches where the LR stream doubts, the next ones where both streams still do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geozoom.doubt import Doubt, further


def in_rounds(
    ask: Callable[[Tensor], NDArray[np.float64]],
    unseen: NDArray[np.float64],
    doubts: Sequence[Doubt],
    s: Tensor,
    total: int,
    rounds: int,
) -> Tensor:
    """Return masks (N, P) of `total` patches, an equal part in each round: by what the streams say with those before.

    What `plan` would buy, `ingest` take in, `plan --catalog` buy beside it, and so on.

    Args:
        ask: Returns how sure both streams are under masks (N, P), as log-odds (N,).
        unseen: (N,) log-odds of the LR stream alone.
        doubts: (P,) what the doubt means where 0, 1, … P - 1 patches are there.
        s: (N, P) the policy's probabilities, or another preference in 0..1.
        total: Patches over all scenes and rounds.
        rounds: How many of them, at least 1.
    """
    masks = torch.zeros_like(s, dtype=torch.float32)
    odds = unseen
    for number in range(1, rounds + 1):
        masks = further_masks(doubts, s, masks, odds, round(total * number / rounds))
        if number < rounds:
            odds = np.where(masks.any(dim=1).cpu().numpy(), ask(masks), unseen)
    return masks


def further_masks(doubts: Sequence[Doubt], s: Tensor, there: Tensor, odds: np.ndarray, total: int) -> Tensor:
    """Return what is there (N, P) and the patches that add most to it, `total` over all scenes together.

    Args:
        doubts: (P,) what the doubt means where 0, 1, … P - 1 patches are there.
        s: (N, P) the policy's probabilities.
        there: (N, P) 1 for patches that are there.
        odds: (N,) log-odds of what is known of each scene with them.
        total: Patches over all scenes, those that are there included.
    """
    left = (s * (1 - there)).float().cpu().numpy()
    counts = there.sum(dim=1).long().cpu().numpy()
    value = further(doubts, left, odds, counts)
    had = there.bool().cpu().numpy()
    # What is there first; of patches that add as much the more probable ones.
    order = np.lexsort((-left.ravel(), -value.ravel(), ~had.ravel()))
    bought = np.zeros(left.size, dtype=np.float32)
    bought[order[: max(total, int(counts.sum()))]] = 1
    return torch.from_numpy(bought.reshape(left.shape)).to(s.device)

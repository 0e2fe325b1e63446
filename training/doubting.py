"""Where the LR stream is asked: the patches that are worth most by how sure it is of their scenes (METHOD §8)."""

from __future__ import annotations

import torch
from torch import Tensor

from geozoom.constants import constant_on
from geozoom.doubt import STEPS, SUREST, Doubt


def doubted_masks(doubt: Doubt, s: Tensor, known: Tensor, total: Tensor | int) -> Tensor:
    """Return masks (N, P) of the `total` patches that are worth most over all scenes, as a plan ranks them.

    On the device of `s`, without waiting for it: what `Doubt.marginals` says, in a step's own arithmetic.

    Args:
        doubt: What its doubt means.
        s: (N, P) the policy's probabilities.
        known: (N, classes) logits of the LR stream.
        total: Patches over all scenes, also as a tensor of one number.
    """
    place = s.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    value = _added(doubt, known.double()).gather(1, place).flatten()
    # Last key first: patches that add as much still differ in probability.
    order = s.flatten().argsort(descending=True, stable=True)
    order = order[value[order].argsort(descending=True, stable=True)]
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return (rank < total).view(s.shape).float()


def _added(doubt: Doubt, known: Tensor) -> Tensor:
    """Return `Doubt.added` (N, P) by what the LR stream answers (N, classes)."""
    ordered = known.sort(dim=1).values
    odds = (ordered[:, -1] - ordered[:, :-1].logsumexp(dim=1)).clamp(-SUREST, SUREST)
    table = constant_on(known.device, _table, doubt, dtype=torch.float64)
    at = (odds + SUREST) * STEPS
    low = at.long().clamp(max=len(table) - 2)
    part = (at - low).unsqueeze(1)
    return table[low] + part * (table[low + 1] - table[low])


def _table(doubt: Doubt) -> Tensor:
    return torch.from_numpy(doubt.table)

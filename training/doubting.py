"""Where the LR stream is asked: the patches that are worth most by how sure it is of their scenes (METHOD §8)."""

from __future__ import annotations

import torch
from torch import Tensor

from geozoom.benefit import Benefit
from geozoom.doubt import SUREST, Doubt


def doubted_masks(doubt: Doubt, s: Tensor, known: Tensor, total: Tensor | int) -> Tensor:
    """Return masks (N, P) of the `total` patches that are worth most over all scenes, as a plan ranks them.

    On the device of `s`, without waiting for it: what `Doubt.marginals` says, in a step's own arithmetic.

    Args:
        doubt: What its doubt means.
        s: (N, P) the policy's probabilities.
        known: (N, classes) logits of the LR stream.
        total: Patches over all scenes, also as a tensor of one number.
    """
    value = (_marginals(doubt.benefit, s.double()) * _wrong(doubt, known.double())).flatten()
    # Last key first: patches that add nothing more still differ in probability.
    order = s.flatten().argsort(descending=True, stable=True)
    order = order[value[order].argsort(descending=True, stable=True)]
    rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return (rank < total).view(s.shape).float()


def _marginals(benefit: Benefit, s: Tensor) -> Tensor:
    """Return what each patch (N, P) adds to its scene if the better ones are bought already."""
    best_first = s.argsort(dim=1, descending=True, stable=True)
    bought = torch.nn.functional.pad(s.gather(1, best_first).cumsum(dim=1), (1, 0))
    gained = torch.zeros_like(bought)
    for knot, weight in zip(benefit.knots, benefit.weights, strict=True):
        gained += weight * bought.clamp(max=knot)
    return torch.zeros_like(s).scatter_(1, best_first, gained.diff(dim=1))


def _wrong(doubt: Doubt, known: Tensor) -> Tensor:
    """Return the chance (N, 1) that the LR stream's answers (N, classes) are wrong."""
    ordered = known.sort(dim=1).values
    odds = (ordered[:, -1] - ordered[:, :-1].logsumexp(dim=1)).clamp(-SUREST, SUREST)
    return torch.sigmoid(doubt.intercept + doubt.slope * odds).unsqueeze(1)

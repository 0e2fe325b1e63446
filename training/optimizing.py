"""Optimisers by their recipe names, and what becomes of a learning rate over a stage."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from geozoom.errors import RunError


def learning_rate_factor(schedule: str, progress: float) -> float:
    """Return the share of the peak learning rate at `progress` in 0..1."""
    if schedule == "constant":
        return 1.0
    warmup = 0.05
    if progress < warmup:
        return 0.05 + 0.95 * progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def build_optimizer(name: str, groups: list[dict[str, object]], weight_decay: float) -> torch.optim.Optimizer:
    """Return the optimiser called `name` over parameter groups that carry their own "lr".

    Raises:
        RunError: No optimiser has that name.
    """
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "sgd": lambda: torch.optim.SGD(
            groups, lr=0.1, momentum=0.9, nesterov=True, weight_decay=weight_decay, fused=True
        ),
        "adam": lambda: torch.optim.Adam(groups, weight_decay=weight_decay, fused=True),
        "adamw": lambda: torch.optim.AdamW(groups, weight_decay=weight_decay, fused=True),
    }
    if name not in makers:
        raise RunError(f"optimizer {name!r} is not known; choose one of {', '.join(makers)}")
    return makers[name]()

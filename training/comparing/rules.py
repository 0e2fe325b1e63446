"""Rules by which baselines buy patches without learning where to look (METHOD §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from geozoom.grid import PatchGrid
from training.parallel import rand

FIXED_H = (5, 6, 9, 10, 13, 14, 1, 2, 0, 3, 4, 7, 8, 11, 12, 15)
"""The paper's priorities of 4 × 4 patches; 12, which it leaves out, before 15."""
FIXED_V = (4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3)


class Rule(Protocol):
    """Which patches a baseline buys."""

    def __call__(self, lr: Tensor, sampled: int, generator: torch.Generator) -> Tensor:
        """Map LR images (B, 3, h, w) to masks (B, P) of `sampled` patches each, with all the work that it takes."""


class FixedOrder:
    """The first S patches of a list, the same in every scene."""

    def __init__(self, order: tuple[int, ...]) -> None:
        self.rank = torch.empty(len(order), dtype=torch.int64)
        self.rank[list(order)] = torch.arange(len(order))

    def __call__(self, lr: Tensor, sampled: int, generator: torch.Generator) -> Tensor:
        """Return masks (B, P) of the `sampled` patches that come first."""
        return (self.rank.to(lr.device) < sampled).float().expand(len(lr), -1)


class Stochastic:
    """S patches drawn without replacement; the farther a patch is from the centre, the less likely it is drawn.

    The likelihood falls linearly with the distance d of the centres, 1 - d / (2 d_max): half of it is left in a corner.
    """

    def __init__(self, grid: PatchGrid) -> None:
        row, col = torch.arange(grid.patches) // grid.cols, torch.arange(grid.patches) % grid.cols
        distance = torch.hypot((row + 0.5) / grid.rows - 0.5, (col + 0.5) / grid.cols - 0.5)
        self.likelihood = 1 - distance / (2 * distance.max().clamp(min=1e-9))

    def __call__(self, lr: Tensor, sampled: int, generator: torch.Generator) -> Tensor:
        """Return masks (B, P) of `sampled` patches, drawn anew at every call."""
        likelihood = self.likelihood.to(lr.device)
        noise = rand((len(lr), len(likelihood)), lr.device, generator)
        # Exponential races: the order of arrival is that of draws without replacement.
        arrival = -noise.clamp(min=1e-12).log() / likelihood
        return (arrival.argsort(dim=1).argsort(dim=1) < sampled).float()


def fixed_rules(grid: PatchGrid) -> Mapping[str, Rule]:
    """Return the rules of the paper's tables by name; those that are lists are for 4 × 4 patches only."""
    listed = {"Fixed-H": FixedOrder(FIXED_H), "Fixed-V": FixedOrder(FIXED_V)}
    return (listed if (grid.rows, grid.cols) == (4, 4) else {}) | {"Stochastic": Stochastic(grid)}

"""Rules that say which patches of a scene to buy, and in which scenes: the baselines that mask HR (paper §5.2).

All of them are told how many patches to buy in all; PatchDrop's policy settles that number by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geozoom.constants import constant_on
from geozoom.grid import PatchGrid
from geozoom.model import PatchDrop
from training.parallel import rand

Preference = Callable[[PatchDrop, Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Which patches a baseline buys of scenes of which it may buy so many."""

    preference: Preference
    """Maps a model, LR images (B, 3, h, w) and a source of randomness to (B, P): the highest are bought first."""
    gated: bool = False
    """Scenes on which the LR stream is least sure are bought whole, and others not at all."""

    def choose(
        self, model: PatchDrop, lr: Tensor, known: Tensor, counts: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return masks (B, P) of 0 and 1 that buy as many patches in all as the counts say.

        Args:
            model: Its grid, and what the rule asks of it.
            lr: (B, 3, h, w) RGB in 0..1.
            known: (B, N) logits of the LR stream.
            counts: (B,) patches to buy of each scene, which a gate gives to other scenes.
            generator: Source of the random numbers, on the images' device.
        """
        if self.gated:
            counts = gate(counts, known, model.grid.patches)
        return top(self.preference(model, lr, generator), counts)


def top(preference: Tensor, counts: Tensor) -> Tensor:
    """Return masks (B, P) of the `counts` (B,) patches that are preferred (B, P) most; ties by patch id."""
    rank = preference.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return (rank < counts.view(-1, 1)).float()


def gate(counts: Tensor, known: Tensor, patches: int) -> Tensor:
    """Give all patches to the scenes on which the LR stream's answers (B, N logits) have the highest entropy.

    Returns:
        (B,) P, 0 and at most one number between, with the sum of `counts`.
    """
    log = known.float().log_softmax(dim=1)
    unsure = -(log.exp() * log).sum(dim=1)
    before = unsure.argsort(descending=True, stable=True).argsort() * patches
    return (counts.sum() - before).clamp(0, patches)


def fixed_h(grid: PatchGrid) -> list[int]:
    """Return the priority list Fixed-H: the middle columns from the second row down, the first row last, then the rest.

    On the paper's grid of 4 × 4 it is the printed list with the patch that it lacks, 12, before 15 (METHOD §5);
    for other grids the paper has none.
    """
    middle = [col for col in range(grid.cols) if abs((col + 0.5) / grid.cols - 0.5) < 0.25]
    first = [row * grid.cols + col for row in _from_second(grid.rows) for col in middle]
    return first + [patch for patch in range(grid.patches) if patch not in first]


def fixed_v(grid: PatchGrid) -> list[int]:
    """Return the priority list Fixed-V: rows from the second down, the first row last; 4 × 4 is the printed list."""
    return [row * grid.cols + col for row in _from_second(grid.rows) for col in range(grid.cols)]


def _from_second(rows: int) -> list[int]:
    return [*range(1, rows), 0]


def survival(grid: PatchGrid) -> Tensor:
    """Return the survival likelihood (P,) of Stochastic's patches, float64.

    The paper says that it decays with the distance of a patch's centre from the scene's. **Decided:** in proportion,
    from 1 at the centre to 0 at the scene's corner.
    """
    patch = torch.arange(grid.patches)
    across = (patch % grid.cols + 0.5).double() / grid.cols - 0.5
    down = (patch // grid.cols + 0.5).double() / grid.rows - 0.5
    return 1 - torch.hypot(across, down) / math.sqrt(0.5)


def _in_order(order: Callable[[PatchGrid], list[int]]) -> Preference:
    def scores(grid: PatchGrid) -> Tensor:
        found = torch.empty(grid.patches)
        found[order(grid)] = torch.arange(grid.patches, 0, -1.0)
        return found

    def preference(model: PatchDrop, lr: Tensor, _: torch.Generator) -> Tensor:
        return constant_on(lr.device, scores, model.grid).expand(len(lr), -1)

    return preference


def _by_survival(model: PatchDrop, lr: Tensor, generator: torch.Generator) -> Tensor:
    """Draw patches one after the other without putting them back, each in proportion to its likelihood."""
    likelihood = constant_on(lr.device, survival, model.grid)
    noise = rand((len(lr), model.grid.patches), lr.device, generator)
    # The largest of log w + Gumbel noise is drawn in proportion to w, and so is each next (Kool et al., 2019).
    return likelihood.log() - (-noise.clamp(1e-12, 1 - 1e-7).log()).log()


def _centre(grid: PatchGrid) -> list[int]:
    return [int(patch) for patch in grid.centre_order()]


RULES: dict[str, Rule] = {
    "fixed-h": Rule(preference=_in_order(fixed_h)),
    "fixed-v": Rule(preference=_in_order(fixed_v)),
    "stochastic": Rule(preference=_by_survival),
    "fixed-centre": Rule(preference=_in_order(_centre)),
    "lr-entropy": Rule(preference=_in_order(_centre), gated=True),
}
"""Rules that need no training; the saliency sampler (`training.baselines.stn`) makes one of its network."""

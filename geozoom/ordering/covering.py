"""Orders that cover all ground above a level of value: what a budget that pays for much of it buys.

Packing (`geozoom.ordering.packing`) leaves gaps between orders in which no other one has room. Here the rich
ground is taken as it lies and cut into pieces, and the level is sought at which the budget pays for all of them.
Pure NumPy and SciPy, no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.lattice import Lattice
from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import CellLimits, acceptable, cell_limits
from geozoom.prices import PriceList
from geozoom.rules import ShapeRules

_LEVELS = 10
"""Levels that are looked at for the one that the budget pays for."""
_SMOOTHED = 3
"""Blocks along the square over which value is smoothed before it is compared with a level."""


@dataclass(frozen=True, kw_only=True)
class _Ground:
    """A lattice in blocks, with how rich each is."""

    lattice: Lattice
    limits: CellLimits
    wealth: NDArray[np.float64]
    """(rows, cols) value per dm² around each block; below 0 where it cannot be had."""

    def labels(self, level: float) -> NDArray[np.int32]:
        """Return orders that cover the ground richer than a level."""
        return acceptable(self.wealth > level, self.lattice.areas, self.limits, self.lattice.closed)

    def bill(self, labels: NDArray[np.int32], prices: PriceList) -> int:
        """Return the bill of orders in cents."""
        areas = np.bincount(labels.ravel(), self.lattice.areas.ravel())[1:]
        return int(prices.bills_cents(areas.astype(np.int64)).sum())


def cover(
    lattices: Sequence[Lattice],
    limits: Sequence[CellLimits],
    prices: PriceList,
    budget_cents: int,
    *,
    block: int,
    most_dm2: int,
) -> list[Regions]:
    """Return the orders of each lattice that cover the richest ground that a budget pays for.

    Args:
        lattices: The cells.
        limits: The vendor's rules in cells of each lattice.
        prices: What an order is billed.
        budget_cents: What may be spent.
        block: Cells along the blocks of which orders are made at first.
        most_dm2: Area beyond which an order is cut: smaller ones have more corners to follow the ground with.
    """
    grounds = [_in_blocks(lattice, prices.shape, block, most_dm2) for lattice in lattices]
    wealth = np.concatenate([np.zeros(0), *(ground.wealth[ground.wealth > 0] for ground in grounds)])
    if not len(wealth):
        return []
    # Levels by rank: the bill falls about evenly over them.
    ranked = np.sort(wealth)
    low, high = 0, len(ranked)
    best: list[NDArray[np.int32]] | None = None
    for _ in range(_LEVELS):
        middle = (low + high) // 2
        level = 0.0 if middle == 0 else float(ranked[middle - 1])
        found = [ground.labels(level) for ground in grounds]
        cost = sum(ground.bill(labels, prices) for ground, labels in zip(grounds, found, strict=True))
        if cost <= budget_cents:
            best, high = found, middle
        else:
            low = middle + 1
        if low >= high:
            break
    if best is None:
        return []
    return [
        Regions(lattice, limit, np.pad(_spread(labels, lattice.shape, block), 1))
        for lattice, limit, labels in zip(lattices, limits, best, strict=True)
    ]


def _in_blocks(lattice: Lattice, shape: ShapeRules, block: int, most_dm2: int) -> _Ground:
    starts = [np.arange(0, size, block) for size in lattice.shape]

    def summed(array: NDArray[np.generic]) -> NDArray[np.float64]:
        down = np.add.reduceat(array, starts[0], axis=0, dtype=np.float64)
        return np.add.reduceat(down, starts[1], axis=1)

    value, area = summed(lattice.value), summed(lattice.areas)
    closed = None if lattice.closed is None else summed(lattice.closed) > 0
    coarse = Lattice(
        value=np.where(False if closed is None else closed, 0, value).astype(np.float32),
        area_dm2=area.astype(np.int64),
        cell_km=(lattice.cell_km[0] * block, lattice.cell_km[1] * block),
        closed=closed,
    )
    around = [
        ndimage.uniform_filter(each, _SMOOTHED, mode="constant")
        for each in (coarse.value.astype(np.float64), area)
    ]
    wealth = around[0] / np.maximum(around[1], 1)
    if closed is not None:
        wealth[closed] = -1
    limits = cell_limits(shape, coarse)
    return _Ground(
        lattice=coarse, limits=replace(limits, most_dm2=min(limits.most_dm2, most_dm2)), wealth=wealth
    )


def _spread(labels: NDArray[np.int32], shape: tuple[int, int], block: int) -> NDArray[np.int32]:
    """Return labels of blocks as labels of cells."""
    wide = np.repeat(np.repeat(labels, block, axis=0), block, axis=1)
    return wide[: shape[0], : shape[1]]

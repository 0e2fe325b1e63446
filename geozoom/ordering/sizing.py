"""How large orders are packed, on which blocks of cells, and how much of them on which tile. Pure NumPy, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from geozoom.ordering.bounds import most_area_dm2
from geozoom.ordering.covering import coarse
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.packing import in_blocks
from geozoom.ordering.shapes import CellLimits
from geozoom.prices import DM2_PER_KM2, PriceList

_WORK = 4e5
_WORK_SHARE = 0.05
"""Blocks that are bought, about, where packing is still quick: so many, or this share of all cells."""
_LEAST_WHOLE = 0.6
"""Share of the open ground that blocks must leave; between closed cells, packing is by smaller ones."""
_SPARE = 1.3
"""Orders are packed for this many budgets: the best are kept, and what is next is known."""
_SHARED_BY = 12
_SHARED_CELLS = 200_000
"""Orders that share a budget evenly, at most, on lattices of so many cells."""


def free_area_dm2(prices: PriceList, least_dm2: int) -> int:
    """Return the largest area that is billed no more than the smallest order.

    Args:
        prices: What an order is billed.
        least_dm2: Area of the smallest order that the vendor takes.
    """
    first = int(prices.bills_cents(np.array([max(1, least_dm2)]))[0])
    return most_area_dm2(prices, first, 10_000 * DM2_PER_KM2)


def cheapest_bill(prices: PriceList, least_dm2: int) -> int:
    """Return the least in cents that an order is billed, which need not be the smallest: some bills fall.

    Args:
        prices: What an order is billed.
        least_dm2: Area of the smallest order that the vendor takes.
    """
    least = max(1, least_dm2)
    return int(prices.bills_cents(np.array([least, *(max(least, fall) for fall in prices.falls_dm2)])).min())


def order_sizes(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> Iterator[list[int]]:
    """Yield the areas in dm² that an order of each lattice is grown to.

    First what is billed no more than the smallest order; and where the budget pays for few of these, its part
    of the budget's area, as what is left over is too little for another.
    """
    cells = [int(np.max(lattice.area_dm2)) for lattice in lattices]
    frees = [
        max(free_area_dm2(prices, limit.least_dm2), limit.least_dm2 + cell)
        for limit, cell in zip(limits, cells, strict=True)
    ]

    def within(areas: Sequence[int]) -> list[int]:
        return [
            max(cell, min(area, limit.most_dm2))
            for area, cell, limit in zip(areas, cells, limits, strict=True)
        ]

    yield within(frees)
    if not frees or sum(lattice.value.size for lattice in lattices) > _SHARED_CELLS:
        return
    count = budget_cents // int(prices.bills_cents(np.array([min(frees)]))[0])
    if not 0 < count <= _SHARED_BY:
        return
    part = most_area_dm2(prices, budget_cents // count, 10_000 * DM2_PER_KM2)
    if part > min(frees) * (1 + 1 / (2 * _SHARED_BY)):
        yield within([max(part, free) for free in frees])


def block_sides(
    lattices: Sequence[Lattice],
    limits: Sequence[CellLimits],
    sizes: Sequence[int],
    prices: PriceList,
    budget_cents: int,
) -> list[int]:
    """Return the sides of blocks to try; 0 stands for rectangles."""
    if not any(lattice.value.size for lattice in lattices):
        return []
    if any(limit.rectangles for limit in limits):
        return [0]
    cell = float(np.mean([np.mean(lattice.area_dm2) for lattice in lattices]))
    size = float(np.mean(sizes))
    cells = sum(lattice.value.size for lattice in lattices)
    rate = max(1e-9, float(prices.bills_cents(np.array([int(size)]))[0]) / size)
    bought = min(cells, budget_cents / rate / cell)
    units = size / cell
    block = 1
    # A seed grows step by step, and at each step it looks at its whole window.
    work = max(_WORK, _WORK_SHARE * cells)
    while units / block**2 > 2 and bought / block**2 * (1 + units / block**2 / 60) > work:
        if _in_wholeblocks(lattices, 2 * block) < _LEAST_WHOLE:
            break
        block *= 2
    tried = {block}
    # Growth by single cells uses up about a corner a cell; where they are short, begin coarser, too.
    if 0.8 * units / block**2 > min(limit.most_corners for limit in limits):
        tried.add(2 * block)
    if any(limit.least_rows > 1 or limit.least_cols > 1 or limit.box_share > 0 for limit in limits):
        tried.add(0)
    return sorted(tried)


def _in_wholeblocks(lattices: Sequence[Lattice], block: int) -> float:
    """Return the share of the open ground that lies in blocks without a closed cell."""
    inside = ground = 0
    for lattice in lattices:
        if lattice.closed is not None:
            ground += lattice.closed.size - int(lattice.closed.sum())
            inside += int((~coarse(lattice.closed, block)).sum())
    return inside / ground if ground else 1.0


def areas_to_pack(
    lattices: Sequence[Lattice], sizes: Sequence[int], prices: PriceList, budget_cents: int
) -> list[float]:
    """Return the area in dm² to pack in each lattice: where the densest ground of all tiles lies."""
    densities, areas, owners = [], [], []
    for index, (lattice, size) in enumerate(zip(lattices, sizes, strict=True)):
        side = max(1, round((size / float(np.mean(lattice.area_dm2))) ** 0.5))
        # Closed cells are worth nothing, so that ground with many of them is thin.
        ground = in_blocks(replace(lattice, closed=None), side)
        densities.append((ground.value / ground.area).ravel())
        areas.append(ground.area.ravel().astype(np.float64) * DM2_PER_KM2)
        owners.append(np.full(ground.value.size, index))
    size = min(sizes)
    rate = max(1e-12, float(prices.bills_cents(np.array([size]))[0]) / size)
    affordable = _SPARE * budget_cents / rate + size
    area, owner = np.concatenate(areas), np.concatenate(owners)
    ranked = np.argsort(-np.concatenate(densities), kind="stable")
    # Orders cover about half of the ground that they are packed into.
    taken = ranked[: int(np.searchsorted(np.cumsum(area[ranked]), 2 * affordable)) + 1]
    share = np.bincount(owner[taken], area[taken], minlength=len(lattices))
    share = share / max(1e-9, share.sum())
    return [float(min(1.0, 1.1 * part) * affordable + (3 * size if part else 0)) for part in share]

"""Money that a plan leaves buys orders on the ground that it leaves, and rich budgets cover. Pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.draft import Draft
from geozoom.ordering.fast import drafts
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.paring import in_parts, pare
from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import CellLimits
from geozoom.ordering.sizing import cheapest_bill, free_area_dm2
from geozoom.ordering.wanted import all_wanted
from geozoom.prices import PriceList

_TIMES = 2
_WORTHWHILE = 0.02
"""Share of the budget below which what is left is not spent on orders of their own."""
_MOST_CELLS = 2_000_000
"""Cells of all lattices up to which what is left is looked at."""
_COVERED_CELLS = 200_000
"""The same for covering the better part of all cells wanted."""
_RICH = 0.2
"""Share of the bill for all cells wanted from which a budget is rich."""
_PARED = 0.2
"""The same from which orders for all of them are pared down."""
_OVERSTATED = 1.5
"""Budgets that the first way of ordering all cells wanted may cost, and others are looked for."""
_BISECTIONS = 6
_BRIDGE = (5,)
"""Gaps that are bridged while the ground is sought that the budget pays for; all widths would take minutes."""


def spend_rest(draft: Draft, prices: PriceList, budget_cents: int) -> None:
    """Buy orders on the ground that a plan leaves, with the money that it leaves.

    Args:
        draft: The plan, changed in place.
        prices: What an order is billed, and the polygons that the vendor takes.
        budget_cents: What may be spent in all.
    """
    if sum(regions.lattice.value.size for regions in draft.regions) > _MOST_CELLS:
        return
    first = min((cheapest_bill(prices, regions.limits.least_dm2) for regions in draft.regions), default=0)
    for _ in range(_TIMES):
        left = budget_cents - draft.cost(prices)
        if left < max(first, _WORTHWHILE * budget_cents):
            return
        rest = [_rest(regions) for regions in draft.regions]
        more = max(drafts(rest, prices, left, quick=True), key=lambda each: each.value, default=None)
        if more is None or more.value <= 0:
            return
        for regions, new in zip(draft.regions, more.regions, strict=True):
            added = new.inner > 0
            regions.inner[added] = new.inner[added] + regions.count
            regions.recount()
        draft.missed = more.missed


def _rest(regions: Regions) -> Lattice:
    """Return a lattice on which the ground of orders is closed."""
    taken = regions.inner > 0
    lattice = regions.lattice
    return replace(lattice, value=np.where(taken, 0, lattice.value), closed=taken | lattice.barred)


def covering(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> Iterator[Draft]:
    """Yield orders that hold all cells wanted, or the better part of them that the budget pays for.

    Args:
        lattices: The cells.
        limits: The vendor's rules in cells of each lattice.
        prices: What an order is billed, and the polygons that the vendor takes.
        budget_cents: What may be spent.

    Nothing is yielded if there are too many cells, or too many of them are wanted for the budget.
    """
    if sum(lattice.value.size for lattice in lattices) > _COVERED_CELLS:
        return
    wanted = sum(int(lattice.areas[lattice.value > 0].sum()) for lattice in lattices)
    least = int(prices.bills_cents(np.array([wanted]))[0]) if wanted else 0
    if not wanted or budget_cents < _RICH * least:
        return
    if budget_cents >= least:
        best = everything(lattices, limits, prices, _OVERSTATED * budget_cents)
        if best.cost(prices) <= budget_cents:
            yield best
            return
    if budget_cents >= _PARED * least:
        yield from (pare(parts, prices, budget_cents) for parts in in_parts(lattices, limits, prices))
    yield from _on_rich_ground(lattices, limits, prices, budget_cents)


def _on_rich_ground(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> Iterator[Draft]:
    """Yield orders that hold all cells wanted of ground so rich that the budget pays for them."""
    frees = [free_area_dm2(prices, limit.least_dm2) for limit in limits]
    wealth = [_wealth(lattice, free) for lattice, free in zip(lattices, frees, strict=True)]

    def on_ground_above(level: float, bridges: tuple[int, ...]) -> Draft:
        return Draft(
            regions=[
                all_wanted(lattice, limit, prices, free, (lattice.value > 0) & (rich >= level), bridges)
                for lattice, limit, free, rich in zip(lattices, limits, frees, wealth, strict=True)
            ]
        )

    found = None
    # Levels by their share of all cells wanted, as wealth is spread unevenly.
    levels = np.sort(
        np.concatenate([rich[each.value > 0] for each, rich in zip(lattices, wealth, strict=True)])
    )
    low, high = 0, len(levels) - 1
    for _ in range(_BISECTIONS):
        middle = (low + high + 1) // 2
        draft = on_ground_above(float(levels[middle]), _BRIDGE)
        if draft.cost(prices) > budget_cents:
            low = middle
            continue
        high = middle
        if found is None or draft.value > found.value:
            found = draft
    if found is not None:
        yield found


def everything(
    lattices: Sequence[Lattice],
    limits: Sequence[CellLimits],
    prices: PriceList,
    within_cents: float = np.inf,
) -> Draft:
    """Return orders that hold every cell that is worth something, as far as that is possible.

    Args:
        lattices: The cells.
        limits: The vendor's rules in cells of each lattice.
        prices: What an order is billed, and the polygons that the vendor takes.
        within_cents: Cheaper ways are sought for those that cost no more at first.
    """
    best = Draft(
        regions=[
            all_wanted(lattice, limit, prices, free_area_dm2(prices, limit.least_dm2))
            for lattice, limit in zip(lattices, limits, strict=True)
        ]
    )
    if sum(lattice.value.size for lattice in lattices) > _COVERED_CELLS:
        return best
    # Many small orders may cost less than the few that bridges make, and nothing less than one alone.
    cost = best.cost(prices)
    cheapest = min((cheapest_bill(prices, limit.least_dm2) for limit in limits), default=0)
    if cost > within_cents or cost <= cheapest:
        return best
    for other in chain(in_parts(lattices, limits, prices), drafts(lattices, prices, cost)):
        spend_rest(other, prices, cost)
        if other.value >= best.value * (1 - 1e-9) and other.cost(prices) < best.cost(prices):
            best = other
    best.missed = None  # nothing is
    return best


def _wealth(lattice: Lattice, free_dm2: int) -> NDArray[np.float32]:
    """Return how rich the ground around each cell is, over a good part of a smallest order."""
    if not lattice.value.size:
        return lattice.value
    side = (free_dm2 / float(np.mean(lattice.area_dm2))) ** 0.5
    around = ndimage.uniform_filter(lattice.value, max(1, round(side / 3)) | 1, mode="constant")
    return np.asarray(around, dtype=np.float32)

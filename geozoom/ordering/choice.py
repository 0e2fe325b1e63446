"""The choice of orders that a vendor would take, under its real bill, over all tiles at once.

An order is a region of cells of one lattice: one part, no holes, within the vendor's rules; all of it is
bought and billed. A plan is a set of orders that do not overlap and whose bills the budget covers; it is
worth the values of all its cells. Numbers in, numbers out: no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.atlas import apart, sheets
from geozoom.ordering.bounds import upper_bound
from geozoom.ordering.draft import Draft
from geozoom.ordering.exact import solve_exactly
from geozoom.ordering.exchanging import exchange
from geozoom.ordering.fast import drafts
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.outlines import Rings, outlines
from geozoom.ordering.regions import Regions
from geozoom.ordering.rest import covering, everything, spend_rest
from geozoom.ordering.shapes import CellLimits, cell_limits
from geozoom.ordering.small import MOST_CELLS, MOST_CELLS_OF_ONE, best_packing, candidates
from geozoom.ordering.wanted import left_out
from geozoom.prices import DM2_PER_KM2, PriceList

Solver = Literal["fast", "exact"]
_FEW_CELLS = 200_000
"""Cells up to which the money that is left is spent for every plan that is tried, and not only for the best."""
_ENOUGH = 1e-4
"""Share of its bound that a plan may miss, and no other is tried."""
_EXCHANGED = 2
"""The best plans so many of which are improved order by order: the second may have more to gain."""
_ALIKE = 1e-4
"""Share of their value by which two plans are not alike."""
_PATIENCE_S = 20.0
"""Seconds that the packing of a small case may take before the way of large ones is taken."""


@dataclass(frozen=True, kw_only=True)
class OrderChoice:
    """The orders chosen, in columns of one length K, and what is known of better plans."""

    lattice: NDArray[np.int64]
    """(K,) the lattice of each order."""
    cells: NDArray[np.int64]
    """Flat indices (row-major) into the lattice of each order's cells, one order after the other."""
    offsets: NDArray[np.int64]
    """(K + 1,) order k has cells[offsets[k]:offsets[k + 1]]."""
    rings: Rings
    """The outline of each order in corners of its lattice."""
    area_dm2: NDArray[np.int64]
    """(K,) area in square decimetres."""
    cost_cents: NDArray[np.int64]
    """(K,) bill in cents."""
    value: NDArray[np.float64]
    """(K,) sum of the values of the cells."""
    bound: float
    """No plan under this budget is worth more."""
    next_cost_cents: int | None
    """Bill of the best order found that is not bought, or None."""
    next_lacking_cents: int | None
    """How much the budget lacks for it."""
    left_out: int = 0
    """Without a budget: cells that are wanted and that no order could hold, for want of room around them."""

    def __len__(self) -> int:
        return len(self.lattice)

    @property
    def total_value(self) -> float:
        """The value of the plan."""
        return float(self.value.sum())

    @property
    def total_cents(self) -> int:
        """The sum of all bills in cents."""
        return int(self.cost_cents.sum())

    @property
    def gap(self) -> float:
        """Share of the bound that the plan may miss at most."""
        return 0.0 if self.bound <= 0 else max(0.0, 1 - self.total_value / self.bound)


def choose_orders(
    lattices: Sequence[Lattice],
    prices: PriceList,
    budget_cents: int | None,
    *,
    solver: Solver = "fast",
) -> OrderChoice:
    """Choose orders that are worth most under a budget.

    Without a budget every cell that is worth something is bought, with the others that it
    takes to make orders of them: gaps are bridged where that costs less than another minimum, and orders
    that the vendor would refuse as too small, too narrow or too thin grow over the cells around them.

    Args:
        lattices: The cells of each tile.
        prices: What an order is billed, and the polygons that the vendor takes.
        budget_cents: What may be spent, in cents, or None.
        solver: "exact" proves the optimum of small cases.

    Raises:
        SolverError: The case is too large for the exact solver.
    """
    cells = sum(lattice.value.size for lattice in lattices)
    if solver == "exact" or len(lattices) < 2 or cells <= MOST_CELLS_OF_ONE:
        return _chosen(lattices, prices, budget_cents, solver)
    laid = sheets(lattices, prices.shape)
    choice = _chosen([sheet.lattice for sheet in laid], prices, budget_cents, solver)
    places = apart(
        laid,
        lattices,
        sheet=choice.lattice,
        cells=choice.cells,
        offsets=choice.offsets,
        rings=choice.rings,
    )
    return replace(
        choice,
        lattice=places.lattice,
        cells=places.cells,
        offsets=places.offsets,
        rings=places.rings,
        area_dm2=choice.area_dm2[places.ranked],
        cost_cents=choice.cost_cents[places.ranked],
        value=choice.value[places.ranked],
    )


def _chosen(
    lattices: Sequence[Lattice], prices: PriceList, budget_cents: int | None, solver: Solver
) -> OrderChoice:
    """Choose orders on lattices that are few."""
    rules = prices.shape
    limits = [cell_limits(rules, lattice) for lattice in lattices]
    if budget_cents is None:
        draft = everything(lattices, limits, prices)
        total = sum(float(lattice.value.sum(dtype=np.float64)) for lattice in lattices)
        choice = _choice(draft, prices, bound=total, budget_cents=draft.cost(prices))
        return replace(choice, left_out=sum(left_out(each, each.lattice.value > 0) for each in draft.regions))
    if solver == "exact":
        orders = solve_exactly(lattices, limits, prices, budget_cents)
        draft = _draft_of(lattices, limits, orders)
        return _choice(draft, prices, bound=draft.value, budget_cents=budget_cents)
    most = int(rules.max_km2 * DM2_PER_KM2) if rules.max_km2 is not None else 10_000 * DM2_PER_KM2
    bound = upper_bound(lattices, prices, budget_cents, most)
    best = _small(lattices, limits, prices, budget_cents)
    if best is None:
        best = _large(lattices, limits, prices, budget_cents, bound)
    return _choice(best, prices, bound=bound, budget_cents=budget_cents)


def _large(
    lattices: Sequence[Lattice],
    limits: Sequence[CellLimits],
    prices: PriceList,
    budget_cents: int,
    bound: float,
) -> Draft:
    """Return the best of the plans that are made in several ways, improved order by order."""
    found: list[Draft] = []
    few = sum(lattice.value.size for lattice in lattices) <= _FEW_CELLS
    covers = covering(lattices, limits, prices, budget_cents)
    for draft in chain(covers, drafts(lattices, prices, budget_cents)):
        if few:
            spend_rest(draft, prices, budget_cents)
        found = _best([*found, draft], _EXCHANGED if few else 1)
        if found[0].value >= (1 - _ENOUGH) * bound:
            return found[0]
    if not found:
        return _draft_of(lattices, limits, [])
    if not few:
        spend_rest(found[0], prices, budget_cents)
    return _best([exchange(draft, prices, budget_cents) for draft in found], 1)[0]


def _best(plans: Sequence[Draft], most: int) -> list[Draft]:
    """Return so many of the plans that are worth most, the best first; of several of one value the first."""
    ranked = sorted(plans, key=lambda draft: -draft.value)
    apart = [
        draft
        for before, draft in zip([None, *ranked], ranked, strict=False)
        if before is None or draft.value < before.value * (1 - _ALIKE)
    ]
    return apart[:most]


def _small(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> Draft | None:
    """Return the best packing of candidates where there are few cells, or None."""
    cells = sum(lattice.value.size for lattice in lattices)
    first = int(prices.bills_cents(np.array([1], dtype=np.int64))[0])
    # One order alone needs no packing.
    most = MOST_CELLS_OF_ONE if budget_cents < 2 * first else MOST_CELLS
    if not 0 < cells <= most:
        return None
    pool = candidates(lattices, limits, prices, budget_cents)
    best = best_packing(pool, cells, budget_cents, seconds=_PATIENCE_S)
    if best is None:
        return None
    draft = _draft_of(lattices, limits, [pool.cells[index] for index in best])
    taken = np.zeros(cells, dtype=bool)
    for index in best:
        taken[pool.cells[index]] = True
    worth = pool.value / np.maximum(pool.cost_cents, 1)
    for index in np.argsort(-worth, kind="stable").tolist():
        if not taken[pool.cells[index]].any():
            draft.missed = (float(worth[index]), int(pool.cost_cents[index]))
            break
    return draft


def _draft_of(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], orders: Sequence[NDArray[np.int64]]
) -> Draft:
    """Label orders that are given as cells counted through all lattices."""
    first = np.cumsum([0, *(lattice.value.size for lattice in lattices)])
    labels = [np.zeros(lattice.shape, dtype=np.int32) for lattice in lattices]
    for cells in orders:
        at = int(np.searchsorted(first, cells[0], side="right")) - 1
        labels[at].reshape(-1)[cells - first[at]] = labels[at].max() + 1
    return Draft(
        regions=[
            Regions(lattice, limit, np.pad(own, 1))
            for lattice, limit, own in zip(lattices, limits, labels, strict=True)
        ]
    )


def _choice(draft: Draft, prices: PriceList, *, bound: float, budget_cents: int) -> OrderChoice:
    """Put a plan into columns."""
    owner, cells, counts, points, lengths = [], [], [], [], []
    for index, regions in enumerate(draft.regions):
        inner = np.ascontiguousarray(regions.inner)
        flat = inner.reshape(-1)
        held = np.flatnonzero(flat)
        cells.append(held[np.argsort(flat[held], kind="stable")])
        counts.append(np.bincount(flat[held], minlength=regions.count + 1)[1:])
        rings = outlines(inner, regions.count)
        points.append(rings.points)
        lengths.append(np.diff(rings.offsets))
        owner.append(np.full(regions.count, index, dtype=np.int64))
    none = np.zeros(0, dtype=np.int64)
    cost = np.concatenate([none, *draft.bills(prices)])
    left = budget_cents - int(cost.sum())
    missed = None if draft.missed is None else draft.missed[1]
    value = np.concatenate([np.zeros(0), *(regions.value[1:] for regions in draft.regions)])
    return OrderChoice(
        lattice=np.concatenate([none, *owner]),
        cells=np.concatenate([none, *cells]),
        offsets=np.r_[0, np.cumsum(np.concatenate([none, *counts]))].astype(np.int64),
        rings=Rings(
            points=np.concatenate([np.zeros((0, 2), np.int32), *points]),
            offsets=np.r_[0, np.cumsum(np.concatenate([none, *lengths]))].astype(np.int64),
        ),
        area_dm2=np.concatenate([none, *(regions.area[1:] for regions in draft.regions)]),
        cost_cents=cost,
        value=value,
        # A plan reaches its bound at most; sums in another order may differ in their last digits.
        bound=max(bound, float(value.sum())),
        next_cost_cents=missed,
        next_lacking_cents=None if missed is None else max(0, missed - left),
    )

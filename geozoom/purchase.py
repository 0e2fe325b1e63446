"""Orders chosen under a budget, with their bills."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from geozoom.drafting import OrderDraft, draft_orders, real_bound
from geozoom.land import Ground
from geozoom.ordering import Solver
from geozoom.prices import DM2_PER_KM2, PriceList
from geozoom.tiles import Tile


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a vendor is asked for in one go: one polygon without holes."""

    id: int
    """Counted from 1 in the plan, the most benefit for the money first."""
    tile: str
    """The LR tile that it lies on."""
    ring: NDArray[np.float64]
    """(n, 2) longitude and latitude (WGS84), closed, counter-clockwise, as it is written."""
    patches: int
    """Number of patches wanted in it."""
    area_km2: Decimal
    """Geodesic area of the polygon."""
    billed_km2: Decimal
    """Area that is billed, at least the price list's minimum for an order."""
    cost: Decimal
    """The bill, in the price list's currency; of orders billed together, the share by area."""
    value: float
    """What the patches add, in the plan's `value_unit`."""
    violations: tuple[str, ...]
    """What the vendor would refuse it for; empty in every plan that can be ordered as it is."""

    @property
    def vertices(self) -> int:
        """Number of its corners."""
        return len(self.ring) - 1


@dataclass(frozen=True, kw_only=True)
class Purchase:
    """What is bought, and what is known of better plans."""

    orders: tuple[Order, ...]
    """By id."""
    patches: NDArray[np.int64]
    """(N,) rows of the candidates that are bought, rising."""
    order: NDArray[np.int64]
    """(N,) the order of each."""
    bound: float
    """No plan under this budget is worth more."""
    next_cost: Decimal | None
    """Bill of the best order found that is not bought."""
    next_lacking: Decimal | None
    """How much the budget lacks for it."""

    @property
    def value(self) -> float:
        """What all of it adds."""
        return sum(order.value for order in self.orders)


def purchase(
    tiles: Sequence[Tile],
    grounds: Sequence[Ground],
    values: NDArray[np.floating],
    prices: PriceList,
    budget_cents: int | None,
    solver: Solver = "fast",
) -> Purchase:
    """Choose orders under a budget, which the bill for their polygons never exceeds.

    Args:
        tiles: The tiles.
        grounds: What can be ordered on them.
        values: (N,) what each candidate patch is worth.
        prices: What an order is billed, and which polygons the vendor takes.
        budget_cents: What may be spent, in cents; None buys every candidate.
        solver: "exact" proves the optimum of small cases.

    Raises:
        SolverError: The case is too large for the exact solver.
        TileError: A tile's coordinates do not lie in its CRS.
    """
    drafts, choice = draft_orders(tiles, grounds, values, prices, budget_cents, solver)
    least = min((int(ground.lattice.area_dm2.min()) for ground in grounds), default=1)
    return bill_orders(
        drafts,
        prices,
        budget_cents,
        bound=real_bound(choice.bound, least, float(values.sum(dtype=np.float64))),
        missed_cents=choice.next_cost_cents,
    )


def bill_orders(
    drafts: Sequence[OrderDraft],
    prices: PriceList,
    budget_cents: int | None,
    *,
    bound: float,
    missed_cents: int | None,
) -> Purchase:
    """Return what is bought with these orders, without the worst of them where their bill is above the budget.

    Args:
        drafts: The orders.
        prices: What they are billed.
        budget_cents: What may be spent, in cents; None buys every one.
        bound: No plan under this budget is worth more.
        missed_cents: Bill of the best order found that is not bought, if there is one.
    """
    together = prices.billing == "union"
    drafts = sorted(drafts, key=lambda draft: draft.rank(prices))
    while (
        budget_cents is not None
        and prices.bill_all([draft.area_dm2 for draft in drafts]) * 100 > budget_cents
    ):
        drafts.pop()
    orders = _billed(drafts, prices)
    bought = [np.zeros(0, np.int64), *(draft.patches for draft in drafts)]
    rows = np.concatenate(bought)
    ids = np.repeat(np.arange(len(drafts)) + 1, [len(draft.patches) for draft in drafts])
    ranked = np.argsort(rows, kind="stable")
    missed = None if together else missed_cents
    left = None if budget_cents is None else budget_cents - int(100 * sum(order.cost for order in orders))
    return Purchase(
        orders=orders,
        patches=rows[ranked],
        order=ids[ranked],
        bound=max(bound, sum(order.value for order in orders)),
        next_cost=None if missed is None else Decimal(missed).scaleb(-2),
        next_lacking=None if missed is None or left is None else Decimal(max(0, missed - left)).scaleb(-2),
    )


def _billed(drafts: Sequence[OrderDraft], prices: PriceList) -> tuple[Order, ...]:
    """Return the orders with their bills; a bill for all of them is shared out by area, to the cent."""
    areas = [draft.area_dm2 for draft in drafts]
    if prices.billing == "union":
        cents = int(prices.bill_all(areas) * 100)
        reached = [
            cents * part // max(1, sum(areas)) for part in np.cumsum([0, *areas], dtype=object).tolist()
        ]
        costs = [Decimal(after - before).scaleb(-2) for before, after in pairwise(reached)]
        billed = [Decimal(area) / DM2_PER_KM2 for area in areas]
    else:
        costs = [prices.bill(area) for area in areas]
        billed = [prices.billed_km2(area) for area in areas]
    return tuple(
        Order(
            id=number,
            tile=draft.tile,
            ring=draft.ring,
            patches=len(draft.patches),
            area_km2=Decimal(draft.area_dm2) / DM2_PER_KM2,
            billed_km2=km2,
            cost=cost,
            value=draft.value,
            violations=draft.violations,
        )
        for number, (draft, km2, cost) in enumerate(zip(drafts, billed, costs, strict=True), start=1)
    )

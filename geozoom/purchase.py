"""Cells chosen under a budget → orders with polygons, real areas and bills, and the patches that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_UP, Decimal
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from geozoom.figures import DM2
from geozoom.grounds import AREA_MARGIN, Ground, Indices
from geozoom.ordering import OrderChoice, Rings, Solver, adjusted, choose_orders, most_area_dm2
from geozoom.outlining import area_dm2, order_rings
from geozoom.prices import DM2_PER_KM2, PriceList
from geozoom.refusals import refusals
from geozoom.rules import ShapeRules
from geozoom.tiles import Tile

_TRIES = 4
"""Choices made for a little less each, if the bill for the polygons is above the budget after all."""
_SPARE_VERTICES = 10
"""Vertices that orders leave, for cells that go or join once their polygons are measured: each takes up to two."""
_FLAT_RATE = Decimal(50_000)
"""Rate per km² at which orders that are billed together are chosen by area alone."""
_CENTS_PER_DM2 = 100 * float(_FLAT_RATE) / DM2_PER_KM2
_EARTH_DM2 = 510_000_000 * DM2_PER_KM2


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
    def cost(self) -> Decimal:
        """The sum of all bills."""
        return sum((order.cost for order in self.orders), Decimal("0.00"))


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
    lattices = [ground.lattice for ground in grounds]
    together = prices.billing == "union"
    shape = _with_margins(prices.shape, max((ground.stretch for ground in grounds), default=1.0))
    chosen_by = replace(_by_area(prices) if together else prices, shape=shape)
    may_spend = budget_cents
    if together and budget_cents is not None:
        may_spend = int(most_area_dm2(prices, budget_cents, _EARTH_DM2) * _CENTS_PER_DM2)
    for _ in range(_TRIES):
        choice = choose_orders(lattices, chosen_by, may_spend, solver=solver)
        drafts = _measured(tiles, grounds, values, choice, chosen_by, prices.shape)
        areas = [draft.area_dm2 for draft in drafts]
        if budget_cents is None or may_spend is None:
            break
        over = int(prices.bill_all(areas) * 100) - budget_cents
        if over <= 0:
            break
        if together:
            over = int((sum(areas) - most_area_dm2(prices, budget_cents, _EARTH_DM2)) * _CENTS_PER_DM2) + 1
        may_spend = max(0, may_spend - over)
    drafts.sort(key=lambda draft: draft.rank(prices))
    while (
        budget_cents is not None
        and prices.bill_all([draft.area_dm2 for draft in drafts]) * 100 > budget_cents
    ):
        drafts.pop()
    total = float(values.sum(dtype=np.float64))
    smallest = min((int(lattice.area_dm2.min()) for lattice in lattices), default=1)
    # Cells are counted as larger than they are, so that a real plan might hold a little more.
    bound = min(total, choice.bound * (1 + AREA_MARGIN + 1 / smallest))
    orders = _billed(drafts, prices)
    bought = [np.zeros(0, np.int64), *(draft.patches for draft in drafts)]
    rows = np.concatenate(bought)
    ids = np.repeat(np.arange(len(drafts)) + 1, [len(draft.patches) for draft in drafts])
    ranked = np.argsort(rows, kind="stable")
    reached = sum(order.value for order in orders)
    missed = choice.next_cost_cents
    left = None if budget_cents is None else budget_cents - int(100 * sum(order.cost for order in orders))
    return Purchase(
        orders=orders,
        patches=rows[ranked],
        order=ids[ranked],
        bound=max(bound, reached),
        next_cost=None if missed is None or together else Decimal(missed).scaleb(-2),
        next_lacking=None
        if missed is None or left is None or together
        else Decimal(max(0, missed - left)).scaleb(-2),
    )


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """An order that has no bill yet."""

    index: int
    """Its place in the choice."""
    tile: str
    ring: NDArray[np.float64]
    area_dm2: int
    patches: Indices
    value: float
    violations: tuple[str, ...]

    def rank(self, prices: PriceList) -> tuple[float, str, list[float]]:
        """Return a key that puts the most benefit for the money first."""
        return -self.value / max(1, int(prices.bill(self.area_dm2) * 100)), self.tile, self.ring[0].tolist()


def _by_area(prices: PriceList) -> PriceList:
    """Return a list whose bill is the area, for orders that are billed together."""
    return PriceList(
        name=prices.name,
        currency=prices.currency,
        billing="per-order",
        rate_per_km2=_FLAT_RATE,
        shape=prices.shape,
        source=prices.source,
        effective_date=prices.effective_date,
        trust=prices.trust,
    )


def _with_margins(shape: ShapeRules, stretch: float) -> ShapeRules:
    """Return rules that an order in cells must keep for its polygon to keep the vendor's."""
    factor = Decimal(stretch)

    def less(limit: Decimal | None) -> Decimal | None:
        return None if limit is None else limit / factor

    least, share, smallest = shape.min_width_km, shape.min_box_share, shape.min_km2
    corners = shape.max_vertices
    return replace(
        shape,
        max_vertices=None if corners is None else corners - min(_SPARE_VERTICES, corners // 10),
        # Cells are counted as larger than they are, and polygons may lose what they may gain.
        min_km2=None
        if smallest is None
        else (smallest * (1 + 2 * Decimal(AREA_MARGIN))).quantize(DM2, ROUND_UP),
        min_width_km=None if least is None else least * factor,
        max_width_km=less(shape.max_width_km),
        max_height_km=less(shape.max_height_km),
        min_box_share=None if share is None else min(Decimal(1), share * factor**2),
    )


def _measured(
    tiles: Sequence[Tile],
    grounds: Sequence[Ground],
    values: NDArray[np.floating],
    choice: OrderChoice,
    prices: PriceList,
    shape: ShapeRules,
) -> list[_Draft]:
    """Return the orders that hold patches, adjusted where a polygon's bill or area is not what its cells said.

    A long side along a parallel bends away from its cells, and the vendor measures the polygon.
    """
    for _ in range(_TRIES):
        drafts = _drafts(tiles, grounds, values, choice, shape)
        areas = np.array([draft.area_dm2 for draft in drafts], dtype=np.int64)
        planned = np.array([choice.area_dm2[draft.index] for draft in drafts], dtype=np.int64)
        beyond = prices.bills_cents(areas) > prices.bills_cents(planned)
        short = areas < int((shape.min_km2 or 0) * DM2_PER_KM2)
        change = np.where(
            short, int((shape.min_km2 or 0) * DM2_PER_KM2) - areas, np.minimum(planned - areas, -1)
        )
        wrong = {drafts[at].index: int(change[at]) for at in np.flatnonzero(beyond | short).tolist()}
        if not wrong:
            break
        before = choice.area_dm2
        choice = adjusted(choice, [ground.lattice for ground in grounds], replace(prices, shape=shape), wrong)
        if (choice.area_dm2 == before).all():
            break
    return [draft for draft in drafts if not draft.violations]


def _drafts(
    tiles: Sequence[Tile],
    grounds: Sequence[Ground],
    values: NDArray[np.floating],
    choice: OrderChoice,
    shape: ShapeRules,
) -> list[_Draft]:
    """Return the orders that hold patches; one that only holds parts of some is not worth its bill."""
    drafts = []
    for which, ground in enumerate(grounds):
        mine = np.flatnonzero(choice.lattice == which)
        if not len(mine):
            continue
        # Orders come lattice by lattice.
        first, last = int(mine[0]), int(mine[-1]) + 1
        span = slice(int(choice.offsets[first]), int(choice.offsets[last]))
        labels = np.zeros(ground.cells.size, dtype=np.int32)
        labels[choice.cells[span]] = np.repeat(
            np.arange(1, len(mine) + 1, dtype=np.int32), np.diff(choice.offsets[first : last + 1])
        )
        held = ground.held_by(labels)
        bought = np.flatnonzero(held)
        bought = bought[np.argsort(held[bought], kind="stable")]
        counts = np.bincount(held[bought], minlength=len(mine) + 1)[1:]
        ends = np.cumsum(counts)
        tile = tiles[ground.tile]
        rings = order_rings(tile, ground, _part(choice.rings, first, last), shape)
        spans = zip(range(first, last), (ends - counts).tolist(), ends.tolist(), strict=True)
        for ring, (index, start, end) in zip(rings, spans, strict=True):
            rows = ground.patches[bought[start:end]]
            if len(rows):
                drafts.append(
                    _Draft(
                        index=index,
                        tile=tile.name,
                        ring=ring,
                        area_dm2=area_dm2(ring),
                        patches=rows,
                        value=float(values[rows].sum(dtype=np.float64)),
                        violations=tuple(refusals(ring, shape)),
                    )
                )
    return drafts


def _part(rings: Rings, first: int, last: int) -> Rings:
    start, end = rings.offsets[first], rings.offsets[last]
    return Rings(points=rings.points[start:end], offsets=rings.offsets[first : last + 1] - start)


def _billed(drafts: Sequence[_Draft], prices: PriceList) -> tuple[Order, ...]:
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

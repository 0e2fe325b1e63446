"""Cells chosen under a budget → orders with polygons, real areas and the patches that they hold, not yet billed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geozoom.errors import PriceListError, first_line
from geozoom.figures import DM2
from geozoom.land import AREA_MARGIN, Ground, Indices, cell_km, stretch_of
from geozoom.ordering import OrderChoice, Rings, Solver, adjusted, choose_orders, most_area_dm2
from geozoom.outlining import area_dm2, order_rings
from geozoom.prices import DM2_PER_KM2, PriceList
from geozoom.refusals import refusals
from geozoom.rules import ShapeRules
from geozoom.tiles import Tile

if TYPE_CHECKING:
    from geozoom.card import ModelCard  # torch comes with it, which workers need not load

_TRIES = 4
"""Choices made for a little less each, if the bill for the polygons is above the budget after all."""
_SPARE_VERTICES = 10
"""Vertices that orders leave, for cells that go or join once their polygons are measured: each takes up to two."""
_FLAT_RATE = Decimal(50_000)
"""Rate per km² at which orders that are billed together are chosen by area alone."""
_CENTS_PER_DM2 = 100 * float(_FLAT_RATE) / DM2_PER_KM2
EARTH_DM2 = 510_000_000 * DM2_PER_KM2


@dataclass(frozen=True, kw_only=True)
class OrderDraft:
    """An order that has no bill yet."""

    index: int
    """Its place in the choice."""
    tile: str
    """The LR tile that it lies on."""
    ring: NDArray[np.float64]
    """(n, 2) longitude and latitude, as of `Order`."""
    area_dm2: int
    """Geodesic area of the polygon."""
    patches: Indices
    """Rows of the candidates that it holds."""
    value: float
    """What they add."""
    violations: tuple[str, ...]
    """What the vendor would refuse it for."""

    def rank(self, prices: PriceList) -> tuple[float, str, list[float]]:
        """Return a key that puts the most benefit for the money first."""
        return -self.value / max(1, int(prices.bill(self.area_dm2) * 100)), self.tile, self.ring[0].tolist()


def draft_orders(
    tiles: Sequence[Tile],
    grounds: Sequence[Ground],
    values: NDArray[np.floating],
    prices: PriceList,
    budget_cents: int | None,
    solver: Solver = "fast",
) -> tuple[list[OrderDraft], OrderChoice]:
    """Choose orders under a budget, as `purchase`, without their bills; and say what is known of better ones.

    Orders that are billed together may still be a little above the budget: `bill_orders` sees to it.

    Raises:
        SolverError: The case is too large for the exact solver.
        TileError: A tile's coordinates do not lie in its CRS.
    """
    lattices = [ground.lattice for ground in grounds]
    together = prices.billing == "union"
    shape = _with_margins(prices.shape, max((ground.stretch for ground in grounds), default=1.0))
    chosen_by = replace(as_chosen(prices), shape=shape)
    may_spend = None if budget_cents is None else cents_to_choose_by(prices, budget_cents)
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
            over = int((sum(areas) - most_area_dm2(prices, budget_cents, EARTH_DM2)) * _CENTS_PER_DM2) + 1
        may_spend = max(0, may_spend - over)
    return drafts, choice


def check_orders(prices: PriceList, tiles: Sequence[Tile], card: ModelCard) -> None:
    """Refuse a price list by whose rules no order of these tiles' patches can be laid, before they are read.

    Raises:
        PriceListError: The list takes nothing as large as a patch, or leaves no room between its least and its most.
        TileError: A tile's coordinates do not lie in its CRS.
    """
    shape = prices.shape
    cells = [cell_km(tile, card) for tile in tiles]
    height, width = min(cells, key=lambda sides: sides[0] * sides[1])
    for name, least in (
        ("max_km2", height * width),
        ("max_width_km", min(width, height)),
        ("max_height_km", min(width, height)),
    ):
        most = getattr(shape, name)
        if most is not None and float(most) < least:
            raise PriceListError(
                f"{prices.name}: {name} {most} is less than a patch of these tiles has, {least:.4g}; no order can hold "
                "one: correct it, or plan by another price list"
            )
    stretch = min(stretch_of(tile) for tile in tiles)  # on others there may be nothing to buy
    try:
        _with_margins(shape, stretch)
    except PriceListError as error:
        raise PriceListError(
            f"{prices.name}: its [shape] leaves no room between the least and the most that an order may be: orders "
            f"follow patches, whose outlines on these tiles are known to {max(stretch - 1, AREA_MARGIN):.2%} before "
            f"they are laid; lower the least or raise the most ({first_line(error)})"
        ) from error


def as_chosen(prices: PriceList) -> PriceList:
    """Return the list by which orders are chosen: of those billed together, one whose bill is the area."""
    return _by_area(prices) if prices.billing == "union" else prices


def cents_to_choose_by(prices: PriceList, budget_cents: int) -> int:
    """Return what a budget comes to by the list by which orders are chosen."""
    if prices.billing != "union":
        return budget_cents
    return int(most_area_dm2(prices, budget_cents, EARTH_DM2) * _CENTS_PER_DM2)


def real_bound(bound: float, least_dm2: int, total: float) -> float:
    """Return a bound of real plans: cells are counted as larger than they are, so that one might hold a little more.

    Args:
        bound: Of plans of cells as they are counted.
        least_dm2: The smallest cell.
        total: What all candidates are worth.
    """
    return min(total, bound * (1 + AREA_MARGIN + 1 / least_dm2))


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
) -> list[OrderDraft]:
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
) -> list[OrderDraft]:
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
                    OrderDraft(
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

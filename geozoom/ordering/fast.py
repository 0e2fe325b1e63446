"""The fast solver: many orders over whole tiles, by packing and refining. Pure NumPy, no I/O.

Packing works on single cells where that is quick enough, and else on blocks of them; refining works on
cells always. Several sizes of block are tried and the best plan is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.draft import Draft
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.mending import mend
from geozoom.ordering.merging import merge
from geozoom.ordering.packing import in_blocks, pack
from geozoom.ordering.rectangles import pack_rectangles
from geozoom.ordering.refining import refine, settle
from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import CellLimits, cell_limits
from geozoom.ordering.sizing import areas_to_pack, block_sides, order_sizes
from geozoom.prices import DM2_PER_KM2, PriceList

_SWEEPS = 12
_SWEPT = 2e6
_FEWEST_SWEEPS = 4
"""Sweeps, fewer where orders cover more than so many cells, but not below the last."""
_EASING = (1.2, 0.9, 0.6, 0.3, 0.0, 0.0)
"""Shares of the usual density that cells must have, in turn, to be bought with what is left."""
_ROUNDS = 8
_LARGE = 200
"""Blocks of an order from which it is large."""
_MERGED = 300
"""Pairs of orders that touch that are tried as one, where a budget has few that are billed less so."""
_FEW = 200
"""Orders, about, that count as few."""

Integers = NDArray[np.int64]


def drafts(
    lattices: Sequence[Lattice], prices: PriceList, budget_cents: int, *, quick: bool = False
) -> Iterator[Draft]:
    """Yield plans under a budget, each made in another way.

    Args:
        lattices: The cells.
        prices: What an order is billed, and the polygons that the vendor takes.
        budget_cents: What may be spent.
        quick: Try one size of orders, and pack large ones on blocks twice as long as usual.
    """
    limits = [cell_limits(prices.shape, lattice) for lattice in lattices]
    for sizes in list(order_sizes(lattices, limits, prices, budget_cents))[-1 if quick else 0 :]:
        shares = None
        for usual in block_sides(lattices, limits, sizes, prices, budget_cents):
            cells = min(
                size / int(np.max(lattice.area_dm2)) for size, lattice in zip(sizes, lattices, strict=True)
            )
            block = 2 * usual if quick and cells > _LARGE * usual**2 else usual
            shares = areas_to_pack(lattices, sizes, prices, budget_cents) if shares is None else shares
            draft = Draft(
                regions=[
                    _packed(lattice, limit, size, wanted, block)
                    for lattice, limit, size, wanted in zip(lattices, limits, sizes, shares, strict=True)
                ]
            )
            yield from _improved(draft, limits, sizes, prices, budget_cents)


def _packed(lattice: Lattice, limit: CellLimits, size: int, wanted_dm2: float, block: int) -> Regions:
    """Pack orders of a size into a lattice and label its cells."""
    rows, cols = lattice.shape
    if wanted_dm2 <= 0 or not lattice.value.size:
        labels = np.zeros((rows, cols), dtype=np.int32)
    elif block == 0:
        labels = pack_rectangles(lattice, limit, free_dm2=size, wanted_dm2=wanted_dm2)
    else:
        found = pack(
            in_blocks(lattice, block),
            size=size / DM2_PER_KM2,
            wanted=wanted_dm2 / DM2_PER_KM2,
            rounds=_ROUNDS,
            most_corners=limit.most_corners,
            extent=(max(1, limit.most_rows // block), max(1, limit.most_cols // block)),
        )
        labels = np.repeat(np.repeat(found, block, axis=0), block, axis=1)[:rows, :cols]
    return Regions(lattice, limit, np.pad(labels, 1))


def _improved(
    draft: Draft, limits: Sequence[CellLimits], sizes: Sequence[int], prices: PriceList, budget_cents: int
) -> Iterator[Draft]:
    """Keep what the budget pays for, refine it, and spend what is left; yield the plans that come of it."""
    _mend(draft)
    price = afford(draft, prices, budget_cents)
    if not all(limit.plain for limit in limits):
        yield draft
        return
    cells = sum(int(np.count_nonzero(regions.labels)) for regions in draft.regions)
    sweeps = int(np.clip(_SWEEPS * (_SWEPT / max(1, cells)) ** 0.5, _FEWEST_SWEEPS, _SWEEPS))
    for regions, size in zip(draft.regions, sizes, strict=True):
        refine(regions, free_dm2=size, price=price * _marginal(prices, size), sweeps=sweeps)
    first = int(prices.bills_cents(np.array([min(sizes)]))[0])
    if budget_cents < _FEW * first:
        # A few cents above the minimum cost a whole order where there are few.
        trimmed = draft.copy()
        for regions, size in zip(trimmed.regions, sizes, strict=True):
            # Above what any cell is worth, yet near enough that gains still tell cells apart.
            dearest = 2 * float(regions.lattice.value.max(initial=0)) / int(np.min(regions.lattice.area_dm2))
            settle(regions, free_dm2=size, price=dearest)
        yield _finished(trimmed, sizes, prices, budget_cents)
    yield _finished(draft, sizes, prices, budget_cents)


def _finished(draft: Draft, sizes: Sequence[int], prices: PriceList, budget_cents: int) -> Draft:
    """Keep what the budget pays for and spend what is left on cells beside it."""
    _mend(draft)
    afford(draft, prices, budget_cents)
    for regions, size in zip(draft.regions, sizes, strict=True):
        settle(regions, free_dm2=size, price=0.0)
        merge(regions, prices, attempts=_MERGED)
    spend(draft, prices, budget_cents)
    return draft


def _marginal(prices: PriceList, size: int) -> float:
    """Return cents per dm² of an order that grows beyond a size."""
    bills = prices.bills_cents(np.array([size, 2 * size]))
    return float(bills[1] - bills[0]) / size


def _mend(draft: Draft) -> None:
    """Let orders grow that the vendor would refuse as too small, and drop those that have no room for it."""
    for regions in draft.regions:
        mend(regions)
        refused = regions.refused()
        if refused.any():
            regions.keep(~refused)


def afford(draft: Draft, prices: PriceList, budget_cents: int) -> float:
    """Keep the orders that are worth most for their bill; return the value per cent at the margin."""
    worth = draft.worth(prices)
    if not len(worth):
        return 0.0
    bills = np.concatenate(draft.bills(prices))
    ranked = np.argsort(-worth, kind="stable")
    kept = np.zeros(len(bills), dtype=bool)
    left = budget_cents
    fitting = int(np.searchsorted(np.cumsum(bills[ranked]), left, side="right"))
    kept[ranked[:fitting]] = True
    left -= int(bills[ranked[:fitting]].sum())
    for index in ranked[fitting : fitting + 1000].tolist():
        if bills[index] <= left:
            kept[index] = True
            left -= int(bills[index])
    missed = ranked[~kept[ranked]]
    if len(missed):
        draft.missed = (float(worth[missed[0]]), int(bills[missed[0]]))
    draft.keep(kept)
    return float(worth[kept].min()) if kept.any() else 0.0


def spend(draft: Draft, prices: PriceList, budget_cents: int) -> None:
    """Let orders grow with what is left, by the cells that are worth most."""
    for share in _EASING:
        left = budget_cents - draft.cost(prices)
        for regions in sorted(draft.regions, key=lambda each: -each.count):
            if left <= 0 or not regions.count:
                continue
            cell = int(np.max(regions.lattice.area_dm2))
            more = prices.bills_cents(regions.area[1:] + cell) - prices.bills_cents(regions.area[1:])
            # The dearest step bounds what an order pays for a cell, the cent is the rounding's.
            # (Under tiers for whole orders a cell more may also make one cheaper.)
            most = int(left / ((max(0.0, float(more.max())) + 1) / cell))
            room = np.maximum(0, np.minimum(regions.limits.most_dm2 - regions.area, most))
            usual = float(regions.value[1:].sum() / regions.area[1:].sum())
            regions.add(np.full(regions.count + 1, share * usual), room, ahead=0.0, most=most)
            left = budget_cents - draft.cost(prices)
    if draft.cost(prices) > budget_cents:
        # A bill that rises in leaps may have risen by more than its steps said.
        afford(draft, prices, budget_cents)

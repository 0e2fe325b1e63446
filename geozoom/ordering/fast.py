"""The fast solver: many orders over whole tiles, by packing and refining. Pure NumPy, no I/O.

Packing works on single cells where that is quick enough, and else on blocks of them; refining works on
cells always. Several sizes of block are tried and the best plan is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.bounds import most_area_dm2
from geozoom.ordering.covering import cover
from geozoom.ordering.draft import Draft
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.packing import in_blocks, pack
from geozoom.ordering.rectangles import pack_rectangles
from geozoom.ordering.refining import drop_refused, enlarge, refine, settle
from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import CellLimits, cell_limits
from geozoom.prices import DM2_PER_KM2, PriceList

_WORK = 6e6
_WORK_SHARE = 0.05
"""Blocks that are bought, about, where packing is still quick: so many, or this share of all cells."""
_SWEEPS = 12
_SWEPT = 2e6
_FEWEST_SWEEPS = 4
"""Sweeps, fewer where orders cover more than so many cells, but not below the last."""
_EASING = (1.2, 0.9, 0.6, 0.3, 0.0, 0.0)
"""Shares of the usual density that cells must have, in turn, to be bought with what is left."""
_SPARE = 1.3
"""Orders are packed for this many budgets: the best are kept, and what is next is known."""
_ROUNDS = 8
_FEW_ORDERS = 200
"""Smallest orders that the budget pays for, below which none may cost more than it must, by turns."""
_FILLED = 3
"""Times that money which is left buys on the ground that is left."""
_LEFT = 0.02
"""Share of the budget below which it does not."""
_RICH = 0.2
"""Share of the ground wanted from which on a budget that pays for it buys by covering, too."""
_COVERED = 1024
"""Cells of the smallest piece that covering makes, where orders may be smaller."""
_BLOCKS_ALONG = (16, 8, 4)
"""Blocks along the side of such a piece, by turns."""
_LARGEST_PIECE = 3
"""Size of the largest, in smallest ones."""

Integers = NDArray[np.int64]


def free_area_dm2(prices: PriceList, least_dm2: int) -> int:
    """Return the largest area that is billed no more than the smallest order.

    Args:
        prices: What an order is billed.
        least_dm2: Area of the smallest order that the vendor takes.
    """
    first = int(prices.bills_cents(np.array([max(1, least_dm2)]))[0])
    return most_area_dm2(prices, first, 10_000 * DM2_PER_KM2)


def drafts(lattices: Sequence[Lattice], prices: PriceList, budget_cents: int) -> Iterator[Draft]:
    """Yield plans under a budget, each made in another way; money that is left buys on the ground that is left.

    Args:
        lattices: The cells.
        prices: What an order is billed, and the polygons that the vendor takes.
        budget_cents: What may be spent.
    """
    for draft in _one_by_one(lattices, prices, budget_cents):
        for _ in range(_FILLED):
            left = budget_cents - draft.cost(prices)
            if left < max(_LEFT * budget_cents, draft.smallest_bill(prices)):
                break
            more = max(_one_by_one(draft.rest(), prices, left), key=lambda each: each.value, default=None)
            if more is None or more.value <= 0:
                break
            draft.join(more)
        yield draft


def _one_by_one(lattices: Sequence[Lattice], prices: PriceList, budget_cents: int) -> Iterator[Draft]:
    """Yield plans by packing on blocks of several sizes, and by covering.

    Args:
        lattices: The cells.
        prices: What an order is billed, and the polygons that the vendor takes.
        budget_cents: What may be spent.
    """
    limits = [cell_limits(prices.shape, lattice) for lattice in lattices]
    shares = None
    for block in _blocks(lattices, limits, prices, budget_cents):
        shares = _wanted(lattices, limits, prices, budget_cents) if shares is None else shares
        draft = Draft(
            regions=[
                _packed(lattice, limit, prices, wanted, block)
                for lattice, limit, wanted in zip(lattices, limits, shares, strict=True)
            ]
        )
        yield _improved(draft, limits, prices, budget_cents)
    if all(limit.plain for limit in limits):
        for block, most in _pieces(lattices, limits, prices, budget_cents):
            regions = cover(lattices, limits, prices, budget_cents, block=block, most_dm2=most)
            if regions:
                yield _improved(Draft(regions=regions), limits, prices, budget_cents)


def _pieces(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> Iterator[tuple[int, int]]:
    """Yield blocks and largest areas to cover rich ground with, where the budget pays for much of it."""
    wanted = sum(int(lattice.areas[lattice.value > 0].sum()) for lattice in lattices)
    if wanted == 0 or most_area_dm2(prices, budget_cents, 10**6 * DM2_PER_KM2) < _RICH * wanted:
        return
    cell = float(np.mean([np.mean(lattice.area_dm2) for lattice in lattices]))
    size = max(
        _COVERED * cell,
        *(_size(limit, prices, lattice) for limit, lattice in zip(limits, lattices, strict=True)),
    )
    side = (size / cell) ** 0.5
    for share in _BLOCKS_ALONG:
        yield max(1, round(side / share)), int(_LARGEST_PIECE * size)


def _size(limit: CellLimits, prices: PriceList, lattice: Lattice) -> int:
    """Return the area in dm² that an order of a lattice is grown to."""
    cell = int(np.max(lattice.area_dm2))
    free = max(free_area_dm2(prices, limit.least_dm2), limit.least_dm2 + cell)
    return max(cell, min(free, limit.most_dm2))


def _blocks(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> list[int]:
    """Return the sides of blocks to try; 0 stands for rectangles."""
    if not any(lattice.value.size for lattice in lattices):
        return []
    if any(limit.rectangles for limit in limits):
        return [0]
    cell = float(np.mean([np.mean(lattice.area_dm2) for lattice in lattices]))
    size = float(
        np.mean([_size(*pair) for pair in zip(limits, [prices] * len(limits), lattices, strict=True)])
    )
    cells = sum(lattice.value.size for lattice in lattices)
    rate = max(1e-9, float(prices.bills_cents(np.array([int(size)]))[0]) / size)
    bought = min(cells, budget_cents / rate / cell)
    units = size / cell
    block = 1
    # A seed grows step by step, and at each step it looks at its whole window.
    work = max(_WORK, _WORK_SHARE * cells)
    while units / block**2 > 2 and bought / block**2 * (1 + units / block**2 / 60) > work:
        block *= 2
    tried = {block}
    # Growth by single cells uses up about a corner a cell; where they are short, begin coarser, too.
    while 0.8 * units / block**2 > min(limit.most_corners for limit in limits):
        block *= 2
        tried.add(block)
    if any(limit.least_rows > 1 or limit.least_cols > 1 or limit.box_share > 0 for limit in limits):
        tried.add(0)
    return sorted(tried)


def _wanted(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> list[float]:
    """Return the area in dm² to pack in each lattice: where the densest ground of all tiles lies."""
    densities, areas, owners = [], [], []
    for index, (lattice, limit) in enumerate(zip(lattices, limits, strict=True)):
        size = _size(limit, prices, lattice)
        side = max(1, round((size / float(np.mean(lattice.area_dm2))) ** 0.5))
        ground = in_blocks(lattice, side)
        densities.append((ground.value / np.maximum(ground.area, 1e-12)).ravel())
        areas.append(ground.area.ravel().astype(np.float64) * DM2_PER_KM2)
        owners.append(np.full(ground.value.size, index))
    size = min(_size(limit, prices, lattice) for limit, lattice in zip(limits, lattices, strict=True))
    rate = max(1e-12, float(prices.bills_cents(np.array([size]))[0]) / size)
    affordable = _SPARE * budget_cents / rate + size
    area, owner = np.concatenate(areas), np.concatenate(owners)
    ranked = np.argsort(-np.concatenate(densities), kind="stable")
    # Orders cover about half of the ground that they are packed into.
    taken = ranked[: int(np.searchsorted(np.cumsum(area[ranked]), 2 * affordable)) + 1]
    share = np.bincount(owner[taken], area[taken], minlength=len(lattices))
    share = share / max(1e-9, share.sum())
    return [float(min(1.0, 1.1 * part) * affordable + (3 * size if part else 0)) for part in share]


def _packed(lattice: Lattice, limit: CellLimits, prices: PriceList, wanted_dm2: float, block: int) -> Regions:
    """Pack orders into a lattice and label its cells."""
    size = _size(limit, prices, lattice)
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


def _improved(draft: Draft, limits: Sequence[CellLimits], prices: PriceList, budget_cents: int) -> Draft:
    """Keep what the budget pays for, refine it, and spend what is left."""
    sizes = [
        _size(limit, prices, regions.lattice) for limit, regions in zip(limits, draft.regions, strict=True)
    ]
    growing = all(limit.plain for limit in limits)
    if growing:
        # Blocks end short of the smallest order.
        for regions, size in zip(draft.regions, sizes, strict=True):
            settle(regions, free_dm2=size, price=0.0)
            enlarge(regions)
    for regions in draft.regions:
        drop_refused(regions)
    price = _afford(draft, prices, budget_cents)
    if not growing:
        return draft
    cells = sum(int(np.count_nonzero(regions.labels)) for regions in draft.regions)
    sweeps = int(np.clip(_SWEEPS * (_SWEPT / max(1, cells)) ** 0.5, _FEWEST_SWEEPS, _SWEEPS))
    for regions, size in zip(draft.regions, sizes, strict=True):
        refine(regions, free_dm2=size, price=price * _marginal(prices, size), sweeps=sweeps)
    best = draft
    if budget_cents < _FEW_ORDERS * int(prices.bills_cents(np.array([min(sizes)]))[0]):
        # Of few orders, one that costs a little more than the smallest may push another one out.
        best = deepcopy(draft)
        for regions, size in zip(best.regions, sizes, strict=True):
            dearest = float((regions.lattice.value / regions.lattice.area_dm2).max(initial=0))
            settle(regions, free_dm2=size, price=2 * dearest)
        _spend_all(best, sizes, prices, budget_cents)
    _spend_all(draft, sizes, prices, budget_cents)
    return draft if draft.value >= best.value else best


def _spend_all(draft: Draft, sizes: Sequence[int], prices: PriceList, budget_cents: int) -> None:
    """Keep what the budget pays for, and let it grow with what is left."""
    for regions in draft.regions:
        drop_refused(regions)
    _afford(draft, prices, budget_cents)
    for regions, size in zip(draft.regions, sizes, strict=True):
        settle(regions, free_dm2=size, price=0.0)
    _spend(draft, prices, budget_cents)


def _marginal(prices: PriceList, size: int) -> float:
    """Return cents per dm² of an order that grows beyond a size."""
    bills = prices.bills_cents(np.array([size, 2 * size]))
    return float(bills[1] - bills[0]) / size


def _afford(draft: Draft, prices: PriceList, budget_cents: int) -> float:
    """Keep the orders that are worth most for their bill; return the value per cent at the margin."""
    bills = np.concatenate([np.zeros(0, np.int64), *draft.bills(prices)])
    values = np.concatenate([np.zeros(0), *(regions.value[1:] for regions in draft.regions)])
    if not len(bills):
        return 0.0
    worth = values / np.maximum(bills, 1)
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
    start = 0
    for regions in draft.regions:
        mine = kept[start : start + regions.count]
        start += regions.count
        if not mine.all():
            regions.keep(mine)
    return float(worth[kept].min()) if kept.any() else 0.0


def _spend(draft: Draft, prices: PriceList, budget_cents: int) -> None:
    """Let orders grow with what is left, by the cells that are worth most."""
    for share in _EASING:
        left = budget_cents - draft.cost(prices)
        for regions in sorted(draft.regions, key=lambda each: -each.count):
            if left <= 0 or not regions.count:
                continue
            cell = int(np.max(regions.lattice.area_dm2))
            more = prices.bills_cents(regions.area[1:] + cell) - prices.bills_cents(regions.area[1:])
            # The dearest step bounds what an order pays for a cell, the cent is the rounding's.
            most = int(left / ((float(more.max()) + 1) / cell))
            room = np.maximum(0, np.minimum(regions.limits.most_dm2 - regions.area, most))
            usual = float(regions.value[1:].sum() / regions.area[1:].sum())
            regions.add(np.full(regions.count + 1, share * usual), room, ahead=0.0, most=most)
            left = budget_cents - draft.cost(prices)
    if draft.cost(prices) > budget_cents:
        # A bill that rises in leaps may have risen by more than its steps said.
        _afford(draft, prices, budget_cents)

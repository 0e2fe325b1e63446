"""The fast solver: many orders over whole tiles, by packing and refining. Pure NumPy, no I/O.

Packing works on single cells where that is quick enough, and else on blocks of them; refining works on
cells always. Several sizes of block are tried and the best plan is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.bounds import most_area_dm2
from geozoom.ordering.covering import coarse
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.mending import mend
from geozoom.ordering.merging import merge
from geozoom.ordering.packing import in_blocks, pack
from geozoom.ordering.rectangles import pack_rectangles
from geozoom.ordering.refining import refine, settle
from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import CellLimits, cell_limits
from geozoom.prices import DM2_PER_KM2, PriceList

_WORK = 4e5
_WORK_SHARE = 0.05
"""Blocks that are bought, about, where packing is still quick: so many, or this share of all cells."""
_LEAST_WHOLE = 0.6
"""Share of the open ground that blocks must leave; between closed cells, packing is by smaller ones."""
_SWEEPS = 12
_SWEPT = 2e6
_FEWEST_SWEEPS = 4
"""Sweeps, fewer where orders cover more than so many cells, but not below the last."""
_EASING = (1.2, 0.9, 0.6, 0.3, 0.0, 0.0)
"""Shares of the usual density that cells must have, in turn, to be bought with what is left."""
_SPARE = 1.3
"""Orders are packed for this many budgets: the best are kept, and what is next is known."""
_ROUNDS = 8
_LARGE = 200
"""Blocks of an order from which it is large."""
_MERGED = 300
"""Pairs of orders that touch that are tried as one, where a budget has few that are billed less so."""
_FEW = 200
"""Orders, about, that count as few."""

Integers = NDArray[np.int64]


@dataclass
class Draft:
    """A plan in the making: the orders of each lattice, and the best one left out."""

    regions: list[Regions]
    missed: tuple[float, int] | None = None
    """Value per cent and bill in cents of the best order that was left out."""

    def bills(self, prices: PriceList) -> list[Integers]:
        """Return the bill of every order in cents, lattice by lattice."""
        return [prices.bills_cents(regions.area[1:]) for regions in self.regions]

    def cost(self, prices: PriceList) -> int:
        """Return the sum of all bills in cents."""
        return sum(int(bills.sum()) for bills in self.bills(prices))

    def worth(self, prices: PriceList) -> NDArray[np.float64]:
        """Return the value per cent of every order, one lattice after the other."""
        bills = np.concatenate([np.zeros(0, np.int64), *self.bills(prices)])
        values = np.concatenate([np.zeros(0), *(regions.value[1:] for regions in self.regions)])
        return np.asarray(values / np.maximum(bills, 1))

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop whole orders.

        Args:
            kept: Whether each order stays, one lattice after the other.
        """
        start = 0
        for regions in self.regions:
            mine = kept[start : start + regions.count]
            start += regions.count
            if not mine.all():
                regions.keep(mine)

    def copy(self) -> Draft:
        """Return a plan that changes apart from this one."""
        copies = [Regions(each.lattice, each.limits, each.labels.copy()) for each in self.regions]
        return Draft(regions=copies, missed=self.missed)

    @property
    def value(self) -> float:
        """The sum of the values of all cells in orders."""
        return sum(float(regions.value[1:].sum()) for regions in self.regions)


def free_area_dm2(prices: PriceList, least_dm2: int) -> int:
    """Return the largest area that is billed no more than the smallest order.

    Args:
        prices: What an order is billed.
        least_dm2: Area of the smallest order that the vendor takes.
    """
    first = int(prices.bills_cents(np.array([max(1, least_dm2)]))[0])
    return most_area_dm2(prices, first, 10_000 * DM2_PER_KM2)


def drafts(
    lattices: Sequence[Lattice], prices: PriceList, budget_cents: int, *, coarser: bool = False
) -> Iterator[Draft]:
    """Yield plans under a budget, each made in another way.

    Args:
        lattices: The cells.
        prices: What an order is billed, and the polygons that the vendor takes.
        budget_cents: What may be spent.
        coarser: Pack large orders on blocks twice as long as usual, which is many times as quick.
    """
    limits = [cell_limits(prices.shape, lattice) for lattice in lattices]
    shares = None
    for usual in _blocks(lattices, limits, prices, budget_cents):
        cells = min(
            (_size(pair[0], prices, pair[1]) / int(np.max(pair[1].area_dm2)))
            for pair in zip(limits, lattices, strict=True)
        )
        block = 2 * usual if coarser and cells > _LARGE * usual**2 else usual
        shares = _wanted(lattices, limits, prices, budget_cents) if shares is None else shares
        draft = Draft(
            regions=[
                _packed(lattice, limit, prices, wanted, block)
                for lattice, limit, wanted in zip(lattices, limits, shares, strict=True)
            ]
        )
        yield from _improved(draft, limits, prices, budget_cents)


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
        if _in_whole_blocks(lattices, 2 * block) < _LEAST_WHOLE:
            break
        block *= 2
    tried = {block}
    # Growth by single cells uses up about a corner a cell; where they are short, begin coarser, too.
    if 0.8 * units / block**2 > min(limit.most_corners for limit in limits):
        tried.add(2 * block)
    if any(limit.least_rows > 1 or limit.least_cols > 1 or limit.box_share > 0 for limit in limits):
        tried.add(0)
    return sorted(tried)


def _in_whole_blocks(lattices: Sequence[Lattice], block: int) -> float:
    """Return the share of the open ground that lies in blocks without a closed cell."""
    inside = ground = 0
    for lattice in lattices:
        if lattice.closed is not None:
            ground += lattice.closed.size - int(lattice.closed.sum())
            inside += int((~coarse(lattice.closed, block)).sum())
    return inside / ground if ground else 1.0


def _wanted(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> list[float]:
    """Return the area in dm² to pack in each lattice: where the densest ground of all tiles lies."""
    densities, areas, owners = [], [], []
    for index, (lattice, limit) in enumerate(zip(lattices, limits, strict=True)):
        size = _size(limit, prices, lattice)
        side = max(1, round((size / float(np.mean(lattice.area_dm2))) ** 0.5))
        # Closed cells are worth nothing, so that ground with many of them is thin.
        ground = in_blocks(replace(lattice, closed=None), side)
        densities.append((ground.value / ground.area).ravel())
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


def _improved(
    draft: Draft, limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> Iterator[Draft]:
    """Keep what the budget pays for, refine it, and spend what is left; yield the plans that come of it."""
    sizes = [
        _size(limit, prices, regions.lattice) for limit, regions in zip(limits, draft.regions, strict=True)
    ]
    _mend(draft)
    price = _afford(draft, prices, budget_cents)
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
    _afford(draft, prices, budget_cents)
    for regions, size in zip(draft.regions, sizes, strict=True):
        settle(regions, free_dm2=size, price=0.0)
        merge(regions, prices, attempts=_MERGED)
    _spend(draft, prices, budget_cents)
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


def _afford(draft: Draft, prices: PriceList, budget_cents: int) -> float:
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

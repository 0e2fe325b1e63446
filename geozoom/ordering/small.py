"""The default solver for small cases: many candidate orders, and the best packing of them.

Candidates do not depend on the budget but for being within it, and the packing is solved to its optimum:
more money never buys less. Pure NumPy and SciPy, no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.lattice import CORNERS_ADDED, RING, SIMPLE, Lattice
from geozoom.ordering.shapes import CellLimits
from geozoom.prices import PriceList

MOST_CELLS = 64
"""Beyond this many cells packing and refining many orders at once does as well."""
MOST_CELLS_OF_ONE = 144
"""The same where the budget pays for one order only."""
_BEAM = 8
"""Candidates that are kept of each seed and size; and where closed cells are in the way, which takes more."""
_BEAM_BETWEEN_CLOSED = 24
_AHEAD = 0.5
"""Weight of the best cell beside a candidate when candidates of one size are ranked."""


def _by_square(table: NDArray[np.generic]) -> list[int]:
    """Reorder a table by ring codes into one by the bits of three rows of three, the middle ignored."""
    found = []
    for bits in range(512):
        code = 0
        for place, (down, across) in enumerate(RING):
            code |= (bits >> ((down + 1) * 3 + across + 1) & 1) << place
        found.append(int(table[code]))
    return found


_SIMPLE, _CORNERS = _by_square(SIMPLE), _by_square(CORNERS_ADDED)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Orders that a vendor would take, in columns."""

    cells: list[NDArray[np.int64]]
    """Cells of each order, counted through all lattices."""
    value: NDArray[np.float64]
    cost_cents: NDArray[np.int64]


def candidates(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> Candidates:
    """Collect orders that are worth considering and that the budget pays for.

    Args:
        lattices: The cells.
        limits: The vendor's rules in cells of each lattice.
        prices: What an order is billed.
        budget_cents: What may be spent.
    """
    cells: list[NDArray[np.int64]] = []
    first = 0
    for lattice, limit in zip(lattices, limits, strict=True):
        found = (
            rectangles(lattice, limit) if limit.rectangles else _beams(lattice, limit, prices, budget_cents)
        )
        cells.extend(own + first for own in found)
        first += lattice.value.size
    value = np.concatenate([np.zeros(0), *(lattice.value.ravel() for lattice in lattices)]).astype(np.float64)
    area = np.concatenate([np.zeros(0, np.int64), *(lattice.areas.ravel() for lattice in lattices)])
    worth = np.array([value[own].sum() for own in cells])
    bills = prices.bills_cents(np.array([int(area[own].sum()) for own in cells], dtype=np.int64))
    kept = np.flatnonzero((bills <= budget_cents) & (worth > 0)) if cells else np.zeros(0, np.int64)
    return Candidates(
        cells=[cells[index] for index in kept.tolist()], value=worth[kept], cost_cents=bills[kept]
    )


def rectangles(lattice: Lattice, limits: CellLimits) -> Iterator[NDArray[np.int64]]:
    """Yield every rectangle that the vendor takes, as flat cells."""
    rows, cols = lattice.shape
    index = np.arange(rows * cols).reshape(rows, cols)
    for tall in range(limits.least_rows, min(limits.most_rows, rows) + 1):
        for wide in range(limits.least_cols, min(limits.most_cols, cols) + 1):
            for top in range(rows - tall + 1):
                for left in range(cols - wide + 1):
                    cut = np.s_[top : top + tall, left : left + wide]
                    open_ = not lattice.barred[cut].any()
                    if open_ and limits.least_dm2 <= int(lattice.areas[cut].sum()) <= limits.most_dm2:
                        yield index[cut].ravel()


def _beams(
    lattice: Lattice, limits: CellLimits, prices: PriceList, budget_cents: int
) -> Iterator[NDArray[np.int64]]:
    """Yield regions grown from every cell, the most valuable ones of each size. Regions are bits of an int."""
    rows, cols = lattice.shape
    step = cols + 2
    barred = lattice.barred
    places = {
        (row + 1) * step + col + 1: row * cols + col
        for row in range(rows)
        for col in range(cols)
        if not barred[row, col]
    }
    if not places:
        return
    inside = sum(1 << place for place in places)
    values = {place: float(lattice.value.flat[cell]) for place, cell in places.items()}
    areas = {place: int(lattice.areas.flat[cell]) for place, cell in places.items()}
    smallest = min(areas.values())
    largest = 0
    while (
        largest < len(places)
        and int(prices.bills_cents(np.array([smallest * (largest + 1)]))[0]) <= budget_cents
    ):
        largest += 1
    seen: set[int] = set()
    beam = _BEAM if lattice.closed is None else _BEAM_BETWEEN_CLOSED
    for seed in places:
        level = {1 << seed: (values[seed], 4)}
        for _ in range(largest):
            seen.update(level)
            level = _wider(level, step, inside, values, beam)
    for region in seen:
        at = list(_bits(region))
        if _taken(region, at, step, areas, limits):
            yield np.array(sorted(places[place] for place in at), dtype=np.int64)


def _wider(
    level: dict[int, tuple[float, int]], step: int, inside: int, values: dict[int, float], beam: int
) -> dict[int, tuple[float, int]]:
    """Return the best regions that are larger by one cell, with their values and corners."""
    found: dict[int, tuple[float, float, int]] = {}
    for region, (value, corners) in level.items():
        beside = (region << 1 | region >> 1 | region << step | region >> step) & inside & ~region
        options = []
        for place in _bits(beside):
            square = (
                region >> (place - step - 1) & 7
                | (region >> (place - 1) & 7) << 3
                | (region >> (place + step - 1) & 7) << 6
            )
            if _SIMPLE[square]:
                options.append((values[place], place, _CORNERS[square]))
        options.sort(reverse=True)
        for rank, (gain, place, more) in enumerate(options):
            grown = region | 1 << place
            if grown not in found:
                ahead = options[0 if rank else min(1, len(options) - 1)][0]
                onward = max(
                    (
                        values[cell]
                        for cell in (place - 1, place + 1, place - step, place + step)
                        if inside >> cell & 1 and not grown >> cell & 1
                    ),
                    default=0.0,
                )
                found[grown] = (value + gain + _AHEAD * max(ahead, onward), value + gain, corners + more)
    ranked = sorted(found.items(), key=lambda item: -item[1][0])[:beam]
    return {region: (value, corners) for region, (_, value, corners) in ranked}


def _bits(region: int) -> Iterator[int]:
    while region:
        low = region & -region
        yield low.bit_length() - 1
        region ^= low


def _taken(region: int, at: list[int], step: int, areas: dict[int, int], limits: CellLimits) -> bool:
    """Tell whether the vendor takes a region."""
    area = sum(areas[place] for place in at)
    rows, cols = [place // step for place in at], [place % step for place in at]
    tall, wide = max(rows) - min(rows) + 1, max(cols) - min(cols) + 1
    corners = 0
    if limits.most_corners < 2 * len(at) + 2:
        for place in at:
            # Every corner is seen once, from the 2 × 2 block that ends or begins there.
            for down in (0, step):
                for across in (0, 1):
                    corner = place - step - 1 + down + across
                    block = [corner, corner + 1, corner + step, corner + step + 1]
                    own = [cell for cell in block if region >> cell & 1]
                    corners += len(own) % 2 if own[0] == place else 0
    return (
        limits.least_dm2 <= area <= limits.most_dm2
        and limits.least_rows <= tall <= limits.most_rows
        and limits.least_cols <= wide <= limits.most_cols
        and corners <= limits.most_corners
        and len(at) >= limits.box_share * tall * wide
    )


def best_packing(
    pool: Candidates, cells: int, budget_cents: int, *, seconds: float | None = None
) -> list[int] | None:
    """Return the candidates that are worth most together, without overlap and within the budget.

    Args:
        pool: The candidates.
        cells: Number of cells of all lattices.
        budget_cents: What may be spent.
        seconds: Give up after so long.

    Returns:
        Indices of candidates, or None if the time was not enough.
    """
    from scipy import sparse
    from scipy.optimize import Bounds, LinearConstraint, milp  # a tenth of a command's start

    if not len(pool.value):
        return []
    if budget_cents < 2 * int(pool.cost_cents.min()):
        return [int(pool.value.argmax())]
    sizes = [len(own) for own in pool.cells]
    holds = sparse.csc_array(
        (np.ones(sum(sizes)), np.concatenate(pool.cells), np.r_[0, np.cumsum(sizes)]),
        shape=(cells, len(sizes)),
    )
    options: dict[str, float] = {"mip_rel_gap": 1e-9}
    if seconds is not None:
        options["time_limit"] = seconds
    result = milp(
        -pool.value,
        integrality=np.ones(len(sizes)),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(holds, -np.inf, 1),
            LinearConstraint(sparse.csr_array(pool.cost_cents[None].astype(float)), -np.inf, budget_cents),
        ],
        options=options,
    )
    if result.status != 0:
        return None
    return [int(index) for index in np.flatnonzero(result.x > 0.5)]

"""The exact solver: a MILP for small cases, solved by HiGHS. Pure NumPy and SciPy, no I/O.

Each cell belongs to order k or not. Orders are whole regions (see `geozoom.ordering.lattice`): neighbours, corners
and single holes are constraints from the start; parts and larger holes are cut off as they turn up, by the
cells that separate two parts and by the ring around a hole. Every cut holds for every whole region, so that
the first solution without parts and holes is the optimum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.errors import SolverError
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.shapes import CellLimits, violations
from geozoom.ordering.small import Candidates, best_packing, rectangles
from geozoom.prices import PriceList

MOST_VARIABLES = 160
"""Cells times orders; more would take hours."""
_MOST_ROUNDS = 400

Term = tuple[list[int], list[float], float]
"""Columns, coefficients and the greatest value of a row."""


@dataclass
class _Model:
    """The MILP in the making: y[k, c] first, then z[k, n], order k having n cells."""

    lattices: Sequence[Lattice]
    limits: Sequence[CellLimits]
    prices: PriceList
    budget_cents: int
    orders: int
    rows: list[Term] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.value = np.concatenate([each.value.ravel() for each in self.lattices]).astype(np.float64)
        self.area = np.concatenate([each.areas.ravel() for each in self.lattices]).astype(np.int64)
        self.closed = np.concatenate([each.barred.ravel() for each in self.lattices])
        self.cells = len(self.value)
        self.first = np.cumsum([0, *(each.value.size for each in self.lattices)]).tolist()
        self.near: list[list[int]] = [[] for _ in range(self.cells)]
        for start, lattice in zip(self.first, self.lattices, strict=False):
            index = start + np.arange(lattice.value.size).reshape(lattice.shape)
            for one, other in ((index[:-1], index[1:]), (index[:, :-1], index[:, 1:])):
                for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
                    self.near[a].append(b)
                    self.near[b].append(a)

    def y(self, order: int, cell: int) -> int:
        return order * self.cells + cell

    def z(self, order: int, count: int) -> int:
        return self.orders * self.cells + order * (self.cells + 1) + count

    @property
    def columns(self) -> int:
        return self.orders * (2 * self.cells + 1)

    def for_each_order(self, cells: list[int], signs: list[float], most: float) -> None:
        """Add a row on cells that holds for every order."""
        self.rows.extend(
            ([self.y(order, cell) for cell in cells], signs, most) for order in range(self.orders)
        )

    def fixed_rows(self) -> Iterator[Term]:
        """Yield what is known of whole regions from the start."""
        for lattice, start in zip(self.lattices, self.first, strict=False):
            index = start + np.arange(lattice.value.size).reshape(lattice.shape)
            quads = zip(
                *(
                    part.ravel().tolist()
                    for part in (index[:-1, :-1], index[1:, 1:], index[:-1, 1:], index[1:, :-1])
                ),
                strict=True,
            )
            for a, b, c, d in quads:
                for order in range(self.orders):
                    row = [self.y(order, cell) for cell in (a, b, c, d)]
                    # Two cells do not meet in a corner alone.
                    yield row, [1, 1, -1, -1], 1
                    yield row, [-1, -1, 1, 1], 1
        for cell in range(self.cells):
            yield [self.y(order, cell) for order in range(self.orders)], [1.0] * self.orders, 1
            for order in range(self.orders):
                beside = [self.y(order, other) for other in self.near[cell]]
                # A cell has a neighbour in its order, or is all of it.
                yield [self.y(order, cell), *beside, self.z(order, 1)], [1, *[-1.0] * len(beside), -1], 0
                if len(beside) == 4:
                    yield [*beside, self.y(order, cell)], [1, 1, 1, 1, -1], 3
        least = np.r_[0, np.cumsum(np.sort(self.area))]
        bills = self.prices.bills_cents(least).astype(float)
        yield (
            [self.z(order, count) for order in range(self.orders) for count in range(self.cells + 1)],
            bills.tolist() * self.orders,
            self.budget_cents,
        )
        counts = list(range(self.cells + 1))
        for order in range(self.orders):
            one = [self.z(order, count) for count in counts]
            yield one, [1.0] * len(one), 1
            yield one, [-1.0] * len(one), -1
            mine = [self.y(order, cell) for cell in range(self.cells)]
            yield [*mine, *one], [*[1.0] * len(mine), *[-float(count) for count in counts]], 0
            yield [*mine, *one], [*[-1.0] * len(mine), *[float(count) for count in counts]], 0
            if order:
                # Orders are alike: the larger comes first.
                before = [self.y(order - 1, cell) for cell in range(self.cells)]
                yield [*mine, *before], [*[1.0] * len(mine), *[-1.0] * len(before)], 0

    def solve(self) -> NDArray[np.bool_]:
        """Return the best choice of cells, (orders, cells), under the rows there are."""
        from scipy import sparse
        from scipy.optimize import Bounds, LinearConstraint, milp  # a tenth of a command's start

        sizes = [len(columns) for columns, _, _ in self.rows]
        matrix = sparse.csr_array(
            (
                np.concatenate([np.asarray(signs, dtype=float) for _, signs, _ in self.rows]),
                np.concatenate([np.asarray(columns) for columns, _, _ in self.rows]),
                np.r_[0, np.cumsum(sizes)],
            ),
            shape=(len(self.rows), self.columns),
        )
        goal = np.zeros(self.columns)
        goal[: self.orders * self.cells] = np.tile(-self.value, self.orders)
        most = np.ones(self.columns)
        most[: self.orders * self.cells] = np.tile(~self.closed, self.orders)
        result = milp(
            goal,
            integrality=np.ones(self.columns),
            bounds=Bounds(0, most),
            constraints=LinearConstraint(matrix, -np.inf, np.array([most for _, _, most in self.rows])),
            options={"mip_rel_gap": 1e-7},
        )
        if result.status != 0:
            raise SolverError(f"the exact solver gave up ({result.message}); use the fast one")
        chosen = result.x[: self.orders * self.cells] > 0.5
        return np.asarray(chosen.reshape(self.orders, self.cells), dtype=np.bool_)

    def cut(self, chosen: NDArray[np.bool_]) -> bool:
        """Add rows that a solution breaks as it has parts, holes or a refused shape; tell whether any did."""
        before = len(self.rows)
        for order in range(self.orders):
            mine = np.flatnonzero(chosen[order]).tolist()
            if not mine:
                continue
            parts = self._parts(set(mine))
            if len(parts) > 1:
                self._separate(parts)
                continue
            lattice = int(np.searchsorted(self.first, mine[0], side="right")) - 1
            start, shape = self.first[lattice], self.lattices[lattice].shape
            mask = np.zeros(shape, dtype=bool)
            mask.reshape(-1)[np.array(mine) - start] = True
            holes, count = ndimage.label(np.pad(~mask, 1, constant_values=True))
            for hole in range(2, count + 1):
                held = np.flatnonzero(holes[1:-1, 1:-1].ravel() == hole) + start
                around = sorted(
                    {cell for own in held.tolist() for cell in self.near[own]} - set(held.tolist())
                )
                for own in held.tolist():
                    self.for_each_order([*around, own], [*[1.0] * len(around), -1.0], len(around) - 1)
            if count == 1 and any(violations(mask, int(self.area[mine].sum()), self.limits[lattice])):
                others = [cell for cell in range(self.cells) if cell not in set(mine)]
                self.for_each_order(mine + others, [*[1.0] * len(mine), *[-1.0] * len(others)], len(mine) - 1)
        if len(self.rows) == before and self.cost(chosen) > self.budget_cents:
            everything = np.flatnonzero(chosen.ravel()).tolist()
            others = np.flatnonzero(~chosen.ravel()).tolist()
            self.rows.append(
                (everything + others, [*[1.0] * len(everything), *[-1.0] * len(others)], len(everything) - 1)
            )
        return len(self.rows) > before

    def cost(self, chosen: NDArray[np.bool_]) -> int:
        """Return the bill of a solution in cents."""
        return int(self.prices.bills_cents(chosen @ self.area).sum())

    def _parts(self, cells: set[int]) -> list[set[int]]:
        parts = []
        left = set(cells)
        while left:
            part = self._reached({min(left)}, left)
            left -= part
            parts.append(part)
        return parts

    def _reached(self, start: set[int], allowed: set[int]) -> set[int]:
        reached, edge = set(start), list(start)
        while edge:
            for other in self.near[edge.pop()]:
                if other in allowed and other not in reached:
                    reached.add(other)
                    edge.append(other)
        return reached

    def _separate(self, parts: list[set[int]]) -> None:
        """Cut parts apart: two cells of different parts need a cell of what separates them."""
        for part in parts:
            rim = {other for cell in part for other in self.near[cell]} - part
            beyond = set(range(self.cells)) - part - rim
            for other in parts:
                if other is part:
                    continue
                far = self._reached(set(other), beyond)
                wall = sorted(cell for cell in rim if any(near in far for near in self.near[cell]))
                one = max(part, key=lambda cell: float(self.value[cell]))
                another = max(other, key=lambda cell: float(self.value[cell]))
                self.for_each_order([one, another, *wall], [1.0, 1.0, *[-1.0] * len(wall)], 1)


def solve_exactly(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> list[NDArray[np.int64]]:
    """Return the orders of the best plan, as cells counted through all lattices.

    Raises:
        SolverError: The case is too large, or the vendor's shapes are not reached in reasonable time.
    """
    cells = sum(lattice.value.size for lattice in lattices)
    if cells == 0:
        return []
    smallest = min(int(lattice.area_dm2.min()) for lattice in lattices if lattice.value.size)
    first = int(prices.bills_cents(np.array([smallest]))[0])
    orders = cells if first == 0 else min(cells, budget_cents // first)
    if orders == 0:
        return []
    if orders * cells > MOST_VARIABLES:
        raise SolverError(
            f"the exact solver takes {MOST_VARIABLES} cells times orders at most, and this would be {cells} cells "
            f"times {orders} orders; use the fast solver"
        )
    if any(limit.rectangles for limit in limits):
        return _best_rectangles(lattices, limits, prices, budget_cents)
    model = _Model(lattices, limits, prices, budget_cents, orders)
    model.rows.extend(model.fixed_rows())
    for _ in range(_MOST_ROUNDS):
        chosen = model.solve()
        if not model.cut(chosen):
            return [np.flatnonzero(own) for own in chosen if own.any()]
    raise SolverError("the exact solver found no shapes that the vendor takes in time; use the fast one")


def _best_rectangles(
    lattices: Sequence[Lattice], limits: Sequence[CellLimits], prices: PriceList, budget_cents: int
) -> list[NDArray[np.int64]]:
    """Return the best packing of all rectangles."""
    cells: list[NDArray[np.int64]] = []
    first = 0
    for lattice, limit in zip(lattices, limits, strict=True):
        cells.extend(own + first for own in rectangles(lattice, limit))
        first += lattice.value.size
    value = np.concatenate([lattice.value.ravel() for lattice in lattices]).astype(np.float64)
    area = np.concatenate([lattice.areas.ravel() for lattice in lattices]).astype(np.int64)
    bills = prices.bills_cents(np.array([int(area[own].sum()) for own in cells], dtype=np.int64))
    kept = np.flatnonzero(bills <= budget_cents).tolist()
    pool = Candidates(
        cells=[cells[index] for index in kept],
        value=np.array([value[cells[index]].sum() for index in kept]),
        cost_cents=bills[kept],
    )
    best = best_packing(pool, first, budget_cents)
    if best is None:
        raise SolverError("the exact solver gave up on the packing of rectangles; use the fast one")
    return [pool.cells[index] for index in best]

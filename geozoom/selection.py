"""The choice under a budget: which patches of which orders, and how far from the best at most.

Every order is billed on its own with a minimum, so that patches cannot be priced one by one. For each
order the options are "its best n patches", less those that cost more than a larger n (a cheaper tier may
be worth reaching); picking one option per order under the budget is a multiple-choice knapsack. The
increments along each order's upper convex hull of (cost, value), taken by value per cost, are optimal for
the relaxed problem: its value bounds every plan's from above. Pure NumPy, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geozoom.prices import PriceList


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The patches that were chosen, and what is known of plans that could be better."""

    chosen: NDArray[np.bool_]
    """(N,) True for a chosen patch."""
    value: float
    """Sum of the chosen patches' values."""
    bound: float
    """No choice of each order's best patches under this budget is worth more than this."""
    cost_cents: int
    """What the chosen orders are billed, in cents."""
    next_order: int | None
    """The best order of those whose next patches did not fit, or None if everything did."""
    next_cost_cents: int | None
    """How much the budget lacks for them, in cents."""


@dataclass(frozen=True, kw_only=True)
class _Options:
    """The options of one order: costs and values of its best `counts` patches, none of them ever falling."""

    members: NDArray[np.int64]
    """All patches of the order, best first."""
    counts: NDArray[np.int64]
    costs: NDArray[np.int64]
    values: NDArray[np.float64]


def choose(
    *,
    order: NDArray[np.int64],
    value: NDArray[np.float64],
    area_dm2: NDArray[np.int64],
    prices: PriceList,
    budget_cents: int | None,
) -> Choice:
    """Choose the patches that are worth most under a budget.

    Args:
        order: (N,) the order that each candidate patch would belong to.
        value: (N,) what each patch is worth, positive.
        area_dm2: (N,) area of each patch in square decimetres.
        prices: What an order is billed.
        budget_cents: What may be spent; None buys every candidate.
    """
    options = _options(order, value, area_dm2, prices)
    total = float(value.sum())
    cost_of_all = sum(int(option.costs[-1]) for option in options.values())
    if budget_cents is None or cost_of_all <= budget_cents:
        return Choice(
            chosen=np.ones(len(order), dtype=bool),
            value=total,
            bound=total,
            cost_cents=cost_of_all,
            next_order=None,
            next_cost_cents=None,
        )
    taken, bound = _greedy_on_hulls(options, budget_cents)
    left = budget_cents - sum(int(options[key].costs[n]) for key, n in taken.items())
    left = _spend_the_rest(options, taken, left)
    chosen = np.zeros(len(order), dtype=bool)
    for key, option in taken.items():
        chosen[options[key].members[: options[key].counts[option]]] = True
    missed = _best_missed(options, taken, left)
    return Choice(
        chosen=chosen,
        value=float(value[chosen].sum()),
        bound=min(bound, total),
        cost_cents=budget_cents - left,
        next_order=None if missed is None else missed[0],
        next_cost_cents=None if missed is None else missed[1],
    )


def _options(
    order: NDArray[np.int64],
    value: NDArray[np.float64],
    area_dm2: NDArray[np.int64],
    prices: PriceList,
) -> dict[int, _Options]:
    # By order, then by value per area, then as they came (lexsort is stable).
    ranked = np.lexsort((-value / area_dm2, order))
    if not len(ranked):
        return {}
    starts = np.flatnonzero(np.diff(order[ranked])) + 1
    found = {}
    for members in np.split(ranked, starts):
        costs = prices.bills_cents(np.r_[0, np.cumsum(area_dm2[members])])
        counts = np.flatnonzero(costs <= np.minimum.accumulate(costs[::-1])[::-1])
        found[int(order[members[0]])] = _Options(
            members=members,
            counts=counts,
            costs=costs[counts],
            values=np.r_[0.0, np.cumsum(value[members])][counts],
        )
    return found


def upper_hull(costs: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the options on the upper convex hull of (cost, value), from option 0 on.

    Both arrays rise from 0; of options of equal cost only the most valuable can be on the hull.
    """
    last_of_cost = np.append(np.flatnonzero(np.diff(costs)), len(costs) - 1)
    hull = np.union1d(0, last_of_cost)
    while len(hull) > 2:
        # What lies below the line between its neighbours is on no hull; the curve is nearly concave, so that
        # a few rounds find all of it.
        dear, worth = np.diff(costs[hull]).astype(np.float64), np.diff(values[hull])
        below = worth[:-1] * (dear[:-1] + dear[1:]) <= (worth[:-1] + worth[1:]) * dear[:-1]
        if not below.any():
            break
        hull = hull[np.r_[True, ~below, True]]
    return hull


def _greedy_on_hulls(options: dict[int, _Options], budget_cents: int) -> tuple[dict[int, int], float]:
    """Take hull increments by value per cost; return the counts taken and the relaxed optimum."""
    hulls = {key: upper_hull(option.costs, option.values) for key, option in options.items()}
    keys = np.concatenate([np.full(len(hull) - 1, key) for key, hull in hulls.items()])
    before = np.concatenate([hull[:-1] for hull in hulls.values()])
    after = np.concatenate([hull[1:] for hull in hulls.values()])
    costs = np.concatenate([np.diff(options[key].costs[hull]) for key, hull in hulls.items()])
    values = np.concatenate([np.diff(options[key].values[hull]) for key, hull in hulls.items()])
    with np.errstate(divide="ignore"):
        ranked = np.argsort(-values / costs, kind="stable")
    spent = np.cumsum(costs[ranked])
    fitting = int(np.searchsorted(spent, budget_cents, side="right"))
    taken: dict[int, int] = {}
    # An order's increments come in their order, as the hull is concave: its last one here says how many.
    taken.update(zip(keys[ranked[:fitting]].tolist(), after[ranked[:fitting]].tolist(), strict=True))
    left = budget_cents - (int(spent[fitting - 1]) if fitting else 0)
    reached = float(values[ranked[:fitting]].sum())
    if fitting == len(ranked):
        return taken, reached
    # Everything so far fitted, so the relaxation splits just this increment.
    bound = reached + float(values[ranked[fitting]]) * left / int(costs[ranked[fitting]])
    rest = ranked[fitting:]
    for index in rest[costs[rest] <= left].tolist():
        key, cost = int(keys[index]), int(costs[index])
        if cost <= left and taken.get(key, 0) == before[index]:
            taken[key] = int(after[index])
            left -= cost
    return taken, bound


def _spend_the_rest(options: dict[int, _Options], taken: dict[int, int], left: int) -> int:
    """Widen orders with what is left, most value gained first; return what is left after it."""
    while True:
        best: tuple[float, int, int] | None = None
        for key, option in options.items():
            now = taken.get(key, 0)
            reach = int(np.searchsorted(option.costs, option.costs[now] + left, side="right")) - 1
            gain = float(option.values[reach] - option.values[now])
            if gain > 0 and (best is None or gain > best[0]):
                best = (gain, key, reach)
        if best is None:
            return left
        _, key, reach = best
        left -= int(options[key].costs[reach] - options[key].costs[taken.get(key, 0)])
        taken[key] = reach


def _best_missed(options: dict[int, _Options], taken: dict[int, int], left: int) -> tuple[int, int] | None:
    """Return the order whose next patches are worth most for their price, and what they lack."""
    best: tuple[float, int, int] | None = None
    for key, option in options.items():
        now = taken.get(key, 0)
        if now == len(option.costs) - 1:
            continue
        cost = option.costs[now + 1 :] - option.costs[now]
        gain = option.values[now + 1 :] - option.values[now]
        at = int(np.argmax(gain / cost))
        ratio = float(gain[at] / cost[at])
        if best is None or ratio > best[0]:
            best = (ratio, key, int(cost[at]) - left)
    return None if best is None else (best[1], best[2])

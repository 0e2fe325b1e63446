"""The choice under a budget, against HiGHS as the oracle."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp

from geozoom.prices import PriceList
from geozoom.selection import Choice, choose, upper_hull
from tests.test_prices import price_list, tiers

PRICES = price_list(Decimal(2000), Decimal("0.004"))
"""A patch of 400 m² costs 80 cents, and an order at least 8.00: that of ten patches."""

CHEAPER_BY_THE_DOZEN = price_list(
    None,
    Decimal("0.004"),
    tiers=tiers((0, 2000), ("0.0048", 1200), ("0.008", 1000)),
    tiers_apply="whole",
    minimum_value=Decimal(2),
)
"""From twelve patches on all of them cost less, so that more may cost less than fewer."""


def case(seed: int, orders: int, size: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    order = np.repeat(np.arange(orders), rng.integers(1, size + 1, orders))
    return {
        "order": rng.permutation(order),
        "value": rng.uniform(0.5, 1, len(order)),
        "area_dm2": rng.integers(39_000, 41_000, len(order)),
    }


def optimum(columns: dict[str, NDArray[Any]], prices: PriceList, budget_cents: int) -> float:
    """The best choice of "each order's best n patches", by a MILP over all options."""
    costs: list[NDArray[Any]] = []
    values: list[NDArray[Any]] = []
    groups: list[NDArray[Any]] = []
    for group in np.unique(columns["order"]):
        mine = np.flatnonzero(columns["order"] == group)
        best = mine[np.argsort(-columns["value"][mine] / columns["area_dm2"][mine], kind="stable")]
        costs.append(prices.bills_cents(np.cumsum(columns["area_dm2"][best])))
        values.append(np.cumsum(columns["value"][best]))
        groups.append(np.full(len(best), len(groups)))
    cost, value, group = (np.concatenate(part) for part in (costs, values, groups))
    one_each = (group == np.arange(len(groups))[:, None]).astype(float)
    found = milp(
        -value,
        integrality=np.ones(len(value), dtype=int),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 0, 1), LinearConstraint(cost[None], 0, budget_cents)],
        options={"mip_rel_gap": 1e-6},
    )
    return -float(found.fun)


def bill(columns: dict[str, NDArray[Any]], choice: Choice, prices: PriceList) -> Decimal:
    return sum(
        (
            prices.bill(int(columns["area_dm2"][choice.chosen & (columns["order"] == order)].sum()))
            for order in np.unique(columns["order"])
        ),
        Decimal(0),
    )


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(1, 8),
    st.integers(1, 30),
    st.integers(1, 30_000),
    st.sampled_from([PRICES, CHEAPER_BY_THE_DOZEN]),
)
def test_no_plan_exceeds_its_budget_and_none_beats_its_bound(
    seed: int, orders: int, size: int, budget_cents: int, prices: PriceList
) -> None:
    columns = case(seed, orders, size)
    choice = choose(**columns, prices=prices, budget_cents=budget_cents)
    spent = bill(columns, choice, prices)
    assert spent * 100 == choice.cost_cents <= budget_cents
    assert choice.value == pytest.approx(columns["value"][choice.chosen].sum())
    best = optimum(columns, prices, budget_cents)
    assert choice.value <= best + 1e-6
    assert best <= choice.bound + 1e-6


def test_the_default_solver_is_near_the_optimum_where_orders_are_many() -> None:
    gaps = []
    for seed in range(20):
        columns = case(seed, 40, 30)
        budget = 15_000
        choice = choose(**columns, prices=PRICES, budget_cents=budget)
        gaps.append(1 - choice.value / optimum(columns, PRICES, budget))
    assert max(gaps) < 0.02
    assert np.mean(gaps) < 0.005


def test_without_a_budget_everything_is_bought() -> None:
    columns = case(1, 5, 20)
    choice = choose(**columns, prices=PRICES, budget_cents=None)
    assert choice.chosen.all()
    assert choice.next_order is None


def test_patches_under_the_minimum_come_free() -> None:
    columns = {
        "order": np.zeros(10, dtype=np.int64),
        "value": np.full(10, 0.6),
        "area_dm2": np.full(10, 40_000),
    }
    choice = choose(**columns, prices=PRICES, budget_cents=800)
    assert choice.chosen.all()
    assert choice.cost_cents == 800


def test_more_patches_are_bought_where_that_costs_less() -> None:
    columns = {
        "order": np.zeros(25, dtype=np.int64),
        "value": np.linspace(0.9, 0.6, 25),
        "area_dm2": np.full(25, 40_000),
    }
    # Ten patches cost 800 cents, eleven 880, twelve 576.
    choice = choose(**columns, prices=CHEAPER_BY_THE_DOZEN, budget_cents=580)
    assert choice.chosen.sum() == 12
    assert choice.cost_cents == 576
    choice = choose(**columns, prices=CHEAPER_BY_THE_DOZEN, budget_cents=575)
    assert not choice.chosen.any()


def test_a_budget_below_every_minimum_buys_nothing_and_says_what_is_lacking() -> None:
    columns = case(2, 4, 5)
    choice = choose(**columns, prices=PRICES, budget_cents=500)
    assert not choice.chosen.any()
    assert choice.next_cost_cents == 300


def test_nothing_to_choose_from_is_no_error() -> None:
    nothing: dict[str, NDArray[Any]] = {
        "order": np.zeros(0, np.int64),
        "value": np.zeros(0),
        "area_dm2": np.zeros(0, np.int64),
    }
    choice = choose(**nothing, prices=PRICES, budget_cents=100)
    assert len(choice.chosen) == 0
    assert choice.cost_cents == 0


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0.01, 1)), min_size=1, max_size=30))
def test_the_hull_lies_on_or_above_every_option(steps: list[tuple[int, float]]) -> None:
    costs = np.cumsum([0, *(step[0] for step in steps)])
    values = np.cumsum([0, *(step[1] for step in steps)])
    hull = upper_hull(costs, values)
    above = np.interp(costs, costs[hull], values[hull])
    last_of_equal_cost = np.r_[np.diff(costs) > 0, True]
    assert (above[last_of_equal_cost] >= values[last_of_equal_cost] - 1e-9).all()

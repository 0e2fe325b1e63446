"""The choice of orders that vendors take, against the exact solver as the oracle."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geozoom.errors import SolverError
from geozoom.ordering.bounds import most_area_dm2
from geozoom.ordering.choice import OrderChoice, choose_orders
from geozoom.ordering.exchanging import exchange
from geozoom.ordering.fast import drafts
from geozoom.ordering.lattice import Lattice
from geozoom.ordering.shapes import cell_limits, violations
from geozoom.ordering.sizing import cheapest_bill
from geozoom.prices import PriceList
from geozoom.rates import Tier
from geozoom.rules import ShapeRules
from tests.conftest import BY_AREA
from tests.test_prices import price_list

CELL_DM2 = 40_000
ANY = ShapeRules()
VENDORS = (
    ANY,
    ShapeRules(convex=True),
    ShapeRules(max_vertices=12),
    ShapeRules(max_vertices=40, max_width_km=Decimal("0.3"), max_height_km=Decimal("0.4")),
    ShapeRules(min_km2=Decimal("0.02"), max_km2=Decimal("0.03")),
    ShapeRules(min_width_km=Decimal("0.1"), min_box_share=Decimal("0.3")),
)


def minimum_of(cells: int) -> PriceList:
    """A price list by which a cell costs 80 cents and an order at least that of some cells."""
    return price_list(Decimal(2000), cells * Decimal("0.0004"))


def shaped(prices: PriceList, rules: ShapeRules) -> PriceList:
    return dataclasses.replace(prices, shape=rules)


def lattice_of(value: NDArray[Any], area_dm2: int = CELL_DM2) -> Lattice:
    return Lattice(value=value.astype(np.float32), area_dm2=np.full((1, 1), area_dm2), cell_km=(0.02, 0.02))


def small_case(seed: int) -> tuple[Lattice, PriceList, int]:
    """Clusters of value with gaps between them on 9 to 36 cells; minimums of 3 to 8 cells, 1 to 3 of them."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 7, 2).tolist())
    rows, cols = np.indices(shape)
    value = np.zeros(shape)
    for _ in range(rng.integers(1, 4)):
        row, col = rng.integers(shape)
        bell = np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / rng.uniform(0.5, 2.5))
        value = np.maximum(value, rng.uniform(0.5, 1) * bell)
    value = value * rng.uniform(0.4, 1, shape) + rng.uniform(0, 0.1, shape) * (rng.random(shape) < 0.6)
    least, orders = int(rng.integers(3, 9)), int(rng.integers(1, 4))
    return lattice_of(value), minimum_of(least), int(rng.uniform(1, orders + 1) * least * 80)


def tile(seed: int, rows: int = 60, cols: int = 50) -> Lattice:
    rng = np.random.default_rng(seed)
    good = rng.random((rows, cols)) < 0.4
    slow = np.linspace(0.3, 1, cols)[None]
    return lattice_of(np.where(good, rng.uniform(0.5, 1, good.shape), rng.uniform(0, 0.1, good.shape)) * slow)


def check(choice: OrderChoice, lattices: list[Lattice], prices: PriceList, rules: ShapeRules) -> None:
    """Recompute every column from the cells."""
    taken = [np.zeros(lattice.value.size, dtype=int) for lattice in lattices]
    for index in range(len(choice)):
        lattice = lattices[choice.lattice[index]]
        cells = choice.cells[choice.offsets[index] : choice.offsets[index + 1]]
        taken[choice.lattice[index]][cells] += 1
        mask = np.zeros(lattice.shape, dtype=bool)
        mask.reshape(-1)[cells] = True
        area = int(lattice.areas[mask].sum())
        assert not (mask & lattice.barred).any()
        assert not list(violations(mask, area, cell_limits(rules, lattice)))
        assert choice.area_dm2[index] == area
        assert choice.cost_cents[index] == int(prices.bill(area) * 100)
        assert choice.value[index] == pytest.approx(float(lattice.value[mask].sum()), rel=1e-5)
        ring = choice.rings.ring(index).astype(np.int64)
        ahead = np.roll(ring, -1, axis=0)
        assert abs(int((ring[:, 0] * ahead[:, 1] - ahead[:, 0] * ring[:, 1]).sum())) == 2 * len(cells)
    assert all(each.max(initial=0) <= 1 for each in taken)


def gap_to_exact(seed: int) -> float:
    lattice, prices, budget = small_case(seed)
    fast = choose_orders([lattice], prices, budget)
    exact = choose_orders([lattice], prices, budget, solver="exact")
    check(fast, [lattice], prices, ANY)
    check(exact, [lattice], prices, ANY)
    assert max(fast.total_cents, exact.total_cents) <= budget
    assert fast.total_value <= exact.total_value * (1 + 1e-6) + 1e-9
    assert exact.total_value <= fast.bound * (1 + 1e-6) + 1e-9
    return 1 - fast.total_value / exact.total_value if exact.total_value else 0.0


def test_the_fast_solver_is_within_one_per_cent_of_the_exact_optimum_on_ten_cases() -> None:
    assert max(gap_to_exact(seed) for seed in range(1000, 1010)) < 0.01


@pytest.mark.slow
def test_the_fast_solver_is_within_one_per_cent_of_the_exact_optimum_on_two_hundred_cases() -> None:
    gaps = np.array([gap_to_exact(seed) for seed in range(200)])
    print(f"gaps: mean {gaps.mean():.5%}, 95% {np.quantile(gaps, 0.95):.5%}, worst {gaps.max():.3%}")  # noqa: T201
    assert gaps.max() < 0.01


@settings(deadline=None, max_examples=12)
@given(
    st.integers(0, 10**6),
    st.integers(0, 60_000),
    st.integers(8, 80),
    st.sampled_from(VENDORS),
)
def test_orders_are_within_the_budget_and_the_bound_and_as_the_vendor_wants_them(
    seed: int, budget: int, least: int, rules: ShapeRules
) -> None:
    lattices, prices = [tile(seed, 30, 25), tile(seed + 1, 20, 40)], minimum_of(least)
    choice = choose_orders(lattices, shaped(prices, rules), budget)
    check(choice, lattices, prices, rules)
    assert choice.total_cents <= budget
    assert choice.total_value <= choice.bound
    assert 0 <= choice.gap <= 1


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from(VENDORS[:4]), st.integers(0, 1500), st.integers(0, 600))
def test_on_small_cases_more_money_never_buys_less(
    seed: int, rules: ShapeRules, budget: int, more: int
) -> None:
    lattice, prices, _ = small_case(seed)
    poor = choose_orders([lattice], shaped(prices, rules), budget)
    rich = choose_orders([lattice], shaped(prices, rules), budget + more)
    assert poor.total_value <= rich.total_value + 1e-6


@pytest.mark.parametrize("rules", [ShapeRules(convex=True), ShapeRules(max_vertices=6)])
def test_the_exact_solver_keeps_to_the_vendors_shapes(rules: ShapeRules) -> None:
    lattice, prices, budget = small_case(3)
    exact = choose_orders([lattice], shaped(prices, rules), budget, solver="exact")
    check(exact, [lattice], prices, rules)
    fast = choose_orders([lattice], shaped(prices, rules), budget)
    assert fast.total_value == pytest.approx(exact.total_value, rel=0.01)


def test_a_gap_is_bridged_where_that_costs_less_than_a_second_minimum() -> None:
    value = np.zeros((3, 7))
    value[1] = [1, 1, 1, 0, 1, 1, 1]
    choice = choose_orders([lattice_of(value)], minimum_of(6), 7 * 80)
    assert len(choice) == 1
    assert choice.total_value == 6
    assert choice.rings.ring(0).tolist() == [[0, 2], [7, 2], [7, 1], [0, 1]]


def test_under_a_minimum_the_best_neighbours_come_free() -> None:
    value = np.zeros((9, 9))
    value[4, 4], value[4, 5:7], value[3, 4] = 1, 0.2, 0.3
    choice = choose_orders([lattice_of(value)], minimum_of(4), 4 * 80)
    assert choice.total_value == pytest.approx(1.7)
    assert choice.total_cents == 4 * 80


def test_a_budget_below_every_minimum_buys_nothing() -> None:
    for lattice in (small_case(1)[0], tile(0)):
        choice = choose_orders([lattice], minimum_of(5), 399)
        assert len(choice) == 0
        assert choice.total_value == choice.gap == 0


def test_nothing_to_choose_from_is_no_error() -> None:
    for lattices in ([], [lattice_of(np.zeros((0, 0)))], [lattice_of(np.zeros((50, 50)))]):
        for budget in (100_000, None):
            assert len(choose_orders(lattices, minimum_of(5), budget)) == 0


def test_the_next_order_says_what_the_budget_lacks_for_it() -> None:
    choice = choose_orders([tile(0)], minimum_of(30), 5 * 30 * 80)
    assert choice.next_cost_cents is not None
    assert choice.next_lacking_cents == choice.next_cost_cents - (12_000 - choice.total_cents)


@pytest.mark.parametrize("rules", VENDORS)
def test_without_a_budget_all_cells_wanted_are_bought_in_shapes_that_the_vendor_takes(
    rules: ShapeRules,
) -> None:
    lattice, prices = tile(1), minimum_of(20)
    wanted = np.where(lattice.value > 0.8, lattice.value, 0)
    lattice = dataclasses.replace(lattice, value=wanted)
    choice = choose_orders([lattice], shaped(prices, rules), None)
    check(choice, [lattice], prices, rules)
    bought = np.zeros(lattice.value.size, dtype=bool)
    bought[choice.cells] = True
    assert choice.left_out == 0
    assert bought[wanted.ravel() > 0].all()


def test_the_exact_solver_refuses_what_would_take_hours() -> None:
    with pytest.raises(SolverError, match="use the fast solver"):
        choose_orders([tile(0)], minimum_of(5), 100_000, solver="exact")


def test_cells_of_different_areas_are_billed_as_they_are() -> None:
    rng = np.random.default_rng(0)
    areas = rng.integers(39_000, 41_000, (40, 40))
    lattice = Lattice(value=rng.random((40, 40), dtype=np.float32), area_dm2=areas, cell_km=(0.02, 0.02))
    choice = choose_orders([lattice], minimum_of(20), 20_000)
    check(choice, [lattice], minimum_of(20), ANY)
    assert choice.total_cents <= 20_000


@pytest.mark.parametrize("rules", [ANY, ShapeRules(convex=True), VENDORS[-1]], ids=range(3))
@pytest.mark.parametrize("budget_cents", [60_000, None])
def test_areas_in_32_bits_give_the_plan_of_areas_in_64(budget_cents: int | None, rules: ShapeRules) -> None:
    lattice = tile(3)
    area = np.random.default_rng(4).integers(1_990_000, 2_000_000, lattice.shape)  # 2³² dm² together
    prices = shaped(price_list(Decimal(10), Decimal(2)), rules)
    plans = [
        choose_orders(
            [dataclasses.replace(lattice, area_dm2=area.astype(kind), cell_km=(0.14, 0.14))],
            prices,
            budget_cents,
        )
        for kind in (np.int32, np.int64)
    ]
    for column in ("cells", "offsets", "area_dm2", "cost_cents"):
        narrow, wide = (getattr(plan, column) for plan in plans)
        np.testing.assert_array_equal(narrow, wide)
        assert narrow.dtype == np.int64
    assert plans[0].bound == plans[1].bound
    if budget_cents is None:
        assert plans[0].area_dm2.sum() > 2**31


def test_taking_orders_back_one_by_one_only_ever_gains() -> None:
    gained = 0
    for seed in range(2):
        lattices, prices = [tile(seed, 24, 20), tile(seed + 1, 16, 30)], minimum_of(69)
        for draft in drafts(lattices, prices, 24_000):
            before = [regions.labels.copy() for regions in draft.regions]
            better = exchange(draft, prices, 24_000)
            assert better.value >= draft.value
            assert better.cost(prices) <= 24_000
            assert not any(regions.refused().any() for regions in better.regions)
            assert all(
                (regions.labels == old).all() for regions, old in zip(draft.regions, before, strict=True)
            )
            gained += better.value > draft.value
    assert gained


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 900)), max_size=3, unique_by=lambda tier: tier[0]),
    st.sampled_from(["marginal", "whole"]),
    st.one_of(st.integers(0, 10**7), st.integers(0, 3 * 10**13)),
    st.one_of(st.integers(0, 5 * 10**10), st.integers(0, 51 * 10**15)),  # of all that the Earth has, too
)
def test_the_largest_area_that_a_budget_pays_for_is_paid_for_and_one_more_is_not(
    tiers: list[tuple[int, int]], apply: Any, budget_cents: int, largest: int
) -> None:
    first = Tier(from_km2=Decimal(0), rate_per_km2=Decimal(500))
    steps = [Tier(from_km2=Decimal(start), rate_per_km2=Decimal(rate)) for start, rate in sorted(tiers)]
    prices = dataclasses.replace(BY_AREA, rate_per_km2=None, tiers=(first, *steps), tiers_apply=apply)
    found = most_area_dm2(prices, budget_cents, largest)
    assert 0 <= found <= largest
    assert int(prices.bills_cents(np.array([found]))[0]) <= budget_cents
    # Nor is what begins a tier, which may be cheaper; between those, bills rise.
    larger = [found + 1, *(start * 10**8 for start, _ in tiers)]
    larger = [area for area in larger if found < area <= largest]
    assert (prices.bills_cents(np.array(larger, dtype=np.int64)) > budget_cents).all()


@given(
    st.lists(st.tuples(st.integers(1, 300), st.integers(1, 900)), max_size=3, unique_by=lambda tier: tier[0]),
    st.sampled_from(["marginal", "whole"]),
    st.integers(0, 400 * 10**8),
    st.lists(st.integers(0, 400 * 10**8), min_size=1),
)
@example([(110, 400)], "whole", 100 * 10**8, [0])  # bills fall where the tier begins
def test_no_order_is_billed_less_than_the_cheapest(
    tiers: list[tuple[int, int]], apply: Any, least_dm2: int, larger: list[int]
) -> None:
    first = Tier(from_km2=Decimal(0), rate_per_km2=Decimal(500))
    steps = [Tier(from_km2=Decimal(start), rate_per_km2=Decimal(rate)) for start, rate in sorted(tiers)]
    prices = dataclasses.replace(BY_AREA, rate_per_km2=None, tiers=(first, *steps), tiers_apply=apply)
    areas = np.array([*(max(1, least_dm2 + more) for more in larger), *(start * 10**8 for start, _ in tiers)])
    bills = prices.bills_cents(areas[areas >= least_dm2])
    assert (bills >= cheapest_bill(prices, least_dm2)).all()

"""Orders for all that is wanted, pared down to what a budget pays for."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geozoom.ordering.choice import choose_orders
from geozoom.ordering.paring import in_parts, pare
from geozoom.ordering.shapes import cell_limits
from geozoom.ordering.wanted import all_wanted
from geozoom.rules import ShapeRules
from tests.test_ordering import CELL_DM2, check, lattice_of, minimum_of, shaped, tile

CORNERS = ShapeRules(max_vertices=24)
SIZED = ShapeRules(max_vertices=40, min_km2=Decimal("0.02"), max_km2=Decimal("0.2"))


@settings(deadline=None, max_examples=4)
@given(
    st.integers(0, 10**6),
    st.integers(4, 60),
    st.sampled_from([CORNERS, SIZED]),
    st.floats(0.2, 1.2),
)
def test_pared_orders_are_paid_for_and_as_the_vendor_wants_them(
    seed: int, least: int, rules: ShapeRules, share: float
) -> None:
    lattices, prices = [tile(seed, 20, 18), tile(seed + 1, 14, 28)], shaped(minimum_of(least), rules)
    limits = [cell_limits(rules, lattice) for lattice in lattices]
    for whole in in_parts(lattices, limits, prices):
        before, labels = whole.value, [regions.labels.copy() for regions in whole.regions]
        budget = int(whole.cost(prices) * share)
        left = pare(whole, prices, budget)
        assert all((own == each.labels).all() for own, each in zip(labels, whole.regions, strict=True))
        assert left.cost(prices) <= budget
        assert left.value <= before * (1 + 1e-9)
        for regions, limit in zip(left.regions, limits, strict=True):
            assert regions.limits == limit
            assert not regions.refused().any()
            kept = regions.area.copy(), regions.value.copy(), regions.corners.copy()
            regions.recount()
            assert (kept[0] == regions.area).all()
            np.testing.assert_allclose(kept[1], regions.value)
            assert (kept[2] == regions.corners).all()


@pytest.mark.parametrize("rules", [CORNERS, ShapeRules()])
def test_the_worst_cells_are_those_that_go(rules: ShapeRules) -> None:
    value = np.ones((12, 12))
    value[:, 6:] = 0.2
    lattices, prices = [lattice_of(value)], shaped(minimum_of(4), rules)
    for whole in in_parts(lattices, [cell_limits(rules, lattices[0])], prices):
        left = pare(whole, prices, 72 * 80)
        assert left.value == pytest.approx(72)


def test_an_order_goes_whole_where_its_money_is_worth_more_elsewhere() -> None:
    value = np.zeros((6, 15))
    value[:, :6], value[:, 9:] = 1.0, 0.9
    lattices, prices = [lattice_of(value)], shaped(minimum_of(18), CORNERS)
    limits = [cell_limits(CORNERS, lattices[0])]
    for whole in in_parts(lattices, limits, prices):
        assert pare(whole, prices, 36 * 80).value == pytest.approx(36)
        assert pare(whole, prices, 17 * 80).value == 0


def test_where_orders_cannot_change_cell_by_cell_nothing_is_parted() -> None:
    lattices, rules = [tile(0, 20, 20)], ShapeRules(convex=True)
    assert not list(in_parts(lattices, [cell_limits(rules, lattices[0])], minimum_of(5)))


def test_all_that_is_wanted_is_ordered_in_parts_where_that_costs_less() -> None:
    rng = np.random.default_rng(3)
    rolling = ndimage.gaussian_filter(rng.normal(size=(60, 60)), 2.0)
    value = np.where(rolling > np.median(rolling), rolling - rolling.min(), 0)
    rules = ShapeRules(max_vertices=40)
    lattices, prices = [lattice_of(value)], shaped(minimum_of(225), rules)
    limits = [cell_limits(rules, lattices[0])]
    alone = all_wanted(lattices[0], limits[0], prices, 225 * CELL_DM2)
    chosen = choose_orders(lattices, prices, None)
    check(chosen, lattices, prices, rules)
    assert chosen.total_value == pytest.approx(float(lattices[0].value.sum()))
    parted = [draft.cost(prices) for draft in in_parts(lattices, limits, prices)]
    assert chosen.total_cents <= min(parted) < int(prices.bills_cents(alone.area[1:]).sum())


def test_budgets_near_the_bill_for_everything_buy_more_the_larger_they_are() -> None:
    lattices, prices = [tile(1, 20, 20)], shaped(minimum_of(30), CORNERS)
    full = choose_orders(lattices, prices, None)
    values = []
    for share in (0.6, 0.75, 0.9):
        choice = choose_orders(lattices, prices, int(full.total_cents * share))
        check(choice, lattices, prices, CORNERS)
        values.append(choice.total_value)
    assert values == sorted(values)
    # What is left out is the worst of it.
    assert values[1] > 0.75 * full.total_value

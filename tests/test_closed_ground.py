"""Closed cells, rules that make orders grow, and many small lattices: what holds of every choice."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering import Lattice, choose_orders
from geozoom.ordering.covering import cover, whole
from geozoom.ordering.lattice import is_whole
from geozoom.ordering.merging import merge
from geozoom.ordering.outlines import are_whole
from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import cell_limits, violations
from geozoom.rules import ShapeRules
from tests.test_ordering import CELL_DM2, VENDORS, check, lattice_of, minimum_of, shaped, small_case, tile

CONVEX = ShapeRules(convex=True)
GROWING = (
    ShapeRules(min_km2=Decimal("0.01")),
    ShapeRules(min_width_km=Decimal("0.1")),
    ShapeRules(min_box_share=Decimal("0.6")),
    ShapeRules(convex=True, min_km2=Decimal("0.01"), min_width_km=Decimal("0.06")),
    ShapeRules(min_km2=Decimal("0.008"), max_km2=Decimal("0.02"), max_vertices=30),
)


def closing(lattice: Lattice, seed: int) -> Lattice:
    """Close single cells or blobs of a lattice."""
    rng = np.random.default_rng(seed)
    closed = rng.random(lattice.shape) < rng.choice([0.05, 0.2, 0.4])
    if rng.random() < 0.5:
        closed = ndimage.binary_dilation(rng.random(lattice.shape) < 0.02, iterations=2)
    return replace(lattice, value=np.where(closed, 0, lattice.value).astype(np.float32), closed=closed)


def padded(lattice: Lattice, margin: int) -> Lattice:
    return Lattice(value=np.pad(lattice.value, margin), area_dm2=lattice.area_dm2, cell_km=lattice.cell_km)


def bought(lattice: Lattice, cells: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.zeros(lattice.value.size, dtype=bool)
    mask[cells] = True
    return mask.reshape(lattice.shape)


@settings(deadline=None, max_examples=6)
@given(
    st.integers(0, 10**6), st.none() | st.integers(0, 60_000), st.integers(8, 80), st.sampled_from(VENDORS)
)
def test_no_order_holds_a_closed_cell(seed: int, budget: int | None, least: int, rules: ShapeRules) -> None:
    lattices = [closing(tile(seed, 30, 25), seed), tile(seed + 1, 20, 40)]
    prices = shaped(minimum_of(least), rules)
    choice = choose_orders(lattices, prices, budget)
    check(choice, lattices, prices, rules)  # closed cells, the rules, and every bill
    if budget is None:
        wanted = sum(int((lattice.value > 0).sum()) for lattice in lattices)
        worth = sum(
            int((lattices[index].value.ravel()[choice.cells[start:end]] > 0).sum())
            for index, start, end in zip(choice.lattice, choice.offsets[:-1], choice.offsets[1:], strict=True)
        )
        assert choice.left_out == wanted - worth
    else:
        assert choice.total_cents <= budget
        assert choice.total_value <= choice.bound


@pytest.mark.parametrize("seed", sorted({*range(12)} - {5}))  # which takes the exact solver ten seconds
def test_between_closed_cells_the_fast_solver_is_within_one_per_cent_of_the_exact_one(seed: int) -> None:
    rules = CONVEX if seed % 4 == 0 else ShapeRules()
    lattice, prices, budget = small_case(seed)
    closed = np.random.default_rng(seed).random(lattice.shape) < 0.15
    lattice = replace(lattice, value=np.where(closed, 0, lattice.value), closed=closed)
    prices = shaped(prices, rules)
    fast = choose_orders([lattice], prices, budget)
    exact = choose_orders([lattice], prices, budget, solver="exact")
    check(fast, [lattice], prices, rules)
    check(exact, [lattice], prices, rules)
    assert fast.total_value >= 0.99 * exact.total_value
    assert exact.total_value <= exact.bound <= fast.bound * (1 + 1e-6) + 1e-9


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 12), st.integers(4, 40))
def test_a_mask_is_covered_by_whole_regions_between_closed_cells(
    seed: int, most_cells: int, most_rows: int, most_corners: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 25, 2).tolist())
    closed = rng.random(shape) < rng.random() * 0.5
    mask = (rng.random(shape) < rng.random()) & ~closed
    lattice = lattice_of(mask)
    limits = replace(
        cell_limits(ShapeRules(), lattice),
        most_dm2=most_cells * CELL_DM2,
        most_rows=most_rows,
        most_corners=most_corners,
    )
    labels = cover(mask, lattice, limits, closed)
    assert (labels > 0)[mask].all()
    assert not (labels > 0)[closed].any()
    for number in range(1, labels.max(initial=0) + 1):
        region = labels == number
        assert not list(violations(region, int(region.sum()) * CELL_DM2, limits))


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_turns_and_corners_tell_whether_a_part_is_whole(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, count = ndimage.label(rng.random(rng.integers(1, 25, 2)) < rng.random())
    found = are_whole(labels.astype(np.int32), count)
    assert found.tolist() == [is_whole(labels == number) for number in range(1, count + 1)]


def test_a_hole_is_filled_unless_it_holds_a_closed_cell() -> None:
    ring = np.ones((5, 5), dtype=bool)
    ring[2, 2] = False
    assert whole(ring).all()
    assert (whole(ring, ~ring) == ring).all()
    lattice = replace(lattice_of(ring), closed=~ring)
    choice = choose_orders([lattice], minimum_of(1), None)
    assert len(choice) == 2
    assert (bought(lattice, choice.cells) == ring).all()


@settings(deadline=None, max_examples=10)
@example(15_279, GROWING[2], 0.4161775824456431)  # two ways to lay orders took turns for ever
@given(st.integers(0, 10**6), st.sampled_from(GROWING), st.floats(0.01, 0.5))
def test_with_room_around_them_all_cells_wanted_are_bought_whatever_is_too_small(
    seed: int, rules: ShapeRules, share: float
) -> None:
    rng = np.random.default_rng(seed)
    value = np.where(rng.random((25, 20)) < share, rng.random((25, 20)), 0)
    lattice, prices = padded(lattice_of(value), 8), shaped(minimum_of(10), rules)
    choice = choose_orders([lattice], prices, None)
    check(choice, [lattice], prices, rules)
    assert choice.left_out == 0
    assert bought(lattice, choice.cells)[lattice.value > 0].all()


def test_what_has_no_room_is_left_out_and_counted() -> None:
    lattice = lattice_of(np.ones((2, 2)))
    choice = choose_orders([lattice], shaped(minimum_of(1), GROWING[0]), None)
    assert len(choice) == 0
    assert choice.left_out == 4
    assert choice.gap == 1


@pytest.mark.parametrize("rules", [ShapeRules(), CONVEX])
@pytest.mark.parametrize("budget", [30_000, None])
def test_many_small_lattices_are_chosen_from_as_one(rules: ShapeRules, budget: int | None) -> None:
    rng = np.random.default_rng(0)
    areas = [(1, 1), (4, 1), (4, 5)]
    lattices = [
        Lattice(
            value=np.where(rng.random((4, 5)) < 0.5, rng.random((4, 5)), 0).astype(np.float32),
            area_dm2=np.full(areas[index % 3], CELL_DM2 + index),
            cell_km=(0.02, 0.02),
        )
        for index in range(60)
    ]
    lattices[7] = closing(lattices[7], 0)
    prices = shaped(minimum_of(3), rules)
    choice = choose_orders(lattices, prices, budget)
    check(choice, lattices, prices, rules)
    assert len(set(choice.lattice.tolist())) > 20
    assert (np.diff(choice.lattice) >= 0).all()
    if budget is None:
        assert choice.left_out == 0


def test_orders_that_touch_are_one_where_that_is_billed_less() -> None:
    labels = np.zeros((6, 12), dtype=np.int32)
    labels[1, 1:5], labels[1, 5:9], labels[4, 1:3] = 1, 2, 3
    lattice = lattice_of(np.ones((4, 10)))
    for least, count in ((8, 2), (4, 3)):
        regions = Regions(lattice, cell_limits(ShapeRules(), lattice), labels.copy())
        merge(regions, minimum_of(least))
        assert regions.count == count


def test_touching_orders_stay_apart_where_the_vendor_would_refuse_them_as_one() -> None:
    labels = np.zeros((6, 12), dtype=np.int32)
    labels[1, 1:5], labels[1, 5:9] = 1, 2
    lattice = lattice_of(np.ones((4, 10)))
    regions = Regions(lattice, cell_limits(ShapeRules(max_width_km=Decimal("0.1")), lattice), labels)
    merge(regions, minimum_of(8))
    assert regions.count == 2

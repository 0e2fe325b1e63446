"""Regions of cells, their outlines, and what a vendor would refuse, against Shapely and SciPy."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.errors import PriceListError
from geozoom.ordering.covering import whole
from geozoom.ordering.lattice import CORNERS_ADDED, RING, SIMPLE, Lattice, is_whole
from geozoom.ordering.outlines import corner_counts, outlines
from geozoom.ordering.shapes import cell_limits, violations
from geozoom.rules import ShapeRules

CELL_DM2 = 40_000
"""A cell of 20 m."""


def random_mask(seed: int) -> NDArray[np.bool_]:
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 25, 2)) < rng.random()
    return ndimage.binary_dilation(mask) if rng.random() < 0.3 else mask


def lattice_of(mask: NDArray[np.bool_]) -> Lattice:
    return Lattice(value=mask.astype(np.float32), area_dm2=np.full((1, 1), CELL_DM2), cell_km=(0.02, 0.02))


def whole_regions(seed: int) -> tuple[NDArray[np.int32], int]:
    labels, count = ndimage.label(whole(random_mask(seed)))
    return labels.astype(np.int32), int(count)


LIMITS = {
    "min_km2": st.integers(1, 10).map(lambda n: n * Decimal("0.004")),
    "max_km2": st.integers(1, 10).map(lambda n: n * Decimal("0.02")),
    "min_width_km": st.integers(1, 4).map(lambda n: n * Decimal("0.02")),
    "max_width_km": st.integers(1, 6).map(lambda n: n * Decimal("0.05")),
    "max_height_km": st.integers(1, 6).map(lambda n: n * Decimal("0.05")),
    "max_vertices": st.integers(4, 40),
    "min_box_share": st.just(Decimal("0.3")),
}


@st.composite
def rules(draw: st.DrawFn) -> ShapeRules:
    limits: dict[str, Any] = {name: draw(st.none() | values) for name, values in LIMITS.items()}
    try:
        return ShapeRules(**limits, convex=draw(st.booleans()))
    except PriceListError:  # rules that contradict each other are no vendor's
        assume(False)
        raise


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_outlines_are_valid_right_handed_rings_that_hold_just_their_cells(seed: int) -> None:
    labels, count = whole_regions(seed)
    rings = outlines(labels, count)
    assert len(rings) == count
    for index in range(count):
        ring = rings.ring(index)
        # North is up, rows go down.
        polygon = shapely.Polygon(np.column_stack([ring[:, 0], -ring[:, 1]]))
        row, col = np.nonzero(labels == index + 1)
        cells = shapely.union_all(shapely.box(col, -row - 1, col + 1, -row))
        assert polygon.is_valid
        assert polygon.exterior.is_ccw
        assert polygon.equals(cells)
        assert polygon.area == len(row)


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_corners_are_counted_as_the_outline_has_them_and_none_is_collinear(seed: int) -> None:
    labels, count = whole_regions(seed)
    rings = outlines(labels, count)
    assert corner_counts(labels, count).tolist() == np.diff(rings.offsets).tolist()
    for index in range(count):
        ring = rings.ring(index)
        closed = np.concatenate([ring, ring[:2]])
        turns = [
            np.cross(np.append(b - a, 0), np.append(c - b, 0))[2] != 0
            for (a, b), (_, c) in pairwise(pairwise(closed))
        ]
        assert all(turns)


def test_an_outline_of_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="not one part"):
        outlines(np.array([[1, 0, 1]], dtype=np.int32), 1)


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_a_simple_cell_keeps_a_region_whole_and_no_other_cell_does(seed: int) -> None:
    labels, count = whole_regions(seed)
    if not count:
        return
    mask = np.pad(labels == 1, 2)
    rng = np.random.default_rng(seed)
    for row, col in rng.integers(1, np.array(mask.shape) - 1, (10, 2)).tolist():
        joined, left = mask.copy(), mask.copy()
        joined[row, col], left[row, col] = True, False
        code = sum(int(mask[row + down, col + across]) << bit for bit, (down, across) in enumerate(RING))
        other = left if mask[row, col] else joined
        assert SIMPLE[code] == (other.any() and is_whole(other))
        more = corner_counts(joined.astype(np.int32), 1) - corner_counts(left.astype(np.int32), 1)
        assert CORNERS_ADDED[code] == more[0]


@settings(deadline=None)
@given(st.integers(0, 10**6))
def test_filling_adds_cells_alone_and_leaves_whole_parts(seed: int) -> None:
    mask = random_mask(seed)
    filled = whole(mask)
    assert filled[mask].all()
    labels, count = ndimage.label(filled)
    assert all(is_whole(labels == number) for number in range(1, count + 1))


def test_every_rule_that_is_broken_is_named() -> None:
    mask = np.zeros((6, 9), dtype=bool)
    mask[0], mask[5], mask[:, 0], mask[:, 8] = True, True, True, True
    vendor = ShapeRules(
        min_km2=Decimal("0.011"),
        max_width_km=Decimal("0.11"),
        max_height_km=Decimal("0.11"),
        max_vertices=6,
        min_box_share=Decimal("0.9"),
        convex=True,
    )
    found = list(violations(mask, 26 * CELL_DM2, cell_limits(vendor, lattice_of(mask))))
    assert found == [
        "too small",
        "too tall",
        "too wide",
        "not convex",
        "too thin for its box",
        "too many vertices",
        "parts or holes",
    ]
    wide = cell_limits(ShapeRules(max_km2=Decimal("0.001"), min_width_km=Decimal(1)), lattice_of(mask))
    assert list(violations(np.ones((2, 2), dtype=bool), 4 * CELL_DM2, wide)) == ["too large", "too narrow"]
    assert list(violations(np.zeros((2, 2), dtype=bool), 0, wide)) == ["empty"]


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_a_lattice_refuses_values_that_are_none(value: float) -> None:
    with pytest.raises(ValueError, match="negative or not finite"):
        Lattice(value=np.full((2, 2), value, np.float32), area_dm2=np.full((1, 1), 1), cell_km=(1, 1))

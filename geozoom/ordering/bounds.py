"""What no plan can be worth more than, whatever its orders' shapes. Pure NumPy and SciPy, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.lattice import Lattice
from geozoom.prices import PriceList

_STEP = 1e-4
"""Relative step of the areas at which a bill is looked up: what the cheapest rate may be too low by."""
_TRIALS = 12
_TRIAL_CELLS = 2**17
"""Thresholds are sought on about this many cells, and proved on all."""
_LOOKED_UP = 64
"""Areas whose bills are looked up at once: one bill takes as long as all of these."""
_BAND = 1024
"""Rows that are worked out in float64 at once."""


def most_area_dm2(prices: PriceList, budget_cents: int, largest: int) -> int:
    """Return the largest area up to `largest` that one order under the budget can have; 0 if there is none."""
    high = largest
    # Between the areas at which a bill falls, it rises.
    for start in sorted((0, *prices.falls_dm2), reverse=True):
        low = start
        if low <= high and int(prices.bills_cents(np.array([low]))[0]) <= budget_cents:
            break
        high = min(high, start - 1)
    while low < high:
        tried = low + 1 + (high - low - 1) * np.arange(_LOOKED_UP, dtype=np.int64) // (_LOOKED_UP - 1)
        paid = int((prices.bills_cents(tried) <= budget_cents).sum())
        if paid:
            low = int(tried[paid - 1])
        if paid < _LOOKED_UP:
            high = int(tried[paid]) - 1
    return low


def cheapest_rate(prices: PriceList, smallest: int, largest: int) -> float:
    """Return a lower bound of cents per dm² that any order from the smallest to the largest area is billed.

    Bills rise with the area, so that between two areas a < b none is below bill(a) / b a dm²; areas are taken
    so close together that this is near the truth.
    """
    if largest <= smallest:
        return float(prices.bills_cents(np.array([smallest]))[0]) / largest if largest else 0.0
    count = int(np.log(largest / smallest) / _STEP) + 2
    areas = np.unique(np.geomspace(smallest, largest, count).astype(np.int64))
    areas[0], areas[-1] = smallest, largest
    bills = prices.bills_cents(areas).astype(np.float64)
    # An area one below the next is an area looked up, or lies between two that were.
    above = np.maximum(areas[1:] - 1, areas[:-1])
    return float(min((bills[:-1] / above).min(), bills[-1] / areas[-1]))


def upper_bound(lattices: Sequence[Lattice], prices: PriceList, budget_cents: int, most_dm2: int) -> float:
    """Return a bound of the value of every plan of whole orders under a budget.

    Let ρ be the cheapest rate at which an order that the budget pays for is billed, so that all orders
    together cover at most budget / ρ. For any price t ≥ 0 of a dm², a plan is then worth at most

        t · budget / ρ + Σ over its orders (value − t · bill / ρ),

    and bill / ρ is at least the order's area and at least f, the smallest bill / ρ. Let w = value − t · area
    of a cell, and call it good if w > 0. Good cells fall into clusters that share sides. An order that holds
    cells of a cluster either lies in it, and then nets at most w(cluster) − t · (f − area(cluster)); or it is
    connected to something else and holds one of the poor cells around the cluster. A poor cell has at most
    four neighbours, so that a quarter of its w, which is not above 0, may be charged to each cluster of its
    order that it touches, and the sum over the order does not fall below its net value. A cluster thus
    contributes at most w(cluster) plus the greater of the two charges, or nothing if that is negative; where
    several orders share a cluster, each of them is charged, which is not less. Every t gives a valid bound;
    the best of several is returned, and never more than the value of all cells.

    Args:
        lattices: The cells.
        prices: What an order is billed.
        budget_cents: What may be spent.
        most_dm2: Largest area of an order.
    """
    samples, share = _samples(lattices)
    extent = Extent(
        total=sum(float(lattice.value.sum(dtype=np.float64)) for lattice in lattices),
        area_dm2=sum(_open_area(lattice) for lattice in lattices),
        least_dm2=min((int(lattice.area_dm2.min()) for lattice in lattices if lattice.value.size), default=0),
        densest=max((float((each.value / each.area_dm2).max(initial=0)) for each in lattices), default=0.0),
    )
    return _bound(extent, prices, budget_cents, most_dm2, samples, share, lambda: lattices, -np.inf)


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What is known of all ground at once."""

    total: float
    """What all cells are worth."""
    area_dm2: int
    """Their area."""
    least_dm2: int
    """Area of the smallest cell; 0 if there is none."""
    densest: float
    """The most that a cell is worth for each dm²."""


def upper_bound_in_parts(
    extent: Extent,
    parts: Callable[[], Iterable[Lattice]],
    prices: PriceList,
    budget_cents: int,
    most_dm2: int,
    *,
    samples: Sequence[Lattice],
    share: float,
) -> float:
    """Return a bound as `upper_bound` of ground that is looked at part by part, and goes on beyond their borders.

    A cluster that reaches a border may be connected to anything beyond it, and is charged nothing.

    Args:
        extent: All of the ground.
        parts: Makes the parts of it that are worth something.
        prices: What an order is billed.
        budget_cents: What may be spent.
        most_dm2: Largest area of an order.
        samples: Some of them, on which thresholds are sought.
        share: Which share of all of them that is.
    """
    return _bound(extent, prices, budget_cents, most_dm2, samples, share, parts, 0.0)


def _bound(
    extent: Extent,
    prices: PriceList,
    budget_cents: int,
    most_dm2: int,
    samples: Sequence[Lattice],
    share: float,
    parts: Callable[[], Iterable[Lattice]],
    beyond: float,
) -> float:
    """Return the bound of all parts at the price that is best for some, which cover a share of the ground."""
    smallest = extent.least_dm2
    most = most_area_dm2(prices, budget_cents, min(most_dm2, extent.area_dm2))
    if most < smallest or smallest == 0:
        return 0.0
    rate = cheapest_rate(prices, smallest, most)
    if rate <= 0:
        return extent.total
    affordable = budget_cents / rate
    first_bill = float(prices.bills_cents(np.array([smallest]))[0]) / rate
    low, high = 0.0, extent.densest
    # The bound is convex in t without charges, and nearly so with them.
    golden = (5**0.5 - 1) / 2
    for _ in range(_TRIALS):
        lower, upper = high - golden * (high - low), low + golden * (high - low)
        if _dual(samples, lower, affordable * share, first_bill, beyond) < _dual(
            samples, upper, affordable * share, first_bill, beyond
        ):
            high = upper
        else:
            low = lower
    found = _dual(parts(), (low + high) / 2, affordable, first_bill, beyond)
    # Values are float32 and so are large lattices' net values: their rounding must not lower the bound.
    return min(extent.total, found * (1 + 1e-6))


def _open_area(lattice: Lattice) -> int:
    area = int(lattice.areas.sum(dtype=np.int64))
    return area if lattice.closed is None else area - int(lattice.areas[lattice.closed].sum(dtype=np.int64))


def _samples(lattices: Sequence[Lattice]) -> tuple[list[Lattice], float]:
    """Return some bands of every lattice and the share of the area that they cover."""
    cells = sum(lattice.value.size for lattice in lattices)
    every = max(1, cells // _TRIAL_CELLS)
    if every == 1:
        return list(lattices), 1.0
    bands = []
    for lattice in lattices:
        areas = lattice.areas
        high = min(16, lattice.shape[0])
        for top in range(0, lattice.shape[0] - high + 1, high * every):
            cut = np.s_[top : top + high]
            closed = None if lattice.closed is None else lattice.closed[cut]
            bands.append(
                Lattice(value=lattice.value[cut], area_dm2=areas[cut], cell_km=lattice.cell_km, closed=closed)
            )
    covered = sum(band.value.size for band in bands)
    return bands, covered / cells


def _dual(
    lattices: Iterable[Lattice], price: float, affordable: float, first_bill: float, beyond: float
) -> float:
    return price * affordable + sum(
        _contributions(lattice, price, first_bill, beyond) for lattice in lattices
    )


def _contributions(lattice: Lattice, price: float, first_bill: float, beyond: float) -> float:
    """Return what all clusters of a lattice contribute at most at a price; a cell beyond it is worth `beyond`."""
    padded = _net(lattice, price, beyond)
    clusters, count = ndimage.label(padded > 0)
    if count == 0:
        return 0.0
    held = np.flatnonzero(clusters)
    own = clusters.reshape(-1)[held]
    del clusters
    net, wide = padded.reshape(-1), padded.shape[1]
    worth = np.bincount(own, net[held], minlength=count + 1)
    rows, cols = np.divmod(held, wide)
    area = np.bincount(own, lattice.areas[rows - 1, cols - 1], minlength=count + 1)
    alone = -price * np.maximum(0, first_bill - area)
    # What is left are the poor cells; a closed one leads to nothing.
    net[held] = -np.inf
    if lattice.closed is not None:
        padded[1:-1, 1:-1][lattice.closed] = -np.inf
    beside = net[held - wide]
    for step in (-1, 1, wide):
        np.maximum(beside, net[held + step], out=beside)
    charge = np.full(count + 1, -np.inf)
    np.maximum.at(charge, own, beside / 4)
    contribution = worth + np.maximum(charge, alone)
    return float(np.maximum(0, contribution[1:]).sum())


def _net(lattice: Lattice, price: float, beyond: float) -> NDArray[Any]:
    """Return what each cell is worth beyond its price, in a border; large lattices in float32."""
    shape = (lattice.shape[0] + 2, lattice.shape[1] + 2)
    net = np.full(shape, beyond, dtype=np.float32 if lattice.value.size > _TRIAL_CELLS * 4 else np.float64)
    areas = lattice.areas
    for top in range(0, lattice.shape[0], _BAND):
        band = slice(top, top + _BAND)
        # In float64 up to here, which a whole lattice has no room for.
        net[1:-1, 1:-1][band] = lattice.value[band] - np.float64(price) * areas[band]
    return net

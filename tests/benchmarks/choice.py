"""The choice of orders on realistic fields: seconds, memory, bound, and the value against simpler rules.

    python tests/benchmarks/choice.py [--granule] [--seeds 2]

Fields vary from cell to cell (40% of the cells are much better than the others) and over kilometres. Prints,
from one run, for 614,656 cells of 140 m (and with --granule for 5,490 × 5,490 of 20 m, each in a process of its
own): seconds of the choice, peak memory of the process, value, gap to the bound; and the value against (a)
"best cells first, each priced alone, then billed as the vendor would": connected parts, the best for their
bill until the budget is spent; (b) squares: cells of a square are one order of many parts, as if a vendor took
it, and with every part billed on its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.choice import choose_orders
from geozoom.ordering.lattice import Lattice
from geozoom.prices import PriceList
from geozoom.rules import ShapeRules

SETTINGS = (
    # minimum in km², share of the tile that the budget pays for, most vertices
    ("0.25", 0.001, 500),
    ("0.25", 0.05, 500),
    ("0.25", 0.5, 200),
    ("2.5", 0.05, 500),
    ("25", 0.05, 500),
    ("25", 0.3, 200),
)


def make_field(side: int, cell_km: float, seed: int) -> Lattice:
    """Make a field whose values vary over kilometres and strongly from cell to cell."""
    rng = np.random.default_rng(seed)
    coarse = int(side * cell_km / 5) + 2
    slow = ndimage.zoom(rng.random((coarse, coarse)).astype(np.float32), side / (coarse - 1), order=1)
    value = 0.15 * rng.random((side, side), dtype=np.float32)
    good = rng.random((side, side), dtype=np.float32) < 0.4
    value[good] = rng.uniform(0.5, 1.0, int(good.sum())).astype(np.float32)
    value *= 0.3 + 0.7 * slow[:side, :side]
    area = np.full((1, 1), round(cell_km**2 * 1e8), dtype=np.int64)
    return Lattice(value=value, area_dm2=area, cell_km=(cell_km, cell_km))


def price_list(minimum: str) -> PriceList:
    """Return a price list of 10 a km² with a minimum."""
    return PriceList(
        name="benchmark",
        currency="USD",
        rate_per_km2=Decimal(10),
        minimum_km2=Decimal(minimum),
        billing="per-order",
        source="made up",
        effective_date=date(2026, 1, 1),
        trust="illustrative",
    )


def naive(lattice: Lattice, prices: PriceList, budget_cents: int) -> float:
    """Return the value of the best cells, bought as connected parts at their real bill."""
    cell = int(lattice.area_dm2.max())
    count = min(lattice.value.size, int(budget_cents / (float(prices.rate_per_km2 or 0) * 100 * cell / 1e8)))
    level = np.partition(lattice.value.ravel(), -count)[-count]
    return _parts(lattice, lattice.value >= level, prices, budget_cents)


def _parts(lattice: Lattice, mask: NDArray[np.bool_], prices: PriceList, budget_cents: int) -> float:
    """Return the value of a mask's parts, those worth most for their bill until the budget is spent."""
    parts, count = ndimage.label(mask)
    value = np.bincount(parts.ravel(), lattice.value.ravel(), minlength=count + 1)[1:]
    bills = prices.bills_cents(np.bincount(parts.ravel())[1:] * int(lattice.area_dm2.max()))
    ranked = np.argsort(-value / bills, kind="stable")
    return float(value[ranked][np.cumsum(bills[ranked]) <= budget_cents].sum())


def once(side: int, cell_km: float, seed: int, setting: tuple[str, float, int], *, compare: bool) -> None:
    """Run one setting and print a line."""
    minimum, share, vertices = setting
    lattice, prices = make_field(side, cell_km, seed), price_list(minimum)
    budget = int(side * side * cell_km**2 * share * 1000)
    began = time.perf_counter()
    found = choose_orders([lattice], replace(prices, shape=ShapeRules(max_vertices=vertices)), budget)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    line = (
        f"{side}² cells, minimum {minimum} km², budget {share:.1%}, {vertices} vertices: "
        f"{seconds:.1f} s, {peak:.2f} GiB, "
        f"{len(found)} orders, {found.total_cents / budget:.2%} spent, gap {found.gap:.1%}"
    )
    if compare:
        plain = naive(lattice, prices, budget)
        line += f"; value against naive ×{found.total_value / max(plain, 1e-9):.2f}"
    print(line, flush=True)


def main() -> None:
    """Run all settings, each in a process of its own so that its peak memory is its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--granule", action="store_true", help="30 million cells, too")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs=3, type=int, metavar=("SIDE", "SEED", "SETTING"))
    options = parser.parse_args()
    if options.only:
        side, seed, setting = options.only
        once(side, 0.14 if side < 1000 else 0.02, seed, SETTINGS[setting], compare=side < 1000)
        return
    for side in (784, 5490) if options.granule else (784,):
        for setting in range(len(SETTINGS)):
            for seed in range(options.seeds):
                command = [sys.executable, __file__, "--only", str(side), str(seed), str(setting)]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()

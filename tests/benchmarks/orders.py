"""What choosing orders is worth against the naive rules, on the example tiles and shipped price lists.

Two rules are compared with `geozoom plan` under the same budget and the vendor's real bill. "alone": the most
probable patches first, each ordered and billed alone, until the money is spent. "parts": patches in the same order,
as many as the budget would pay for without any minimum; those that touch are ordered together, and the
parts are paid for as billed, the most benefit for the money first, until the money is spent.

    python tests/benchmarks/orders.py
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from geozoom.budget import Budget
from geozoom.offer import AtOnce
from geozoom.planner import Candidates, prepare

TILES = Path(__file__).parents[2] / "examples" / "tiles"
LISTS = ("skywatch-archive-50cm", "sentinel-hub-pleiades-archive", "up42-triplesat")
BUDGETS = (20, 50, 100, 150)


def _at_once(candidates: Candidates) -> AtOnce:
    assert isinstance(candidates.offer, AtOnce)
    return candidates.offer


def alone(candidates: Candidates, budget_cents: int) -> float:
    """Return the benefit of the most probable patches, each an order of its own."""
    patches = _at_once(candidates).patches
    area = np.concatenate(
        [ground.lattice.areas.reshape(-1)[ground.covered] for ground in _at_once(candidates).grounds]
    )
    ranked = np.argsort(-patches.probability, kind="stable")
    bills = candidates.prices.bills_cents(np.maximum(area, _least_dm2(candidates)))[ranked]
    return float(patches.value[ranked][np.cumsum(bills) <= budget_cents].sum())


def parts(candidates: Candidates, budget_cents: int) -> float:
    """Return the benefit of the most probable patches, ordered with those that they touch."""
    patches, prices = _at_once(candidates).patches, candidates.prices
    area = np.concatenate(
        [ground.lattice.areas.reshape(-1)[ground.covered] for ground in _at_once(candidates).grounds]
    )
    ranked = np.argsort(-patches.probability, kind="stable")
    rate = float(prices.bills_cents(np.array([10**10]))[0]) / 10**10
    wanted = np.zeros(len(patches), dtype=bool)
    wanted[ranked[np.cumsum(area[ranked]) * rate <= budget_cents]] = True
    values, areas = [], []
    for ground in _at_once(candidates).grounds:
        mask = np.zeros(ground.cells.size, dtype=bool)
        mask[ground.covered[wanted[ground.patches]]] = True
        labels, count = ndimage.label(mask.reshape(ground.cells.shape))
        values.append(ndimage.sum_labels(ground.lattice.value, labels, np.arange(1, count + 1)))
        areas.append(ndimage.sum_labels(ground.lattice.areas, labels, np.arange(1, count + 1)))
    value, covered = np.concatenate(values), np.concatenate(areas).astype(np.int64)
    bills = prices.bills_cents(np.maximum(covered, _least_dm2(candidates)))
    best = np.argsort(-value / bills, kind="stable")
    return float(value[best][np.cumsum(bills[best]) <= budget_cents].sum())


def _least_dm2(candidates: Candidates) -> int:
    return int((candidates.prices.shape.min_km2 or 0) * 10**8)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tiles", nargs="*", default=[str(TILES)])
    given = parser.parse_args()
    print("| price list | budget | bill | benefit | gap to the bound | alone | parts | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for name in LISTS:
        candidates = prepare(given.tiles, prices=name)
        for amount in BUDGETS:
            began = time.perf_counter()
            plan = candidates.choose(Budget.of(amount))
            seconds = time.perf_counter() - began
            naive = [rule(candidates, 100 * amount) for rule in (alone, parts)]
            gains = " | ".join(
                f"{each:.1f} (×{plan.value / max(each, 1e-9):.1f})" if each else "0" for each in naive
            )
            print(
                f"| {name} | {amount} {candidates.prices.currency} | {plan.cost} | {plan.value:.1f} | {plan.gap:.1%} | "
                f"{gains} | {seconds:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""What asking the LR classifier or its scout costs, and what it is worth: `plan --when` beside the policy alone.

All plan the example tiles in one run. Time is that of finding the candidates (reading and all networks). Benefit is
counted for all plans as the classifier values patches, which knows more of each scene than the others.

    python tests/benchmarks/when.py
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from geozoom.budget import Budget
from geozoom.doubt import WHENS
from geozoom.offer import AtOnce
from geozoom.orders import Plan
from geozoom.planner import Candidates, prepare

TILES = Path(__file__).parents[2] / "examples" / "tiles"
LISTS = ("skywatch-archive-50cm", "sentinel-hub-pleiades-archive")
BUDGETS = (20, 50, 100)
ROUNDS = 3


def _at_once(candidates: Candidates) -> AtOnce:
    assert isinstance(candidates.offer, AtOnce)
    return candidates.offer


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tiles", nargs="*", default=[str(TILES)])
    given = parser.parse_args()
    prepare(given.tiles)  # what only the first plan of a process pays for
    seconds: dict[str, list[float]] = {when: [] for when in WHENS}
    for _ in range(ROUNDS):
        for when in WHENS:
            candidates = prepare(given.tiles, when=when)
            seconds[when].append(candidates.seconds)
    scenes = candidates.scored.scenes
    each = {when: 1000 * statistics.median(seconds[when]) / scenes for when in WHENS}
    told = ", ".join(f"{when} {ms:.3f} (× {ms / each['policy']:.1f})" for when, ms in each.items())
    print(f"{scenes:,} scenes, ms a scene: {told}\n")
    print(f"| price list | budget | {' | '.join(WHENS)} | ratios |")
    print("|---|---|---|---|---|---|")
    for name in LISTS:
        known = {when: prepare(given.tiles, prices=name, when=when) for when in WHENS}
        # Values of the others' patches, too.
        every = prepare(given.tiles, prices=name, when="classifier", threshold=0.0)
        for amount in BUDGETS:
            budget = Budget.of(amount)
            worth = [worth_of(known[when].choose(budget), every) for when in WHENS]
            values = " | ".join(f"{value:.1f}" for value in worth)
            ratios = ", ".join(f"{value / worth[0]:.2f}" for value in worth[1:])
            print(f"| {name} | {amount} | {values} | {ratios} |", flush=True)


def worth_of(plan: Plan, asked: Candidates) -> float:
    """Return what a plan's patches are worth by the values of other candidates; what is none of them is worth 0."""

    def places(patches: object) -> list[tuple[int, ...]]:
        names = ("tile", "scene_row", "scene_col", "patch")
        return list(zip(*(getattr(patches, name).tolist() for name in names), strict=True))

    known = _at_once(asked).patches
    value = dict(zip(places(known), known.value.tolist(), strict=True))
    return float(sum(value.get(place, 0.0) for place in places(plan.patches)))


if __name__ == "__main__":
    main()

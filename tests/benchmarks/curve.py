"""The budgets of a page's curve in one process and in one for each core: python -m tests.benchmarks.curve [TILES...].

Prints, from one run, the seconds of each and their ratio, after checking that the points are the same.
"""

from __future__ import annotations

import sys
import time


def main(tiles: list[str]) -> None:
    """Choose for the same budgets both ways."""
    # Not above: every process reads this file again, and has no need of them.
    from geozoom.cli.plan import REPORTED_BUDGETS
    from geozoom.cores import usable_cores
    from geozoom.curve import default_budgets, trace
    from geozoom.planner import prepare

    seconds, curves = {}, []
    for workers in (1, usable_cores()):
        candidates = prepare(tiles)  # anew: what one way has found would save the other its work
        budgets = default_budgets(candidates, REPORTED_BUDGETS)
        began = time.perf_counter()
        curves.append(trace(candidates, budgets, workers=workers))
        seconds[workers] = time.perf_counter() - began
        print(f"{len(budgets)} budgets, {workers} process(es): {seconds[workers]:.1f} s", flush=True)
    if curves[0] != curves[1]:
        raise AssertionError("the two ways choose differently")
    print(f"ratio {seconds[usable_cores()] / seconds[1]:.2f} on {usable_cores()} core(s)")


if __name__ == "__main__":
    main(sys.argv[1:] or ["examples/tiles"])

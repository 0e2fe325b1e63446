"""How often deliveries of two dates are called shifted, rightly and wrongly.

    python tests/benchmarks/shift.py LR HR [--reduce 2] [--windows 100]

LR and HR are rasters on one grid, of two dates or of one; both are averaged to LR's pixels by `--reduce`. Prints, for
windows of several sides, how many are called shifted that are in their place, and that are moved by three pixels down
and five to the left.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling

from geozoom.receiving.place import NOTICED_PX, REACH_PX, is_moved
from geozoom.receiving.shift import best_shift

SIDES = (12, 16, 24, 32, 64)
MOVED = (3, -5)


def grey(path: Path, reduce: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return the mean of three bands, averaged, and where there is data."""
    with rasterio.open(path) as dataset:
        shape = (dataset.height // reduce, dataset.width // reduce)
        pixels = dataset.read([1, 2, 3], out_shape=(3, *shape), resampling=Resampling.average)
        return pixels.mean(axis=0), dataset.read_masks(1, out_shape=shape) > 0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lr", type=Path)
    parser.add_argument("hr", type=Path)
    parser.add_argument("--reduce", type=int, default=2)
    parser.add_argument("--windows", type=int, default=100)
    given = parser.parse_args()
    (lr, lr_holds), (hr, hr_holds) = (grey(path, given.reduce) for path in (given.lr, given.hr))
    rng = np.random.default_rng(0)
    for side in SIDES:
        reach = min(side, REACH_PX)
        edge = reach + max(map(abs, MOVED))
        if min(lr.shape) <= side + 2 * edge:
            continue
        for down, across in ((0, 0), MOVED):
            called = right = 0
            for _ in range(given.windows):
                row, col = (int(rng.integers(edge, length - side - edge)) for length in lr.shape)
                part = np.s_[row + down : row + down + side, col + across : col + across + side]
                around = np.s_[row - reach : row + side + reach, col - reach : col + side + reach]
                peak = best_shift(lr[around], lr_holds[around], hr[part], hr_holds[part])
                if peak is not None and is_moved(peak):
                    called += 1
                    right += np.hypot(peak.down - down, peak.across - across) < NOTICED_PX
            where = "in place" if (down, across) == (0, 0) else "moved"
            print(
                f"{side:3d} px, {where}: {called} of {given.windows} called shifted, {right} to the right place"
            )


if __name__ == "__main__":
    main()

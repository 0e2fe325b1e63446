"""Orders of a large mosaic chosen piece by piece, against all of its ground at once.

    python -m tests.benchmarks.pieces [--budgets 200,1000,5000,20000] [--prices skywatch-archive-50cm]

Makes candidates of a granule at the default model's scale (30 million cells of 20 m; the fields of choice.py) and
prints for every budget, each in a process of its own: the benefit of the plan that sees all cells at once, that of
the plan that lays out a part of them, the seconds of both and their peak memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from geozoom.bands import ReadOptions
from geozoom.card import ModelCard
from geozoom.grounds import lay_grounds
from geozoom.model import DEFAULT_MODEL, load_model
from geozoom.offer import AtOnce, Offer
from geozoom.patches import Patches
from geozoom.pieces import Pieces
from geozoom.pricelists import load_price_list
from geozoom.spilled import Spilled
from geozoom.tiles import Tile, open_tiles
from tests.benchmarks.choice import make_field

SIDE = 10980
WORTHLESS = 0.02
AT_ONCE = 300_000


def empty_granule(folder: Path, card: ModelCard) -> Tile:
    """Write a raster of which no pixel is read."""
    path = folder / "granule.tif"
    profile = {
        "driver": "GTiff", "dtype": "uint16", "count": 3, "height": SIDE, "width": SIDE, "crs": "EPSG:32633",
        "transform": Affine(10, 0, 399960, 0, -10, 5900040), "tiled": True, "SPARSE_OK": True,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as out:
        out.descriptions = ("B4", "B3", "B2")
        out.scales, out.offsets = (1e-4,) * 3, (0.0,) * 3
    (tile,), _ = open_tiles([str(path)], ReadOptions(), card.lr_gsd_m, card.lr_px)
    return tile


def offer(tile: Tile, card: ModelCard, prices: str, *, whole: bool) -> Offer:
    """Return candidates in memory, or in a file."""
    scenes = -(-SIDE // card.lr_px)
    rows, cols = card.grid.rows, card.grid.cols
    field = make_field(scenes * rows, 0.02, 0).value
    value = field.reshape(scenes, rows, scenes, cols).transpose(0, 2, 1, 3).reshape(-1)
    del field
    kept = np.flatnonzero(value > WORTHLESS).astype(np.int32)
    value = value[kept]
    scene, patch = kept // card.grid.patches, (kept % card.grid.patches).astype(np.uint8)
    del kept
    row, col = scene // scenes, scene % scenes
    del scene
    if whole:
        tiles = np.zeros(len(row), dtype=np.int32)
        patches = Patches(
            tile=tiles, scene_row=row, scene_col=col, patch=patch, probability=value, value=value
        )
        shape = load_price_list(prices).shape
        grounds = lay_grounds([tile], patches, card, shape, refused={})
        return AtOnce(tiles=[tile], patches=patches, grounds=grounds)
    spilled = Spilled([tile], card)
    for start in range(0, len(row), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        spilled.add(0, row[part], col[part], patch[part], value[part], value[part])
    return Pieces(tiles=[tile], card=card, spilled=spilled, owned=None, refused={})


def once(prices: str, budget: int, *, whole: bool) -> None:
    """Choose orders one way and print what came of it."""
    card = load_model(DEFAULT_MODEL).card
    with tempfile.TemporaryDirectory() as folder:
        offered = offer(empty_granule(Path(folder), card), card, prices, whole=whole)
        began = time.perf_counter()
        bought, _ = offered.purchase(load_price_list(prices), budget * 100, "fast")
    print(
        json.dumps(
            {
                "value": bought.value,
                "bound": bought.bound,
                "seconds": time.perf_counter() - began,
                "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
            }
        )
    )


def main() -> None:
    """Compare both ways for each budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--budgets", default="200,1000,5000,20000")
    parser.add_argument("--prices", default="skywatch-archive-50cm")
    parser.add_argument("--only", nargs=2, metavar=("BUDGET", "WAY"))
    options = parser.parse_args()
    if options.only:
        once(options.prices, int(options.only[0]), whole=options.only[1] == "whole")
        return
    for budget in options.budgets.split(","):
        found = []
        for way in ("whole", "pieces"):
            command = [sys.executable, "-m", "tests.benchmarks.pieces", "--prices", options.prices]
            done = subprocess.run([*command, "--only", budget, way], check=True, capture_output=True)
            found.append(json.loads(done.stdout))
        whole, pieces = found
        print(
            f"{options.prices} {budget}: benefit of pieces / all at once {pieces['value'] / whole['value']:.3f}, "
            f"bound {pieces['bound'] / whole['bound']:.3f}; seconds {pieces['seconds']:.1f}, {whole['seconds']:.1f}; "
            f"peak {pieces['gib']:.2f}, {whole['gib']:.2f} GiB",
            flush=True,
        )


if __name__ == "__main__":
    main()

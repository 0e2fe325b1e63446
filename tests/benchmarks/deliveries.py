"""Reading what was bought beside reading whole scenes, and taking a large delivery into a catalog.

    python tests/benchmarks/deliveries.py [--scenes 40] [--side 20000] [--compress DEFLATE] [--budget-share 0.2]

Prints, from one run, for deliveries exactly on the pixels of the model's grid, in the tile's CRS at half a metre and in
another CRS: the seconds that `classify` spends on reading the patches of a plan without a budget and of one with a
share of its bill, beside reading all scenes, each in one go; and the seconds and the peak memory of `geozoom ingest`
for one raster of side × side pixels, beside only decoding it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.shutil import copy
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

import geozoom
from geozoom.bands import ReadOptions
from geozoom.bought import read_orders, scene_masks
from geozoom.calibration import Display
from geozoom.deliveries import open_deliveries
from geozoom.footprints import window_corners
from geozoom.grid import lattice_windows
from geozoom.model import load_model
from geozoom.mosaic import DeliveryIndex, lattice_frame
from geozoom.tiles import Tile, open_tiles

INGEST = """
import sys
from pathlib import Path
from geozoom.cli import main
main(sys.argv[1:], standalone_mode=False)
print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""
"""Its own memory: what the system says of children holds this process's too."""
REPEATS = 3
"""The fastest of so many is told: the machine may have other things to do."""
PRICES = """
name = "without minimum"
currency = "USD"
source = "made for the benchmark"
effective_date = "undated"
trust = "illustrative"
billing = "per-order"
rate_per_km2 = "1000"
minimum_km2 = "0.0001"
"""
ORIGIN = (400_000.0, 5_800_000.0)
HALF_METRE = 0.5
"""GSD of what vendors sell most; hardly ever does it lie on a model's grid."""


def make_image(path: Path, side: int, gsd: float, compress: str) -> Path:
    """Write three bands of bytes that vary slowly and carry noise, as imagery does."""
    rng = np.random.default_rng(0)
    coarse = rng.random((3, side // 64 + 2, side // 64 + 2)).astype(np.float32) * 180
    with rasterio.open(
        path, "w", driver="GTiff", dtype="uint8", count=3, height=side, width=side, crs="EPSG:32633", tiled=True,
        transform=Affine(gsd, 0, ORIGIN[0], 0, -gsd, ORIGIN[1]), blockxsize=512, blockysize=512, compress=compress,
        photometric="RGB", interleave="pixel", BIGTIFF="IF_SAFER",
    ) as out:  # fmt: skip
        for top in range(0, side, 512):
            rows, cols = np.arange(top, min(top + 512, side)), np.arange(side)
            block = coarse[:, rows[:, None] // 64, cols // 64] + rng.integers(1, 60, (3, len(rows), side))
            out.write(block.astype(np.uint8), window=Window(0, top, side, len(rows)))
    return path


def read(index: DeliveryIndex, tile: Tile, masks: NDArray[np.bool_], display: Display, hr_px: int) -> float:
    """Return the seconds of reading patches (rows, cols, down, across) of all scenes that have some."""
    rows, cols = np.nonzero(masks.any(axis=(2, 3)))
    corners = window_corners(tile, lattice_windows(rows, cols, 8))
    frame = lattice_frame(tile, 8, hr_px)
    start = time.perf_counter()
    for number, (row, col) in enumerate(zip(rows.tolist(), cols.tolist(), strict=True)):
        index.read(
            frame,
            row * hr_px,
            col * hr_px,
            hr_px=hr_px,
            wanted=masks[row, col],
            ring=corners[number],
            display=display,
        )
    return time.perf_counter() - start


def compare(folder: Path, scenes: int, compress: str, budget_share: float) -> None:
    """Print the seconds of reading what was bought and of reading whole scenes."""
    model = load_model(None)
    card = model.card
    hr = make_image(folder / "hr.tif", scenes * card.hr_px, 80 / card.hr_px, compress)
    with (
        rasterio.open(hr) as dataset,
        WarpedVRT(dataset, crs="EPSG:32633", resampling=rasterio.enums.Resampling.average,
                  transform=Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]), width=scenes * 8, height=scenes * 8) as small,
    ):  # fmt: skip
        copy(small, folder / "lr.tif", driver="GTiff")
    side = round(scenes * 80 / HALF_METRE)
    others: dict[str, dict[str, Any]] = {
        "half-metre.tif": {
            "crs": "EPSG:32633", "width": side, "height": side,
            "transform": Affine(HALF_METRE, 0, ORIGIN[0], 0, -HALF_METRE, ORIGIN[1]),
        },
        "mercator.tif": {"crs": "EPSG:3857", "add_alpha": True},
    }  # fmt: skip
    for name, grid in others.items():
        with rasterio.open(hr) as dataset, WarpedVRT(dataset, **grid) as other:
            blocks = {"tiled": True, "blockxsize": 512, "blockysize": 512}
            copy(other, folder / name, driver="GTiff", compress=compress, **blocks)
    (folder / "prices.toml").write_text(PRICES)
    candidates = geozoom.prepare([folder / "lr.tif"], model=model, prices=folder / "prices.toml")
    everything = candidates.choose(None)
    everything.write(folder / "orders.geojson")
    budget = geozoom.Budget.of(f"{float(everything.cost) * budget_share:.2f}")
    candidates.choose(budget).write(folder / "tight.geojson")
    (tile,), _ = open_tiles([str(folder / "lr.tif")], ReadOptions(), card.lr_gsd_m, card.lr_px)
    wanted = {}
    for name in ("orders", "tight"):
        bought = scene_masks(read_orders(folder / f"{name}.geojson", card), tile, card)
        wanted[name] = bought.reshape(*bought.shape[:2], card.grid_rows, card.grid_cols)
    wanted["whole"] = np.ones((*bought.shape[:2], 1, 1), dtype=bool)  # one patch, the whole scene
    display = Display(white=card.reflectance_white, gamma=card.reflectance_gamma)
    for name in ("hr.tif", *others):
        received = open_deliveries([str(folder / name)], ReadOptions())
        seconds: dict[str, list[float]] = {plan: [] for plan in wanted}
        for _ in range(REPEATS):
            for plan, masks in wanted.items():
                with DeliveryIndex(deliveries=received.deliveries) as index:
                    seconds[plan].append(read(index, tile, masks, display, card.hr_px))
        whole = min(seconds["whole"])
        for plan, label in (("orders", "no budget"), ("tight", f"{budget_share:.0%} of its bill")):
            print(
                f"{name}, {label}: {wanted[plan].mean():.1%} of the HR pixels in "
                f"{wanted[plan].any(axis=(2, 3)).mean():.1%} of {scenes**2:,} scenes, {min(seconds[plan]):.2f} s, "
                f"whole scenes {whole:.2f} s, ratio {min(seconds[plan]) / whole:.2f}"
            )


def take(folder: Path, side: int, compress: str) -> None:
    """Print the seconds and the memory of taking one large raster into a catalog."""
    path = make_image(folder / "large.tif", side, 0.5, compress)
    start = time.perf_counter()
    with rasterio.open(path) as dataset:
        for _, window in dataset.block_windows(1):
            dataset.read(window=window)
    decoding = time.perf_counter() - start
    start = time.perf_counter()
    arguments = ["ingest", path, "--orders", folder / "orders.geojson", "-o", folder / "catalog.gpkg", "-q"]
    command = [sys.executable, "-c", INGEST, *map(str, arguments)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds = time.perf_counter() - start
    peak = int(told.split()[-2]) / 2**20
    print(
        f"ingest of {side:,} × {side:,} px ({path.stat().st_size / 1e9:.2f} GB): {seconds:.1f} s, peak {peak:.2f} GiB; "
        f"decoding alone {decoding:.1f} s"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--compress", default="DEFLATE")
    parser.add_argument("--budget-share", type=float, default=0.2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), given.scenes, given.compress, given.budget_share)
        take(Path(folder), given.side, given.compress)


if __name__ == "__main__":
    main()

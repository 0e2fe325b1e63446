"""A whole Sentinel-2 granule: `geozoom plan` beside reading alone, the policy alone, and a plain loop.

    python tests/benchmarks/granule.py [--scene 8|56] [--when policy] [--granules 4] [--side 10980]

Makes a granule (3 bands of uint16, 10 m, a deflated COG) and prints, from one run: the seconds of (a) reading
all its pixels with rasterio, (b) the networks on as many scenes, (c) `geozoom plan` as a process without the
final choice; its peak memory; the ratio of several granules to one; the share of actions that differ from
the trained network's in float32; and scenes per second of a plain loop that reads a window, runs the policy
and appends.
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
import torch
from affine import Affine
from rasterio.shutil import copy
from rasterio.windows import Window

from geozoom.calibration import Display
from geozoom.card import ModelCard
from geozoom.inference import Runner, lr_runner, policy_runner, scout_runner
from geozoom.model import DEFAULT_MODEL, PatchDrop, load_model
from geozoom.networks import NetworkSpec

LOOPED = 2000
"""Scenes that the plain loop is timed on."""


def make_granule(path: Path, side: int, east: float) -> Path:
    """Write a granule whose numbers vary slowly and carry noise, as imagery does."""
    rng = np.random.default_rng(0)
    plain = path.with_suffix(".plain.tif")
    profile = {
        "driver": "GTiff", "dtype": "uint16", "count": 3, "height": side, "width": side, "crs": "EPSG:32633",
        "transform": Affine(10, 0, east, 0, -10, 5900040), "tiled": True, "blockxsize": 512, "blockysize": 512,
    }  # fmt: skip
    coarse = rng.random((3, side // 64 + 2, side // 64 + 2)).astype(np.float32)
    with rasterio.open(plain, "w", **profile) as out:
        out.descriptions = ("B4", "B3", "B2")
        out.scales, out.offsets = (1e-4,) * 3, (0.0,) * 3
        for top in range(0, side, 512):
            rows, cols = np.arange(top, min(top + 512, side)), np.arange(side)
            block = coarse[:, rows[:, None] // 64, cols // 64] * 2000 + rng.normal(
                500, 60, (3, len(rows), side)
            )
            window = Window(0, top, side, len(rows))
            out.write(np.clip(block, 1, 10000).astype(np.uint16), window=window)
    copy(plain, path, driver="COG", compress="DEFLATE", overviews="NONE")
    plain.unlink()
    return path


def small_model(path: Path) -> Path:
    """Write a model of 56 px scenes with fresh weights: its decisions mean nothing, its speed does.

    Its last layer is spread out: fresh ones answer 0.5 nearly everywhere, as no trained policy does.
    """
    torch.manual_seed(0)
    card = ModelCard(
        name="benchmark", classes=("a", "b"), grid_rows=4, grid_cols=4, lr_px=56, hr_px=224, scene_m=560.0,
        mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2), classifier=NetworkSpec(name="resnet8"),
        policy=NetworkSpec(name="resnet10"), stage="pt", data="none", data_license="none",
    )  # fmt: skip
    model = PatchDrop(card)
    torch.nn.init.normal_(model.policy.fc.weight, std=1.0)
    model.save(path)
    return path


def read_alone(granule: Path) -> float:
    """Return the seconds that rasterio takes for every pixel."""
    began = time.perf_counter()
    with rasterio.open(granule) as dataset:
        for top in range(0, dataset.height, 512):
            dataset.read(window=Window(0, top, dataset.width, min(512, dataset.height - top)))
    return time.perf_counter() - began


def network_alone(runner: Runner, px: int, scenes: int) -> float:
    """Return the seconds that a network takes for as many scenes of px × px pixels."""
    block = 64 * runner.batch  # enough for all threads
    images = np.random.default_rng(0).random((block, 3, px, px), dtype=np.float32)
    runner.answers(images)
    began = time.perf_counter()
    for start in range(0, scenes, block):
        runner.answers(images[: min(block, scenes - start)])
    return time.perf_counter() - began


def plan(granules: list[Path], model: Path, folder: Path, *how: str) -> tuple[float, float]:
    """Return wall seconds without the final choice, and the peak memory so far of any child in GiB."""
    command = [sys.executable, "-m", "geozoom", "plan", *map(str, granules), "--model", str(model), *how]
    out = folder / "orders.geojson"
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--budget", "5000", "-o", str(out), "--overwrite", "-q", "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    wall = time.perf_counter() - began
    seconds = json.loads(done.stdout)["seconds"]
    print(f"    whole process {wall:.1f} s, of which the choice {seconds['choice']:.1f} s", flush=True)
    return wall - seconds["choice"], resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20


@torch.inference_mode()
def plain_loop(granule: Path, model: PatchDrop) -> float:
    """Return scenes per second of: read a window, run the policy, append."""
    card = model.card
    display = Display(white=card.reflectance_white, gamma=card.reflectance_gamma)
    found = []
    with rasterio.open(granule) as dataset:
        across = dataset.width // card.lr_px
        began = time.perf_counter()
        for scene in range(LOOPED):
            row, col = divmod(scene, across)
            window = Window(col * card.lr_px, row * card.lr_px, card.lr_px, card.lr_px)
            rgb = np.clip(dataset.read(window=window) * 1e-4 / display.white, 0, 1) ** (1 / display.gamma)
            found.append(model.probabilities(torch.from_numpy(rgb[None].astype(np.float32))))
    return LOOPED / (time.perf_counter() - began)


@torch.inference_mode()
def changed_actions(granule: Path, model: PatchDrop) -> float:
    """Return the share of actions that differ between the runner and the trained network in float32."""
    px = model.card.lr_px
    display = Display(white=model.card.reflectance_white, gamma=model.card.reflectance_gamma)
    with rasterio.open(granule) as dataset:
        side = min(dataset.width, 2048) // px * px
        numbers = dataset.read(window=Window(0, 0, side, side))
    rgb = np.clip(numbers * 1e-4 / display.white, 0, 1) ** (1 / display.gamma)
    cut = rgb.reshape(3, side // px, px, side // px, px).transpose(1, 3, 0, 2, 4).reshape(-1, 3, px, px)
    images = np.ascontiguousarray(cut, dtype=np.float32)[:20000]
    exact = torch.cat([model.probabilities(part) for part in torch.split(torch.from_numpy(images), 512)])
    return float(np.mean((exact.numpy() > 0.5) != (policy_runner(model).answers(images) > 0.5)))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scene", type=int, choices=(8, 56), default=8)
    parser.add_argument("--when", help="as `geozoom plan --when`; without it, what that does without it")
    parser.add_argument("--granules", type=int, default=0, help="also plan this many at once")
    parser.add_argument("--side", type=int, default=10980)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        granule = make_granule(folder / "granule0.tif", arguments.side, 399960)
        path = DEFAULT_MODEL if arguments.scene == 8 else small_model(folder / "model.safetensors")
        model = load_model(path)
        scenes = (-(-arguments.side // model.card.lr_px)) ** 2
        print(f"{scenes:,} scenes of {model.card.lr_px} px, {scenes * 16:,} patches", flush=True)
        reading = read_alone(granule)
        print(f"(a) rasterio reads all pixels   {reading:8.1f} s", flush=True)
        networks = network_alone(policy_runner(model), model.card.lr_px, scenes)
        print(
            f"(b) the policy alone            {networks:8.1f} s  {scenes / networks:,.0f} scenes/s",
            flush=True,
        )
        when = arguments.when or model.card.asks
        if when != "policy":
            asked = scout_runner(model) if when == "scout" else lr_runner(model)
            networks += network_alone(asked, model.card.lr_px, scenes)
            print(f"    policy and {when:17s}{networks:12.1f} s", flush=True)
        how = ["--when", when]
        planned, memory = plan([granule], path, folder, *how)
        limit = 1.25 * max(reading, networks) + 3
        print(f"(c) geozoom plan without choice {planned:8.1f} s  (1.25 · max(a, b) + 3 s = {limit:.1f} s)")
        print(f"    peak memory                 {memory:8.2f} GiB")
        print(f"    actions changed             {changed_actions(granule, model):8.4%}", flush=True)
        loop = plain_loop(granule, model)
        print(
            f"    plain loop                  {loop:8.0f} scenes/s; geozoom {scenes / planned / loop:.1f} times that"
        )
        if arguments.granules > 1:
            more = [granule]
            for index in range(1, arguments.granules):
                east = 399960 + index * arguments.side * 10
                more.append(make_granule(folder / f"granule{index}.tif", arguments.side, east))
            several, memory = plan(more, path, folder, *how)
            print(
                f"    {len(more)} granules {several:.1f} s: {several / planned:.2f} times one; peak {memory:.2f} GiB"
            )


if __name__ == "__main__":
    main()

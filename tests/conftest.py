"""Small real rasters, a small model and a small tree of scenes."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from PIL import Image
from rasterio.enums import ColorInterp

from geozoom.benefit import Benefit
from geozoom.card import ModelCard
from geozoom.doubt import Doubt
from geozoom.model import PatchDrop
from geozoom.networks import NetworkSpec
from geozoom.prices import PriceList

EXAMPLES = Path(__file__).parent.parent / "examples"
UTM33 = "EPSG:32633"
ORIGIN = (400_000.0, 5_800_000.0)

# The networks here are too small to share out, and so are those of the processes that tests start.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"


BY_AREA = PriceList(
    name="by area",
    currency="USD",
    billing="per-order",
    rate_per_km2=Decimal(100),
    source="made for tests",
    effective_date=date(2026, 1, 31),
    trust="illustrative",
)
"""Orders of any size and shape, so that a patch alone is one: tests of what is bought are not about orders."""


BENEFIT = Benefit(knots=(1.0, 4.0), weights=(0.05, 0.06), scenes=100)
DOUBT = Doubt(patches=16, alone=(-0.5, 1.2), helped=(0.3, 0.6, -0.05, 0.8), least=0.02)


DOUBTS_WITH_HR = tuple(
    replace(DOUBT, patches=16 - n, alone=(0.1 * n - 0.5, 1.0), least=0.0) for n in range(1, 16)
)
"""The same where 1, 2, … 15 patches are there."""
DOUBTFUL: dict[str, Any] = {
    "benefit": BENEFIT,
    "doubt": DOUBT,
    "scout": NetworkSpec(name="resnet8", widths=(4, 8, 8)),
    "scout_doubt": Doubt(patches=16, alone=(-0.2, 0.9), helped=(0.1, 0.5, 0.0, 0.7), least=0.01),
}
"""What a card says of a model that can be asked when HR is worth buying."""


def small_card(**changes: Any) -> ModelCard:
    """A card of a model that is small enough for tests: 80 m scenes of 8 LR and 32 HR pixels."""
    values: dict[str, Any] = {
        "name": "small",
        "classes": ("barren", "built", "water"),
        "grid_rows": 4,
        "grid_cols": 4,
        "lr_px": 8,
        "hr_px": 32,
        "scene_m": 80.0,
        "mean": (0.4, 0.45, 0.5),
        "std": (0.2, 0.2, 0.25),
        "classifier": NetworkSpec(name="resnet32", widths=(4, 8, 8)),
        "policy": NetworkSpec(name="resnet8", widths=(4, 8, 8)),
        "stage": "ft2",
        "data": "made for tests",
        "data_license": "none needed",
    }
    return ModelCard(**(values | changes))


def small_model(seed: int = 0, **changes: Any) -> PatchDrop:
    """A model with random weights whose policy is neither all nor nothing."""
    torch.manual_seed(seed)
    model = PatchDrop(small_card(**changes))
    # Fresh batch norms leave a fresh policy near 0.5 everywhere; spread it out.
    torch.nn.init.normal_(model.policy.fc.weight, std=1.0)
    return model.eval()


@pytest.fixture
def model() -> PatchDrop:
    return small_model()


@pytest.fixture
def model_file(tmp_path: Path, model: PatchDrop) -> Path:
    path = tmp_path / "small.safetensors"
    model.save(path)
    return path


WriteRaster = Callable[..., Path]


def smooth_noise(bands: int, height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Noise with structure at several scales in 0..1, (bands, height, width)."""
    rng = np.random.default_rng(seed)
    total = np.zeros((bands, height, width))
    for step in (1, 4, 16):
        coarse = rng.random((bands, -(-height // step), -(-width // step)))
        total += np.kron(coarse, np.ones((1, step, step)))[:, :height, :width] * step**0.5
    low, high = total.min(), total.max()
    return np.asarray((total - low) / (high - low))


@pytest.fixture
def write_raster(tmp_path: Path) -> WriteRaster:
    """Return a function that writes a georeferenced raster and returns its path."""

    def write(
        name: str = "tile.tif",
        *,
        folder: Path | None = None,
        height: int = 40,
        width: int = 48,
        count: int = 3,
        dtype: str = "uint8",
        crs: str | None = UTM33,
        transform: Affine | None = None,
        gsd: float = 10.0,
        pixels: np.ndarray[Any, Any] | None = None,
        nodata: float | None = None,
        scale: float | None = None,
        offset: float = 0.0,
        descriptions: tuple[str, ...] | None = None,
        rgb: bool = True,
        seed: int = 0,
    ) -> Path:
        folder = tmp_path / "tiles" if folder is None else folder
        folder.mkdir(parents=True, exist_ok=True)
        if pixels is None:
            top = {"uint8": 255, "uint16": 3000}.get(dtype, 1)
            pixels = (smooth_noise(count, height, width, seed) * (top - 1) + 1).astype(dtype)
        count, height, width = pixels.shape
        if transform is None:
            transform = Affine(gsd, 0, ORIGIN[0], 0, -gsd, ORIGIN[1])
        path = folder / name
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            dtype=dtype,
            count=count,
            height=height,
            width=width,
            crs=crs,
            transform=transform,
            nodata=nodata,
            photometric="RGB" if rgb and count == 3 else "MINISBLACK",
        ) as out:
            out.write(pixels)
            if scale is not None:
                out.scales = (scale,) * count
                out.offsets = (offset,) * count
            if descriptions is not None:
                out.descriptions = descriptions
            if count == 4 and rgb:
                out.colorinterp = (
                    ColorInterp.red,
                    ColorInterp.green,
                    ColorInterp.blue,
                    ColorInterp.undefined,
                )
        return path

    return write


@pytest.fixture
def scene_tree(tmp_path: Path) -> Path:
    """A folder of {train,test}/CLASS/image of three classes that colour alone tells apart."""
    return write_scene_tree(tmp_path / "scenes")


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tree of scenes, and a run of three epochs on it that nothing interrupted; to read, not to change."""
    from tests.test_train import QUIET, request, small_recipe
    from training.run import train

    folder = tmp_path_factory.mktemp("whole")
    tree = write_scene_tree(folder / "scenes")
    train(request(tree, folder / "run", small_recipe("default", 3)), QUIET)
    return tree, folder / "run"


@pytest.fixture(scope="session")
def commanded_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tree of scenes, and what `geozoom train --epochs 1 --seed 3` makes of it; to read, not to change."""
    from click.testing import CliRunner

    from geozoom.cli import main
    from tests.test_train import SMALL

    folder = tmp_path_factory.mktemp("commanded")
    tree, out = write_scene_tree(folder / "scenes"), folder / "runs" / "first"
    command = ["train", "--dataset", "folder", "--root", str(tree), "--out", str(out), "--device", "cpu"]
    settings = [part for value in SMALL for part in ("--set", value)]
    result = CliRunner().invoke(main, [*command, "--epochs", "1", "--seed", "3", *settings])
    assert result.exit_code == 0, result.output
    return tree, out


def write_scene_tree(root: Path, suffix: str = "png") -> Path:
    colours = {"barren": (170, 140, 100), "built": (130, 130, 135), "water": (30, 60, 110)}
    for split, count in (("train", 20), ("test", 8)):
        for number, (name, colour) in enumerate(colours.items()):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                noise = smooth_noise(3, 40, 40, seed=1000 * number + index + 500 * (split == "test"))
                pixels = np.asarray(colour) + (noise.transpose(1, 2, 0) - 0.5) * 60
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index:02}.{suffix}")
    return root


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the operating system refuse to write beyond `size` bytes of a file, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

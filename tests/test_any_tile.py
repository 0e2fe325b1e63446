"""Whatever a tile is like: patches tile their scenes, lie where pyproj puts them, and damage is a sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from rasterio.enums import ColorInterp
from rasterio.transform import AffineTransformer

from geozoom.bands import ReadOptions
from geozoom.calibration import Display
from geozoom.patches import Patches
from geozoom.placement import footprints
from geozoom.scenes import SceneLimits, read_scenes
from geozoom.tiles import Tile, open_tiles
from tests.conftest import small_card

CARD = small_card()
PLACES = {
    "EPSG:32633": (4e5, 5.8e6, 10.0),
    "EPSG:32601": (1.72e5, 7.9e6, 10.0),  # at the antimeridian
    "EPSG:32719": (5e5, 9.99e6, 10.0),
    "EPSG:3857": (1.4e6, 6.9e6, 16.0),
    "EPSG:3035": (4.3e6, 3.2e6, 10.0),
    "EPSG:4326": (13.0, 52.0, 1e-4),
    "EPSG:32661": (2e6 + 100, 2e6 + 300, 10.0),  # the north pole lies in it
    "EPSG:3031": (-2e5, 1e6, 10.0),
}
LAYOUTS = {"rgb": (1, 2, 3), "bgr": (3, 2, 1), "b2b3b4b8": (3, 2, 1), "one more first": (2, 3, 4)}
DESCRIPTIONS = {
    "rgb": None,
    "bgr": ("B02", "B03", "B04"),
    "b2b3b4b8": ("B2", "B3", "B4", "B8"),
    "one more first": ("coastal", "red", "green", "blue"),
}


@st.composite
def kinds(draw: st.DrawFn) -> tuple[str, str, str, str, float, int, int, int]:
    """Draw CRS, dtype, kind of missing data, band layout, rotation, height, width and seed."""
    return (
        draw(st.sampled_from(sorted(PLACES))),
        draw(st.sampled_from(["uint8", "uint16", "int16", "float32"])),
        draw(st.sampled_from(["none", "tag", "mask", "nan", "alpha"])),
        draw(st.sampled_from(sorted(LAYOUTS))),
        draw(st.sampled_from([0.0, 0.0, 11.0, 90.0, 200.5])),
        draw(st.integers(16, 40)),
        draw(st.integers(16, 40)),
        draw(st.integers(0, 99)),
    )


def make(
    path: Path,
    crs: str,
    dtype: str,
    missing: str,
    layout: str,
    turn: float,
    height: int,
    width: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Write a raster; return its RGB numbers and where they are valid."""
    rng = np.random.default_rng(seed)
    names = DESCRIPTIONS[layout]
    count = len(names or LAYOUTS[layout])
    numbers = rng.integers(1, 200, (count, height, width)).astype(dtype)
    valid = np.ones((height, width), dtype=bool)
    if missing != "none" and not (missing == "nan" and dtype != "float32"):
        valid[: rng.integers(0, height), : rng.integers(0, width)] = False
    x, y, gsd = PLACES[crs]
    alpha = missing == "alpha"
    profile = {
        "driver": "GTiff", "dtype": dtype, "count": count + alpha, "height": height, "width": width, "crs": crs,
        "transform": Affine.translation(x, y) @ Affine.rotation(turn) @ Affine.scale(gsd, -gsd),
        "photometric": "RGB" if layout == "rgb" else "MINISBLACK",
        "nodata": 0 if missing == "tag" else None,
    }  # fmt: skip
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as out:
        if alpha:
            out.colorinterp = (*out.colorinterp[:count], ColorInterp.alpha)
        held = np.where(valid, numbers, np.nan if missing == "nan" and dtype == "float32" else 0)
        out.write(held.astype(dtype), indexes=list(range(1, count + 1)))
        if names:
            out.descriptions = (*names, "alpha") if alpha else names
        if alpha:
            out.write(np.where(valid, 255, 0).astype(dtype), count + 1)
        if missing == "mask":
            out.write_mask(valid)
        if dtype != "uint8":
            out.scales, out.offsets = (1e-3,) * out.count, (0.0,) * out.count
    rgb = numbers[[band - 1 for band in LAYOUTS[layout]]]
    return rgb, valid


def all_patches(tile: Tile) -> tuple[Patches, np.ndarray, np.ndarray]:
    """Return every patch of a tile's scenes, the images of the scenes and which patches can be bought."""
    (block,) = read_scenes(
        tile,
        scene_px=8,
        grid=CARD.grid,
        display=Display(white=1.0, gamma=1.0),
        limits=SceneLimits(max_nodata=1.0),
    )
    count = len(block.row)
    patches = Patches(
        tile=np.zeros(16 * count, np.int32),
        scene_row=np.repeat(block.row, 16).astype(np.int32),
        scene_col=np.repeat(block.col, 16).astype(np.int32),
        patch=np.tile(np.arange(16, dtype=np.uint8), count),
        probability=np.ones(16 * count, np.float32),
        value=np.ones(16 * count, np.float32),
    )
    return patches, block.images, block.present


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kinds())
def test_patches_tile_their_scenes_and_lie_where_they_are(
    tmp_path: Path, kind: tuple[str, str, str, str, float, int, int, int]
) -> None:
    path = tmp_path / "tile.tif"
    rgb, valid = make(path, *kind)
    (tile,), _ = open_tiles([str(path)], ReadOptions(), 10.0, 8)
    assert tile.bands == LAYOUTS[kind[3]]
    patches, images, present = all_patches(tile)
    corners = footprints([tile], patches, CARD)

    # map → pixel: pyproj and rasterio give back the corners of the lattice
    to_tile = Transformer.from_crs("EPSG:4326", tile.crs, always_xy=True)
    x, y = to_tile.transform(corners[..., 0].ravel(), corners[..., 1].ravel())
    row, col = AffineTransformer(tile.transform).rowcol(x, y, op=lambda value: value)
    pixels = np.stack([np.asarray(col), np.asarray(row)], axis=-1).reshape(-1, 4, 2)
    left = 8 * patches.scene_col + 2 * (patches.patch % 4)
    top = 8 * patches.scene_row + 2 * (patches.patch // 4)
    np.testing.assert_allclose(pixels.min(axis=1), np.stack([left, top], axis=-1), atol=1e-4)
    np.testing.assert_allclose(pixels.max(axis=1), np.stack([left + 2, top + 2], axis=-1), atol=1e-4)

    # no gap, no overlap: the patches of a scene have its area, each for itself and all together
    rings = shapely.polygons(pixels)
    assert shapely.is_ccw(shapely.linearrings(corners)).all() or np.ptp(corners[..., 0]) > 180
    for start in range(0, len(rings), 16):
        own = rings[start : start + 16]
        assert abs(shapely.area(own).sum() - 64) < 64e-6
        assert abs(shapely.union_all(own, grid_size=1e-5).area - 64) < 64e-5

    # what a scene shows is what rasterio reads there, and only valid ground is for sale
    if not tile.resampled:
        scale = 255 if kind[1] == "uint8" else 1000
        for scene in range(len(images)):
            row0, col0 = 8 * patches.scene_row[16 * scene], 8 * patches.scene_col[16 * scene]
            here = (slice(row0, row0 + 8), slice(col0, col0 + 8))
            shown, holds = rgb[:, *here] / scale, valid[here]
            found = images[scene][:, : holds.shape[0], : holds.shape[1]]
            np.testing.assert_allclose(found[:, holds], shown[:, holds], atol=1e-5)
            share = np.zeros((8, 8))
            share[: holds.shape[0], : holds.shape[1]] = holds
            sold = share.reshape(4, 2, 4, 2).mean(axis=(1, 3)).ravel() >= 0.5
            np.testing.assert_array_equal(present[scene], sold)


FUZZ = """
import faulthandler, functools, json, resource, sys
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
from click.testing import CliRunner
from geozoom import model as models
models.load_model = functools.cache(models.load_model)  # the tile is damaged, the model is not
from geozoom.cli import main
model, flips = sys.argv[1], int(sys.argv[2])
for path in sys.argv[3:]:
    whole = open(path, "rb").read()
    rng = np.random.default_rng(0)
    outcomes = {"plan": 0, "refused": 0}
    for number in range(flips):
        damaged = bytearray(whole)
        # half of the flips hit the header, where they do most
        for at in rng.integers(0, len(whole) if number % 2 else 600, rng.integers(1, 4)):
            damaged[at] ^= 1 << int(rng.integers(8))
        open(path, "wb").write(damaged)
        faulthandler.dump_traceback_later(60, exit=True)
        # the reader is what is tried: a threshold that no patch reaches spares the choice of orders
        asked = ["plan", path, "--model", model, "--threshold", "0.99", "-o", "-", "-q"]
        result = CliRunner().invoke(main, asked)
        faulthandler.cancel_dump_traceback_later()
        if result.exit_code not in (0, 1) or (result.exit_code == 1 and result.stderr.count("\\n") != 1):
            print(json.dumps({"path": path, "flip": number, "code": result.exit_code,
                              "err": result.stderr[-2000:], "what": repr(result.exception)}))
            sys.exit(3)
        outcomes["plan" if result.exit_code == 0 else "refused"] += 1
    print(json.dumps(outcomes))
"""


@pytest.mark.parametrize("flips", [50, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_damaged_file_is_a_plan_or_one_line(tmp_path: Path, model_file: Path, flips: int) -> None:
    paths = []
    for name, extra in (("strips", {}), ("tiles", {"tiled": True, "blockxsize": 16, "blockysize": 16})):
        paths.append(tmp_path / f"{name}.tif")
        with rasterio.open(
            paths[-1], "w", driver="GTiff", dtype="uint16", count=3, height=40, width=40, crs="EPSG:32633",
            transform=Affine(10, 0, 4e5, 0, -10, 5.8e6), compress="deflate", nodata=0, **extra,
        ) as out:  # fmt: skip
            out.write(np.random.default_rng(1).integers(0, 3000, (3, 40, 40)).astype("uint16"))
            out.scales = (1e-4,) * 3
    done = subprocess.run(
        [sys.executable, "-c", FUZZ, str(model_file), str(flips), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=2 * (200 + flips),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    for outcomes in map(json.loads, done.stdout.splitlines()[-2:]):
        assert sum(outcomes.values()) == flips
        assert min(outcomes.values()) > 10

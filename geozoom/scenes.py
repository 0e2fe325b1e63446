"""A tile → scenes: a lattice of square windows from the tile's top left corner, edges included."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geozoom.calibration import Display
from geozoom.grid import PatchGrid, area_weights
from geozoom.tiles import Tile

if TYPE_CHECKING:
    from geozoom.area import Area

ROWS_AT_ONCE_PX = 512
"""Height of what is read at once, so that a tiled raster's blocks are decoded once."""
COLS_AT_ONCE_PX = 2048
"""Width of it: arrays of a few MiB are given memory that was used before, and bound what a mosaic takes."""


@dataclass(frozen=True, kw_only=True)
class SceneLimits:
    """Which scenes a policy is asked about."""

    max_nodata: float = 0.5
    """Largest share of a scene that may be missing."""
    max_cloud: float = 0.2
    """Largest share of a scene's valid pixels that may be clouded, where something says so."""


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """Scenes left out, by reason; a scene counts once."""

    nodata: int = 0
    """Too much of them is missing."""
    cloud: int = 0
    """Enough is there, but too much of it lies under clouds."""
    overlap: int = 0
    """Another tile that shows the same place is planned instead."""
    outside: int = 0
    """No patch of them lies in the area of interest."""
    owned: int = 0
    """All of them is owned already."""
    off_tiles: int = 0
    """Sites that lie on no tile."""

    def __add__(self, other: Skipped) -> Skipped:
        return Skipped(**{name: count + getattr(other, name) for name, count in asdict(self).items()})

    @property
    def total(self) -> int:
        """All of them."""
        return sum(asdict(self).values())

    def __str__(self) -> str:
        parts = [
            f"{count:,} {reason}"
            for count, reason in (
                (self.nodata, "for missing data"),
                (self.cloud, "for clouds"),
                (self.overlap, "since another tile shows them"),
                (self.outside, "outside the area of interest"),
                (self.owned, "owned already"),
                (self.off_tiles, "on no tile"),
            )
            if count
        ]
        return "skipped " + (", ".join(parts) or "none")


@dataclass(frozen=True, kw_only=True)
class SceneBlock:
    """Scenes of a few lattice rows of one tile."""

    row: NDArray[np.int64]
    """(N,) lattice row of each scene."""
    col: NDArray[np.int64]
    """(N,) lattice column of each scene."""
    images: NDArray[np.float32]
    """(N, 3, scene_px, scene_px) RGB in 0..1; missing pixels hold the scene's mean colour."""
    present: NDArray[np.bool_]
    """(N, P) True for patches that can be bought: at least half lies on valid pixels."""
    owned: NDArray[np.bool_]
    """(N, P) True for patches that are owned already; they cannot be bought."""
    skipped: Skipped
    """Scenes left out."""
    zero_pixels: int
    """Valid pixels of which all digital numbers are 0."""

    def only(self, kept: NDArray[np.int64], left_out: Skipped) -> SceneBlock:
        """Return some of the scenes, by their places in `row`, and count the others."""
        if len(kept) == len(self.row):
            return self
        return replace(self, skipped=self.skipped + left_out, **self._columns(kept))

    def part(self, rows: slice) -> SceneBlock:
        """Return a run of the scenes; what was left out before them is counted with the first."""
        columns = self._columns(rows)
        if rows.start:
            return replace(self, skipped=Skipped(), zero_pixels=0, **columns)
        return replace(self, **columns)

    def _columns(self, rows: slice | NDArray[np.int64]) -> dict[str, Any]:
        """Return what there is of each of some scenes."""
        return {name: getattr(self, name)[rows] for name in ("row", "col", "images", "present", "owned")}

    def without(self, owned: NDArray[np.bool_]) -> SceneBlock:
        """Return the scenes of which something is left to buy, given the patches (N, P) that are owned already."""
        present = self.present & ~owned
        kept = np.flatnonzero(present.any(axis=1) | ~owned.any(axis=1))
        block = replace(self, present=present, owned=owned)
        return block.only(kept, Skipped(owned=len(self.row) - len(kept)))


def lattice_shape(tile: Tile, scene_px: int) -> tuple[int, int]:
    """Return the rows and columns of scenes that cover a tile; the last ones may overhang it."""
    return -(-tile.height // scene_px), -(-tile.width // scene_px)


def read_scenes(
    tile: Tile,
    *,
    scene_px: int,
    grid: PatchGrid,
    display: Display,
    limits: SceneLimits,
    area: Area | None = None,
    owned: Area | None = None,
) -> Iterator[SceneBlock]:
    """Read all scenes of a tile, strip by strip, and wide strips in parts.

    Args:
        tile: The tile.
        scene_px: Side of a scene in LR pixels.
        grid: The patch grid of a scene.
        display: Reflectance to display RGB.
        limits: Which scenes are left out.
        area: Where patches may be bought; None for all of the tile.
        owned: Where they are owned already; None for nowhere.

    Raises:
        TileError: The raster or its cloud mask cannot be read to its end.
    """
    rows, cols = lattice_shape(tile, scene_px)
    with ExitStack() as stack:
        dataset = stack.enter_context(tile.open())
        mask = None if tile.clouds is None else stack.enter_context(tile.open_clouds())
        down = _strips(rows, max(1, ROWS_AT_ONCE_PX // scene_px))
        across = _strips(cols, max(1, COLS_AT_ONCE_PX // scene_px))
        for (first, count), (left, wide) in product(down, across):
            wanted = None if area is None else area.patches(tile, grid, scene_px, first, count, left, wide)
            if wanted is not None and not wanted.any():
                yield nothing(scene_px, grid, Skipped(outside=len(wanted)))
                continue
            height = min(count * scene_px, tile.height - first * scene_px)
            width = min(wide * scene_px, tile.width - left * scene_px)
            window = Window(left * scene_px, first * scene_px, width, height)
            pixels = tile.read(dataset, window, display)
            rgb, valid = pixels.rgb, pixels.valid
            pad = ((0, count * scene_px - height), (0, wide * scene_px - width))
            # The policy sees a mirror image beyond the tile's edge, but nothing there can be bought.
            inside = valid
            if np.any(pad):
                rgb = np.pad(rgb, ((0, 0), *pad), mode="symmetric")
                inside = np.pad(valid, pad)
                valid = np.pad(valid, pad, mode="symmetric")
            # (3, rows, px, cols, px) → (rows · cols, 3, px, px)
            images = (
                rgb.reshape(3, count, scene_px, wide, scene_px)
                .transpose(1, 3, 0, 2, 4)
                .reshape(-1, 3, scene_px, scene_px)
            )
            holds = _cut(valid, count, wide, scene_px)
            share = np.ones(len(holds)) if valid.all() else holds.mean(axis=(1, 2))
            enough = (share > 0) & (1 - share <= limits.max_nodata)
            clear = np.ones_like(enough)
            if mask is not None:
                clouds = np.pad(tile.read_clouds(mask, window), pad, mode="symmetric")
                clouded = (_cut(clouds, count, wide, scene_px) & holds).sum(axis=(1, 2))
                clear = clouded <= limits.max_cloud * holds.sum(axis=(1, 2))
            asked = np.ones_like(enough) if wanted is None else wanted.any(axis=1)
            kept = np.flatnonzero(asked & enough & clear)
            whole = valid.all() and len(kept) == len(images)
            lattice_row, lattice_col = np.divmod(kept, wide)
            present = patch_shares(_cut(inside, count, wide, scene_px)[kept], grid) >= 0.5
            block = SceneBlock(
                row=lattice_row + first,
                col=lattice_col + left,
                images=images if whole else fill_missing(images[kept], holds[kept]),
                present=present if wanted is None else present & wanted[kept],
                owned=np.zeros_like(present),
                skipped=Skipped(
                    nodata=int(np.count_nonzero(asked & ~enough)),
                    cloud=int(np.count_nonzero(asked & enough & ~clear)),
                    outside=int(np.count_nonzero(~asked)),
                ),
                zero_pixels=pixels.zeros,
            )
            if owned is not None:
                had = owned.patches(tile, grid, scene_px, first, count, left, wide)
                block = block.without(had[kept])
            yield block


def nothing(scene_px: int, grid: PatchGrid, skipped: Skipped) -> SceneBlock:
    """Return a block that only counts."""
    none = np.empty(0, dtype=np.int64)
    return SceneBlock(
        row=none,
        col=none,
        images=np.empty((0, 3, scene_px, scene_px), dtype=np.float32),
        present=np.empty((0, grid.patches), dtype=bool),
        owned=np.empty((0, grid.patches), dtype=bool),
        skipped=skipped,
        zero_pixels=0,
    )


def _strips(total: int, at_once: int) -> list[tuple[int, int]]:
    """Return first and number of lattice rows or columns; the last, which may overhang, is never alone."""
    starts = list(range(0, max(1, total - 1), at_once))
    return [(first, min(at_once, total - first)) for first in starts[:-1]] + [
        (starts[-1], total - starts[-1])
    ]


def _cut(valid: NDArray[np.bool_], rows: int, cols: int, side: int) -> NDArray[np.bool_]:
    """Cut (rows · side, cols · side) into (rows · cols, side, side)."""
    return valid.reshape(rows, side, cols, side).transpose(0, 2, 1, 3).reshape(-1, side, side)


def fill_missing(images: NDArray[np.float32], holds: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Put each scene's mean colour where its pixels are missing.

    Args:
        images: (N, 3, H, W).
        holds: (N, H, W) True where there is data, somewhere in every scene.
    """
    if holds.all():
        return images
    weights = holds[:, None].astype(np.float32)
    mean = (images * weights).sum(axis=(2, 3), keepdims=True) / weights.sum(axis=(2, 3), keepdims=True)
    return np.where(holds[:, None], images, mean).astype(np.float32, copy=False)


def patch_shares(holds: NDArray[np.bool_], grid: PatchGrid) -> NDArray[np.float64]:
    """Return the share of each patch that lies on valid pixels, (N, P), whole pixels or not."""
    shares = np.ones((len(holds), grid.patches))
    partly = np.flatnonzero(~holds.all(axis=(1, 2)))
    if len(partly):
        down = area_weights(grid.rows, holds.shape[1])
        across = area_weights(grid.cols, holds.shape[2])
        held = np.einsum("ph,nhw,qw->npq", down, holds[partly].astype(np.float64), across, optimize=True)
        shares[partly] = held.reshape(len(partly), grid.patches)
    return shares

"""The scenes of a plan: their LR images with what was bought of each, and their HR pixels from the deliveries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geozoom.bought import Bought, PlannedSites, scene_masks
from geozoom.calibration import Display
from geozoom.card import ModelCard
from geozoom.footprints import window_corners
from geozoom.grid import lattice_windows
from geozoom.mosaic import DeliveryIndex, lattice_frame, window_frame
from geozoom.receiving.coverage import DELIVERED_SHARE
from geozoom.receiving.usable import USABLE_SHARE
from geozoom.scenes import SceneBlock, SceneLimits, Skipped, lattice_shape, patch_shares, read_scenes
from geozoom.sites import read_sites_on
from geozoom.tiles import Tile

BATCH = 64
"""Scenes that are read and classified at once."""
_COARSE = 1.5
"""A delivery whose GSD is this many times the model's HR GSD is reported."""


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where scenes of one tile lie, in columns of one length B."""

    tile: Tile
    row: NDArray[np.int64]
    """(B,) lattice row; of sites, their place in the plan."""
    col: NDArray[np.int64]
    """(B,) lattice column, 0 of sites."""
    windows: NDArray[np.float64]
    """(B, 4) left, top, width and height on the tile in pixels."""
    corners: NDArray[np.float64]
    """(B, 4, 2) longitude and latitude, counter-clockwise."""
    on_lattice: bool

    @classmethod
    def on(
        cls,
        tile: Tile,
        row: NDArray[np.int64],
        col: NDArray[np.int64],
        scene_px: int,
        windows: NDArray[np.float64] | None,
    ) -> Places:
        """Return the places of scenes at (B,) lattice rows and columns, or of sites with windows (B, 4) of their own.

        Args:
            tile: The scenes' tile.
            row: (B,) lattice row; of sites, their place in the plan.
            col: (B,) lattice column.
            scene_px: LR pixels of a scene's side.
            windows: (B, 4) left, top, width and height of sites in pixels; None: scenes of the tile's lattice.
        """
        found = lattice_windows(row, col, scene_px) if windows is None else windows
        corners = window_corners(tile, found)
        return cls(tile=tile, row=row, col=col, windows=found, corners=corners, on_lattice=windows is None)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Places:
        return Places(
            tile=self.tile,
            row=self.row[rows],
            col=self.col[rows],
            windows=self.windows[rows],
            corners=self.corners[rows],
            on_lattice=self.on_lattice,
        )


@dataclass(frozen=True, kw_only=True)
class SceneBatch:
    """A few scenes of one tile, as the LR sensor saw them."""

    number: int
    """Index of the tile."""
    places: Places
    images: NDArray[np.float32]
    """(B, 3, h, w) RGB in 0..1."""
    bought: NDArray[np.bool_]
    """(B, P) True for patches that the orders hold."""
    skipped: Skipped
    """Scenes left out before these."""


def count_planned(tiles: Sequence[Tile], bought: Bought, card: ModelCard) -> int:
    """Return the number of scenes, skipped ones included."""
    if bought.sites is not None:
        return len(bought.sites.names)
    return sum(int(np.prod(lattice_shape(tile, card.lr_px))) for tile in tiles)


def scene_batches(
    tiles: Sequence[Tile], bought: Bought, card: ModelCard, limits: SceneLimits
) -> Iterator[SceneBatch]:
    """Yield all scenes of the plan, tile by tile; batches of none only count what was skipped.

    Raises:
        TileError: A tile or its cloud mask cannot be read to its end.
    """
    display = display_of(card)
    for number, tile in enumerate(tiles):
        masks = scene_masks(bought, tile, card)
        blocks = (
            read_scenes(tile, scene_px=card.lr_px, grid=card.grid, display=display, limits=limits)
            if bought.sites is None
            else _site_blocks(tile, bought.sites, card, display, limits)
        )
        for block in blocks:
            windows = None if bought.sites is None else bought.sites.windows[block.row]
            places = Places.on(tile, block.row, block.col, card.lr_px, windows)
            for start in range(0, max(1, len(block.row)), BATCH):
                rows = slice(start, start + BATCH)
                yield SceneBatch(
                    number=number,
                    places=places[rows],
                    images=block.images[rows],
                    bought=masks[block.row[rows], block.col[rows]],
                    skipped=Skipped() if start else block.skipped,
                )


def _site_blocks(
    tile: Tile, sites: PlannedSites, card: ModelCard, display: Display, limits: SceneLimits
) -> Iterator[SceneBlock]:
    mine = np.flatnonzero(sites.tile == tile.name)
    for block, missing, clouded in read_sites_on(
        tile, mine, sites.windows, scene_px=card.lr_px, grid=card.grid, display=display, limits=limits
    ):
        yield replace(block, skipped=Skipped(nodata=len(missing), cloud=len(clouded)))


def read_hr(
    index: DeliveryIndex, places: Places, wanted: NDArray[np.bool_], card: ModelCard
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Read patches of scenes from the deliveries, and no other HR pixel.

    Args:
        index: The deliveries.
        places: B scenes of one tile.
        wanted: (B, P) True for patches to read.
        card: The model's sizes.

    Returns:
        HR images (b, 3, H, W) float32 in 0..1 of the scenes of which some patch was delivered, in their order,
        (B, P) True for patches that were wanted and delivered, and (B, P) True for those that hold data of which too
        little can be used.

    Raises:
        DeliveryError: A delivered raster cannot be read to its end.
    """
    display = display_of(card)
    delivered, unusable = np.zeros_like(wanted), np.zeros_like(wanted)
    with_hr = np.flatnonzero(wanted.any(axis=1))
    # Resampling loses the pixels that the rim of a delivery runs through: a line of them is forgiven.
    line = max(card.grid_rows, card.grid_cols) / card.hr_px
    images = np.zeros((len(with_hr), 3, card.hr_px, card.hr_px), dtype=np.float32)
    lattice = lattice_frame(places.tile, card.lr_px, card.hr_px) if places.on_lattice else None
    for slot, scene in enumerate(with_hr.tolist()):
        if lattice is None:
            frame, top, left = window_frame(places.tile, places.windows[scene], card.hr_px), 0, 0
        else:
            frame, top, left = lattice, *(int(at[scene]) * card.hr_px for at in (places.row, places.col))
        images[slot], holds, usable = index.read(
            frame,
            top,
            left,
            hr_px=card.hr_px,
            wanted=wanted[scene].reshape(card.grid_rows, card.grid_cols),
            ring=places.corners[scene],
            display=display,
        )
        there = wanted[scene] & (patch_shares(holds[None], card.grid)[0] >= DELIVERED_SHARE - line)
        delivered[scene] = there & (patch_shares(usable[None], card.grid)[0] >= USABLE_SHARE)
        unusable[scene] = there & ~delivered[scene]
    return images[delivered[with_hr].any(axis=1)], delivered, unusable


def display_of(card: ModelCard) -> Display:
    """Return how the model was shown reflectance."""
    return Display(white=card.reflectance_white, gamma=card.reflectance_gamma)


def coarse_m(card: ModelCard) -> float | None:
    """Return the GSD in metres above which a delivery is coarse; None of a model that knows no HR GSD."""
    return None if card.hr_gsd_m is None else _COARSE * card.hr_gsd_m

"""Classify every scene: HR where it was bought and delivered, LR everywhere (Eq. 7)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from geozoom import __version__
from geozoom.answers import answer, answer_columns
from geozoom.bought import check_place, read_orders, scene_masks
from geozoom.card import ModelCard
from geozoom.deliveries import Received, cataloged_deliveries, open_deliveries
from geozoom.errors import CatalogError, TileError
from geozoom.features import Column, FeatureTable
from geozoom.footprints import to_lonlat
from geozoom.grid import PatchGrid
from geozoom.model import PatchDrop, load_model
from geozoom.mosaic import DeliveryIndex
from geozoom.rasters import Display, ReadOptions
from geozoom.receiving.coverage import DELIVERED_SHARE
from geozoom.scenes import SceneLimits, Skipped, lattice_shape, patch_shares, read_scenes
from geozoom.scoring import Progress
from geozoom.tiles import Tile, open_tiles

COARSE = 1.5
"""A delivery whose GSD is this many times the model's HR GSD is reported."""
BATCH = 64
"""Scenes per forward of the classifier."""


@dataclass(frozen=True, kw_only=True)
class ClassifiedScenes(FeatureTable):
    """Every scene's classes, in columns of one length N."""

    LAYER: ClassVar[str] = "scenes"

    card: ModelCard
    tiles: tuple[Tile, ...]
    tile: NDArray[np.int64]
    """(N,) index of each scene's tile."""
    scene_row: NDArray[np.int64]
    scene_col: NDArray[np.int64]
    bought: NDArray[np.int64]
    """(N,) patches that the orders hold."""
    delivered: NDArray[np.int64]
    """(N,) S, the bought patches of which HR pixels were there."""
    top: NDArray[np.int64]
    """(N, 3) the most probable classes."""
    probability: NDArray[np.float64]
    """(N, 3) their probabilities."""
    lr_class: NDArray[np.int64]
    """(N,) the class that the LR stream alone gives: what one would have known for free."""
    lr_probability: NDArray[np.float64]
    """(N,) its probability."""
    corners: NDArray[np.float64]
    """(N, 4, 2) longitude and latitude, counter-clockwise."""
    coarse: tuple[str, ...]
    """Deliveries much coarser than the model's HR GSD."""
    received: Received
    """The deliveries, and what was not used of them or of the LR folders."""
    skipped: Skipped
    """Scenes left out, by reason."""

    def __len__(self) -> int:
        return len(self.tile)

    def summary(self) -> dict[str, Any]:
        """Return the totals as plain values."""
        return {
            "format": 1,
            "geozoom": __version__,
            "model": self.card.name,
            "totals": {
                "scenes": len(self),
                "scenes_skipped_nodata": self.skipped.nodata,
                "scenes_skipped_cloud": self.skipped.cloud,
                "scenes_with_hr": int((self.delivered > 0).sum()),
                "patches_bought": int(self.bought.sum()),
                "patches_delivered": int(self.delivered.sum()),
                "patches_missing": int((self.bought - self.delivered).sum()),
                "scenes_changed_by_hr": int((self.top[:, 0] != self.lr_class).sum()),
            },
            "coarse_deliveries": list(self.coarse),
            "deliveries_without_colours": list(self.received.colourless),
            "deliveries_gone": list(self.received.gone),
        }

    def columns(self) -> dict[str, Column]:
        """Return the properties of all scenes, column by column."""
        return {
            "tile": [self.tiles[index].name for index in self.tile.tolist()],
            "scene_row": self.scene_row,
            "scene_col": self.scene_col,
            **answer_columns(
                self.card,
                {
                    "top": self.top,
                    "probability": self.probability,
                    "lr_class": self.lr_class,
                    "lr_probability": self.lr_probability,
                },
            ),
            "patches_bought": self.bought,
            "patches_delivered": self.delivered,
            "hr_share": (self.delivered / self.card.grid.patches).round(6),
        }


def classify(
    orders: Path | str,
    *,
    hr: Sequence[str | Path] = (),
    catalog: Path | str | None = None,
    lr: Sequence[str | Path],
    model: PatchDrop | Path | str | None = None,
    limits: SceneLimits | None = None,
    options: ReadOptions | None = None,
    hr_options: ReadOptions | None = None,
    progress: Progress | None = None,
) -> ClassifiedScenes:
    """Classify every scene of the LR tiles, with the HR patches that were bought and delivered.

    Args:
        orders: The file that `plan` wrote.
        hr: Delivered rasters or folders of them, in any CRS and resolution.
        catalog: What `ingest` wrote of them, instead.
        lr: The LR tiles of the plan.
        model: A loaded model or a checkpoint's path; None takes the one that ships with geozoom.
        limits: Which scenes are skipped and counted, for missing data or clouds.
        options: What the user says about LR tiles that do not say it themselves.
        hr_options: The same for the deliveries.
        progress: Called after every scene.

    Raises:
        OrdersError: The orders cannot be read, or do not belong to these tiles or this model.
        TileError: LR tiles cannot be used; every one is named.
        DeliveryError: Delivered rasters cannot be used; every one is named.
        CatalogError: The catalog cannot be read.
        ModelError: The checkpoint cannot be used.
        ValueError: Neither rasters nor a catalog are given, or both.
    """
    if bool(hr) == (catalog is not None):
        raise ValueError("give either hr or catalog")
    classifier = model if isinstance(model, PatchDrop) else load_model(model)
    card = classifier.card
    tiles, ignored = open_tiles(
        [str(entry) for entry in lr], options or ReadOptions(), card.lr_gsd_m, card.lr_px
    )
    bought = read_orders(Path(orders), card)
    check_place(Path(orders), bought, tiles, card)
    read_hr = hr_options or ReadOptions()
    if catalog is None:
        received = open_deliveries([str(entry) for entry in hr], read_hr)
    else:
        received = cataloged_deliveries(Path(catalog), read_hr)
    parts = []
    skipped, done = Skipped(), 0
    limits = limits or SceneLimits()
    total = sum(int(np.prod(lattice_shape(tile, card.lr_px))) for tile in tiles)
    limit = None if card.hr_gsd_m is None else COARSE * card.hr_gsd_m
    with DeliveryIndex(deliveries=received.deliveries, coarse_m=limit) as index:
        if catalog is not None and len(bought.place) and not index.shows_any(bought.place):
            raise CatalogError(
                f"{catalog}: none of its {len(received.deliveries)} usable deliveries lies on a patch of {orders}; "
                "give the orders that they were made for"
            )
        for number, tile in enumerate(tiles):
            masks = scene_masks(bought, tile, card)
            for part, left_out in _classify_tile(classifier, tile, number, masks, index, limits):
                skipped = skipped + left_out
                if part:
                    parts.append(part)
                    done += len(part["tile"])
                if progress is not None:
                    progress(done + skipped.total, total)
    if not parts:
        raise TileError(
            f"none of the {skipped.total} scenes of {len(tiles)} tile(s) can be used ({skipped}); check nodata "
            "values or raise --max-nodata or --max-cloud"
        )
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return ClassifiedScenes(
        card=card,
        tiles=tuple(tiles),
        received=replace(received, ignored=(*ignored, *received.ignored)),
        skipped=skipped,
        coarse=tuple(each.path for each in received.deliveries if limit and each.gsd_m > limit),
        **columns,
    )


@torch.inference_mode()
def _classify_tile(
    model: PatchDrop,
    tile: Tile,
    number: int,
    masks: NDArray[np.bool_],
    index: DeliveryIndex,
    limits: SceneLimits,
) -> Iterator[tuple[dict[str, NDArray[Any]], Skipped]]:
    """Yield the columns of a few scenes at a time, and how many scenes were skipped before them."""
    card = model.card
    display = Display(white=card.reflectance_white, gamma=card.reflectance_gamma)
    for block in read_scenes(tile, scene_px=card.lr_px, grid=card.grid, display=display, limits=limits):
        corners = to_lonlat(
            tile,
            PatchGrid(rows=1, cols=1).corners_px(
                block.row,
                block.col,
                card.lr_px,
                np.zeros(len(block.row), dtype=np.int64),
            ),
        )
        skipped = block.skipped
        for start in range(0, len(block.row), BATCH):
            rows = slice(start, start + BATCH)
            yield (
                _classify_batch(
                    model,
                    tile,
                    number,
                    block.row[rows],
                    block.col[rows],
                    block.images[rows],
                    masks[block.row[rows], block.col[rows]],
                    corners[rows],
                    index,
                    display,
                ),
                skipped,
            )
            skipped = Skipped()
        if skipped.total:
            yield {}, skipped


def _classify_batch(
    model: PatchDrop,
    tile: Tile,
    number: int,
    scene_row: NDArray[np.int64],
    scene_col: NDArray[np.int64],
    lr_images: NDArray[np.float32],
    wanted: NDArray[np.bool_],
    corners: NDArray[np.float64],
    index: DeliveryIndex,
    display: Display,
) -> dict[str, NDArray[Any]]:
    card = model.card
    delivered = np.zeros_like(wanted)
    with_hr = np.flatnonzero(wanted.any(axis=1))
    hr_images = np.zeros((len(with_hr), 3, card.hr_px, card.hr_px), dtype=np.float32)
    for slot, scene in enumerate(with_hr.tolist()):
        image, holds = index.read(
            tile,
            int(scene_row[scene]),
            int(scene_col[scene]),
            scene_px=card.lr_px,
            hr_px=card.hr_px,
            wanted=wanted[scene].reshape(card.grid_rows, card.grid_cols),
            ring=corners[scene],
            display=display,
        )
        hr_images[slot] = image
        there = patch_shares(holds[None], card.grid)[0] >= DELIVERED_SHARE
        delivered[scene] = wanted[scene] & there
    used = delivered[with_hr].any(axis=1)
    answers, _ = answer(model, torch.from_numpy(lr_images), torch.from_numpy(hr_images[used]), delivered)
    return {
        "tile": np.full(len(scene_row), number),
        "scene_row": scene_row,
        "scene_col": scene_col,
        "bought": wanted.sum(axis=1),
        "delivered": delivered.sum(axis=1),
        "corners": corners,
        **answers,
    }

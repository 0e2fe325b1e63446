"""Scenes → the policy's probabilities: reading ahead, batches, and candidates in columns."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import rasterio
from numpy.typing import NDArray

from geozoom.ahead import read_ahead
from geozoom.area import Area
from geozoom.bitmask import BitMask
from geozoom.calibration import Display
from geozoom.card import ModelCard
from geozoom.doubt import Doubt, When, further, log_odds
from geozoom.errors import TileError
from geozoom.hosts import Hosts
from geozoom.inference import lr_runner, policy_runner, scout_runner
from geozoom.model import PatchDrop
from geozoom.overlaps import Claims, OverlapRule, ranked, settle
from geozoom.patches import Patches
from geozoom.scenes import SceneBlock, SceneLimits, Skipped, lattice_shape, read_scenes
from geozoom.sites import SitesOnTiles
from geozoom.spilled import Spilled
from geozoom.tiles import Tile

if TYPE_CHECKING:
    from geozoom.delivered import Delivered, Looked

_T = TypeVar("_T")

BLOCKS_AHEAD = 2
"""Strips of scenes read while the policy works on one."""
GDAL_CACHE_BYTES = 2**27
"""GDAL's block cache: two rows of blocks of the widest Sentinel-2 granule. (rasterio hands bytes to GDAL, where GDAL's
own GDAL_CACHEMAX counts megabytes.)"""

Progress = Callable[[int, int], None]
"""Called with scenes done and scenes in all."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What the policy made of all scenes."""

    candidates: Patches | Spilled
    """Patches that may be bought, tile by tile, row by row; or in a file."""
    scenes: int
    """Scenes that the policy saw."""
    skipped: Skipped
    """Scenes left out, by reason."""
    tiles_with_zeros: tuple[str, ...]
    """Names of tiles with zeros that nothing marks as missing."""
    settled_by_name: tuple[str, ...]
    """Tiles without a date that gave way to others without."""
    refused: Mapping[int, BitMask]
    """Of tiles, by index, the patches (rows, cols) of their lattice that another tile shows and is planned for."""
    hosts: Hosts | None
    """On which tile's cells each patch is ordered; None if each is on its own tile's."""
    scenes_with_hr: int = 0
    """Scenes of which HR was there, and was looked at."""


def score(
    tiles: Sequence[Tile],
    model: PatchDrop,
    limits: SceneLimits,
    threshold: float | None,
    *,
    overlap: OverlapRule = "latest",
    area: Area | None = None,
    owned: Area | None = None,
    sites: SitesOnTiles | None = None,
    when: When = "policy",
    delivered: Delivered | None = None,
    spill: bool = False,
    progress: Progress | None = None,
) -> Scored:
    """Run the policy over every scene of every tile, reading ahead of it.

    Args:
        tiles: The tiles.
        model: Its policy decides.
        limits: Which scenes are left out.
        threshold: Candidates have a probability above it; None, where the LR stream is asked, leaves it to what patches
            add.
        overlap: Which tile is planned where several show the same place.
        area: Where patches may be bought; None for everywhere.
        owned: Where they are owned already; None for nowhere.
        sites: The scenes, in place of a lattice; None lays one.
        when: What says when HR is worth buying; of what it asks the card must know what its doubt means.
        delivered: HR of some of what is owned: of its scenes both streams say how sure they are with it, which the card
            must know the meaning of.
        spill: Keep candidates in a temporary file, not in memory.
        progress: Called after every batch.

    Raises:
        TileError: A tile cannot be read to its end, or no scene can be used.
        DeliveryError: A delivered raster cannot be read to its end.
        OutputError: There is no room for temporary files.
    """
    card = model.card
    display = Display(white=card.reflectance_white, gamma=card.reflectance_gamma)
    total = count_scenes(tiles, card) if sites is None else len(sites.sites)
    order = ranked(tiles, overlap)
    once = overlap != "all" and sites is None
    claims, hosts = settle(tiles, order, card.grid, card.lr_px) if once else (None, None)
    gathered = Gathered(tiles, card, when, threshold, spill=spill, hosts=hosts)

    def blocks() -> Iterator[tuple[int, SceneBlock, Looked | None]]:
        if sites is not None:
            for index, block in sites.blocks(
                order, scene_px=card.lr_px, grid=card.grid, display=display, limits=limits, owned=owned
            ):
                yield index, block, None
            return
        for index in order:
            for block in read_scenes(
                tiles[index],
                scene_px=card.lr_px,
                grid=card.grid,
                display=display,
                limits=limits,
                area=area,
                owned=owned,
            ):
                yield index, block if claims is None else _once(claims, index, block), None

    read = blocks if delivered is None else partial(delivered.look_over, blocks, tiles, sites)
    with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES):
        ahead = ((item, item[1].images) for item in read_ahead(read, BLOCKS_AHEAD))
        for (index, block, look), s, sure in ask(model, when, ahead):
            gathered.count(index, len(block.row), block.skipped, block.zero_pixels)
            if len(block.row):
                scene, patch = likely(block, s, threshold)
                had = owned_already(s, block.owned, when)
                gathered.add(index, block.row, block.col, scene, patch, s[scene, patch], had, sure, look)
            if progress is not None:
                progress(gathered.scenes + gathered.skipped.total, total)
    scored = gathered.result(claims)
    _give_back()
    return scored


def ask(
    model: PatchDrop, when: When, items: Iterator[tuple[_T, NDArray[np.float32]]]
) -> Iterator[tuple[_T, NDArray[np.float32], NDArray[np.float32] | None]]:
    """Yield items with s (N, P) of the scenes beside them, and the log-odds (N,) of the LR stream if that was asked."""
    doubt = model.card.doubt_of(when)
    if doubt is None:
        yield from ((item, s, None) for item, s in policy_runner(model).stream(items))
        return
    chosen = policy_runner(model).stream(((item, images), images) for item, images in items)
    again = (((item, s), images) for (item, images), s in chosen)
    runner = scout_runner(model) if when == "scout" else lr_runner(model)
    for (item, s), known in runner.stream(again):
        yield item, s, log_odds(known).astype(np.float32)


def likely(
    block: SceneBlock, s: NDArray[np.float32], threshold: float | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return scenes and patches (M,) of a block that can be bought and are more probable than a threshold, if any."""
    scene, patch = np.nonzero(block.present & (s > (0.0 if threshold is None else threshold)))
    return scene, patch


def owned_already(s: NDArray[np.float32], owned: NDArray[np.bool_], when: When) -> NDArray[np.float32]:
    """Return what is owned of scenes (N,): patches where the LR stream is asked, else the sum of their probabilities.

    Args:
        s: (N, P) the policy's probabilities.
        owned: (N, P) patches that are owned.
        when: What says when HR is worth buying.
    """
    found: NDArray[np.float32] = (s * owned if when == "policy" else owned).sum(axis=1, dtype=np.float32)
    return found


def _give_back() -> None:
    """Hand freed memory back to the system: glibc keeps what blocks and threads used, half a GiB of a granule."""
    with suppress(AttributeError, OSError, TypeError):  # another C library has no such function
        ctypes.CDLL(None).malloc_trim(0)


def count_scenes(tiles: Sequence[Tile], card: ModelCard) -> int:
    """Return the number of scenes on all lattices."""
    return sum(rows * cols for rows, cols in (lattice_shape(tile, card.lr_px) for tile in tiles))


class Gathered:
    """What scoring has found so far."""

    def __init__(
        self,
        tiles: Sequence[Tile],
        card: ModelCard,
        when: When,
        threshold: float | None,
        *,
        spill: bool,
        hosts: Hosts | None = None,
    ) -> None:
        self._spilled = Spilled(tiles, card, hosts) if spill else None
        self._hosts = hosts
        self._tiles = tiles
        self._doubt = card.doubt_of(when)
        self._least = 0.0 if self._doubt is None or threshold is not None else self._doubt.least
        self._card = card
        self._with_hr = 0
        self._columns: list[tuple[NDArray[Any], ...]] = []
        self._with_zeros: dict[str, None] = {}
        self.scenes = 0
        self.skipped = Skipped()

    def count(self, tile: int, scenes: int, skipped: Skipped, zero_pixels: int) -> None:
        """Count scenes of a tile that the policy saw, those left out, and unmarked zeros."""
        self.scenes += scenes
        self.skipped = self.skipped + skipped
        if zero_pixels and self._tiles[tile].untagged_zeros:
            self._with_zeros[self._tiles[tile].name] = None

    def add(
        self,
        tile: int,
        row: NDArray[Any],
        col: NDArray[Any],
        scene: NDArray[Any],
        patch: NDArray[Any],
        probability: NDArray[np.float32],
        had: NDArray[np.float32],
        sure: NDArray[np.float32] | None = None,
        look: Looked | None = None,
    ) -> None:
        """Add candidates of a tile.

        Args:
            tile: Index of the tile.
            row: (N,) lattice rows of scenes.
            col: (N,) lattice columns.
            scene: (M,) the scene of each candidate, as its place in `row`.
            patch: (M,) patch ids.
            probability: (M,) s_p.
            had: (N,) what is owned of each scene, as `owned_already` says.
            sure: (N,) log-odds of the LR stream, if it was asked.
            look: What HR shows that is there, if it was looked at.
        """
        if look is not None:
            self._with_hr += int(np.count_nonzero(look.there))
        value = probability
        scores = np.zeros((len(row), self._card.grid.patches), dtype=np.float32)
        scores[scene, patch] = probability
        if self._doubt is not None and sure is not None:
            value = self._worth(self._doubt, scores, sure, had, look)[scene, patch]
        elif self._card.benefit is not None:
            value = self._card.benefit.marginals(scores, had)[scene, patch]
        if value is not probability:  # where HR is worth nothing, or too little, nothing is a candidate
            worth = value > self._least
            scene, patch, probability, value = scene[worth], patch[worth], probability[worth], value[worth]
        if self._spilled is not None:
            self._spilled.add(tile, row[scene], col[scene], patch, probability, value)
            return
        self._columns.append(
            (
                np.full(len(scene), tile, dtype=np.int32),
                row[scene].astype(np.int32),
                col[scene].astype(np.int32),
                patch.astype(np.uint8),
                probability,
                value,
            )
        )

    def _worth(
        self,
        doubt: Doubt,
        scores: NDArray[np.float32],
        sure: NDArray[np.float32],
        had: NDArray[np.float32],
        look: Looked | None,
    ) -> NDArray[np.float32]:
        """Return what patches (N, P) add, to the HR that is there where it was looked at."""
        if look is None:
            return doubt.marginals(scores, sure, had)
        sure = np.where(look.there > 0, look.sure, sure)
        return further(
            (doubt, *(self._card.doubts_with_hr or ())), scores, sure, look.there, had - look.there
        )

    def result(self, claims: Claims | None) -> Scored:
        """Return all of it, with the patches of tiles that other tiles are planned for, if any asked for them.

        Raises:
            TileError: The policy saw no scene at all.
        """
        if not self.scenes:
            raise TileError(
                f"none of the {self.skipped.total} scenes of {len(self._tiles)} tile(s) can be used "
                f"({self.skipped}); {_remedy(self.skipped)}"
            )
        if self._spilled is not None:
            return self._scored(self._spilled, claims)
        names = tuple(Patches.__dataclass_fields__)
        parts = [list(column) for column in zip(*self._columns, strict=True)]
        self._columns.clear()
        columns = []
        while parts:  # each column's parts are let go before the next is joined
            columns.append(np.concatenate(parts.pop(0)))
        return self._scored(Patches(**dict(zip(names, columns, strict=True))), claims)

    def _scored(self, candidates: Patches | Spilled, claims: Claims | None) -> Scored:
        return Scored(
            candidates=candidates,
            scenes=self.scenes,
            skipped=self.skipped,
            tiles_with_zeros=tuple(self._with_zeros),
            refused={} if claims is None else claims.refused,
            hosts=self._hosts,
            scenes_with_hr=self._with_hr,
            settled_by_name=() if claims is None else claims.settled_by_name,
        )


def _remedy(skipped: Skipped) -> str:
    """Say what to do where every scene was left out."""
    remedies = (
        (
            skipped.owned,
            "there is nothing left to buy there: plan other ground, or leave out --owned or --catalog",
        ),
        (skipped.nodata or skipped.cloud, "check nodata values or raise --max-nodata or --max-cloud"),
        (
            not skipped.owned and (skipped.outside or skipped.off_tiles),
            "see that the area or the sites lie on the tiles",
        ),
    )
    return ", and ".join(said for applies, said in remedies if applies) or "see what the tiles hold"


def _once(claims: Claims, tile: int, block: SceneBlock) -> SceneBlock:
    """Leave out what a tile ranked higher has planned already, and claim the rest."""
    kept, present = claims.leave(tile, block.row, block.col, block.present)
    left = block.only(kept, Skipped(overlap=len(block.row) - len(kept)))
    return replace(left, present=present)

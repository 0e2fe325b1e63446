"""HR that is there before a plan: how much of a scene it shows, and how sure both streams are with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geozoom.answers import fused
from geozoom.bands import ReadOptions
from geozoom.deliveries import Received, cataloged_deliveries
from geozoom.doubt import log_odds
from geozoom.errors import CatalogError
from geozoom.inference import for_inference
from geozoom.model import PatchDrop
from geozoom.mosaic import DeliveryIndex
from geozoom.planscenes import BATCH, Places, coarse_m, read_hr
from geozoom.scenes import SceneBlock
from geozoom.sites import SitesOnTiles
from geozoom.tiles import Tile


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What HR shows of N scenes, and how sure both streams are with it."""

    there: NDArray[np.int64]
    """(N,) patches of which usable HR is there."""
    sure: NDArray[np.float32]
    """(N,) log-odds of both streams' answer; 0 where no HR is there."""


class Delivered:
    """Deliveries, and the model that looks at them."""

    def __init__(self, received: Received, model: PatchDrop) -> None:
        self.received = received
        self._model = for_inference(model, ["hr", "lr"])

    @classmethod
    def open(cls, catalog: Path | str, options: ReadOptions, model: PatchDrop) -> Delivered:
        """Check the deliveries of a catalog.

        Raises:
            CatalogError: The catalog cannot be read, or is named as none.
            DeliveryError: One line for every raster that cannot be used.
        """
        if Path(catalog).suffix.lower() != ".gpkg":
            raise CatalogError(
                f"{catalog}: a catalog is a GeoPackage that `geozoom ingest` wrote; give it as .gpkg"
            )
        return cls(cataloged_deliveries(Path(catalog), options), model)

    def look_over(
        self,
        blocks: Callable[[], Iterator[tuple[int, SceneBlock, Looked | None]]],
        tiles: Sequence[Tile],
        sites: SitesOnTiles | None,
    ) -> Iterator[tuple[int, SceneBlock, Looked]]:
        """Yield blocks in parts, with what HR shows of their scenes.

        Args:
            blocks: Yields the index of a tile and scenes of it.
            tiles: The tiles.
            sites: The scenes, if they do not lie on a lattice.

        Raises:
            DeliveryError: A delivered raster cannot be read to its end.
        """
        limit = coarse_m(self._model.card)
        with DeliveryIndex(deliveries=self.received.deliveries, coarse_m=limit) as index:
            for tile, block, _ in blocks():
                for part in _parts(block):
                    windows = None if sites is None else sites.windows[part.row]
                    yield tile, part, self._look(index, tiles[tile], part, windows)

    def _look(
        self, index: DeliveryIndex, tile: Tile, block: SceneBlock, windows: NDArray[np.float64] | None
    ) -> Looked:
        """Read what is there of the owned patches of scenes, and classify with it.

        Args:
            index: The deliveries.
            tile: The scenes' tile.
            block: The scenes.
            windows: (N, 4) where they lie on the tile, in pixels; None: on its lattice.
        """
        there = np.zeros(len(block.row), dtype=np.int64)
        sure = np.zeros(len(block.row), dtype=np.float32)
        scenes = np.flatnonzero(block.owned.any(axis=1))
        if not len(scenes):
            return Looked(there=there, sure=sure)
        card = self._model.card
        of_sites = None if windows is None else windows[scenes]
        places = Places.on(tile, block.row[scenes], block.col[scenes], card.lr_px, of_sites)
        images, usable, _ = read_hr(index, places, block.owned[scenes], card)
        there[scenes] = usable.sum(axis=1)
        seen = np.flatnonzero(usable.any(axis=1))
        if len(seen):
            lr = torch.from_numpy(block.images[scenes[seen]])
            said, _ = fused(self._model, lr, torch.from_numpy(images), usable[seen])
            sure[scenes[seen]] = log_odds(said.numpy())
        return Looked(there=there, sure=sure)


def _parts(block: SceneBlock) -> Iterator[SceneBlock]:
    """Yield parts of a block of which HR of few scenes is looked at: it takes long, and is stopped between them."""
    some = block.owned.any(axis=1)
    part = np.maximum(0, some.cumsum() - some) // BATCH
    starts = np.flatnonzero(np.diff(part, prepend=-1)).tolist() or [0]
    for start, stop in zip(starts, [*starts[1:], len(part)], strict=True):
        yield block.part(slice(start, stop))

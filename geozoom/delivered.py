"""HR that is there before a plan: how much of a scene it shows, and how sure both streams are with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from geozoom.bands import ReadOptions
from geozoom.deliveries import Received, cataloged_deliveries
from geozoom.doubt import log_odds
from geozoom.footprints import window_corners
from geozoom.grid import lattice_windows
from geozoom.inference import for_inference
from geozoom.model import PatchDrop
from geozoom.mosaic import DeliveryIndex
from geozoom.planscenes import BATCH, Places, coarse_m, read_hr
from geozoom.scenes import SceneBlock
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
            CatalogError: The catalog cannot be read.
            DeliveryError: One line for every raster that cannot be used.
        """
        return cls(cataloged_deliveries(Path(catalog), options), model)

    @contextmanager
    def looker(self) -> Iterator[Looker]:
        """Hold the rasters that are looked at open within the block."""
        limit = coarse_m(self._model.card)
        with DeliveryIndex(deliveries=self.received.deliveries, coarse_m=limit) as index:
            yield Looker(index, self._model)


class Looker:
    """Classifies scenes with the HR that is there."""

    def __init__(self, index: DeliveryIndex, model: PatchDrop) -> None:
        self._index = index
        self._model = model

    def look(self, tile: Tile, block: SceneBlock, windows: NDArray[np.float64] | None = None) -> Looked:
        """Read what is there of the owned patches of scenes, and classify with it.

        Args:
            tile: The scenes' tile.
            block: The scenes.
            windows: (N, 4) where they lie on the tile, in pixels; None: on its lattice.

        Raises:
            DeliveryError: A delivered raster cannot be read to its end.
        """
        there = np.zeros(len(block.row), dtype=np.int64)
        sure = np.zeros(len(block.row), dtype=np.float32)
        with_hr = np.flatnonzero(block.owned.any(axis=1))
        card = self._model.card
        for start in range(0, len(with_hr), BATCH):
            scenes = with_hr[start : start + BATCH]
            row, col = block.row[scenes], block.col[scenes]
            of_scenes = lattice_windows(row, col, card.lr_px) if windows is None else windows[scenes]
            places = Places(
                tile=tile,
                row=row,
                col=col,
                windows=of_scenes,
                corners=window_corners(tile, of_scenes),
                on_lattice=windows is None,
            )
            images, usable, _ = read_hr(self._index, places, block.owned[scenes], card)
            seen = np.flatnonzero(usable.any(axis=1))
            if len(seen):
                there[scenes] = usable.sum(axis=1)
                sure[scenes[seen]] = self._sureness(block.images[scenes[seen]], images, usable[seen])
        return Looked(there=there, sure=sure)

    @torch.inference_mode()
    def _sureness(
        self, lr: NDArray[np.float32], hr: NDArray[np.float32], usable: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        masks = torch.from_numpy(usable).float()
        known = self._model.lr_logits(torch.from_numpy(lr))
        said = self._model.fuse(self._model.hr_logits(torch.from_numpy(hr), masks), known, masks)
        return log_odds(said.numpy()).astype(np.float32)

"""Scoring on an existing Dask cluster: a task for each tile, and one budget over all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from geozoom.area import Area
from geozoom.calibration import Display
from geozoom.doubt import When
from geozoom.errors import ClusterError, GeozoomError, first_line
from geozoom.model import PatchDrop
from geozoom.overlaps import OverlapRule, ranked, settle
from geozoom.scenes import SceneBlock, SceneLimits, Skipped, read_scenes
from geozoom.scoring import (
    GDAL_CACHE_BYTES,
    Gathered,
    Progress,
    Scored,
    ask,
    count_scenes,
    likely,
    owned_already,
)
from geozoom.tiles import Tile

if TYPE_CHECKING:
    from distributed import Client

CONNECT_S = 10
"""How long a scheduler may take to answer."""
_SENDINGS = 3
"""How often a worker may die while the model is sent to all."""


@dataclass(frozen=True, kw_only=True)
class ScoredTile:
    """What a worker found on one tile, as if no other tile showed its places."""

    row: NDArray[np.int32]
    """(N,) lattice row of each scene that the policy saw."""
    col: NDArray[np.int32]
    """(N,) lattice column of each scene."""
    present: NDArray[np.bool_]
    """(N, P) patches that can be bought."""
    scene: NDArray[np.int32]
    """(M,) scene of each patch that is likely enough, as its place in `row`."""
    patch: NDArray[np.uint8]
    """(M,) patch ids."""
    probability: NDArray[np.float32]
    """(M,) s_p."""
    had: NDArray[np.float32]
    """(N,) what is owned of each scene, as `owned_already` says."""
    sure: NDArray[np.float32] | None
    """(N,) log-odds of the LR stream, if it was asked."""
    skipped: Skipped
    """Scenes left out."""
    zero_pixels: int
    """Valid pixels of which all digital numbers are 0."""


def score_on(
    address: str,
    tiles: Sequence[Tile],
    model: PatchDrop,
    limits: SceneLimits,
    threshold: float | None,
    *,
    overlap: OverlapRule = "latest",
    area: Area | None = None,
    owned: Area | None = None,
    when: When = "policy",
    spill: bool = False,
    progress: Progress | None = None,
) -> Scored:
    """Run the policy over every scene of every tile on a cluster; what `score` finds, feature for feature.

    A tile whose worker dies is scored again by another one.

    Args:
        address: Of the scheduler, as tcp://host:8786.
        tiles: The tiles; workers open them by the same paths.
        model: Its policy decides.
        limits: Which scenes are left out.
        threshold: Candidates have a probability above it; None as in `score`.
        overlap: Which tile is planned where several show the same place.
        area: Where patches may be bought; None for everywhere.
        owned: Where they are owned already; None for nowhere.
        when: What says when HR is worth buying; of what it asks the card must know what its doubt means.
        spill: Keep candidates in a temporary file, not in memory.
        progress: Called after every tile.

    Raises:
        ClusterError: No scheduler answers, or its workers cannot do the work.
        TileError: A tile cannot be read to its end, or no scene can be used.
        OutputError: There is no room for temporary files.
    """
    card = model.card
    order = ranked(tiles, overlap)
    once = overlap != "all"
    claims, hosts = settle(tiles, order, card.grid, card.lr_px) if once else (None, None)
    gathered = Gathered(tiles, card, when, threshold, spill=spill, hosts=hosts)
    total = count_scenes(tiles, card)
    with _connected(address) as client:
        shared = _sent(client, model)
        waiting = [
            client.submit(score_tile, tiles[index], shared, limits, threshold, area, owned, when, pure=False)
            for index in order
        ]
        for place, index in enumerate(order):
            found: ScoredTile | GeozoomError = waiting[place].result()
            if isinstance(found, GeozoomError):
                raise found
            waiting[place].release()
            kept, present = np.arange(len(found.row)), found.present
            if claims is not None:
                row, col = found.row.astype(np.int64), found.col.astype(np.int64)
                kept, present = claims.leave(index, row, col, found.present)
            bought = np.zeros_like(found.present)
            bought[kept] = present
            left = bought[found.scene, found.patch]
            overlapped = Skipped(overlap=len(found.row) - len(kept))
            gathered.count(index, len(kept), found.skipped + overlapped, found.zero_pixels)
            gathered.add(
                index,
                found.row,
                found.col,
                found.scene[left],
                found.patch[left],
                found.probability[left],
                found.had,
                found.sure,
            )
            if progress is not None:
                progress(gathered.scenes + gathered.skipped.total, total)
    return gathered.result(claims)


def _sent(client: Any, model: PatchDrop) -> Any:
    """Send the model to every worker; one that dies in the meantime is asked for no more the next time."""
    for _ in range(_SENDINGS):
        with suppress(KeyError):  # what Dask raises for a worker that has gone
            return client.scatter(model, broadcast=True)
        time.sleep(1)
    return client.scatter(model, broadcast=True)


def score_tile(
    tile: Tile,
    model: PatchDrop,
    limits: SceneLimits,
    threshold: float | None,
    area: Area | None,
    owned: Area | None,
    when: When,
) -> ScoredTile | GeozoomError:
    """Run the policy over every scene of one tile: the work of one task.

    Returns:
        What was found, or why the tile cannot be used: an error raised here would have to travel with the
        error of GDAL that caused it, which cannot.
    """
    try:
        return _scored(tile, model, limits, threshold, area, owned, when)
    except GeozoomError as error:
        return type(error)(str(error))


def _scored(
    tile: Tile,
    model: PatchDrop,
    limits: SceneLimits,
    threshold: float | None,
    area: Area | None,
    owned: Area | None,
    when: When,
) -> ScoredTile:
    card = model.card
    display = Display(white=card.reflectance_white, gamma=card.reflectance_gamma)
    rows, cols, presents, scenes, patches, probabilities, had = [], [], [], [], [], [], []
    sure: list[NDArray[np.float32]] = []
    skipped, zeros, seen = Skipped(), 0, 0

    def blocks() -> Iterator[tuple[SceneBlock, NDArray[np.float32]]]:
        for block in read_scenes(
            tile, scene_px=card.lr_px, grid=card.grid, display=display, limits=limits, area=area, owned=owned
        ):
            yield block, block.images

    with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES):
        for block, s, odds in ask(model, when, blocks()):
            scene, patch = likely(block, s, threshold)
            rows.append(block.row.astype(np.int32))
            cols.append(block.col.astype(np.int32))
            presents.append(block.present)
            scenes.append((scene + seen).astype(np.int32))
            patches.append(patch.astype(np.uint8))
            probabilities.append(s[scene, patch])
            had.append(owned_already(s, block.owned, when))
            if odds is not None:
                sure.append(odds)
            seen += len(block.row)
            skipped, zeros = skipped + block.skipped, zeros + block.zero_pixels
    return ScoredTile(
        row=np.concatenate(rows),
        col=np.concatenate(cols),
        present=np.concatenate(presents),
        scene=np.concatenate(scenes),
        patch=np.concatenate(patches),
        probability=np.concatenate(probabilities),
        had=np.concatenate(had),
        sure=np.concatenate(sure) if sure else None,
        skipped=skipped,
        zero_pixels=zeros,
    )


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    """Connect to a scheduler; leave nothing of ours running on it.

    Raises:
        ClusterError: It cannot be reached, or fails in the middle.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ClusterError(
            "a Dask cluster needs distributed; install it with pip install 'geozoom[dask]'"
        ) from error
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:
        raise ClusterError(
            f"{address}: no Dask scheduler answers there ({first_line(error)}); start one with "
            "`dask scheduler` and give its address, as tcp://host:8786"
        ) from error
    with client:
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise ClusterError(f"{address}: the Dask cluster has no workers; start some with `dask worker`")
        try:
            yield client
        except GeozoomError:
            raise
        except Exception as error:
            raise ClusterError(
                f"{address}: the Dask cluster failed ({type(error).__name__}: {first_line(error)}); its "
                "workers need geozoom of this version, and must see the tiles by the same paths"
            ) from error

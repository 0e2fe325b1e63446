"""Classify every scene: HR where it was bought and delivered, LR everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geozoom.ahead import read_ahead
from geozoom.answers import answer, scouted
from geozoom.bands import ReadOptions
from geozoom.bought import bought_on
from geozoom.classifiedscenes import ClassifiedScenes
from geozoom.deliveries import cataloged_deliveries, open_deliveries
from geozoom.errors import CatalogError, TileError
from geozoom.inference import for_inference
from geozoom.model import PatchDrop, load_model
from geozoom.mosaic import DeliveryIndex
from geozoom.planscenes import SceneBatch, coarse_m, count_planned, read_hr, scene_batches
from geozoom.scenes import SceneLimits, Skipped
from geozoom.scoring import Progress
from geozoom.tiles import open_tiles


def classify(
    orders: Path | str | Sequence[Path | str],
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
        orders: The file that `plan` wrote, or several of the same scenes: what was bought in rounds.
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
        ValueError: No orders are given, or neither rasters nor a catalog, or both.
    """
    if bool(hr) == (catalog is not None):
        raise ValueError("give either hr or catalog")
    classifier = for_inference(model if isinstance(model, PatchDrop) else load_model(model))
    card = classifier.card
    tiles, ignored = open_tiles(
        [str(entry) for entry in lr], options or ReadOptions(), card.lr_gsd_m, card.lr_px
    )
    paths = [Path(each) for each in ([orders] if isinstance(orders, Path | str) else orders)]
    bought = bought_on(paths, tiles, card)
    source = ", ".join(map(str, paths))
    of_hr = hr_options or ReadOptions()
    if catalog is None:
        received = open_deliveries([str(entry) for entry in hr], of_hr)
    else:
        received = cataloged_deliveries(Path(catalog), of_hr)
    limit = coarse_m(card)
    labelled = bought.sites is not None and any(bought.sites.labels)
    parts: list[dict[str, NDArray[Any]]] = []
    skipped, done = Skipped(), 0
    total = count_planned(tiles, bought, card)

    def read() -> Iterator[tuple[SceneBatch, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]]:
        with DeliveryIndex(deliveries=received.deliveries, coarse_m=limit) as index:
            if catalog is not None and len(bought.place) and not index.shows_any(bought.place):
                raise CatalogError(
                    f"{catalog}: none of its {len(received.deliveries)} usable deliveries lies on a patch of {source}; "
                    "give the orders that they were made for"
                )
            for batch in scene_batches(tiles, bought, card, limits or SceneLimits()):
                yield batch, *read_hr(index, batch.places, batch.bought, card)

    for batch, hr_images, delivered, unusable in read_ahead(read, 1):
        skipped = skipped + batch.skipped
        if len(batch.images):
            columns_of = _classify_batch(classifier, batch, hr_images, delivered, labelled=labelled)
            parts.append(columns_of | {"unusable": unusable.sum(axis=1)})
            done += len(batch.images)
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
        source=source,
        tiles=tuple(tiles),
        sites=bought.sites,
        received=replace(received, ignored=(*ignored, *received.ignored)),
        skipped=skipped,
        coarse=received.coarser(limit),
        **columns,
    )


@torch.inference_mode()
def _classify_batch(
    model: PatchDrop,
    batch: SceneBatch,
    hr: NDArray[np.float32],
    delivered: NDArray[np.bool_],
    *,
    labelled: bool,
) -> dict[str, NDArray[Any]]:
    lr = torch.from_numpy(batch.images)
    answers, lr_log = answer(model, lr, torch.from_numpy(hr), delivered)
    columns: dict[str, Any] = {
        "tile": np.full(len(lr), batch.number),
        "scene_row": batch.places.row,
        "scene_col": batch.places.col,
        "bought": batch.bought.sum(axis=1),
        "delivered": delivered.sum(axis=1),
        "corners": batch.places.corners,
    }
    # What the curve needs, which a whole granule's scenes would fill memory with.
    known: dict[str, Any] = {}
    if labelled:
        scout_log = scouted(model, lr)
        known = {"s": model.probabilities(lr).numpy(), "lr_log": lr_log.numpy()}
        known |= {} if scout_log is None else {"scout_log": scout_log.numpy()}
    return columns | {**answers, **known}

"""What was answered of every scene of a plan, and what its labelled sites say of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from geozoom import __version__
from geozoom.answers import answer_columns
from geozoom.bought import PlannedSites
from geozoom.card import ModelCard
from geozoom.deliveries import Received
from geozoom.errors import DatasetError
from geozoom.features import Column, FeatureTable
from geozoom.footprints import patch_areas_m2
from geozoom.money import Buyable
from geozoom.mosaic import DeliveryIndex
from geozoom.planscenes import Places, coarse_m, read_hr
from geozoom.scenes import Skipped
from geozoom.scores import Labels, Scores, match_labels, score_answers
from geozoom.tiles import Tile


@dataclass(frozen=True, kw_only=True)
class ClassifiedScenes(FeatureTable):
    """Every scene's classes, in columns of one length N."""

    LAYER: ClassVar[str] = "scenes"

    card: ModelCard
    source: str
    """The orders file."""
    tiles: tuple[Tile, ...]
    sites: PlannedSites | None
    """The plan's sites, if its scenes do not lie on a lattice."""
    tile: NDArray[np.int64]
    """(N,) index of each scene's tile."""
    scene_row: NDArray[np.int64]
    """(N,) lattice row; of sites, their place in `sites`."""
    scene_col: NDArray[np.int64]
    bought: NDArray[np.int64]
    """(N,) patches that the orders hold."""
    delivered: NDArray[np.int64]
    """(N,) S, the bought patches of which usable HR pixels were there."""
    unusable: NDArray[np.int64]
    """(N,) bought patches that were delivered under clouds, or otherwise unusable by Planet's UDM2."""
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
    s: NDArray[np.float32] | None = None
    """(N, P) the policy's probabilities, of labelled sites."""
    lr_log: NDArray[np.float32] | None = None
    """(N, K) log-probabilities of the LR stream alone, of labelled sites."""
    scout_log: NDArray[np.float32] | None = None
    """(N, K) the scout's, of labelled sites, if the model has one."""

    def __len__(self) -> int:
        return len(self.tile)

    @cached_property
    def labels(self) -> Labels:
        """What the sites show, as far as the model knows the classes."""
        given = () if self.sites is None else self.sites.labels
        names = (given[row] if given else "" for row in self.scene_row.tolist())
        return match_labels(names, self.card.classes)

    @cached_property
    def scores(self) -> Scores | None:
        """The answers held against the labels, or None without a label that the model knows."""
        return score_answers(
            self.card.classes,
            self.labels,
            self.top[:, 0],
            self.probability[:, 0],
            self.lr_class,
            self.delivered,
        )

    def summary(self) -> dict[str, Any]:
        """Return the totals as plain values."""
        summary = self._totals()
        if self.labels.given:
            scores = None if self.scores is None else self.scores.to_dict()
            summary |= {"unknown_classes": self.labels.strangers, "scores": scores}
        return summary

    def _totals(self) -> dict[str, Any]:
        return {
            "format": 1,
            "geozoom": __version__,
            "model": self.card.name,
            "calibrated": self.card.answer_temperatures is not None,
            "totals": {
                "scenes": len(self),
                "scenes_skipped_nodata": self.skipped.nodata,
                "scenes_skipped_cloud": self.skipped.cloud,
                "scenes_with_hr": int((self.delivered > 0).sum()),
                "patches_bought": int(self.bought.sum()),
                "patches_delivered": int(self.delivered.sum()),
                "patches_missing": int((self.bought - self.delivered - self.unusable).sum()),
                "patches_unusable": int(self.unusable.sum()),
                "scenes_changed_by_hr": int((self.top[:, 0] != self.lr_class).sum()),
            },
            "coarse_deliveries": list(self.coarse),
            "deliveries_without_colours": list(self.received.colourless),
            "deliveries_gone": list(self.received.gone),
            "deliveries_rewritten": list(self.received.rewritten),
        }

    def columns(self) -> dict[str, Column]:
        """Return the properties of all scenes, column by column."""
        sites: dict[str, Column] = {}
        if self.sites is not None:
            rows = self.scene_row.tolist()
            sites["site"] = [self.sites.names[row] for row in rows]
            if self.sites.labels:
                sites["label"] = [self.sites.labels[row] for row in rows]
        return {
            "tile": [self.tiles[index].name for index in self.tile.tolist()],
            **sites,
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
            "patches_unusable": self.unusable,
            "hr_share": (self.delivered / self.card.grid.patches).round(6),
        }

    def buyable(self) -> Buyable:
        """Return the labelled sites of which every patch was delivered, with all that can be bought of them.

        Raises:
            DatasetError: There are none.
            DeliveryError: A delivered raster cannot be read to its end.
        """
        rows = np.flatnonzero(self.labels.known)
        whole = [row for row in rows.tolist() if self._read_whole(np.array([row]))[1].all()]
        if not whole or self.s is None or self.lr_log is None or self.sites is None:
            raise DatasetError(
                f"{self.source}: none of {len(rows)} labelled sites was delivered whole, and what other patches are "
                "worth can only be told of HR that is at hand; give --hr all of it, or leave the curve out"
            )
        kept = np.array(whole)
        patches = self.card.grid.patches
        area = np.empty((len(kept), patches), dtype=np.int64)
        for at, row in enumerate(whole):
            windows = np.repeat(self.sites.windows[self.scene_row[row]][None], patches, axis=0)
            tile = self.tiles[self.tile[row]]
            area[at] = np.rint(100 * patch_areas_m2(tile, self.card.grid, windows, np.arange(patches)))
        return Buyable(
            labels=self.labels.index[kept],
            s=self.s[kept],
            lr_log=torch.from_numpy(self.lr_log[kept]),
            scout_log=None if self.scout_log is None else torch.from_numpy(self.scout_log[kept]),
            area_dm2=area,
            read=lambda chosen: torch.from_numpy(self._read_whole(kept[chosen])[0]),
        )

    def _read_whole(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return whole HR images (n, 3, H, W) of sites, and which of their patches (n, P) were delivered."""
        assert self.sites is not None
        card = self.card
        images = np.zeros((len(rows), 3, card.hr_px, card.hr_px), dtype=np.float32)
        delivered = np.zeros((len(rows), card.grid.patches), dtype=bool)
        with DeliveryIndex(deliveries=self.received.deliveries, coarse_m=coarse_m(card)) as index:
            for number in np.unique(self.tile[rows]).tolist():
                mine = np.flatnonzero(self.tile[rows] == number)
                chosen = rows[mine]
                site = self.scene_row[chosen]
                places = Places.on(
                    self.tiles[number], site, self.scene_col[chosen], card.lr_px, self.sites.windows[site]
                )
                everything = np.ones((len(mine), card.grid.patches), dtype=bool)
                found, delivered[mine], _ = read_hr(index, places, everything, card)
                images[mine[delivered[mine].any(axis=1)]] = found
        return images, delivered

"""What was answered of every image file, and what its labels say of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geozoom import __version__
from geozoom.answers import Answers, answer_columns
from geozoom.card import ModelCard
from geozoom.cores import usable_cores
from geozoom.errors import DatasetError
from geozoom.features import Column
from geozoom.fmow.challenge import WEIGHTS
from geozoom.imagereading import read_scenes
from geozoom.imagescenes import ImageScenes
from geozoom.money import Buyable
from geozoom.scores import Labels, Scores, match_labels, score_answers
from geozoom.tables import write_table


@dataclass(frozen=True, kw_only=True)
class ClassifiedImages:
    """What the model answers of every scene, in columns of one length N."""

    card: ModelCard
    scenes: ImageScenes
    """The scenes that could be read."""
    seed: int
    """Seed of the sensor's noise."""
    threshold: float
    """Patches with a probability above it are used."""
    s: NDArray[np.float32]
    """(N, P) the policy's probabilities."""
    answers: Answers
    lr_log: Tensor
    """(N, K) log-probabilities of the LR stream alone."""
    scout_log: Tensor | None
    """(N, K) the scout's, if the model has one."""
    unreadable: tuple[str, ...]
    """Images that were left out, and why."""
    held: Tensor | None
    """(N, 3, H, W) uint8 HR images, if they are few enough."""

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def bought(self) -> NDArray[np.bool_]:
        """(N, P) True for the patches whose HR was used."""
        return self.s > self.threshold

    @cached_property
    def labels(self) -> Labels:
        """What the scenes show, as far as the model knows the classes."""
        return labels_of(self.scenes, self.card)

    @cached_property
    def scores(self) -> Scores | None:
        """The answers held against the labels, or None without a label that the model knows."""
        return score_answers(
            self.card.classes,
            self.labels,
            self.answers["top"][:, 0],
            self.answers["probability"][:, 0],
            self.answers["lr_class"],
            self.bought.sum(axis=1),
            self.scenes.stray,
        )

    @property
    def challenge_score(self) -> float | None:
        """The fMoW challenge's score, of its own scenes with labels."""
        return self.scores.weighted_f1(WEIGHTS) if self.scenes.is_fmow and self.scores is not None else None

    def summary(self) -> dict[str, Any]:
        """Return the totals as plain values."""
        changed = self.answers["top"][:, 0] != self.answers["lr_class"]
        found = {
            "format": 1,
            "geozoom": __version__,
            "model": self.card.name,
            "calibrated": self.card.answer_temperatures is not None,
            "totals": {
                "scenes": len(self),
                "scenes_unreadable": len(self.unreadable),
                "scenes_labelled": self.labels.given,
                "scenes_with_hr": int(self.bought.any(axis=1).sum()),
                "patches_used": int(self.bought.sum()),
                "scenes_changed_by_hr": int(changed.sum()),
            },
            "threshold": self.threshold,
            "seed": self.seed,
            "unknown_classes": self.labels.strangers,
            "notes": list(self.scenes.notes),
            "unreadable": list(self.unreadable),
            "scores": None if self.scores is None else self.scores.to_dict(),
        }
        if self.scenes.is_fmow:
            found["fmow_score"] = None if self.challenge_score is None else round(self.challenge_score, 6)
        return found

    def columns(self) -> dict[str, Column]:
        """Return the answers, column by column."""
        scenes = self.scenes
        columns: dict[str, Column] = {"file": list(scenes.files)}
        if scenes.ids is not None and scenes.boxes is not None:
            columns["box_id"] = list(scenes.ids)
            sides = ("left", "top", "right", "bottom")
            columns |= {name: scenes.boxes[:, at].round(2) for at, name in enumerate(sides)}
        if any(scenes.labels):
            columns["label"] = list(scenes.labels)
        used = self.bought.sum(axis=1)
        return columns | {
            **answer_columns(self.card, self.answers),
            "patches_used": used,
            "hr_share": (used / self.card.grid.patches).round(6),
        }

    def write(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the answers: .csv, .json or .parquet, "-" is JSON on stdout.

        Raises:
            OutputError: The file exists and `overwrite` is not set, its folder cannot be written, or the suffix is
                not known.
        """
        write_table(path, self.columns(), name="scenes", summary=self.summary(), overwrite=overwrite)

    def buyable(self, scene_m: float | None = None) -> Buyable:
        """Return the labelled scenes with all that can be bought of them.

        Args:
            scene_m: Side of a scene on the ground in metres; None takes fMoW's own figures, or the model's.

        Raises:
            DatasetError: No scene has a label that the model knows, or nothing says how large scenes are.
        """
        rows = np.flatnonzero(self.labels.known)
        if not len(rows):
            raise DatasetError(
                f"{self.scenes.root}: no scene has a label that the model knows, so nothing says how good its answers "
                "are"
            )
        own = self.scenes.area_m2
        area = np.full(len(self), np.nan) if own is None or scene_m is not None else own
        side = self.card.scene_m if scene_m is None else scene_m
        area = np.where(np.isnan(area), np.nan if side is None else float(side) ** 2, area)[rows]
        if np.isnan(area).any():
            raise DatasetError(
                f"{self.scenes.root}: nothing says how large {int(np.isnan(area).sum())} of its scenes are on the "
                "ground, so patches have no price; give --scene-m"
            )
        patches = self.card.grid.patches
        dm2 = np.maximum(np.rint(100 * area / patches), 1).astype(np.int64)
        return Buyable(
            labels=self.labels.index[rows],
            s=self.s[rows],
            lr_log=self.lr_log[torch.from_numpy(rows)],
            scout_log=None if self.scout_log is None else self.scout_log[torch.from_numpy(rows)],
            area_dm2=np.repeat(dm2[:, None], patches, axis=1),
            read=lambda chosen: self._read_hr(rows[chosen]),
        )

    def _read_hr(self, rows: NDArray[np.int64]) -> Tensor:
        if self.held is not None:
            return self.held[torch.from_numpy(rows)].float() / 255
        with ThreadPoolExecutor(usable_cores()) as pool:
            images, why = read_scenes(self.scenes, rows, self.card.hr_px, pool)
        if why:
            raise DatasetError(f"{next(iter(why.values()))}: could be read a moment ago, and cannot now")
        return images.float() / 255


def labels_of(scenes: ImageScenes, card: ModelCard) -> Labels:
    """Return what scenes show, as far as the model knows the classes."""
    stray = scenes.stray.tolist()
    names = ("" if none else name for name, none in zip(scenes.labels, stray, strict=True))
    return match_labels(names, card.classes)

"""Classify scenes that are image files: LR is made of them as in training, and HR is used where the policy buys."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geozoom.ahead import read_ahead
from geozoom.answers import Answers, answer, scouted
from geozoom.card import ModelCard
from geozoom.classifiedimages import ClassifiedImages
from geozoom.errors import DatasetError
from geozoom.imagereading import read_batches
from geozoom.imagescenes import ImageScenes
from geozoom.inference import for_inference
from geozoom.model import PatchDrop, load_model
from geozoom.scoring import Progress
from geozoom.sensor import Sensor, simulate_lr

FORWARD_PX = 2**20
"""HR pixels of a forward."""
HELD_BYTES = 2**30
"""HR images up to this size stay in memory for the curve; more are read again."""
THRESHOLD = 0.5
"""The paper's deterministic policy buys a patch where s_p is above this."""
NAMED = 10
"""Unreadable images that a message names."""

_Answered: TypeAlias = tuple[NDArray[np.float32], Answers, Tensor, Tensor | None]
"""s (B, P), the answers, and the LR stream's log-probabilities (B, K)."""


def classify_images(
    scenes: ImageScenes,
    *,
    model: PatchDrop | Path | str | None = None,
    threshold: float = THRESHOLD,
    seed: int | None = None,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> ClassifiedImages:
    """Classify scenes of image files with the patches that the policy chooses, and with no other HR pixel.

    Args:
        scenes: What `list_folder` or `list_fmow` found.
        model: A loaded model or a checkpoint's path; None takes the one that ships with geozoom.
        threshold: Patches with a probability above it are used.
        seed: Seed of the simulated sensor's noise; None takes the one of the test split of the model's own training.
        skip_unreadable: Leave unreadable images out instead of refusing them all.
        progress: Called after every batch.

    Raises:
        DatasetError: Images cannot be read (all of them are counted, the first are named), or none is left.
        ModelError: The checkpoint cannot be used.
    """
    classifier = for_inference(model if isinstance(model, PatchDrop) else load_model(model))
    card = classifier.card
    seed = card.seed + 2 if seed is None else seed
    generator = torch.Generator().manual_seed(seed)
    sensor = sensor_of(card)
    hold = 3 * len(scenes) * card.hr_px**2 <= HELD_BYTES
    unreadable = list(scenes.unreadable)
    kept: list[NDArray[np.int64]] = []
    parts: list[_Answered] = []
    held: list[Tensor] = []
    done = 0
    for rows, images, why in read_ahead(lambda: read_batches(scenes, card.hr_px), 1):
        done += len(rows) + len(why)
        unreadable += why
        # Once the answer will be a refusal, the rest is only read, to name all that is wrong at once.
        if len(rows) and (skip_unreadable or not unreadable):
            hr = images.float() / 255
            parts.append(_answer(classifier, hr, simulate_lr(hr, card.lr_px, sensor, generator), threshold))
            kept.append(rows)
            if hold:
                held.append(images)
        if progress is not None:
            progress(done, len(scenes))
    if unreadable and not skip_unreadable:
        more = f"; and {len(unreadable) - NAMED} more" if len(unreadable) > NAMED else ""
        raise DatasetError(
            f"{scenes.root}: {len(unreadable)} images cannot be read; mend or remove them, or leave them out with "
            f"--skip-unreadable: {'; '.join(unreadable[:NAMED])}{more}"
        )
    if not parts:
        raise DatasetError(
            f"{scenes.root}: none of its {len(unreadable)} images can be read: {unreadable[0]}"
        )
    s, answers, lr_log, scout_log = _joined(parts)
    return ClassifiedImages(
        card=card,
        scenes=scenes.only(np.concatenate(kept)),
        seed=seed,
        threshold=threshold,
        s=s,
        answers=answers,
        lr_log=lr_log,
        scout_log=scout_log,
        unreadable=tuple(unreadable),
        held=torch.cat(held) if hold else None,
    )


def sensor_of(card: ModelCard) -> Sensor:
    """Return the sensor that the model's LR images were simulated with; plain area averages if its card is silent."""
    known = {each.name for each in fields(Sensor)}
    told = card.recipe.get("sensor") or {}
    return Sensor(**{name: float(value) for name, value in told.items() if name in known})


@torch.inference_mode()
def _answer(model: PatchDrop, hr: Tensor, lr: Tensor, threshold: float) -> _Answered:
    """Classify a batch, a few scenes a forward."""
    size = max(1, FORWARD_PX // model.card.hr_px**2)
    found = []
    for start in range(0, len(hr), size):
        rows = slice(start, start + size)
        s = model.probabilities(lr[rows]).numpy()
        bought = s > threshold
        some = torch.from_numpy(bought.any(axis=1))
        found.append((s, *answer(model, lr[rows], hr[rows][some], bought), scouted(model, lr[rows])))
    return _joined(found)


def _joined(parts: list[_Answered]) -> _Answered:
    answers = [each for _, each, _, _ in parts]
    scout_log = [each for _, _, _, each in parts if each is not None]
    return (
        np.concatenate([s for s, _, _, _ in parts]),
        {
            "top": np.concatenate([each["top"] for each in answers]),
            "probability": np.concatenate([each["probability"] for each in answers]),
            "lr_class": np.concatenate([each["lr_class"] for each in answers]),
            "lr_probability": np.concatenate([each["lr_probability"] for each in answers]),
        },
        torch.cat([lr_log for _, _, lr_log, _ in parts]),
        torch.cat(scout_log) if scout_log else None,
    )

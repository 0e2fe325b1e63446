"""What a classifier answers of every scene with its best 0, 1, … P patches.

Nearly every way to spend money buys a scene's best patches first and differs from others in their number alone. So all
of them are measured, at every spend, by reading each scene once with each number of patches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geozoom.doubt import log_odds
from geozoom.model import PatchDrop
from training.evaluate import Streams, ViewedSplit, answers_each

_AT_ONCE = 4
"""Numbers of patches that scenes are read for at once: the answers of all classes are held for each."""


def best_first(
    model: PatchDrop, views: ViewedSplit, streams: Streams, preference: Tensor, known: Tensor | None
) -> Iterator[Tensor]:
    """Yield the answers (N, classes) with the best 0, 1, … P patches of every scene, as `training.evaluate.answers`.

    Args:
        model: The classifier.
        views: HR and LR scenes.
        streams: The HR stream alone, the LR stream alone, or both, as the model fuses them.
        preference: (N, P), the best patch has the most; of equal ones the first is better.
        known: (N, classes) logits of the LR stream, where they are there already.
    """
    rank = preference.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    counts = range(model.grid.patches + 1)
    for start in counts[::_AT_ONCE]:
        masks = [(rank < count).float() for count in counts[start : start + _AT_ONCE]]
        yield from answers_each(model, views, streams, masks, known)


@dataclass(frozen=True, kw_only=True)
class Nested:
    """The answers with every number of patches, in one order of them."""

    preference: Tensor
    """(N, P), as `best_first` has it."""
    right: Tensor
    """(N, P + 1) bool, correct or not."""
    sure: NDArray[np.float64]
    """(N, P + 1) log-odds of the answers."""

    @classmethod
    def read(
        cls, model: PatchDrop, views: ViewedSplit, streams: Streams, preference: Tensor, known: Tensor | None
    ) -> Nested:
        """Classify every scene with every number of its best patches; the arguments are those of `best_first`."""
        right, sure = [], []
        for found in best_first(model, views, streams, preference, known):
            right.append(found.argmax(dim=1) == views.split.labels)
            sure.append(log_odds(found.double().cpu().numpy()))
        return cls(preference=preference, right=torch.stack(right, dim=1), sure=np.stack(sure, axis=1))

    def right_with(self, counts: Tensor) -> Tensor:
        """Return which scenes are classified correctly, (N,) bool, with so many patches (N,) each."""
        return self.right.gather(1, counts.long().unsqueeze(1)).squeeze(1)

    def sure_with(self, masks: Tensor) -> NDArray[np.float64]:
        """Return the log-odds (N,) of the answers under masks (N, P) of which each has its scene's best patches."""
        counts = masks.sum(dim=1).long().cpu().numpy()
        sure: NDArray[np.float64] = self.sure[np.arange(len(counts)), counts]
        return sure

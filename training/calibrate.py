"""What a patch's score is worth: the gain over LR alone, fitted on the validation split.

For every scene its best 0, 1, … P patches are bought in turn. With x the sum of their probabilities, the
gain in correct answers is fitted by a rising concave line, least squares over all scenes and numbers of
patches: every such line with given knots is a sum of min(x, knot) with weights that are not negative.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls

from geozoom.benefit import Benefit
from geozoom.model import PatchDrop
from training.evaluate import ViewedSplit, correct_each, policy_probabilities

KNOTS = 8
"""Places at which the line may bend, at equal shares of the data."""


@dataclass(frozen=True, kw_only=True)
class Gains:
    """What buying each scene's best patches changed."""

    bought: NDArray[np.float64]
    """(N, P + 1) sum of the probabilities of the best 0, 1, … P patches."""
    gain: NDArray[np.float64]
    """(N, P + 1) correct (1) or not (0), less the same of LR alone."""
    wanted: NDArray[np.int64]
    """(N,) patches with s above 0.5, which the policy would buy."""


def measure_gains(model: PatchDrop, views: ViewedSplit) -> Gains:
    """Classify every scene with its best 0, 1, … P patches (Eq. 7)."""
    s = policy_probabilities(model, views).float()
    rank = (-s).argsort(dim=1, stable=True).argsort(dim=1)
    masks = [(rank < count).float() for count in range(model.grid.patches + 1)]
    right = torch.stack(correct_each(model, views, "both", masks), dim=1).double()
    best_first = s.sort(dim=1, descending=True).values.double()
    bought = torch.nn.functional.pad(best_first.cumsum(dim=1), (1, 0))
    return Gains(
        bought=bought.cpu().numpy(),
        gain=(right - right[:, :1]).cpu().numpy(),
        wanted=(s > 0.5).sum(dim=1).cpu().numpy(),
    )


def fit_benefit(gains: Gains) -> Benefit:
    """Fit a benefit to gains; where HR gains nothing it is 0 everywhere."""
    x, gain = gains.bought.ravel(), gains.gain.ravel()
    knots = np.unique(np.quantile(x[x > 0], np.arange(1, KNOTS + 1) / KNOTS).round(6))
    weights, _ = nnls(np.minimum(x[:, None], knots), gain)
    used = weights > 0
    return Benefit(
        knots=tuple(knots[used].tolist()),
        weights=tuple(weights[used].round(6).tolist()),
        scenes=len(gains.gain),
    )


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Predicted beside realised benefit on scenes that the fit has not seen."""

    patches: str
    """Which patches were bought of each scene."""
    S: float
    """Mean number of them."""
    predicted: float
    """Scenes gained, as the benefit says."""
    realised: float
    """Scenes gained, as counted."""
    error: float
    """Standard error of the count."""


def forecast(benefit: Benefit, gains: Gains) -> list[dict[str, float | str]]:
    """Compare the benefit with gains of other scenes: the policy's own patches, and the best 1, 2, 4, 8, all."""
    scenes, counts = gains.gain.shape
    rows = [("the policy's", gains.wanted)]
    rows += [
        (f"best {count}", np.full(scenes, count, dtype=np.int64))
        for count in (1, 2, 4, 8, counts - 1)
        if count < counts
    ]
    found = []
    for name, taken in rows:
        at = (np.arange(scenes), taken)
        realised = gains.gain[at]
        found.append(
            asdict(
                Forecast(
                    patches=name,
                    S=round(float(taken.mean()), 2),
                    predicted=round(float(benefit.gain(gains.bought[at]).sum()), 1),
                    realised=float(realised.sum()),
                    error=round(float(realised.std(ddof=1) * np.sqrt(scenes)), 1),
                )
            )
        )
    return found

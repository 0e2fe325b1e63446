"""What a patch's score is worth, and how sure answers are: both fitted on the validation split.

For every scene its best 0, 1, … P patches are bought in turn. With x the sum of their probabilities, the
gain in correct answers is fitted by a rising concave line, least squares over all scenes and numbers of
patches: every such line with given knots is a sum of min(x, knot) with weights that are not negative. Where the LR
stream is asked too, the chance that the answer is right is fitted by its log-odds and the number of patches, a logistic
curve without HR and another with it. On the same answers a temperature is fitted for each number of patches, by the
likelihood of the labels.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar, nnls
from scipy.special import expit
from torch import Tensor

from geozoom.benefit import Benefit
from geozoom.doubt import Doubt, log_odds
from geozoom.model import PatchDrop
from geozoom.scores import Labels, score_answers
from training.evaluate import ViewedSplit, answers, policy_probabilities
from training.nested import best_first

KNOTS = 8
"""Places at which the line may bend, at equal shares of the data."""
_RIDGE = 1e-5
"""Holds the chance of a right answer off 0 and 1 where all answers are right or wrong; per answer."""
_ODDS = 3.0
"""Log-odds are measured in this unit, so that their slope weighs as much as the levels."""
TEMPERATURES = (0.1, 10.0)
"""Temperatures are sought between these: answers that are all right would ask for one of 0."""


@dataclass(frozen=True, kw_only=True)
class Gains:
    """What buying each scene's best patches changed."""

    bought: NDArray[np.float64]
    """(N, P + 1) sum of the probabilities of the best 0, 1, … P patches."""
    right: NDArray[np.float64]
    """(N, P + 1) correct (1) or not (0)."""
    wanted: NDArray[np.int64]
    """(N,) patches with s above 0.5, which the policy would buy."""
    known: NDArray[np.float64]
    """(N, classes) logits of the LR stream."""
    sure: NDArray[np.float64]
    """(N, P + 1) log-odds of the answers."""
    temperatures: tuple[float, ...] = ()
    """(P + 1,) what makes the answers from 0, 1, … P patches as sure as they are right."""

    @property
    def gain(self) -> NDArray[np.float64]:
        """What the patches add, (N, P + 1): `right`, less the same of LR alone."""
        return self.right - self.right[:, :1]


def measure_gains(model: PatchDrop, views: ViewedSplit) -> Gains:
    """Classify every scene with its best 0, 1, … P patches."""
    s = policy_probabilities(model, views).float()
    known = answers(model, views, "lr")
    labels = views.split.labels
    columns, sure, temperatures = [], [], []
    for found in best_first(model, views, "both", s, known):
        columns.append((found.argmax(dim=1) == labels).double())
        sure.append(log_odds(found.double().cpu().numpy()))
        temperatures.append(fit_temperature(found, labels))
    right = torch.stack(columns, dim=1)
    likeliest = s.sort(dim=1, descending=True).values.double()
    bought = torch.nn.functional.pad(likeliest.cumsum(dim=1), (1, 0))
    return Gains(
        bought=bought.cpu().numpy(),
        right=right.cpu().numpy(),
        wanted=(s > 0.5).sum(dim=1).cpu().numpy(),
        known=known.double().cpu().numpy(),
        sure=np.stack(sure, axis=1),
        temperatures=tuple(temperatures),
    )


def fit_temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    """Return the temperature that makes labels (N,) most likely under log-probabilities (N, K) divided by it."""
    scores, at = log_probabilities.double().cpu(), labels.cpu()

    def loss(log_temperature: float) -> float:
        return float(torch.nn.functional.cross_entropy(scores / math.exp(log_temperature), at))

    lowest, highest = (math.log(bound) for bound in TEMPERATURES)
    found = minimize_scalar(loss, bounds=(lowest, highest), method="bounded")
    return round(math.exp(float(found.x)), 4)


@torch.inference_mode()
def calibration_error(model: PatchDrop, views: ViewedSplit) -> dict[str, float | int]:
    """Return the expected calibration error of the policy's and LR's answers, without and with temperatures."""
    bought = (policy_probabilities(model, views) > 0.5).float()
    lr_log = torch.log_softmax(answers(model, views, "lr"), dim=1)
    sampled = bought.sum(dim=1).long()
    fused = answers(model, views, "both", bought, lr_log)
    labels = views.split.labels.cpu().numpy()
    found: dict[str, float | int] = {"scenes": len(labels)}
    for name, log, count in (("policy", fused, sampled), ("lr", lr_log, torch.zeros_like(sampled))):
        for state, stated in (("before", log), ("after", model.calibrate(log, count))):
            best = stated.exp().max(dim=1)
            answer = best.indices.cpu().numpy()
            scores = score_answers(
                model.card.classes,
                Labels(index=labels, strangers={}, given=len(labels)),
                answer,
                best.values.double().cpu().numpy(),
                answer,
                count.cpu().numpy(),
            )
            assert scores is not None
            found |= {
                f"{name}_accuracy": round(scores.accuracy, 4),
                f"{name}_ece_{state}": round(scores.ece, 4),
            }
    return found


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


def fit_doubt(gains: Gains) -> Doubt:
    """Fit how often answers are right, by how sure the LR stream is and by how many patches are bought."""
    odds = log_odds(gains.known)
    patches = gains.right.shape[1] - 1
    log = np.log2(np.arange(1, patches + 1))
    sure = odds[:, None] / _ODDS
    (level,), (slope,) = _logistic(gains.right[:, :1], np.ones((1, 1)), sure, np.ones((1, 1)))
    features = np.stack([np.ones(patches), log, log**2], axis=1)
    helped, (lean,) = _logistic(gains.right[:, 1:], features, sure, np.ones((patches, 1)))
    doubt = Doubt(
        patches=patches,
        alone=(_rounded(level), _rounded(slope / _ODDS)),
        helped=(*map(_rounded, helped), _rounded(lean / _ODDS)),  # type: ignore[arg-type]
        least=0.0,
    )
    added = np.sort(doubt.added(odds), axis=None)[::-1]
    wanted = int(gains.wanted.sum())
    return replace(doubt, least=round(float(added[wanted]), 6) if wanted < added.size else 0.0)


def fit_doubts_with_hr(gains: Gains) -> tuple[Doubt, ...]:
    """Fit the same where the best n = 1, 2, … P - 1 patches are there: by how sure both streams are with them.

    All n share two curves, whose figures are straight lines in log n: of one n alone there are too few scenes in doubt.
    Their `least` is 0: it is the LR stream's doubt that says from which gain on patches are worth buying.
    """
    patches = gains.right.shape[1] - 1
    there = np.arange(1, patches)
    if not len(there):
        return ()
    share = np.log2(there) / max(1.0, math.log2(patches - 1))
    line = np.stack([1 - share, share], axis=1)  # from one patch there to all but one
    level, slope = _logistic(gains.right[:, there], line, gains.sure[:, there] / _ODDS, line)
    had, more = np.array([(n, k) for n in there.tolist() for k in range(1, patches - n + 1)]).T
    of, log = line[had - 1], np.log2(more)
    features = np.hstack([of, of * log[:, None], log[:, None] ** 2])
    helped, lean = _logistic(gains.right[:, had + more], features, gains.sure[:, had] / _ODDS, of)
    return tuple(
        Doubt(
            patches=patches - n,
            alone=(_rounded(at @ level), _rounded(at @ slope / _ODDS)),
            helped=(
                _rounded(at @ helped[:2]),
                _rounded(at @ helped[2:4]),
                _rounded(helped[4]),
                _rounded(at @ lean / _ODDS),
            ),
            least=0.0,
        )
        for n, at in zip(there.tolist(), line, strict=True)
    )


def _rounded(figure: float) -> float:
    return round(float(figure), 6)


def _logistic(
    right: NDArray[np.float64],
    features: NDArray[np.float64],
    sure: NDArray[np.float64],
    leans: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit columns of answers (N, n): their logits are features · weights + sure · (leans · slopes).

    Args:
        right: (N, n) 1 where an answer is right.
        features: (n, F) of each column.
        sure: (N, n) or (N, 1) how sure what was asked is.
        leans: (n, L) of each column, not negative.

    Returns:
        Weights (F,) and slopes (L,), which are not negative: of what one is surer the answer is not less often right.
    """
    split = features.shape[1]

    def loss(found: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = features @ found[:split] + (leans @ found[split:]) * sure
        missed = (expit(logits) - right) / right.size
        value = (np.logaddexp(0, logits) - logits * right).mean() + _RIDGE * (found**2).sum()
        slopes = np.concatenate([missed.sum(axis=0) @ features, (missed * sure).sum(axis=0) @ leans])
        return float(value), slopes + 2 * _RIDGE * found

    bounds = [(None, None)] * split + [(0.0, None)] * leans.shape[1]
    found = minimize(loss, np.zeros(len(bounds)), jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:split], found[split:]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Predicted beside realised benefit on scenes that the fit has not seen."""

    scenes: str
    """All of them, or a third by how sure the LR stream is."""
    patches: str
    """Which patches were bought of each scene."""
    S: float
    """Mean number of them."""
    predicted: float
    """Scenes gained, as the benefit says."""
    predicted_by_doubt: float
    """Scenes gained, as it says with the LR stream asked."""
    realised: float
    """Scenes gained, as counted."""
    error: float
    """Standard error of the count."""


def forecast(benefit: Benefit, doubt: Doubt, gains: Gains) -> list[dict[str, float | str]]:
    """Compare the benefit with gains of other scenes: the policy's own patches, and the best 1, 2, 4, 8, all.

    Then the policy's own again for each third of the scenes, the one first of which the LR stream is least sure: what
    the benefit without doubt cannot tell apart. Of a single scene no error can be told, and no row is made.
    """
    scenes, counts = gains.gain.shape
    everything = np.arange(scenes)
    rows = [("all", everything, "the policy's", gains.wanted)]
    rows += [
        ("all", everything, f"best {count}", np.full(scenes, count, dtype=np.int64))
        for count in sorted({1, 2, 4, 8, counts - 1})
        if count < counts
    ]
    odds = log_odds(gains.known)
    thirds = np.array_split(odds.argsort(kind="stable"), 3)
    names = ("least sure third", "middle third", "surest third")
    rows += [(name, third, "the policy's", gains.wanted) for name, third in zip(names, thirds, strict=True)]
    by_doubt = np.pad(doubt.added(odds).cumsum(axis=1), ((0, 0), (1, 0)))
    found = []
    for name, of, patches, taken in rows:
        if len(of) < 2:
            continue
        at = (of, taken[of])
        realised = gains.gain[at]
        found.append(
            asdict(
                Forecast(
                    scenes=name,
                    patches=patches,
                    S=round(float(taken[of].mean()), 2),
                    predicted=round(float(benefit.gain(gains.bought[at]).sum()), 1),
                    predicted_by_doubt=round(float(by_doubt[at].sum()), 1),
                    realised=float(realised.sum()),
                    error=round(float(realised.std(ddof=1) * np.sqrt(len(of))), 1),
                )
            )
        )
    return found

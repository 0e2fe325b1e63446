"""How good answers are, held against labels: accuracy, F1, calibration, confusion. Pure NumPy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Equal steps of the probability in which it is compared with accuracy."""
UNKNOWN = -1
"""Label of a scene without one, or of a class that the model does not know."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What scenes show, as far as the model knows the classes."""

    index: NDArray[np.int64]
    """(N,) class of each scene, `UNKNOWN` without a label or if the model does not know its class."""
    strangers: dict[str, int]
    """Class that the model does not know → number of its scenes."""
    given: int
    """Scenes with a label, known or not."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """(N,) True for scenes of a class that the model knows."""
        return np.asarray(self.index != UNKNOWN)


def match_labels(names: Iterable[str], classes: Sequence[str]) -> Labels:
    """Find the labels among the classes, by name; case and what separates words do not matter.

    Args:
        names: (N,) class of each scene, "" without a label.
        classes: The model's classes.
    """
    named = list(names)
    alike = Counter(map(_plain, classes))
    known = {_plain(name): at for at, name in enumerate(classes) if alike[_plain(name)] == 1}
    exact = {name: at for at, name in enumerate(classes)}
    found = {name: exact.get(name, known.get(_plain(name), UNKNOWN)) for name in set(named)}
    return Labels(
        index=np.array([found[name] for name in named], dtype=np.int64),
        strangers=dict(sorted(Counter(name for name in named if name and found[name] == UNKNOWN).items())),
        given=sum(1 for name in named if name),
    )


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Answers against labels, counted."""

    classes: tuple[str, ...]
    """The K class names."""
    confusion: NDArray[np.int64]
    """(K, K) scenes by label (row) and answer (column)."""
    stray: NDArray[np.int64]
    """(K,) answers on scenes that show none of any model's classes, as fMoW's `false_detection`."""
    lr_right: int
    """Scenes that the LR stream alone answers correctly."""
    sampled: float
    """S, the mean number of patches used."""
    bin_count: NDArray[np.int64]
    """(BINS,) scenes by the probability of their answer."""
    bin_probability: NDArray[np.float64]
    """(BINS,) their mean probability, NaN for none."""
    bin_accuracy: NDArray[np.float64]
    """(BINS,) their accuracy, NaN for none."""

    @property
    def scenes(self) -> int:
        """Number of labelled scenes."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """Share of scenes answered correctly."""
        return float(np.trace(self.confusion) / self.scenes)

    @property
    def lr_accuracy(self) -> float:
        """Share that the LR stream alone answers correctly."""
        return self.lr_right / self.scenes

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of accuracy and probability over scenes, by `BINS` bins."""
        apart = np.abs(self.bin_accuracy - self.bin_probability)
        return float(np.nansum(apart * self.bin_count) / self.bin_count.sum())

    @property
    def precision(self) -> NDArray[np.float64]:
        """(K,) share of a class's answers that are right; NaN where it is never answered."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """(K,) share of a class's scenes that are answered correctly; NaN where it has none."""
        return _ratio(np.diag(self.confusion), self.confusion.sum(axis=1))

    @property
    def f1(self) -> NDArray[np.float64]:
        """(K,) F1 of each class; NaN where it is neither shown nor answered."""
        return self._f1(np.zeros(len(self.classes), dtype=np.int64))

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that are shown or answered."""
        return float(np.nanmean(self.f1))

    def weighted_f1(self, weights: Mapping[str, float]) -> float:
        """Return the weighted mean of F1; stray answers are false positives, as in the fMoW challenge.

        Args:
            weights: Weight of each class by its name, 1 for those that are not named. Classes that are neither
                shown nor answered are left out.
        """
        f1 = self._f1(self.stray)
        weight = np.array([weights.get(name, 1.0) for name in self.classes])
        counted = ~np.isnan(f1) & (weight > 0)
        return float(np.average(f1[counted], weights=weight[counted])) if counted.any() else math.nan

    def _f1(self, stray: NDArray[np.int64]) -> NDArray[np.float64]:
        both = self.confusion.sum(axis=0) + self.confusion.sum(axis=1) + stray
        return _ratio(2 * np.diag(self.confusion), both)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values; None stands for what cannot be said."""
        low, high = wilson_interval(self.accuracy, self.scenes)
        return {
            "scenes": self.scenes,
            "accuracy": round(self.accuracy, 6),
            "accuracy_95": [round(low / 100, 6), round(high / 100, 6)],
            "lr_accuracy": round(self.lr_accuracy, 6),
            "S": round(self.sampled, 6),
            "macro_f1": round(self.macro_f1, 6),
            "ece": round(self.ece, 6),
            "ece_bins": BINS,
            "classes": self.class_rows(),
        }

    def class_rows(self) -> list[dict[str, Any]]:
        """Return precision, recall, F1 and number of scenes of each class."""
        columns = (self.precision, self.recall, self.f1)
        shown, answered = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return [
            {
                "class": name,
                "scenes": int(shown[at]),
                "answered": int(answered[at]),
                **{
                    key: None if math.isnan(column[at]) else round(float(column[at]), 6)
                    for key, column in zip(("precision", "recall", "f1"), columns, strict=True)
                },
            }
            for at, name in enumerate(self.classes)
        ]


def score_answers(
    classes: tuple[str, ...],
    labels: Labels,
    answer: NDArray[np.int64],
    probability: NDArray[np.float64],
    lr_answer: NDArray[np.int64],
    sampled: NDArray[np.int64],
    stray: NDArray[np.bool_] | None = None,
) -> Scores | None:
    """Hold answers against labels.

    Args:
        classes: The K class names.
        labels: Of N scenes.
        answer: (N,) the most probable class.
        probability: (N,) its probability.
        lr_answer: (N,) the class that the LR stream alone gives.
        sampled: (N,) patches used.
        stray: (N,) scenes that show none of any model's classes.

    Returns:
        The counts over the scenes of classes that the model knows, or None if there are none.
    """
    known = labels.known
    if not known.any():
        return None
    count = len(classes)
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (labels.index[known], answer[known]), 1)
    right = (labels.index == answer)[known]
    bins = np.clip(np.ceil(probability[known] * BINS).astype(np.int64) - 1, 0, BINS - 1)
    held = np.bincount(bins, minlength=BINS)
    return Scores(
        classes=classes,
        confusion=confusion,
        stray=np.bincount(answer[stray], minlength=count) if stray is not None else np.zeros(count, np.int64),
        lr_right=int((labels.index == lr_answer)[known].sum()),
        sampled=float(sampled[known].mean()),
        bin_count=held,
        bin_probability=_ratio(np.bincount(bins, weights=probability[known], minlength=BINS), held),
        bin_accuracy=_ratio(np.bincount(bins, weights=right, minlength=BINS), held),
    )


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return part / whole, NaN where the whole is 0."""
    found = np.full(len(part), np.nan)
    np.divide(part, whole, out=found, where=whole > 0)
    return found


def wilson_interval(share: float, count: int) -> tuple[float, float]:
    """Return the 95% Wilson score interval of a share measured on `count` cases, in percent."""
    z = 1.959964
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2))
    return 100 * max(0.0, centre - half), 100 * min(1.0, centre + half)

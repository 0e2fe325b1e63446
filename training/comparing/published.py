"""What the paper states (METHOD §4, Tables 1 and 2): accuracy in percent and S in the columns Pt, Ft-1 and Ft-2."""

from __future__ import annotations

Cell = tuple[float, float]
Triple = tuple[float, float, float]

_FIXED = ("lr-cnn", "srgan", "kd", "pcn", "hr-cnn")
_MASKED = ("fixed-h", "fixed-v", "stochastic", "stn")


def _table(
    fixed: tuple[float, ...], masked: tuple[Triple, ...], sampled: Triple, ours: tuple[Triple, Triple]
) -> dict[str, tuple[Cell, ...]]:
    rows: dict[str, tuple[Cell, ...]] = {}
    for name, value in zip(_FIXED, fixed, strict=True):
        rows[name] = ((value, 16.0 if name == "hr-cnn" else 0.0),) * 3
    for name, values in zip(_MASKED, masked, strict=True):
        rows[name] = tuple(zip(values, sampled, strict=True))
    return rows | {"patchdrop": tuple(zip(*ours, strict=True))}


PUBLISHED: dict[str, dict[str, tuple[Cell, ...]]] = {
    "fmow": _table(
        (61.4, 62.3, 63.1, 63.5, 67.3),
        ((47.7, 63.3, 64.9), (48.3, 63.2, 64.7), (29.1, 57.1, 63.6), (46.5, 61.8, 64.8)),
        (7, 6, 6),
        ((53.4, 67.1, 68.3), (7, 5.9, 5.2)),
    ),
    "cifar10": _table(
        (75.8, 78.8, 81.8, 83.3, 92.3),
        ((71.2, 83.8, 85.2), (64.7, 83.4, 85.1), (40.6, 82.1, 83.7), (66.9, 85.2, 87.1)),
        (9, 8, 7),
        ((80.6, 91.9, 91.5), (8.5, 7.9, 6.9)),
    ),
    "cifar100": _table(
        (55.1, 56.1, 61.1, 62.6, 69.3),
        ((48.5, 65.8, 67.0), (46.2, 65.5, 67.2), (27.6, 63.2, 64.8), (41.1, 64.3, 66.4)),
        (9, 10, 10),
        ((57.3, 69.3, 70.4), (9, 9.9, 9.1)),
    ),
    "imagenet": _table(
        (58.1, 63.1, 62.4, 63.9, 76.5),
        ((48.8, 68.6, 70.4), (48.4, 68.4, 70.8), (38.6, 66.2, 68.4), (58.6, 69.4, 71.4)),
        (10, 9, 8),
        ((60.2, 74.9, 76.0), (10.1, 9.1, 7.9)),
    ),
}
"""By dataset and row, a cell for each column."""

"""The shift at which one image shows another, by normalised correlation. Pure NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

SMALLEST = 0.5
"""Share of the delivery's pixels that must lie on data of the tile for a shift to be looked at."""

APART = 3
"""A peak is as wide as this many pixels either way."""


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The best shift of one image on another."""

    down: float
    """In pixels."""
    across: float
    here: float
    """Correlation without a shift."""
    there: float
    """Correlation at the best whole shift."""
    elsewhere: float
    """The highest correlation more than `APART` pixels from it."""
    pixels: int
    """Pixels that were compared there."""


def best_shift(
    image: NDArray[np.float64],
    valid: NDArray[np.bool_],
    part: NDArray[np.float64],
    shown: NDArray[np.bool_],
) -> Peak | None:
    """Find where an image shows a part, by normalised correlation over what both hold.

    Args:
        image: (h + 2 r, w + 2 r), with a margin of r pixels around where the part should be.
        valid: (h + 2 r, w + 2 r) True where it holds data.
        part: (h, w).
        shown: (h, w) True where it holds data.

    Returns:
        The best shift of up to r pixels either way, or None where nothing can be compared.
    """
    count = int(shown.sum())
    if not count or not valid.any():
        return None
    # Means off first, which keeps sums of squares exact enough.
    one = np.where(valid, image - image[valid].mean(), 0)
    other = np.where(shown, part - part[shown].mean(), 0)
    v, s = valid.astype(np.float64), shown.astype(np.float64)

    def over(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(fftconvolve(a, b[::-1, ::-1], mode="valid"))

    n = np.rint(over(v, s))
    held = n >= max(SMALLEST * count, 2)
    n = np.maximum(n, 1)
    a, b = over(one, s), over(v, other)
    spread = (over(one**2, s) - a**2 / n) * (over(v, other**2) - b**2 / n)
    varied = held & (spread > 1e-9 * (one.var() * other.var() * count**2 + 1e-12))
    if not varied.any():
        return None
    r: NDArray[np.float64] = np.full(n.shape, -1.0)
    r[varied] = (over(one, other) - a * b / n)[varied] / np.sqrt(spread[varied])
    row, col = np.unravel_index(int(r.argmax()), r.shape)
    far = np.maximum(*np.abs(np.indices(r.shape) - np.array([row, col])[:, None, None])) > APART
    high, wide = r.shape
    middle = high // 2, wide // 2
    return Peak(
        down=row - middle[0] + _vertex(r[:, col], int(row)),
        across=col - middle[1] + _vertex(r[row], int(col)),
        here=float(r[middle]),
        there=float(r[row, col]),
        elsewhere=float(r[far].max()) if far.any() else -1.0,
        pixels=int(n[row, col]),
    )


def _vertex(line: NDArray[np.float64], at: int) -> float:
    """Return how far the vertex of the parabola through a peak and its neighbours lies from it, -0.5 to 0.5."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, peak, after = line[at - 1 : at + 2]
    bent = before - 2 * peak + after
    return float(np.clip((before - after) / (2 * bent), -0.5, 0.5)) if bent < 0 else 0.0

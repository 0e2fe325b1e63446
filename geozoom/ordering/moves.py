"""Moves of single cells of a padded lattice: which can be made at once, and which orders can bear. Pure, no I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.lattice import RING

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_FEW = 1000
"""Cells whose neighbours are looked up all at once, which is several times as fast; of many it is slower."""


def places(cells: Integers, wide: int) -> tuple[Integers, Integers]:
    """Return rows and columns of flat cells, several times as fast as divmod does."""
    row = cells // wide
    return row, cells - row * wide


def steps(wide: int) -> Integers:
    """Return how far the eight neighbours of a cell are from it among flat cells, clockwise."""
    return np.array([down * wide + across for down, across in RING])


def beside_open(
    cells: Integers, flat: NDArray[np.int32], shut: Floats, wide: int
) -> tuple[Integers, Integers, Integers, Floats]:
    """Return the cells beside an order that takes some, and no others: most orders are shut most of the time.

    Args:
        cells: (N,) free cells.
        flat: The order of each cell of the padded lattice.
        shut: (K + 1,) the price of a cell by order; infinite where it takes none.
        wide: Cells of a row.

    Returns:
        (n,) cells, their four neighbours (n, 4), (n,) which of them asks the least for a cell, and how much.
    """
    beside = cells[:, None] + steps(wide)[1::2]
    price = shut[flat[beside]]
    side = price.argmin(axis=1)
    least = price[np.arange(len(cells)), side]
    at = np.flatnonzero(np.isfinite(least))
    return cells[at], beside[at], side[at], least[at]


def codes(flat: NDArray[np.int32], cells: Integers, own: NDArray[np.int32], wide: int) -> NDArray[np.uint8]:
    """Return the code of each cell's neighbours that belong to an order."""
    if len(cells) <= _FEW:
        around = flat[cells + steps(wide)[:, None]] == own
        return np.asarray(np.packbits(around, axis=0, bitorder="little")[0], dtype=np.uint8)
    code = np.zeros(len(cells), dtype=np.uint8)
    for bit, step in enumerate(steps(wide).tolist()):
        code |= (flat[cells + step] == own).view(np.uint8) << np.uint8(bit)
    return code


def phases(cells: Integers, wide: int) -> list[Integers]:
    """Split cells by the parities of their row and column: moves of one part do not see each other."""
    row, col = places(cells, wide)
    phase = (row & 1) * 2 + (col & 1)
    return [cells[phase == which] for which in range(4)]


def within(
    own: NDArray[np.int32], gain: Floats, amount: NDArray[np.signedinteger], slack: Integers
) -> NDArray[np.bool_]:
    """Tell which moves to make so that no order uses up more than its slack, best moves first.

    Amounts below zero give nothing back, as the moves that they belong to may be refused elsewhere.
    """
    amount = np.maximum(amount, 0).astype(np.int64)
    made = amount <= slack[own]
    used = np.bincount(own[made], amount[made], minlength=len(slack))
    tight = np.flatnonzero((used > slack)[own] & made & (amount > 0))
    if len(tight):
        # By order, then by gain: one sort of a sum is quicker than two sorts.
        best = max(float(gain[tight].max()), 1e-300)
        ranked = tight[np.argsort(own[tight] - 0.99 * np.maximum(0, gain[tight]) / best, kind="stable")]
        reached = np.cumsum(amount[ranked])
        starts = np.r_[True, np.diff(own[ranked]) > 0]
        before = (reached - amount[ranked])[starts][np.cumsum(starts) - 1]
        made[ranked] = reached - before <= slack[own[ranked]]
    return made

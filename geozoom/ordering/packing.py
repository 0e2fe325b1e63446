"""Orders of the smallest size that is billed, packed side by side into a lattice where value is dense.

A vendor bills a minimum, and orders above it by area: many orders that just fill the minimum cost no more
than one large one and leave more poor ground out. So orders are grown to that size from many seeds at once,
each in a window of its own; the densest of those that overlap stay, and the others grow again around them.
Pure NumPy, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geozoom.ordering.lattice import CORNERS_ADDED, RING, SIMPLE, Lattice
from geozoom.prices import DM2_PER_KM2

Floats = NDArray[np.float32]

REACH = 0.6
"""Weight of the ground around a cell, beside its own value: growth reaches over poor cells to rich ones."""
_SEEDS = 5
"""Seeds that are grown for every order that is still wanted."""
AT_ONCE = 2**18
"""Cells of windows that are grown in one go: more would not stay in the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """A lattice in blocks of cells: what growth works on."""

    value: Floats
    """(rows, cols) sum over each block's cells."""
    area: Floats
    """(rows, cols) square kilometres; 0 where a block cannot be bought."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Regions grown in windows, in columns of one length K."""

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    """(K,) the windows' corners on the lattice."""
    member: NDArray[np.bool_]
    """(K, W, W) the blocks of each region."""
    value: NDArray[np.float64]
    area: NDArray[np.float64]


def in_blocks(lattice: Lattice, block: int) -> Blocks:
    """Sum a lattice over blocks of block × block cells; those at its ends may be smaller.

    A block that holds a closed cell cannot be bought.
    """

    def summed(array: NDArray[np.generic]) -> Floats:
        if block == 1:
            return np.asarray(array, dtype=np.float32)
        rows, cols = array.shape
        starts = [np.arange(0, size, block) for size in (rows, cols)]
        down = np.add.reduceat(array, starts[0], axis=0, dtype=np.float64)
        return np.add.reduceat(down, starts[1], axis=1).astype(np.float32)

    value, area = summed(lattice.value), summed(lattice.areas) / np.float32(DM2_PER_KM2)
    if lattice.closed is not None:
        area[summed(lattice.closed) > 0] = 0
    return Blocks(value=value, area=area)


def prospects(blocks: Blocks) -> Floats:
    """Return how welcome each block is: its density and that of the ground around it."""
    density = np.divide(blocks.value, blocks.area, out=np.zeros_like(blocks.value), where=blocks.area > 0)
    around = ndimage.uniform_filter(density, 3, mode="constant")
    return np.asarray(density + np.float32(REACH) * around, dtype=np.float32)


def pack(
    blocks: Blocks,
    *,
    size: float,
    wanted: float,
    rounds: int,
    most_corners: int,
    extent: tuple[int, int],
) -> NDArray[np.int32]:
    """Pack orders of one size into a lattice of blocks.

    Args:
        blocks: The lattice.
        size: Area that orders grow to, in square kilometres.
        wanted: Total area to pack, about; seeds beyond it are left out.
        rounds: How often orders that lost against denser ones grow again.
        most_corners: Most corners of an order.
        extent: Most rows and columns of blocks of an order.

    Returns:
        (rows, cols) labels 1..K, 0 for none.
    """
    rows, cols = blocks.value.shape
    labels = np.zeros((rows, cols), dtype=np.int32)
    usual = float(np.median(blocks.area[blocks.area > 0])) if (blocks.area > 0).any() else 1.0
    units = max(1.0, size / usual)
    side = float(np.sqrt(units))
    half = int(np.ceil(1.7 * side)) + 1
    half = max(1, min(half, (extent[0] - 1) // 2, (extent[1] - 1) // 2)) if min(extent) > 2 else 0
    stride = max(1, round(0.8 * side))
    score, free = prospects(blocks), blocks.area > 0
    packed, count = 0.0, 0
    for _ in range(rounds):
        seed_row, seed_col = _seeds(blocks, free, side, stride)
        most = int(_SEEDS * max(1.0, (wanted - packed) / size)) + 16
        seed_row, seed_col = seed_row[:most], seed_col[:most]
        if not len(seed_row):
            break
        grown = _grow_all(blocks, score, free, (seed_row, seed_col), half, size, most_corners)
        won, covered = _place(grown, labels, free, count, size)
        packed += covered
        count += won
        if packed >= wanted or not won:
            break
    return labels


def _seeds(
    blocks: Blocks, free: NDArray[np.bool_], side: float, stride: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the best block of every square of stride × stride, densest ground first."""
    reach = max(1, round(side)) | 1
    worth = np.where(free, blocks.value, 0).astype(np.float32)
    ground = ndimage.uniform_filter(worth, reach, mode="constant")
    # The ground decides between squares; between blocks of one square the block's own value does, too.
    ground += worth / np.float32(max(4.0, side))
    ground[~free] = 0
    rows, cols = ground.shape
    padded = np.pad(ground, ((0, -rows % stride), (0, -cols % stride)))
    down, across = padded.shape[0] // stride, padded.shape[1] // stride
    squares = padded.reshape(down, stride, across, stride).transpose(0, 2, 1, 3).reshape(down * across, -1)
    best = squares.argmax(axis=1)
    worth_of = squares[np.arange(len(best)), best]
    ranked = np.argsort(-worth_of, kind="stable")
    ranked = ranked[worth_of[ranked] > 0]
    row = ranked // across * stride + best[ranked] // stride
    col = ranked % across * stride + best[ranked] % stride
    return row, col


def _grow_all(
    blocks: Blocks,
    score: Floats,
    free: NDArray[np.bool_],
    seeds: tuple[NDArray[np.int64], NDArray[np.int64]],
    half: int,
    size: float,
    most_corners: int,
) -> Growth:
    """Grow a region from every seed, in windows of 2·half + 1 blocks around it."""
    border = half + 1
    side = 2 * border + 1
    # The windows' outermost blocks are never bought: neighbours need no bounds then.
    wide = np.pad(np.where(free, score, -np.inf).astype(np.float32), border, constant_values=-np.inf)
    value = np.pad(blocks.value, border)
    area = np.pad(blocks.area, border)
    at_once = max(1, AT_ONCE // side**2)
    member, values, areas = [], [], []
    views = [np.lib.stride_tricks.sliding_window_view(array, (side, side)) for array in (wide, value, area)]
    for start in range(0, len(seeds[0]), at_once):
        row, col = (part[start : start + at_once] for part in seeds)
        scores, worth, extent = (view[row, col] for view in views)
        scores[:, [0, -1]] = -np.inf
        scores[:, :, [0, -1]] = -np.inf
        count = len(row)
        mine, total, covered = _grow(
            scores.reshape(count, -1),
            worth.reshape(count, -1),
            extent.reshape(count, -1),
            side,
            size,
            most_corners,
        )
        member.append(mine.reshape(-1, side, side)[:, 1:-1, 1:-1])
        values.append(total)
        areas.append(covered)
    return Growth(
        top=seeds[0] - half,
        left=seeds[1] - half,
        member=np.concatenate(member),
        value=np.concatenate(values),
        area=np.concatenate(areas),
    )


def _grow(
    score: Floats, value: Floats, area: Floats, side: int, size: float, most_corners: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64], NDArray[np.float64]]:
    """Grow one region in each of K windows from its middle, best simple neighbour first.

    Args:
        score: (K, W²) how welcome each block is, -inf where it cannot be had.
        value: (K, W²) value of each block.
        area: (K, W²) area of each block.
        side: W.
        size: Area not to be exceeded.
        most_corners: Most corners of a region.
    """
    count = len(score)
    ring = np.array([down * side + across for down, across in RING])
    beside = ring[1::2]
    bits = 1 << np.arange(8)
    member = np.zeros(score.shape, dtype=bool)
    frontier = np.zeros(score.shape, dtype=bool)
    offer = np.full(score.shape, -np.inf, dtype=np.float32)
    total, covered = np.zeros(count), np.zeros(count)
    corners = np.full(count, 4)
    middle = side * side // 2
    each = np.arange(count)
    member[:, middle] = True
    total += value[:, middle]
    covered += area[:, middle]
    frontier[:, middle + beside] = True
    offer[:, middle + beside] = score[:, middle + beside]
    growing = each[covered < size]
    # A block may be turned down several times before its neighbours make it simple.
    for _ in range(4 * side * side):
        if not len(growing):
            break
        best = offer[growing].argmax(axis=1) if len(growing) < count else offer.argmax(axis=1)
        has = offer[growing, best] > -np.inf
        growing, best = growing[has], best[has]
        bigger = covered[growing] + area[growing, best]
        fits = bigger <= size * (1 + 1e-6)
        growing, best = growing[fits], best[fits]
        near = best[:, None] + ring
        code = member[growing[:, None], near] @ bits
        offer[growing, best] = -np.inf
        more = corners[growing] + CORNERS_ADDED[code]
        joins = SIMPLE[code] & (more <= most_corners)
        joined, where, near = growing[joins], best[joins], near[joins]
        member[joined, where] = True
        corners[joined] = more[joins]
        total[joined] += value[joined, where]
        covered[joined] += area[joined, where]
        frontier[joined[:, None], near[:, 1::2]] = True
        # What was turned down may be simple now.
        again = frontier[joined[:, None], near] & ~member[joined[:, None], near]
        window, place = np.nonzero(again)
        offer[joined[window], near[window, place]] = score[joined[window], near[window, place]]
        growing = growing[covered[growing] < size]
    return member, total, covered


def _place(
    grown: Growth, labels: NDArray[np.int32], free: NDArray[np.bool_], count: int, size: float
) -> tuple[int, float]:
    """Label the densest regions that do not overlap; return how many there are and their area."""
    worth = grown.value / np.maximum(grown.area, size)
    ranked = np.argsort(worth, kind="stable")
    window, down, across = np.nonzero(grown.member[ranked])
    at = (grown.top[ranked][window] + down) * labels.shape[1] + grown.left[ranked][window] + across
    alive = np.ones(len(ranked), dtype=bool)
    claim = np.zeros(labels.size, dtype=np.int32)
    placed, covered = 0, 0.0
    flat, open_ = labels.reshape(-1), free.reshape(-1)
    while alive.any():
        mine = alive[window]
        window, at = window[mine], at[mine]
        # Of all that claim a block the densest is written last.
        claim[at] = window
        lost = np.bincount(window, weights=claim[at] != window, minlength=len(alive)) > 0
        wins = alive & ~lost
        if not wins.any():
            break
        number = np.zeros(len(alive), dtype=np.int32)
        number[wins] = count + placed + 1 + np.arange(int(wins.sum()))
        winning = wins[window]
        flat[at[winning]] = number[window[winning]]
        open_[at[winning]] = False
        placed += int(wins.sum())
        covered += float(np.maximum(grown.area[ranked][wins], size).sum())
        blocked = np.bincount(window, weights=~open_[at], minlength=len(alive)) > 0
        alive &= ~blocked & ~wins
    return placed, covered

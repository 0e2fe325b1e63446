"""Which ground of a large mosaic is looked at closely for a budget: squares with the richest ground on them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_BUDGETS = 2.0
"""Ground is rich where it is among the best that so many budgets pay for."""
_ORDERS_ACROSS = 4
"""Orders, about, that have room along a side of what is looked at: at its border they end."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """What is known of a tile's ground before it is looked at."""

    worth: NDArray[np.float64]
    """(rows, cols) what the candidates of each part are worth together."""
    part_km: tuple[float, float]
    """Height and width of a part."""
    squares: tuple[int, int]
    """Rows and columns of squares; the last of each may be larger or smaller than the others."""
    parts: int
    """Parts along a square's side."""
    cells: tuple[int, int]
    """Rows and columns of cells of a part."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """A rectangle of squares of a tile."""

    tile: int
    """Index of the tile."""
    top: int
    """Its first row of squares."""
    left: int
    """Its first column of them."""
    rows: int
    """Rows of squares."""
    cols: int
    """Columns of squares."""


def richest(
    fields: Sequence[Field], *, order_km2: float, affordable_km2: float, most_cells: int
) -> list[Window]:
    """Return rectangles of squares on which a budget is best spent; what is worth nothing is left out.

    Args:
        fields: The ground of each tile, tile by tile.
        order_km2: Area of a usual order.
        affordable_km2: Area that the budget pays for.
        most_cells: Squares are taken until they hold so many cells; one is taken at least.
    """
    rich = [_richness(field, order_km2) for field in fields]
    level = _level(fields, rich, affordable_km2)
    units = [_units(field, order_km2) for field in fields]
    ranked = []
    for index, (field, richness, (down, across)) in enumerate(zip(fields, rich, units, strict=True)):
        rows, cols = (
            _parts_of(edges, field.parts, size)
            for edges, size in zip((down, across), richness.shape, strict=True)
        )
        surplus = _over_units(np.add, np.maximum(0, richness - level), rows, cols)
        best = _over_units(np.maximum, richness, rows, cols)
        ranked += [
            (-surplus[at], -best[at], index, at[0], at[1])
            for at in zip(*(axis.tolist() for axis in np.nonzero(best > 0)), strict=True)
        ]
    chosen = [np.zeros(field.squares, dtype=bool) for field in fields]
    held = 0
    for *_, index, row, col in sorted(ranked):
        down, across = units[index]
        cut = np.s_[down[row] : down[row + 1], across[col] : across[col + 1]]
        field = fields[index]
        cells = chosen[index][cut].size * field.parts**2 * field.cells[0] * field.cells[1]
        if held and held + cells > most_cells:
            break
        chosen[index][cut] = True
        held += cells
    return [window for index, mask in enumerate(chosen) for window in rectangles(index, mask)]


def rectangles(tile: int, mask: NDArray[np.bool_]) -> Iterator[Window]:
    """Yield rectangles that cover a mask of squares and do not overlap: each as wide, then as high as it may be."""
    left = mask.copy()
    for row, col in np.argwhere(mask).tolist():
        if not left[row, col]:
            continue
        wide = int(np.argmin(np.append(left[row, col:], False)))
        high = int(np.argmin(np.append(left[row:, col : col + wide].all(axis=1), False)))
        left[row : row + high, col : col + wide] = False
        yield Window(tile=tile, top=row, left=col, rows=high, cols=wide)


def _richness(field: Field, order_km2: float) -> NDArray[np.float64]:
    """Return what a km² is worth around each part, over about an order."""
    sides = [max(1, round(order_km2**0.5 / km)) for km in field.part_km]
    around = ndimage.uniform_filter(field.worth, sides, mode="constant")
    return np.asarray(around / (field.part_km[0] * field.part_km[1]), dtype=np.float64)


def _level(fields: Sequence[Field], rich: Sequence[NDArray[np.float64]], affordable_km2: float) -> float:
    """Return the richness above which there is as much ground as some budgets pay for."""
    richness = np.concatenate([np.zeros(0), *(each.ravel() for each in rich)])
    area = np.repeat([field.part_km[0] * field.part_km[1] for field in fields], [each.size for each in rich])
    order = np.argsort(-richness, kind="stable")
    place = int(np.searchsorted(np.cumsum(area[order]), _BUDGETS * affordable_km2))
    return float(richness[order[place]]) if place < len(order) else 0.0


def _units(field: Field, order_km2: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the edges, in squares, of units on which several orders have room beside each other."""
    found = []
    for km, count in zip(field.part_km, field.squares, strict=True):
        side = max(1, int(np.ceil(_ORDERS_ACROSS * order_km2**0.5 / (km * field.parts))))
        edges = np.arange(max(1, round(count / side)) + 1, dtype=np.int64) * side
        edges[-1] = count
        found.append(edges)
    return found[0], found[1]


def _parts_of(edges: NDArray[np.int64], parts: int, size: int) -> NDArray[np.int64]:
    """Return where units begin, in parts of an axis of which there are so many."""
    return np.minimum(edges[:-1] * parts, size - 1)


def _over_units(
    how: np.ufunc, parts: NDArray[np.float64], rows: NDArray[np.int64], cols: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the sum or the greatest of the parts of each unit."""
    return np.asarray(how.reduceat(how.reduceat(parts, rows, axis=0), cols, axis=1), dtype=np.float64)

"""Which polygons of cells a vendor takes. Pure, no I/O."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.lattice import Lattice, is_whole
from geozoom.ordering.outlines import corner_counts
from geozoom.prices import DM2_PER_KM2
from geozoom.rules import ShapeRules


@dataclass(frozen=True, kw_only=True)
class CellLimits:
    """A vendor's rules in cells of one lattice."""

    least_dm2: int
    most_dm2: int
    least_rows: int
    least_cols: int
    most_rows: int
    most_cols: int
    most_corners: int
    rectangles: bool
    box_share: float

    @property
    def plain(self) -> bool:
        """Whether growing by single cells can keep to the rules: nothing but size, extent and corners."""
        return not self.rectangles and self.box_share == 0


def cell_limits(rules: ShapeRules, lattice: Lattice) -> CellLimits:
    """Express a vendor's rules in cells of a lattice."""
    return limits_of(rules, lattice.shape, lattice.cell_km)


def limits_of(rules: ShapeRules, shape: tuple[int, int], cell_km: tuple[float, float]) -> CellLimits:
    """Express a vendor's rules in cells.

    Args:
        rules: The rules.
        shape: Rows and columns that there are.
        cell_km: Height and width of a cell.
    """
    rows, cols = shape
    height, width = cell_km

    def most(limit: Decimal | None, side: float, cells: int) -> int:
        return cells if limit is None else min(cells, int(float(limit) / side + 1e-9))

    def least(side: float) -> int:
        return 1 if rules.min_width_km is None else max(1, math.ceil(float(rules.min_width_km) / side - 1e-9))

    corners = 2**31 if rules.max_vertices is None else rules.max_vertices
    return CellLimits(
        least_dm2=0 if rules.min_km2 is None else math.ceil(rules.min_km2 * DM2_PER_KM2),
        most_dm2=2**62 if rules.max_km2 is None else int(rules.max_km2 * DM2_PER_KM2),
        least_rows=least(height),
        least_cols=least(width),
        most_rows=most(rules.max_height_km, height, rows),
        most_cols=most(rules.max_width_km, width, cols),
        most_corners=corners,
        rectangles=rules.convex or corners < 6,
        box_share=0.0 if rules.min_box_share is None else float(rules.min_box_share),
    )


def violations(mask: NDArray[np.bool_], area_dm2: int, limits: CellLimits) -> Iterator[str]:
    """Yield what a vendor would refuse a region of cells for, as short words, first what is seen at a glance.

    None if it would take it; whoever wants no more than to know that asks `any` of them.
    """
    if not mask.any():
        yield "empty"
        return
    rows, cols = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    tall, wide = int(rows[-1] - rows[0]) + 1, int(cols[-1] - cols[0]) + 1
    cells = int(mask.sum())
    at_a_glance = {
        "too small": area_dm2 < limits.least_dm2,
        "too large": area_dm2 > limits.most_dm2,
        "too narrow": tall < limits.least_rows or wide < limits.least_cols,
        "too tall": tall > limits.most_rows,
        "too wide": wide > limits.most_cols,
        "not convex": limits.rectangles and cells < tall * wide,
        "too thin for its box": cells < limits.box_share * tall * wide,
    }
    yield from (words for words, broken in at_a_glance.items() if broken)
    if int(corner_counts(mask.astype(np.int32), 1)[0]) > limits.most_corners:
        yield "too many vertices"
    if not is_whole(mask):
        yield "parts or holes"

"""Candidate patches → lattices of cells that orders are made of, a lattice for each tile.

Where scenes lie on a lattice, a cell is a patch. Patches of sites lie anywhere: their value is spread over the
cells that they cover, and one is bought where a single order holds all of these.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from geozoom.area import Area
from geozoom.card import ModelCard
from geozoom.cells import CellGrid
from geozoom.errors import TileError
from geozoom.footprints import cell_areas_dm2, points_to_lonlat
from geozoom.ground import gsd_spread, measured_gsd_m
from geozoom.ordering import Lattice
from geozoom.rules import ShapeRules
from geozoom.scoring import Patches
from geozoom.sites import SitesOnTiles
from geozoom.tiles import Tile

AREA_MARGIN = 5e-5
"""Cells are counted as larger by this share, which is more than an order's polygon gains by being written to a
millimetre."""
_ROOM = 2.0
"""Area beside a vendor's smallest order in which it may take its shape."""
_HAIR = 1e-4
"""What coordinates rounded as they are written may add to the extent of a small order, as a share."""
_TOUCHED = 1e-6
"""Share of a cell below which a patch does not cover it."""


Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What can be ordered on one tile, and the candidate patches that lie on it."""

    tile: int
    """Index of the tile."""
    cells: CellGrid
    """Where the cells lie."""
    lattice: Lattice
    """What they are worth and cover."""
    patches: Indices
    """(n,) rows of the candidates on this tile."""
    covered: Indices
    """(m,) flat cells that patches cover, patch by patch; those that nobody may buy left out."""
    starts: NDArray[np.int64] | None
    """(n,) where each patch's cells begin in `covered`; None if each patch is one cell."""
    stretch: float
    """By which factor an order may reach farther from west to east, or less far, than its cells say: lattices are
    turned against the meridians, and cells differ in size."""

    def held_by(self, labels: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the order that holds each patch whole, (n,), 0 for none, by the order of each flat cell."""
        own: NDArray[np.int32] = labels[self.covered]
        if self.starts is None:
            return own
        held = np.zeros(len(self.patches), dtype=np.int32)
        some = np.flatnonzero(np.diff(np.append(self.starts, len(own))) > 0)
        if len(some):
            least = np.minimum.reduceat(own, self.starts[some])
            held[some] = np.where(least == np.maximum.reduceat(own, self.starts[some]), least, 0)
        return held


def lay_grounds(
    tiles: Sequence[Tile],
    patches: Patches,
    card: ModelCard,
    shape: ShapeRules,
    *,
    sites: SitesOnTiles | None = None,
    owned: Area | None = None,
    refused: Mapping[int, NDArray[np.bool_]],
) -> list[Ground]:
    """Lay a lattice over the candidate patches of every tile that has some.

    Args:
        tiles: The tiles.
        patches: The candidates, tile by tile.
        card: Says how large a patch is.
        shape: What the vendor takes: lattices hold at least one order.
        sites: The scenes, if they do not lie on a lattice.
        owned: Ground that must not be bought again.
        refused: Of tiles (rows, cols) the patches of the tile's lattice that another tile shows and is
            planned for.

    Raises:
        TileError: A tile's coordinates do not lie in its CRS.
    """
    grounds = []
    for index, tile in enumerate(tiles):
        # A granule has tens of millions of both patches and cells, and 2³¹ of neither.
        mine = np.flatnonzero(patches.tile == index).astype(_index_type(len(patches)))
        if len(mine):
            grounds.append(_lay(tile, index, mine, patches, card, shape, sites, owned, refused.get(index)))
    return grounds


def _lay(
    tile: Tile,
    index: int,
    mine: Indices,
    patches: Patches,
    card: ModelCard,
    shape: ShapeRules,
    sites: SitesOnTiles | None,
    owned: Area | None,
    refused: NDArray[np.bool_] | None,
) -> Ground:
    grid = card.grid
    width, height = card.lr_px / grid.cols, card.lr_px / grid.rows
    if sites is None:
        row = patches.scene_row[mine] * np.int32(grid.rows) + (patches.patch[mine] // grid.cols)
        col = patches.scene_col[mine] * np.int32(grid.cols) + (patches.patch[mine] % grid.cols)
        first, last = (int(row.min()), int(col.min())), (int(row.max()), int(col.max()))
    else:
        corners = grid.corners_in(
            sites.windows[patches.scene_row[mine]], patches.patch[mine].astype(np.int64)
        )
        low, high = corners.min(axis=1) / (width, height), corners.max(axis=1) / (width, height)
        first = (math.floor(low[:, 1].min()), math.floor(low[:, 0].min()))
        last = (math.ceil(high[:, 1].max()) - 1, math.ceil(high[:, 0].max()) - 1)
    gsd = measured_gsd_m(tile.path, tile.crs, tile.transform, tile.width, tile.height, TileError)
    cell_km = (gsd[1] * height / 1000, gsd[0] * width / 1000)
    cells = CellGrid(
        rows=last[0] - first[0] + 1,
        cols=last[1] - first[1] + 1,
        left=first[1] * width,
        top=first[0] * height,
        width=width,
        height=height,
    ).widened(*_room(shape, cell_km))
    top, left = round(cells.top / height), round(cells.left / width)
    closed = _closed(tile, cells, (top, left), owned, refused)
    value = np.zeros(cells.shape, dtype=np.float32)
    flat = value.reshape(-1)
    starts = None
    if sites is None:
        covered: Indices = (row - top).astype(_index_type(cells.rows * cells.cols))
        covered *= cells.cols
        covered += col - left
        flat[covered] = patches.value[mine]
    else:
        covered, starts, share = _spread(low - (left, top), high - (left, top), cells, closed)
        np.add.at(flat, covered, share * np.repeat(patches.value[mine], _lengths(starts, covered)))
    if closed is not None:
        value[closed] = 0
    area = np.ceil(cell_areas_dm2(tile, cells) * (1 + AREA_MARGIN))
    return Ground(
        tile=index,
        cells=cells,
        lattice=Lattice(
            value=value,
            area_dm2=area.astype(_index_type(int(area.max(initial=0)))),
            cell_km=cell_km,
            closed=closed,
        ),
        patches=mine,
        covered=covered,
        starts=starts,
        stretch=_stretch(tile),
    )


def _index_type(count: int) -> np.dtype[np.integer[Any]]:
    """Return the smallest type that counts so far: half the memory where that is 32 bits."""
    return np.dtype(np.int32 if count < 2**31 else np.int64)


def _stretch(tile: Tile) -> float:
    """Return the largest factor between the extent of an order in cells and on the globe."""
    cols, rows = np.meshgrid(*(np.array([0.0, 0.5, 1.0]) * size for size in (tile.width, tile.height)))
    here = points_to_lonlat(tile, np.stack([cols, rows], axis=-1))
    beside = points_to_lonlat(tile, np.stack([cols + 1, rows], axis=-1))
    azimuth, _, _ = Geod(ellps="WGS84").inv(here[..., 0], here[..., 1], beside[..., 0], beside[..., 1])
    turn = np.radians(azimuth)
    turned = float((np.abs(np.sin(turn)) + np.abs(np.cos(turn))).max())
    return (
        turned * (1 + gsd_spread(tile.path, tile.crs, tile.transform, tile.width, tile.height, TileError))
        + _HAIR
    )


def _room(shape: ShapeRules, cell_km: tuple[float, float]) -> tuple[int, int]:
    """Return the rows and columns in which a vendor's smallest order has room."""
    side = math.sqrt(_ROOM * float(shape.min_km2 or 0))
    least = [max(side, float(shape.min_width_km or 0)) / km for km in cell_km]
    return math.ceil(least[0]), math.ceil(least[1])


def _closed(
    tile: Tile,
    cells: CellGrid,
    corner: tuple[int, int],
    owned: Area | None,
    refused: NDArray[np.bool_] | None,
) -> NDArray[np.bool_] | None:
    """Return the cells (rows, cols) that no order may hold, or None if every one may be bought."""
    closed = _astride(tile, cells)
    if owned is not None:
        had = owned.cells(tile, cells)
        closed = had if closed is None else closed | had
    if refused is not None:
        found = np.zeros(cells.shape, dtype=bool)
        # A grid that reaches beyond the tile's lattice takes what there is of it.
        (top, left), (down, across) = corner, refused.shape
        onto = np.s_[max(0, -top) : max(0, down - top), max(0, -left) : max(0, across - left)]
        part = refused[max(0, top) : top + cells.rows, max(0, left) : left + cells.cols]
        found[onto][: part.shape[0], : part.shape[1]] = part
        closed = found if closed is None else closed | found
    return closed if closed is not None and closed.any() else None


def _astride(tile: Tile, cells: CellGrid) -> NDArray[np.bool_] | None:
    """Return the cells (rows, cols) that lie on both sides of the antimeridian, or None if none does.

    No vendor's polygon crosses it, so that orders end there.
    """
    steps = [np.unique(np.linspace(0, count, min(count, 64) + 1).round()) for count in cells.shape]
    at_row, at_col = np.meshgrid(*steps, indexing="ij")
    lon = points_to_lonlat(tile, cells.corners_px(np.stack([at_col, at_row], axis=-1)))[..., 0]
    if np.ptp(lon) <= 180:
        return None
    at_row, at_col = np.meshgrid(np.arange(cells.rows + 1), np.arange(cells.cols + 1), indexing="ij")
    lon = points_to_lonlat(tile, cells.corners_px(np.stack([at_col, at_row], axis=-1)))[..., 0]
    quads = np.stack([lon[:-1, :-1], lon[:-1, 1:], lon[1:, :-1], lon[1:, 1:]])
    return np.asarray(np.ptp(quads, axis=0) > 180)


def _spread(
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    cells: CellGrid,
    closed: NDArray[np.bool_] | None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the cells that boxes cover, patch by patch, where each begins, and the share of the box in each.

    Args:
        low: (n, 2) column and row of each box's least corner, in cells.
        high: (n, 2) of its greatest.
        cells: The grid.
        closed: Cells left out; what lies in them is shared out among the others.
    """
    first = np.floor(low + _TOUCHED).astype(np.int64)
    count = np.maximum(1, np.ceil(high - _TOUCHED).astype(np.int64) - first)
    total = count.prod(axis=1)
    box = np.repeat(np.arange(len(low)), total)
    place = np.arange(len(box)) - np.repeat(np.cumsum(total) - total, total)
    col, row = first[box, 0] + place % count[box, 0], first[box, 1] + place // count[box, 0]
    share = np.ones(len(box))
    for axis, at in enumerate((col, row)):
        inside = np.minimum(high[box, axis], at + 1) - np.maximum(low[box, axis], at)
        share *= np.clip(inside, 0, None)
    covered = row * cells.cols + col
    if closed is not None:
        kept = ~closed.reshape(-1)[covered]
        box, covered, share = box[kept], covered[kept], share[kept]
    whole = np.bincount(box, share, minlength=len(low))
    starts = np.searchsorted(box, np.arange(len(low)))
    return covered, starts, (share / np.where(whole > 0, whole, 1)[box]).astype(np.float32)


def _lengths(starts: NDArray[np.int64], covered: Indices) -> NDArray[np.int64]:
    return np.diff(np.append(starts, len(covered)))

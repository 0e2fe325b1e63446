"""The cells of a tile that orders are made of: what they are worth, cover, and may not be bought."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pyproj import Geod

from geozoom.area import Area
from geozoom.bitmask import BitMask
from geozoom.cells import CellGrid
from geozoom.errors import TileError
from geozoom.footprints import cell_areas_dm2, points_to_lonlat
from geozoom.ground import gsd_spread, measured_gsd_m, on_one_side
from geozoom.hosts import Hosts, places_on
from geozoom.ordering import Lattice
from geozoom.patches import Patches
from geozoom.rules import ShapeRules
from geozoom.tiles import Tile

if TYPE_CHECKING:
    from geozoom.card import ModelCard  # torch comes with it, which workers need not load

AREA_MARGIN = 5e-5
"""Cells are counted as larger by this share, which is more than an order's polygon gains by being written to a
millimetre."""
_ROOM = 2.0
"""Area beside a vendor's smallest order in which it may take its shape."""
_HAIR = 1e-4
"""What coordinates rounded as they are written may add to the extent of a small order, as a share."""

Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What can be ordered on one tile's cells, and the candidate patches that lie on them."""

    tile: int
    """Index of the tile; some of the patches may be another one's that shows the same place."""
    cells: CellGrid
    """Where the cells lie."""
    lattice: Lattice
    """What they are worth and cover."""
    patches: Indices
    """(n,) rows of the candidates on these cells."""
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


@dataclass(frozen=True, kw_only=True)
class Land:
    """A tile on which lattices are laid, and what of it may not be bought."""

    tile: Tile
    index: int
    """The tile's index."""
    card: ModelCard
    """Says how large a patch is."""
    owned: Area | None
    """Ground that must not be bought again."""
    refused: BitMask | None
    """The patches of the tile's lattice that another tile shows and is planned for."""
    hosts: Hosts | None
    """Which places are ordered on other tiles' cells; None if each tile orders on its own."""

    @property
    def cell_km(self) -> tuple[float, float]:
        """Height and width of a cell, a patch of the tile's lattice."""
        return cell_km(self.tile, self.card)

    def lay(self, patches: Patches, mine: Indices, shape: ShapeRules) -> Ground:
        """Lay a lattice over all candidates of the tile, with room for one order at least.

        Args:
            patches: Candidates.
            mine: (n,) which of them are ordered on its cells.
            shape: What the vendor takes.
        """
        row, col = places_on(patches, mine, self.index, self.card.grid, self.hosts)
        cells = self.cells_between((int(row.min()), int(col.min())), (int(row.max()), int(col.max())))
        return self._laid(patches, mine, cells.widened(*room(shape, self.cell_km)))

    def lay_part(
        self,
        patches: Patches,
        mine: Indices,
        window: tuple[int, int, int, int],
        shape: ShapeRules,
        reaches: tuple[bool, bool],
    ) -> Ground:
        """Lay a lattice over a part of the tile, which orders do not leave although the ground goes on beyond.

        Args:
            patches: Candidates.
            mine: (n,) which of them lie on this part.
            window: First row, first column, rows and columns of the part on the tile's lattice of patches.
            shape: What the vendor takes.
            reaches: Whether the part reaches from the tile's top to its bottom, and from side to side: beyond a narrow
                tile there may be room for an order.
        """
        top, left, rows, cols = window
        cells = self.cells_between((top, left), (top + rows - 1, left + cols - 1))
        around = [
            side if whole else 0 for side, whole in zip(room(shape, self.cell_km), reaches, strict=True)
        ]
        return self._laid(patches, mine, cells.widened(around[0], around[1]))

    def _laid(self, patches: Patches, mine: Indices, cells: CellGrid) -> Ground:
        """Lay a lattice on which each candidate is one cell."""
        row, col = places_on(patches, mine, self.index, self.card.grid, self.hosts)
        top, left = corner(cells)
        closed = self.closed_of(cells)
        value = np.zeros(cells.shape, dtype=np.float32)
        covered: Indices = (row - top).astype(index_type(cells.size))
        covered *= cells.cols
        covered += col - left
        value.reshape(-1)[covered] = patches.value[mine]
        return self.ground(mine, cells, value, covered, closed)

    def cells_between(self, first: tuple[int, int], last: tuple[int, int]) -> CellGrid:
        """Return the cells from one row and column of the tile's lattice of patches to another."""
        width, height = self.card.lr_px / self.card.grid.cols, self.card.lr_px / self.card.grid.rows
        return CellGrid(
            rows=last[0] - first[0] + 1,
            cols=last[1] - first[1] + 1,
            left=first[1] * width,
            top=first[0] * height,
            width=width,
            height=height,
        )

    def closed_of(self, cells: CellGrid) -> NDArray[np.bool_] | None:
        """Return the cells (rows, cols) that no order may hold, or None if every one may be bought."""
        closed = _astride(self.tile, cells)
        if self.owned is not None:
            had = self.owned.cells(self.tile, cells)
            closed = had if closed is None else closed | had
        if self.refused is not None:
            # A grid that reaches beyond the tile's lattice takes what there is of it.
            found = self.refused.window(*corner(cells), *cells.shape)
            closed = found if closed is None else closed | found
        elsewhere = None if self.hosts is None else self.hosts.closed(self.index, cells)
        if elsewhere is not None:
            closed = elsewhere if closed is None else closed | elsewhere
        return closed if closed is not None and closed.any() else None

    def ground(
        self,
        mine: Indices,
        cells: CellGrid,
        value: NDArray[np.float32],
        covered: Indices,
        closed: NDArray[np.bool_] | None,
        starts: NDArray[np.int64] | None = None,
        stretch: float | None = None,
    ) -> Ground:
        """Return what can be ordered on cells of the tile.

        Args:
            mine: (n,) the candidates on them.
            cells: Where they lie.
            value: (rows, cols) what each is worth; closed ones become 0.
            covered: (m,) flat cells that the candidates cover.
            closed: (rows, cols) cells that no order may hold, or None.
            starts: (n,) where each candidate's cells begin in `covered`; None if each is one cell.
            stretch: Of the whole group, where other tiles are ordered with it; None takes the tile's.
        """
        if closed is not None:
            value[closed] = 0
        area = np.ceil(cell_areas_dm2(self.tile, cells) * (1 + AREA_MARGIN))
        return Ground(
            tile=self.index,
            cells=cells,
            lattice=Lattice(
                value=value,
                area_dm2=area.astype(index_type(int(area.max(initial=0)))),
                cell_km=self.cell_km,
                closed=closed,
            ),
            patches=mine,
            covered=covered,
            starts=starts,
            stretch=stretch_of(self.tile) if stretch is None else stretch,
        )


def cell_km(tile: Tile, card: ModelCard) -> tuple[float, float]:
    """Return the height and width of a patch of a tile's lattice.

    Raises:
        TileError: The tile's coordinates do not lie in its CRS.
    """
    gsd = measured_gsd_m(tile.path, tile.crs, tile.transform, tile.width, tile.height, TileError)
    height, width = card.lr_px / card.grid.rows, card.lr_px / card.grid.cols
    return gsd[1] * height / 1000, gsd[0] * width / 1000


def corner(cells: CellGrid) -> tuple[int, int]:
    """Return the row and column of the first cell on its tile's lattice of patches."""
    return round(cells.top / cells.height), round(cells.left / cells.width)


def index_type(count: int) -> np.dtype[np.integer[Any]]:
    """Return the smallest type that counts so far: half the memory where that is 32 bits."""
    return np.dtype(np.int32 if count < 2**31 else np.int64)


def stretch_of(tile: Tile) -> float:
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


def room(shape: ShapeRules, cell_km: tuple[float, float]) -> tuple[int, int]:
    """Return the rows and columns in which a vendor's smallest order has room."""
    side = math.sqrt(_ROOM * float(shape.min_km2 or 0))
    least = [max(side, float(shape.min_width_km or 0)) / km for km in cell_km]
    return math.ceil(least[0]), math.ceil(least[1])


def _astride(tile: Tile, cells: CellGrid) -> NDArray[np.bool_] | None:
    """Return the cells (rows, cols) that lie on both sides of the antimeridian, or None if none does.

    No vendor's polygon crosses it, so that orders end there; of cells that meet on it those to the east are such.
    """
    steps = [np.unique(np.linspace(0, count, min(count, 64) + 1).round()) for count in cells.shape]
    at_row, at_col = np.meshgrid(*steps, indexing="ij")
    lon = points_to_lonlat(tile, cells.corners_px(np.stack([at_col, at_row], axis=-1)))[..., 0]
    if np.ptp(on_one_side(lon.ravel())) <= 180:
        return None
    at_row, at_col = np.meshgrid(np.arange(cells.rows + 1), np.arange(cells.cols + 1), indexing="ij")
    lon = points_to_lonlat(tile, cells.corners_px(np.stack([at_col, at_row], axis=-1)))[..., 0]
    quads = np.stack([lon[:-1, :-1], lon[:-1, 1:], lon[1:, :-1], lon[1:, 1:]])
    return np.asarray(np.ptp(quads, axis=0) > 180)

"""The choice of orders on mosaics too large for memory: only the ground on which a budget is best spent is laid out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from geozoom.area import Area
from geozoom.bitmask import BitMask
from geozoom.card import ModelCard
from geozoom.drafting import EARTH_DM2, OrderDraft, as_chosen, cents_to_choose_by, draft_orders, real_bound
from geozoom.footprints import pixel_area_range_m2
from geozoom.hosts import Hosts, places_on
from geozoom.land import Ground, Land, cell_km
from geozoom.ordering import Lattice, Solver, free_area_dm2, most_area_dm2
from geozoom.ordering.bounds import Extent, upper_bound_in_parts
from geozoom.patches import Patches
from geozoom.prices import DM2_PER_KM2, PriceList
from geozoom.purchase import Purchase, bill_orders, purchase
from geozoom.rules import ShapeRules
from geozoom.scenes import lattice_shape
from geozoom.spilled import PARTS, Spilled
from geozoom.tiles import Tile
from geozoom.windows import Field, Window, richest

MOST_CELLS = 2**25
"""Patches of all lattices up to which a mosaic is planned at once: a granule of the default model's has 30 million."""
_LOOKED_AT = 2**24
"""Patches of larger mosaics that are laid out for a budget, or twice as many as it pays for."""
_SPARE = 2
_BOUND_SQUARES = 4
"""Squares, side by side, of which the bound is worked out at once."""
_SAMPLES = 4
"""Parts of so many squares on which the bound's price is sought."""
_OVERHANG = 1.001
"""Scenes may reach beyond their tile, where pixels may be a little larger."""


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """A large mosaic, from whose candidates orders are chosen piece by piece."""

    tiles: Sequence[Tile]
    card: ModelCard
    spilled: Spilled
    """The candidates."""
    owned: Area | None
    """Ground that must not be bought again."""
    refused: Mapping[int, BitMask]
    """Of tiles the patches that another tile shows and is planned for."""
    hosts: Hosts | None = None
    """On which tile's cells each patch is ordered; None if each is on its own tile's."""

    @property
    def least_dm2(self) -> int:
        """Area of the smallest cell."""
        return min(least for least, _ in self._areas_dm2)

    @cached_property
    def _cells_km(self) -> list[tuple[float, float]]:
        """Height and width of the cells of each tile."""
        return [cell_km(tile, self.card) for tile in self.tiles]

    @cached_property
    def _areas_dm2(self) -> list[tuple[int, float]]:
        """Areas of the smallest and the largest cell of each tile."""
        px, grid = self.card.lr_px, self.card.grid
        found = []
        for tile in self.tiles:
            rows, cols = lattice_shape(tile, px)
            least, most = pixel_area_range_m2(tile, rows * px, cols * px)
            cell = 100 * px * px / grid.patches
            found.append((max(1, int(least * cell)), most * cell * _OVERHANG))
        return found

    def purchase(
        self, prices: PriceList, budget_cents: int | None, solver: Solver
    ) -> tuple[Purchase, Patches]:
        """Choose orders under a budget; as of `Offer`.

        With a budget, memory grows with what it pays for, and without one with what is bought, not with the mosaic.
        """
        if budget_cents is None:
            return self._everything(prices, solver)
        patches, grounds = self._laid(self._rich(prices, budget_cents), prices.shape)
        bought = purchase(self.tiles, grounds, patches.value, prices, budget_cents, solver)
        chosen = replace(bought, bound=max(self._bound(prices, budget_cents), bought.value))
        return _sorted(chosen, patches[chosen.patches])

    def _everything(self, prices: PriceList, solver: Solver) -> tuple[Purchase, Patches]:
        drafts: list[OrderDraft] = []
        kept: list[Patches] = []
        count = 0
        for group in self._groups():
            # Of one group at a time: what is laid out is let go before the next.
            for draft, patches in self._wanted(group, prices, solver):
                rows = np.arange(count, count + len(patches))
                drafts.append(replace(draft, patches=rows))
                kept.append(patches)
                count += len(rows)
        bought = bill_orders(drafts, prices, None, bound=self.spilled.total, missed_cents=None)
        return _sorted(bought, Patches.joined(kept)[bought.patches])

    def _wanted(
        self, group: Sequence[Window], prices: PriceList, solver: Solver
    ) -> list[tuple[OrderDraft, Patches]]:
        """Return orders for all candidates in some windows, with the patches that each holds."""
        patches, grounds = self._laid(group, prices.shape)
        found, _ = draft_orders(self.tiles, grounds, patches.value, prices, None, solver)
        return [(draft, patches[draft.patches.astype(np.int64)]) for draft in found]

    def _rich(self, prices: PriceList, budget_cents: int) -> list[Window]:
        """Return the ground on which a budget is best spent."""
        by, cents = as_chosen(prices), cents_to_choose_by(prices, budget_cents)
        shape = prices.shape
        smallest, largest = int((shape.min_km2 or 0) * DM2_PER_KM2), _largest_dm2(shape)
        usual = min(max(free_area_dm2(by, smallest), smallest, self.least_dm2), largest)
        first = int(by.bills_cents(np.array([usual]))[0])
        affordable = max(cents * usual // max(1, first), most_area_dm2(by, cents, largest)) / DM2_PER_KM2
        part = self.spilled.part
        cells = part * self.card.grid.rows, part * self.card.grid.cols
        fields = [
            Field(
                worth=self.spilled.worth[index],
                part_km=(km[0] * cells[0], km[1] * cells[1]),
                squares=self.spilled.squares[index],
                parts=PARTS,
                cells=cells,
            )
            for index, km in enumerate(self._cells_km)
        ]
        ground_km2 = sum(field.worth.size * field.part_km[0] * field.part_km[1] for field in fields)
        cells_a_km2 = sum(field.worth.size for field in fields) * cells[0] * cells[1] / ground_km2
        return richest(
            fields,
            order_km2=usual / DM2_PER_KM2,
            affordable_km2=affordable,
            most_cells=max(_LOOKED_AT, int(_SPARE * affordable * cells_a_km2)),
        )

    def _groups(self) -> Iterator[list[Window]]:
        """Yield all ground, some of it at once: whole tiles, where they are not too large."""
        group: list[Window] = []
        held = 0
        for window in self._halved():
            _, _, rows, cols = self.spilled.cells(window)
            if group and held + rows * cols > MOST_CELLS:
                yield group
                group, held = [], 0
            group.append(window)
            held += rows * cols
        if group:
            yield group

    def _halved(self) -> Iterator[Window]:
        """Yield every tile, or its halves, and so on, of so many cells at most."""
        waiting = [
            Window(tile=index, top=0, left=0, rows=rows, cols=cols)
            for index, (rows, cols) in reversed(list(enumerate(self.spilled.squares)))
        ]
        while waiting:
            window = waiting.pop()
            _, _, rows, cols = self.spilled.cells(window)
            if rows * cols <= MOST_CELLS or window.rows * window.cols == 1:
                yield window
            elif window.rows >= window.cols:
                half = window.rows // 2
                waiting.append(replace(window, top=window.top + half, rows=window.rows - half))
                waiting.append(replace(window, rows=half))
            else:
                half = window.cols // 2
                waiting.append(replace(window, left=window.left + half, cols=window.cols - half))
                waiting.append(replace(window, cols=half))

    def _laid(self, windows: Sequence[Window], shape: ShapeRules) -> tuple[Patches, list[Ground]]:
        """Return the candidates of some windows, and the ground of those that have some."""
        patches, spans = self.spilled.load(windows)
        grounds = []
        for window, span in zip(windows, spans, strict=True):
            if span.start == span.stop:
                continue
            index = window.tile
            land = Land(
                tile=self.tiles[index],
                index=index,
                card=self.card,
                owned=self.owned,
                refused=self.refused.get(index),
                hosts=self.hosts,
            )
            mine = np.arange(span.start, span.stop, dtype=np.int32)
            rows, cols = self.spilled.squares[index]
            reaches = window.rows == rows, window.cols == cols
            grounds.append(
                land.lay(patches, mine, shape)
                if all(reaches)
                else land.lay_part(patches, mine, self.spilled.cells(window), shape, reaches)
            )
        return patches, grounds

    def _bound(self, prices: PriceList, budget_cents: int) -> float:
        """Return what no plan under a budget is worth more than, by looking at all of the mosaic part by part."""
        areas = self._areas_dm2
        shapes = [lattice_shape(tile, self.card.lr_px) for tile in self.tiles]
        sizes = [rows * cols * self.card.grid.patches for rows, cols in shapes]
        extent = Extent(
            total=self.spilled.total,
            area_dm2=int(sum(size * most for size, (_, most) in zip(sizes, areas, strict=True))),
            least_dm2=self.least_dm2,
            densest=self.spilled.largest / self.least_dm2,
        )
        windows = [
            Window(tile=index, top=row, left=col, rows=1, cols=min(_BOUND_SQUARES, cols - col))
            for index, (rows, cols) in enumerate(self.spilled.squares)
            for row in range(rows)
            for col in range(0, cols, _BOUND_SQUARES)
        ]
        # What holds no candidate adds nothing to a bound.
        windows = [window for window in windows if self.spilled.holds_some(window)]
        samples = windows[:: max(1, len(windows) // _SAMPLES)]
        bound = upper_bound_in_parts(
            extent,
            lambda: map(self._lattice, windows),
            as_chosen(prices),
            cents_to_choose_by(prices, budget_cents),
            _largest_dm2(prices.shape),
            samples=[self._lattice(window) for window in samples],
            share=len(samples) / max(1, len(windows)),
        )
        return real_bound(bound, self.least_dm2, extent.total)

    def _lattice(self, window: Window) -> Lattice:
        """Return what the cells of a window are worth, as if each were as small as the smallest of its tile."""
        patches, _ = self.spilled.load([window])
        top, left, rows, cols = self.spilled.cells(window)
        value = np.zeros((rows, cols), dtype=np.float32)
        mine = np.arange(len(patches))
        row, col = places_on(patches, mine, window.tile, self.card.grid, self.hosts)
        value[row - top, col - left] = patches.value
        least, _ = self._areas_dm2[window.tile]
        return Lattice(
            value=value,
            area_dm2=np.full((1, 1), least, dtype=np.int64),
            cell_km=self._cells_km[window.tile],
        )


def _largest_dm2(shape: ShapeRules) -> int:
    """Return the largest area of an order that a vendor takes."""
    limits = [limit for limit in (shape.max_km2, shape.footprint_km2) if limit is not None]
    return int(min(limits) * DM2_PER_KM2) if limits else EARTH_DM2


def _sorted(bought: Purchase, chosen: Patches) -> tuple[Purchase, Patches]:
    """Return what is bought and its patches by tile, scene and patch: as a mosaic that is planned at once."""
    order = np.lexsort([getattr(chosen, name) for name in ("patch", "scene_col", "scene_row", "tile")])
    rows = np.arange(len(order))
    return replace(bought, patches=rows, order=bought.order[order]), chosen[order]

"""A plan and what is written of it: patches with their orders, as GeoJSON or through GeoPandas."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from geozoom import __version__
from geozoom.benefit import value_unit
from geozoom.card import ModelCard
from geozoom.features import Column, FeatureTable
from geozoom.prices import DM2_PER_KM2, PriceList
from geozoom.scenes import Skipped
from geozoom.tiles import Tile

ORDERS_FORMAT = 1
_SHARE_DECIMALS = 6
"""A patch's share of a bill is far below a cent; shares of an order add up to its cost exactly."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a vendor would be asked for in one go."""

    id: int
    """Counted from 1 in the plan."""
    tile: str
    """The LR tile that it lies on, or the first and how many more."""
    patches: int
    """Number of patches."""
    area_km2: Decimal
    """Area of the patches."""
    billed_km2: Decimal
    """Area that is billed, at least the price list's minimum."""
    cost: Decimal
    """The bill, in the price list's currency."""
    value: float
    """What the patches add, in the plan's `value_unit`."""


@dataclass(frozen=True, kw_only=True)
class Plan(FeatureTable):
    """The patches to buy, in columns of one length N, with all that led to the choice."""

    LAYER: ClassVar[str] = "orders"

    tiles: tuple[Tile, ...]
    card: ModelCard
    prices: PriceList
    budget: Decimal | None
    """What may be spent, or None."""
    threshold: float
    """Candidates have a probability above it."""
    ignored: tuple[str, ...]
    """Entries of the folders given that were not read as tiles."""
    scenes: int
    """Scenes that the policy saw."""
    scenes_skipped: Skipped
    """Scenes left out, by reason."""
    tiles_with_zeros: tuple[str, ...]
    """Tiles with pixels that are 0 in every band and not marked as missing."""
    candidates: int
    """Patches that the policy would buy if money were no object."""
    tile: NDArray[np.int64]
    scene_row: NDArray[np.int64]
    scene_col: NDArray[np.int64]
    patch: NDArray[np.int64]
    probability: NDArray[np.float64]
    patch_value: NDArray[np.float64]
    """(N,) what each patch adds to its scene after the better ones, in `value_unit`."""
    area_dm2: NDArray[np.int64]
    """(N,) geodesic areas in square decimetres."""
    order: NDArray[np.int64]
    """(N,) order of each patch, as the planner numbers them."""
    site: NDArray[np.str_] | None
    """(N,) name of the site that is each patch's scene, or None if scenes lie on a lattice."""
    off_tiles: tuple[str, ...]
    """Names of sites that lie on no tile."""
    corners: NDArray[np.float64]
    """(N, 4, 2) longitude and latitude (WGS84), counter-clockwise."""
    seconds_scenes: float
    """Time that checking and reading the tiles and running the policy took."""
    seconds_choice: float
    """Time that the choice took."""
    bound: float
    """Upper bound of the value under this budget."""
    next_tile: str | None
    """The tile of the best patches that did not fit, or None."""
    next_cost: Decimal | None
    """What the budget lacks for them."""

    def __len__(self) -> int:
        return len(self.patch)

    @cached_property
    def orders(self) -> tuple[Order, ...]:
        """All orders, most expensive first."""
        return tuple(sorted(self._orders, key=lambda order: (-order.cost, order.id)))

    @cached_property
    def _groups(self) -> list[NDArray[np.int64]]:
        """The patches of each order, in the order of the planner's numbers."""
        ranked = np.argsort(self.order, kind="stable")
        return np.split(ranked, np.flatnonzero(np.diff(self.order[ranked])) + 1) if len(ranked) else []

    @cached_property
    def _orders(self) -> list[Order]:
        found = []
        for number, mine in enumerate(self._groups, start=1):
            area = int(self.area_dm2[mine].sum())
            found.append(
                Order(
                    id=number,
                    tile=self._names(mine),
                    patches=len(mine),
                    area_km2=Decimal(area) / DM2_PER_KM2,
                    billed_km2=self.prices.billed_km2(area),
                    cost=self.prices.bill(area),
                    value=float(self.patch_value[mine].sum()),
                )
            )
        return found

    def _names(self, mine: NDArray[np.int64]) -> str:
        on = np.unique(self.tile[mine])
        first = self.tiles[int(on[0])].name
        return first if len(on) == 1 else f"{first} and {len(on) - 1} more"

    @property
    def cost(self) -> Decimal:
        """The sum of all bills."""
        return sum((order.cost for order in self.orders), Decimal("0.00"))

    @property
    def value(self) -> float:
        """The benefit of what is bought, in `value_unit`."""
        return float(self.patch_value.sum())

    @property
    def value_unit(self) -> str:
        """What `value` counts."""
        return value_unit(self.card.benefit)

    def summary(self) -> dict[str, Any]:
        """Return the totals and everything needed to make the plan again, as plain values."""
        return {
            "format": ORDERS_FORMAT,
            "geozoom": __version__,
            "totals": {
                "patches": len(self),
                "orders": len(self.orders),
                "area_km2": float(sum((order.area_km2 for order in self.orders), Decimal(0))),
                "billed_km2": float(sum((order.billed_km2 for order in self.orders), Decimal(0))),
                "cost": float(self.cost),
                "currency": self.prices.currency,
                "budget": None if self.budget is None else float(self.budget),
                "budget_left": None if self.budget is None else float(self.budget - self.cost),
                "value": round(self.value, 6),
                "value_bound": round(self.bound, 6),
                "value_unit": self.value_unit,
                "scenes": self.scenes,
                "scenes_skipped_nodata": self.scenes_skipped.nodata,
                "scenes_skipped_cloud": self.scenes_skipped.cloud,
                "scenes_skipped_overlap": self.scenes_skipped.overlap,
                "scenes_skipped_outside": self.scenes_skipped.outside,
                "scenes_skipped_owned": self.scenes_skipped.owned,
                "sites_off_tiles": self.scenes_skipped.off_tiles,
                "candidate_patches": self.candidates,
                "next_tile": self.next_tile,
                "next_cost": None if self.next_cost is None else float(self.next_cost),
            },
            "threshold": self.threshold,
            "scenes": "lattice" if self.site is None else "sites",
            "price_list": self.prices.facts() | {"order_side_km": float(self.prices.order_side_km)},
            "model": {
                "name": self.card.name,
                "data": self.card.data,
                "classes": len(self.card.classes),
                "grid": [self.card.grid_rows, self.card.grid_cols],
                "lr_px": self.card.lr_px,
                "lr_gsd_m": self.card.lr_gsd_m,
                "hr_gsd_m": self.card.hr_gsd_m,
                "scene_m": self.card.scene_m,
                "benefit": None if self.card.benefit is None else asdict(self.card.benefit),
                "code_version": self.card.code_version,
            },
            "tiles": [
                {
                    "tile": tile.name,
                    "crs": tile.crs.to_string(),
                    "gsd_m": [round(side, 3) for side in tile.gsd_m],
                    "resampled": tile.resampled,
                    "bands": list(tile.bands),
                    "scale": list(tile.calibration.scale),
                    "offset": list(tile.calibration.offset),
                    "calibration": tile.calibration.source,
                    "sensor": tile.source.sensor,
                    "acquired": None if tile.source.acquired is None else tile.source.acquired.isoformat(),
                    "clouds": None if tile.clouds is None else tile.clouds.kind,
                }
                for tile in self.tiles
            ],
            "orders": [
                {
                    "order": order.id,
                    "tile": order.tile,
                    "patches": order.patches,
                    "area_km2": float(order.area_km2),
                    "billed_km2": float(order.billed_km2),
                    "cost": float(order.cost),
                    "value": round(order.value, 6),
                }
                for order in self.orders
            ],
        }

    def columns(self) -> dict[str, Column]:
        """Return the properties of all patches, column by column."""
        row, col = self.card.grid.row_col(self.patch)
        names = [tile.name for tile in self.tiles]
        lattice = zip(self.scene_row.tolist(), self.scene_col.tolist(), strict=True)
        return {
            "tile": [names[index] for index in self.tile.tolist()],
            "scene": [f"{row},{col}" for row, col in lattice] if self.site is None else self.site,
            "scene_row": self.scene_row,
            "scene_col": self.scene_col,
            "patch": self.patch,
            "row": row,
            "col": col,
            "probability": self.probability.round(6),
            "value": self.patch_value.round(9),
            "area_km2": self.area_dm2 / DM2_PER_KM2,
            "cost_share": self._cost_shares(),
            "order": self._order_ids(),
        }

    def _cost_shares(self) -> NDArray[np.float64]:
        """Return each patch's share of its order's cost by area; shares add up to the cost."""
        unit = 10**_SHARE_DECIMALS
        shares = np.zeros(len(self), dtype=np.int64)
        for mine, order in zip(self._groups, self._orders, strict=True):
            cost = int(order.cost * unit)
            areas = np.cumsum(self.area_dm2[mine])
            reached = np.array([cost * area // int(areas[-1]) for area in areas.tolist()])
            shares[mine] = np.diff(reached, prepend=0)
        return np.asarray(shares / unit, dtype=np.float64)

    def _order_ids(self) -> NDArray[np.int64]:
        """Return the id of each patch's order, (N,)."""
        ids = np.zeros(len(self), dtype=np.int64)
        for mine, order in zip(self._groups, self._orders, strict=True):
            ids[mine] = order.id
        return ids

"""A plan and what is written of it: patches with their orders, as GeoJSON or through GeoPandas."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from geozoom import __version__
from geozoom.benefit import value_unit
from geozoom.card import ModelCard
from geozoom.deliveries import Received
from geozoom.doubt import When
from geozoom.features import Column, FeatureTable
from geozoom.layers import Layer, layer_frame, write_geopackage
from geozoom.ordering import Solver
from geozoom.patches import Patches
from geozoom.placement import areas_dm2, footprints
from geozoom.planscenes import coarse_m
from geozoom.prices import DM2_PER_KM2, PriceList
from geozoom.purchase import Order
from geozoom.scenes import Skipped
from geozoom.sites import SitesOnTiles
from geozoom.tiles import Tile

if TYPE_CHECKING:
    import geopandas

ORDERS_FORMAT = 2
_SHARE_DECIMALS = 6
"""A patch's share of a bill is far below a cent; shares of an order add up to its cost exactly."""


@dataclass(frozen=True, kw_only=True)
class Plan(FeatureTable):
    """The patches to buy, in columns of one length N, with all that led to the choice."""

    LAYER: ClassVar[str] = "patches"

    tiles: tuple[Tile, ...]
    card: ModelCard
    prices: PriceList
    budget: Decimal | None
    """What may be spent, or None."""
    threshold: float | None
    """Candidates have a probability above it; None: as the model's card says, where its LR stream was asked."""
    when: When
    """What said when HR is worth buying."""
    ignored: tuple[str, ...]
    """Entries of the folders given that were not read as tiles."""
    received: Received | None
    """The deliveries that were looked at, if any."""
    scenes_with_hr: int
    """Scenes of which HR was there, and was looked at."""
    scenes: int
    """Scenes that the policy saw."""
    scenes_skipped: Skipped
    """Scenes left out, by reason."""
    tiles_with_zeros: tuple[str, ...]
    """Tiles with pixels that are 0 in every band and not marked as missing."""
    settled_by_name: tuple[str, ...]
    """Tiles without a date that give way to others, of which, if undated too, the first by name is planned."""
    owned_elsewhere: bool
    """What is owned lies on none of the tiles."""
    candidates: int
    """Patches that would be bought if money were no object."""
    patches: Patches
    """The N patches that are bought."""
    orders: tuple[Order, ...]
    """What the vendor is asked for, the most benefit for the money first."""
    order: NDArray[np.int64]
    """(N,) id of each patch's order."""
    sites: SitesOnTiles | None
    """The scenes, if they do not lie on a lattice."""
    solver: Solver
    """How the orders were chosen."""
    seconds_scenes: float
    """Time that checking and reading the tiles and running the policy took."""
    seconds_choice: float
    """Time that the choice took."""
    bound: float
    """No plan under this budget is worth more."""
    next_cost: Decimal | None
    """Bill of the best order that is not bought, or None."""
    next_lacking: Decimal | None
    """What the budget lacks for it."""

    def __len__(self) -> int:
        return len(self.patches)

    @cached_property
    def corners(self) -> NDArray[np.float64]:  # type: ignore[override]
        """(N, 4, 2) longitude and latitude (WGS84) of the patches, counter-clockwise."""
        return footprints(self.tiles, self.patches, self.card, self.sites)

    @cached_property
    def area_dm2(self) -> NDArray[np.int64]:
        """(N,) geodesic areas of the patches in square decimetres."""
        return areas_dm2(self.tiles, self.patches, self.card, self.sites)

    @property
    def site(self) -> NDArray[np.str_] | None:
        """(N,) name of the site that is each patch's scene, or None if scenes lie on a lattice."""
        if self.sites is None:
            return None
        return np.array(self.sites.sites.names, dtype=np.str_)[self.patches.scene_row]

    @property
    def coarse(self) -> tuple[str, ...]:
        """Deliveries that were looked at and are much coarser than the model's HR GSD."""
        return () if self.received is None else self.received.coarser(coarse_m(self.card))

    @property
    def off_tiles(self) -> tuple[str, ...]:
        """Names of sites that lie on no tile."""
        return () if self.sites is None else self.sites.off_tiles

    @property
    def cost(self) -> Decimal:
        """The sum of all bills."""
        return sum((order.cost for order in self.orders), Decimal("0.00"))

    @property
    def billed_km2(self) -> Decimal:
        """The area that is billed."""
        if self.prices.billing == "union":
            return self.prices.billed_km2(sum(int(order.area_km2 * DM2_PER_KM2) for order in self.orders))
        return sum((order.billed_km2 for order in self.orders), Decimal(0))

    @property
    def value(self) -> float:
        """The benefit of what is bought, in `value_unit`."""
        return sum(order.value for order in self.orders)

    @property
    def gap(self) -> float:
        """Share of the bound by which a better plan could beat this one at most."""
        return 0.0 if self.bound <= 0 else max(0.0, 1 - self.value / self.bound)

    @property
    def value_unit(self) -> str:
        """What `value` counts."""
        return value_unit(self.card.benefit)

    def summary(self) -> dict[str, Any]:
        """Return the totals and everything needed to make the plan again, as plain values."""
        doubt = self.card.doubt_of(self.when)
        return {
            "format": ORDERS_FORMAT,
            "geozoom": __version__,
            "totals": {
                "patches": len(self),
                "orders": len(self.orders),
                "patches_km2": round(float(self.area_dm2.sum()) / DM2_PER_KM2, 8),
                "area_km2": float(sum((order.area_km2 for order in self.orders), Decimal(0))),
                "billed_km2": float(self.billed_km2),
                "cost": float(self.cost),
                "currency": self.prices.currency,
                "budget": None if self.budget is None else float(self.budget),
                "budget_left": None if self.budget is None else float(self.budget - self.cost),
                "value": round(self.value, 6),
                "value_bound": round(self.bound, 6),
                "value_unit": self.value_unit,
                "scenes": self.scenes,
                **({} if self.received is None else {"scenes_with_hr": self.scenes_with_hr}),
                "scenes_skipped_nodata": self.scenes_skipped.nodata,
                "scenes_skipped_cloud": self.scenes_skipped.cloud,
                "scenes_skipped_overlap": self.scenes_skipped.overlap,
                "scenes_skipped_outside": self.scenes_skipped.outside,
                "scenes_skipped_owned": self.scenes_skipped.owned,
                "sites_off_tiles": self.scenes_skipped.off_tiles,
                "candidate_patches": self.candidates,
                "value_gap": round(self.gap, 6),
                "next_cost": None if self.next_cost is None else float(self.next_cost),
                "next_lacking": None if self.next_lacking is None else float(self.next_lacking),
            },
            **(
                {}
                if self.received is None
                else {
                    "coarse_deliveries": list(self.coarse),
                    "deliveries_without_colours": list(self.received.colourless),
                    "deliveries_gone": list(self.received.gone),
                    "deliveries_rewritten": list(self.received.rewritten),
                }
            ),
            "threshold": self.threshold,
            "when": self.when,
            "solver": self.solver,
            "scenes": "lattice" if self.sites is None else "sites",
            **({} if self.sites is None else {"sites": self.sites.planned()}),
            "price_list": self.prices.facts(),
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
                "doubt": None if doubt is None else asdict(doubt),
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
                    "vertices": order.vertices,
                    "violations": list(order.violations),
                    "geometry": {"type": "Polygon", "coordinates": [order.ring.tolist()]},
                }
                for order in self.orders
            ],
        }

    def layer(self, name: Layer) -> geopandas.GeoDataFrame:
        """Return one layer in EPSG:4326: the patches, the orders, or the scenes of which something is bought."""
        return layer_frame(self, name)

    def _write_layers(self, path: Path) -> None:
        """Write all layers where a format holds several, and else the patches."""
        if path.suffix.lower() == ".gpkg":
            write_geopackage(self, path)
        else:
            super()._write_layers(path)

    def columns(self) -> dict[str, Column]:
        """Return the properties of all patches, column by column."""
        patches = self.patches
        row, col = self.card.grid.row_col(patches.patch.astype(np.int64))
        names = [tile.name for tile in self.tiles]
        lattice = zip(patches.scene_row.tolist(), patches.scene_col.tolist(), strict=True)
        return {
            "tile": [names[index] for index in patches.tile.tolist()],
            "scene": [f"{row},{col}" for row, col in lattice] if self.site is None else self.site,
            "scene_row": patches.scene_row,
            "scene_col": patches.scene_col,
            "patch": patches.patch,
            "row": row,
            "col": col,
            "probability": patches.probability.astype(np.float64).round(6),
            "value": patches.value.astype(np.float64).round(9),
            "area_km2": self.area_dm2 / DM2_PER_KM2,
            "cost_share": self._cost_shares(),
            "order": self.order,
        }

    def _cost_shares(self) -> NDArray[np.float64]:
        """Return each patch's share of its order's cost by area; shares add up to the cost."""
        unit = 10**_SHARE_DECIMALS
        shares = np.zeros(len(self), dtype=np.int64)
        if not self.orders:
            return shares.astype(np.float64)
        ranked = np.argsort(self.order, kind="stable")
        ends = np.cumsum([order.patches for order in self.orders], dtype=np.int64)
        for order, mine in zip(self.orders, np.split(ranked, ends[:-1]), strict=True):
            cost = int(order.cost * unit)
            areas = np.cumsum(self.area_dm2[mine])
            reached = np.array([cost * area // int(areas[-1]) for area in areas.tolist()])
            shares[mine] = np.diff(reached, prepend=0)
        return np.asarray(shares / unit, dtype=np.float64)

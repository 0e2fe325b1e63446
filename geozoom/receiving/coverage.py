"""What was delivered of what was ordered, measured on the ground."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from geozoom.receiving.catalog import Entry
from geozoom.receiving.globe import distance_km, equal_area
from geozoom.receiving.ordered import Ordered
from geozoom.receiving.usable import USABLE_SHARE, usable_ground

DELIVERED_SHARE = 0.95
"""Least share of a patch that must hold data for it to count as delivered, and of an order to be complete.

A clip loses up to half a pixel on each side."""
COARSER = 1.1
"""An image whose GSD is more than this many times the one ordered is coarser than ordered."""
MEETS_M2 = 1.0
"""Ground that a footprint must share with an order to lie on it: neighbours touch."""


@dataclass(frozen=True, kw_only=True)
class OrderCoverage:
    """What was delivered of one order."""

    order: int
    """Its number in the plan."""
    files: tuple[str, ...]
    """Images with colours that lie on it."""
    area_km2: float
    """Its ground."""
    delivered_km2: float
    """Ground of it on which an image holds data."""
    overlap_km2: float
    """Ground that was delivered again: twice counts once, three times twice."""
    coarse_km2: float
    """Ground that was delivered only coarser than ordered."""
    patches: int
    missing: tuple[str, ...]
    """The patches of which less than `DELIVERED_SHARE` was delivered."""
    unusable: tuple[str, ...]
    """The other patches, of which less than `USABLE_SHARE` can be used by the masks of their images."""

    @property
    def delivered_share(self) -> float:
        """Share of its ground that was delivered."""
        return self.delivered_km2 / self.area_km2

    @property
    def complete(self) -> bool:
        """Whether no patch is missing or unusable, nor more of the ground than clips lose at their edges."""
        return not (self.missing or self.unusable) and self.delivered_share >= DELIVERED_SHARE


class OrderedGround:
    """Orders and patches laid out equal in area, for footprints to be held against."""

    def __init__(self, ordered: Ordered) -> None:
        self.ordered = ordered
        self._orders = equal_area(ordered.ground)
        self._patches = equal_area(ordered.patch_ground)
        self._tree = shapely.STRtree(self._orders)
        ranked = np.argsort(ordered.patch_order, kind="stable")
        cuts = np.searchsorted(ordered.patch_order[ranked], ordered.order[1:])
        self._of_order = np.split(ranked, cuts)

    def met_by(self, footprint: BaseGeometry) -> NDArray[np.int64]:
        """Return the indices of the orders that a footprint lies on."""
        (laid,) = equal_area(np.array([footprint], dtype=object))
        near = np.sort(self._tree.query(laid, predicate="intersects"))
        shared = shapely.area(shapely.intersection(self._orders[near], laid))
        return np.asarray(near[shared >= MEETS_M2], dtype=np.int64)

    def km_away(self, footprint: BaseGeometry) -> float:
        """Return about how far a footprint is from the nearest order, in kilometres."""
        return min(distance_km(footprint, ground) for ground in self.ordered.ground)

    def coverage(self, entries: Sequence[Entry], ordered_gsd_m: float | None) -> list[OrderCoverage]:
        """Return what of each order images hold.

        Args:
            entries: Images with colours.
            ordered_gsd_m: GSD that was ordered, in metres; None if it is not known.
        """
        on: list[list[int]] = [[] for _ in self._orders]
        for index, entry in enumerate(entries):
            for order in self.met_by(entry.footprint).tolist():
                on[order].append(index)
        laid = equal_area(np.array([None, *(entry.footprint for entry in entries)], dtype=object)[1:])
        usable = equal_area(
            usable_ground([each.footprint for each in entries], [each.unusable for each in entries])
        )
        fine = [ordered_gsd_m is None or entry.gsd_m <= COARSER * ordered_gsd_m for entry in entries]
        return [
            self._order(
                order,
                [entries[index].name for index in mine],
                laid[mine],
                usable[mine],
                [fine[index] for index in mine],
            )
            for order, mine in enumerate(on)
        ]

    def _order(
        self,
        index: int,
        names: list[str],
        laid: NDArray[np.object_],
        usable: NDArray[np.object_],
        fine: list[bool],
    ) -> OrderCoverage:
        ground, mine = self._orders[index], self._of_order[index]
        patches = self._patches[mine]
        # Footprints may be as long as a coast: only what is near the order is looked at from here on.
        around = shapely.box(*shapely.total_bounds([ground, *patches]))
        near = shapely.make_valid(shapely.intersection(laid, around))
        clear = shapely.make_valid(shapely.intersection(usable, around))
        shares, usable_shares = (
            shapely.area(shapely.intersection(patches, shapely.union_all(each))) / shapely.area(patches)
            for each in (near, clear)
        )
        missing = shares < DELIVERED_SHARE
        on_order = shapely.intersection(near, ground)
        delivered = shapely.union_all(on_order).area
        good = shapely.union_all(on_order[fine]).area
        names_of = self.ordered.patch_name[mine]
        return OrderCoverage(
            order=int(self.ordered.order[index]),
            files=tuple(names),
            area_km2=ground.area / 1e6,
            delivered_km2=delivered / 1e6,
            overlap_km2=max(0.0, float(shapely.area(on_order).sum()) - delivered) / 1e6,
            coarse_km2=max(0.0, delivered - good) / 1e6,
            patches=len(mine),
            missing=tuple(names_of[missing].tolist()),
            unusable=tuple(names_of[~missing & (usable_shares < USABLE_SHARE)].tolist()),
        )

"""What an ingest found, and what the catalog holds of the orders now."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from geozoom import __version__
from geozoom.receiving.catalog import Entry
from geozoom.receiving.coverage import COARSER, OrderCoverage
from geozoom.receiving.place import Compared


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """What an ingest found, and what of the orders the catalog holds now."""

    catalog: str
    """The catalog's file."""
    orders_file: str
    """The plan's file."""
    orders: tuple[OrderCoverage, ...]
    """Every order, by number."""
    added: tuple[str, ...]
    """Files that are new in the catalog, or have changed."""
    known: tuple[str, ...]
    """Files that it held already."""
    duplicates: tuple[str, ...]
    """Files with the same bytes as another one, left out."""
    entries: tuple[Entry, ...]
    """All deliveries of the catalog."""
    gone: tuple[str, ...]
    """Deliveries of the catalog whose files are no longer there; they do not count as delivered."""
    rewritten: tuple[str, ...]
    """Deliveries of the catalog that were written again since they were ingested."""
    elsewhere: tuple[str, ...]
    """Deliveries of the catalog that lie on no order of this plan."""
    ordered_gsd_m: float | None
    """GSD that was ordered, in metres."""
    max_cloud: float
    """Share of clouds from which an image is clouded."""
    ignored: tuple[str, ...]
    """Files that may hold an image and were not read."""
    compared: Compared | None
    """What comparing deliveries with LR tiles found, if it was asked for."""
    problems: tuple[str, ...]
    """A sentence for everything that could not be taken into the catalog."""

    @cached_property
    def coarser(self) -> tuple[Entry, ...]:
        """Images coarser than ordered."""
        limit = self.ordered_gsd_m
        return tuple(each for each in self.entries if limit is not None and each.gsd_m > COARSER * limit)

    @cached_property
    def clouded(self) -> tuple[Entry, ...]:
        """Images under more clouds than `max_cloud`, by their metadata."""
        return tuple(each for each in self.entries if (each.cloud_share or 0.0) > self.max_cloud)

    @cached_property
    def colourless(self) -> tuple[Entry, ...]:
        """Images without red, green and blue, such as panchromatic ones; they do not count as delivered."""
        return tuple(each for each in self.entries if each.rgb is None)

    @cached_property
    def zeros(self) -> tuple[Entry, ...]:
        """Images of which a part is 0 in all bands without being marked as missing."""
        return tuple(each for each in self.entries if each.zero_share > 0)

    @property
    def complete(self) -> bool:
        """Whether nothing that was ordered is missing or unusable."""
        return all(order.complete for order in self.orders)

    def summary(self) -> dict[str, Any]:
        """Return everything as plain values."""
        area = sum(order.area_km2 for order in self.orders)
        delivered = sum(order.delivered_km2 for order in self.orders)
        return {
            "format": 1,
            "geozoom": __version__,
            "catalog": self.catalog,
            "orders_file": self.orders_file,
            "totals": {
                "orders": len(self.orders),
                "orders_complete": sum(order.complete for order in self.orders),
                "patches": sum(order.patches for order in self.orders),
                "patches_missing": sum(len(order.missing) for order in self.orders),
                "patches_unusable": sum(len(order.unusable) for order in self.orders),
                "area_km2": round(area, 8),
                "delivered_km2": round(delivered, 8),
                "delivered_share": round(delivered / area, 6),
                "overlap_km2": round(sum(order.overlap_km2 for order in self.orders), 8),
                "coarse_km2": round(sum(order.coarse_km2 for order in self.orders), 8),
            },
            "complete": self.complete,
            "ordered_gsd_m": self.ordered_gsd_m,
            "orders": [
                {
                    "order": order.order,
                    "complete": order.complete,
                    "patches": order.patches,
                    "patches_missing": len(order.missing),
                    "patches_unusable": len(order.unusable),
                    "area_km2": round(order.area_km2, 8),
                    "delivered_km2": round(order.delivered_km2, 8),
                    "delivered_share": round(order.delivered_share, 6),
                    "overlap_km2": round(order.overlap_km2, 8),
                    "coarse_km2": round(order.coarse_km2, 8),
                    "files": list(order.files),
                    "missing": list(order.missing),
                    "unusable": list(order.unusable),
                }
                for order in self.orders
            ],
            "files": {
                "added": list(self.added),
                "known": list(self.known),
                "duplicates": list(self.duplicates),
                "gone": list(self.gone),
                "rewritten": list(self.rewritten),
                "elsewhere": list(self.elsewhere),
                "coarser": {each.name: round(each.gsd_m, 3) for each in self.coarser},
                "clouded": {each.name: each.cloud_share for each in self.clouded},
                "colourless": [each.name for each in self.colourless],
                "unmarked_zeros": {each.name: round(each.zero_share, 6) for each in self.zeros},
                "ignored": list(self.ignored),
            },
            "place": None if self.compared is None else self.compared.summary(),
            "problems": list(self.problems),
        }

"""What a request body is made of besides the polygon, and where it belongs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Literal

from geozoom.errors import DetailsError
from geozoom.orderfile import OrderPolygon
from geozoom.rules import ShapeRules

Kind = Literal["estimate", "order"]

EVERY_ORDER = 0
"""Stands for all orders where something is said of each; plans count theirs from 1."""


@dataclass(frozen=True, kw_only=True)
class Details:
    """What the buyer says beside the plan; None and empty are what was not said."""

    name: str
    """What orders are called, before their numbers."""
    product: str | None = None
    """The vendor's id of the product."""
    start: datetime | None = None
    """When imagery may be taken at the earliest, in UTC."""
    end: datetime | None = None
    """When imagery may be taken at the latest, in UTC."""
    max_cloud: float | None = None
    """Share of the image under clouds that is accepted, 0 to 1."""
    max_incidence: float | None = None
    """Largest angle from the vertical in degrees."""
    images: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Ids of archive images by order, or by `EVERY_ORDER`."""
    item_type: str | None = None
    """Planet's type of the images."""
    bundle: str | None = None
    """Planet's name of the assets that are delivered."""
    mission: str | None = None
    """Airbus' satellites."""
    program: str | None = None
    """Airbus' kind of tasking."""
    contract: str | None = None
    """Id of the contract with the vendor."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Further parameters of the product, as they are written."""

    @property
    def given(self) -> frozenset[str]:
        """Names of what was said."""
        said = {each.name for each in fields(self) if getattr(self, each.name) not in (None, "", {}, ())}
        return frozenset(said - {"name"})

    @property
    def max_cloud_percent(self) -> float | None:
        """The same in per cent, a whole number where it is one."""
        if self.max_cloud is None:
            return None
        percent = round(self.max_cloud * 100, 6)
        return int(percent) if percent == int(percent) else percent

    def title(self, order: OrderPolygon) -> str:
        """Return what an order is called."""
        return f"{self.name} order {order.id}"

    def images_of(self, order: OrderPolygon) -> tuple[str, ...]:
        """Return the archive images that an order is cut from.

        Raises:
            DetailsError: None was said.
        """
        images = self.images.get(order.id) or self.images.get(EVERY_ORDER)
        if not images:
            raise DetailsError(f"order {order.id} has no archive image; say which it is cut from")
        return images

    def image_of(self, order: OrderPolygon) -> str:
        """Return the archive image that an order is cut from.

        Raises:
            DetailsError: None was said, or several.
        """
        images = self.images_of(order)
        if len(images) > 1:
            raise DetailsError(
                f"order {order.id} has {len(images)} archive images; this vendor cuts it from one"
            )
        return images[0]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One kind of request to one vendor."""

    vendor: str
    """The vendor's name."""
    kind: Kind
    what: str
    """What is asked for, in a few words."""
    post: str
    """URL or path that the body is posted to; {product} stands for the product."""
    needs: tuple[str, ...]
    """Names in `Details` without which there is no body."""
    may: tuple[str, ...] = ()
    """Names in `Details` that the body can hold besides."""
    rules: Callable[[Details], ShapeRules]
    """The polygons that the vendor takes."""
    body: Callable[[OrderPolygon, Details], dict[str, Any]]
    """The request for one order."""

    def fits(self, details: Details) -> bool:
        """Return whether the body can be made of what was said, and holds all of it."""
        return not (self.missing(details) or self.foreign(details))

    def missing(self, details: Details) -> tuple[str, ...]:
        """Return names of what the body needs and was not said."""
        return tuple(name for name in self.needs if name not in details.given)

    def foreign(self, details: Details) -> tuple[str, ...]:
        """Return names of what was said and the body cannot hold."""
        return tuple(sorted(details.given.difference(self.needs, self.may)))


def utc(moment: datetime | None) -> str:
    """Return a moment in UTC as RFC 3339, to the second.

    Raises:
        DetailsError: There is none.
    """
    if moment is None:
        raise DetailsError("a date is missing")
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"

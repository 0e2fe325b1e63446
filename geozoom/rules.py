"""The shapes that a vendor takes as an order. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from geozoom.figures import area_problems, refuse

_LARGEST_SIDE_KM = 10_000


@dataclass(frozen=True, kw_only=True)
class ShapeRules:
    """The polygons that a vendor takes as an order; None is no limit."""

    min_km2: Decimal | None = None
    """Smallest area."""
    max_km2: Decimal | None = None
    """Largest area."""
    min_width_km: Decimal | None = None
    """Smallest extent, from west to east as from south to north."""
    max_width_km: Decimal | None = None
    """Largest extent from west to east."""
    max_height_km: Decimal | None = None
    """Largest extent from south to north."""
    max_vertices: int | None = None
    """Largest number of vertices, all rings together."""
    holes: bool = False
    """Whether polygons may have holes."""
    max_parts: int = 1
    """Largest number of polygons in one order."""
    convex: bool = False
    """Whether polygons must be convex."""
    min_box_share: Decimal | None = None
    """Smallest area, as a share of the polygon's own bounding box."""

    def __post_init__(self) -> None:
        refuse(self._range_problems())
        refuse(self._contradictions())

    @property
    def footprint_km2(self) -> Decimal | None:
        """Area of the largest box that keeps to the widths, or None if there is none."""
        if self.max_width_km is None or self.max_height_km is None:
            return None
        return self.max_width_km * self.max_height_km

    def _range_problems(self) -> Iterator[str]:
        for name in ("min_km2", "max_km2"):
            value = getattr(self, name)
            if value is not None:
                yield from area_problems(name, value, positive=True)
        for name, most in (
            ("min_width_km", _LARGEST_SIDE_KM),
            ("max_width_km", _LARGEST_SIDE_KM),
            ("max_height_km", _LARGEST_SIDE_KM),
            ("min_box_share", 1),
        ):
            value = getattr(self, name)
            if value is not None and not (value.is_finite() and 0 < value <= most):
                yield f"{name} is {value}; it must be more than 0 and up to {most}"
        if self.max_vertices is not None and self.max_vertices < 4:
            yield f"max_vertices is {self.max_vertices}; it must be 4 at least, for a rectangle"
        if self.max_parts < 1:
            yield f"max_parts is {self.max_parts}; it must be 1 at least"

    def _contradictions(self) -> Iterator[str]:
        for least, most in (
            ("min_km2", "max_km2"),
            ("min_width_km", "max_width_km"),
            ("min_width_km", "max_height_km"),
        ):
            low, high = getattr(self, least), getattr(self, most)
            if low is not None and high is not None and low > high:
                yield f"{least} {low} is above {most} {high}; correct one of them"
        box = self.footprint_km2
        if box is not None and self.min_km2 is not None and box < self.min_km2:
            yield f"min_km2 {self.min_km2} is more than max_width_km × max_height_km hold; correct one of them"
        if self.holes and self.convex:
            yield "holes and convex are both true, but nothing with a hole is convex; set one of them to false"


ONE_POLYGON = ShapeRules()
"""One polygon without holes, of any size."""

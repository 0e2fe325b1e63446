"""What a price list is made of besides its minimums: rates by area, and surcharges. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from geozoom.figures import CENT, amount_problems, area_problems, refuse, within

LARGEST_RATE = 50_000
LARGEST_PERCENT = 1_000


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A rate that holds from some area on."""

    from_km2: Decimal
    """Where the tier begins; it ends where the next one begins."""
    rate_per_km2: Decimal
    """Price of a square kilometre, in whole cents."""

    def __post_init__(self) -> None:
        refuse(
            (
                *amount_problems("rate_per_km2", self.rate_per_km2, LARGEST_RATE, positive=True),
                *area_problems("from_km2", self.from_km2),
            )
        )


@dataclass(frozen=True, kw_only=True)
class Uplift:
    """A surcharge, for example for a cloud guarantee."""

    name: str
    percent: Decimal | None = None
    """Share of the price of the area, in per cent; or"""
    per_km2: Decimal | None = None
    """amount for each square kilometre that is billed."""
    applies: bool = False
    """Whether it is on every bill; otherwise it is one that `PriceList.with_uplifts` switches on."""

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[str]:
        if (self.percent is None) == (self.per_km2 is None):
            yield "has both or neither of percent and per_km2; give one of them"
        if self.per_km2 is not None:
            yield from amount_problems("per_km2", self.per_km2, LARGEST_RATE, positive=True)
        if self.percent is not None and not within(self.percent, LARGEST_PERCENT, CENT, positive=True):
            yield (
                f"percent is {self.percent}; it must be positive, with 2 decimals at most, "
                f"up to {LARGEST_PERCENT}"
            )

"""What a vendor bills and what orders it takes. Pure: money is `Decimal`, areas are whole square decimetres.

A bill is worked out exactly, in this order, and rounded once:

1. the area, or `minimum_km2` if that is more (of a scene, its price stands for steps 1 to 3);
2. times the rate: "marginal" tiers bill each km² at the rate of the tier it lies in, "whole" tiers bill
   all of it at the rate of the tier that it reaches;
3. plus the uplifts per km² that are switched on, on the same area;
4. plus the percentages that are switched on, added up, of that;
5. or `minimum_value` if that is more;
6. rounded half up to the cent.

Nothing ordered costs nothing. More area never costs less, except by "whole" tiers of which a later one is
cheaper: there, an area just below a threshold costs more than one that reaches it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geozoom.figures import CENT, DM2, LARGEST_KM2, amount_problems, area_problems, refuse
from geozoom.rates import LARGEST_PERCENT, LARGEST_RATE, Tier, Uplift
from geozoom.rules import ONE_POLYGON, ShapeRules

Billing = Literal["per-order", "union", "per-scene"]
TiersApply = Literal["marginal", "whole"]
AoiFormat = Literal["geojson", "wkt"]
Trust = Literal["published", "reseller", "unverified", "illustrative"]

UNDATED = "undated"
"""What effective_date says of a source without a date: it is said, not forgotten."""
DM2_PER_KM2 = 10**8
"""Square decimetres in a square kilometre; areas are added up in these, without rounding errors."""
_EXACT = Context(prec=60, rounding=ROUND_HALF_UP)
"""More digits than any bill has, whatever the caller's own context."""
_LARGEST_MINIMUM_KM2 = 10_000
"""Up to this, the figure below and those of `geozoom.rates`, bills in cents are exact in 64 bits for all that the
Earth has."""
_LARGEST_PRICE = 10**9
_PERCENT_UNIT = 10_000
"""Percentages have two decimals, so that this is 100%."""
_GOOD_FOR_DAYS = 365
"""Older figures are doubted."""


@dataclass(frozen=True, kw_only=True)
class PriceList:
    """What a vendor bills for an order, and what orders it takes.

    Raises:
        PriceListError: Figures make no sense, or not together; a line for each problem.
    """

    name: str
    """What the list is called; one that ships with geozoom is found by it."""
    vendor: str = ""
    product: str = ""
    currency: str
    """ISO 4217 code, of a currency with cents."""
    billing: Billing
    """Each order on its own; all orders' areas together; or a price for each order, which is one scene."""
    rate_per_km2: Decimal | None = None
    """Price of a square kilometre, in whole cents; or"""
    tiers: tuple[Tier, ...] = ()
    """rates by area, from 0 on; or"""
    price_per_scene: Decimal | None = None
    """price of an order that fits into the footprint max_width_km × max_height_km of `shape`."""
    tiers_apply: TiersApply | None = None
    """Each km² at its own tier's rate, or all of them at the rate of the tier that is reached."""
    minimum_km2: Decimal = Decimal(0)
    """Smallest area that is billed: of an order, or of all together if billing is "union"."""
    minimum_value: Decimal = Decimal(0)
    """Smallest bill: of an order, or of all together if billing is "union"."""
    uplifts: tuple[Uplift, ...] = ()
    shape: ShapeRules = ONE_POLYGON
    aoi_format: AoiFormat = "geojson"
    """How the vendor wants the polygon written."""
    gsd_m: Decimal | None = None
    """Ground sampling distance of the product in metres, where it is known."""
    source: str
    """Where the figures come from."""
    effective_date: date | None
    """Day of the figures, or None if the source has no date."""
    trust: Trust
    """Who stands behind the figures: the vendor, a reseller, nobody, or they are made up."""
    note: str = ""
    """What the source leaves open."""

    def __post_init__(self) -> None:
        refuse(self._problems())

    def bill(self, area_dm2: int) -> Decimal:
        """Return the cost of an order of this area, or of all of them together if billing is "union".

        Raises:
            ValueError: The area is negative or larger than the Earth.
        """
        billed = self.billed_km2(area_dm2)
        if not billed:
            return Decimal("0.00")
        with localcontext(_EXACT):
            charge = self._charge(billed) * (1 + self._percent / 100)
            # Nothing that costs anything is free: many orders of less than half a cent would be.
            return max(charge, self.minimum_value, CENT if charge else charge).quantize(CENT)

    def bill_all(self, areas_dm2: Sequence[int]) -> Decimal:
        """Return the cost of orders of these areas, which share no ground."""
        if self.billing == "union":
            return self.bill(sum(areas_dm2))
        return sum(map(self.bill, areas_dm2), Decimal("0.00"))

    def billed_km2(self, area_dm2: int) -> Decimal:
        """Return the area that an order is billed for; a scene is bought whole.

        Raises:
            ValueError: The area is negative or larger than the Earth.
        """
        if not 0 <= area_dm2 <= LARGEST_KM2 * DM2_PER_KM2:
            raise ValueError(f"{area_dm2} dm² is no area on the Earth")
        if area_dm2 == 0:
            return Decimal(0)
        return max(_EXACT.multiply(area_dm2, DM2), self._least_km2)

    def bills_cents(self, area_dm2: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Return `bill` of many areas at once, in cents; areas may be integers of any width.

        Raises:
            ValueError: An area is negative or larger than the Earth.
        """
        area_dm2 = area_dm2.astype(np.int64, copy=False)
        for extreme in (area_dm2.min(initial=0), area_dm2.max(initial=0)):
            self.billed_km2(int(extreme))
        with localcontext(_EXACT):
            whole, rest = self._charges(np.maximum(area_dm2, int(self._least_km2 * DM2_PER_KM2)))
            factor = _PERCENT_UNIT + int(self._percent * _PERCENT_UNIT / 100)
            least = int(self.minimum_value * 100)
        # (whole + rest / DM2_PER_KM2) × factor / _PERCENT_UNIT, in parts that stay below 2**63.
        many, few = np.divmod(whole, _PERCENT_UNIT)
        unit = DM2_PER_KM2 * _PERCENT_UNIT
        cents = many * factor + ((few * DM2_PER_KM2 + rest) * factor + unit // 2) // unit
        costs = ((whole > 0) | (rest > 0)).astype(np.int64)
        return np.where(area_dm2 == 0, 0, np.maximum(np.maximum(cents, costs), least))

    @property
    def falls_dm2(self) -> list[int]:
        """The areas at which a bill may fall: where "whole" tiers after the first begin."""
        return self._steps[0, 1:].tolist() if self.tiers_apply == "whole" else []

    def with_uplifts(self, names: Iterable[str]) -> PriceList:
        """Return the list with the uplifts of these names switched on.

        Raises:
            PriceListError: There is no uplift of a name.
        """
        wanted = set(names)
        known = [uplift.name for uplift in self.uplifts]
        refuse(
            f"{self.name}: has no uplift {name!r}; "
            + (f"it has {', '.join(map(repr, known))}" if known else "it has none")
            for name in sorted(wanted.difference(known))
        )
        return replace(
            self,
            uplifts=tuple(
                replace(each, applies=each.applies or each.name in wanted) for each in self.uplifts
            ),
        )

    @property
    def terms(self) -> str:
        """What is billed, in a few words, with the uplifts that are switched on."""
        if self.price_per_scene is not None:
            words = [f"{self.price_per_scene} {self.currency} a scene"]
        elif self.rate_per_km2 is not None:
            words = [f"{self.rate_per_km2} {self.currency} per km²"]
        else:
            each = (
                "each km² at its own tier's rate"
                if self.tiers_apply == "marginal"
                else "all at the rate of the last one reached"
            )
            steps = ", ".join(f"{tier.rate_per_km2} from {tier.from_km2} km²" for tier in self.tiers)
            words = [f"{self.currency} per km²: {steps} ({each})"]
        least = [f"{self.minimum_km2} km²"] if self.minimum_km2 else []
        least += [f"{self.minimum_value} {self.currency}"] if self.minimum_value else []
        if least:
            of = "for all orders together" if self.billing == "union" else "an order"
            words.append(f"at least {' and '.join(least)} {of}")
        words += [
            f"{uplift.name} +{uplift.percent}%"
            if uplift.percent is not None
            else f"{uplift.name} +{uplift.per_km2} {self.currency} per km²"
            for uplift in self._applied
        ]
        return ", ".join(words)

    @property
    def dated(self) -> str:
        """The date of the figures in words."""
        return UNDATED if self.effective_date is None else self.effective_date.isoformat()

    def doubt(self, today: date) -> str | None:
        """Return why the date of the figures is a reason to ask the vendor again, or None."""
        if self.effective_date is None:
            return "its source is undated"
        if self.effective_date > today:
            return f"its figures hold only from {self.effective_date}"
        if (today - self.effective_date).days > _GOOD_FOR_DAYS:
            return f"its figures are of {self.effective_date}, more than a year ago"
        return None

    def facts(self) -> dict[str, Any]:
        """Return all of it as plain values; figures are strings, as in TOML, so that they stay exact."""
        return asdict(self, dict_factory=lambda items: {key: _plain(value) for key, value in items})

    @property
    def _least_km2(self) -> Decimal:
        if self.price_per_scene is None:
            return self.minimum_km2
        return self.shape.footprint_km2 or Decimal(0)

    @cached_property
    def _applied(self) -> tuple[Uplift, ...]:
        return tuple(uplift for uplift in self.uplifts if uplift.applies)

    @cached_property
    def _percent(self) -> Decimal:
        return sum((uplift.percent or Decimal(0) for uplift in self._applied), Decimal(0))

    @cached_property
    def _rates(self) -> tuple[Tier, ...]:
        """The tiers, with the uplifts per km² in their rates; a rate for all is one tier."""
        tiers = self.tiers or (Tier(from_km2=Decimal(0), rate_per_km2=self.rate_per_km2 or Decimal(0)),)
        more = sum((uplift.per_km2 or Decimal(0) for uplift in self._applied), Decimal(0))
        return tuple(replace(tier, rate_per_km2=tier.rate_per_km2 + more) for tier in tiers)

    @cached_property
    def _steps(self) -> NDArray[np.int64]:
        """(2, T) where every tier begins, in dm², and its rate in cents per km²."""
        steps = [(int(tier.from_km2 * DM2_PER_KM2), int(tier.rate_per_km2 * 100)) for tier in self._rates]
        return np.array(steps, dtype=np.int64).T

    def _charge(self, billed_km2: Decimal) -> Decimal:
        """Return what an area costs before percentages, exactly."""
        if self.price_per_scene is not None:
            return self.price_per_scene
        reached = [tier for tier in self._rates if tier.from_km2 <= billed_km2]
        if self.tiers_apply == "whole":
            return billed_km2 * reached[-1].rate_per_km2
        ends = [*(tier.from_km2 for tier in reached[1:]), billed_km2]
        parts = zip(reached, ends, strict=True)
        return sum(((end - tier.from_km2) * tier.rate_per_km2 for tier, end in parts), Decimal(0))

    def _charges(self, billed_dm2: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return `_charge` of many areas: whole cents, and the rest in cents / DM2_PER_KM2."""
        whole, rest = np.zeros_like(billed_dm2), np.zeros_like(billed_dm2)
        if self.price_per_scene is not None:
            return whole + int(self.price_per_scene * 100), rest
        starts, rates = self._steps
        if self.tiers_apply == "whole":
            parts = [(billed_dm2, rates[np.searchsorted(starts, billed_dm2, side="right") - 1])]
        else:
            ends = np.append(starts[1:], LARGEST_KM2 * DM2_PER_KM2)
            parts = [
                (np.clip(billed_dm2, start, end) - start, rate)
                for start, end, rate in zip(starts, ends, rates, strict=True)
            ]
        for part, rate in parts:
            km2, dm2 = np.divmod(part, DM2_PER_KM2)
            whole += km2 * rate
            rest += dm2 * rate
        return whole + rest // DM2_PER_KM2, rest % DM2_PER_KM2

    def _problems(self) -> Iterator[str]:
        if not re.fullmatch("[A-Z]{3}", self.currency):
            yield f"currency is {self.currency!r}; it must be a code of three capital letters, as USD"
        yield from self._scene_problems() if self.billing == "per-scene" else self._rate_problems()
        names = [uplift.name for uplift in self.uplifts]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"two uplifts are called {name!r}; rename one of them"
        if sum(uplift.percent or 0 for uplift in self.uplifts) > LARGEST_PERCENT:
            yield f"the uplifts add up to more than {LARGEST_PERCENT} percent; lower them"
        if self.gsd_m is not None and not (self.gsd_m.is_finite() and self.gsd_m > 0):
            yield f"gsd_m is {self.gsd_m}; it must be a positive number of metres"

    def _rate_problems(self) -> Iterator[str]:
        if self.price_per_scene is not None:
            yield 'price_per_scene is for billing = "per-scene"; remove it, or change billing'
        if (self.rate_per_km2 is None) == (not self.tiers):
            yield "a price list has either rate_per_km2 or tiers; give one of them"
        if self.rate_per_km2 is not None:
            yield from amount_problems("rate_per_km2", self.rate_per_km2, LARGEST_RATE, positive=True)
        if (self.tiers_apply is None) != (not self.tiers):
            yield (
                'tiers and tiers_apply belong together; give both (tiers_apply = "marginal" bills each km² at '
                'its own tier\'s rate, "whole" all of it at the rate of the tier that it reaches) or neither'
            )
        if self.tiers and self.tiers[0].from_km2 != 0:
            yield f"the first tier begins at {self.tiers[0].from_km2} km²; let it begin at 0"
        for number, (tier, after) in enumerate(pairwise(self.tiers), start=1):
            if after.from_km2 <= tier.from_km2:
                yield (
                    f"tiers {number} and {number + 1} overlap, from {tier.from_km2} and from {after.from_km2} km²; "
                    "let from_km2 rise from tier to tier"
                )
        yield from area_problems("minimum_km2", self.minimum_km2, _LARGEST_MINIMUM_KM2)
        yield from amount_problems("minimum_value", self.minimum_value, _LARGEST_PRICE)
        highest = max((tier.rate_per_km2 for tier in self.tiers), default=self.rate_per_km2 or Decimal(0))
        more = sum(uplift.per_km2 or 0 for uplift in self.uplifts)
        if more and highest + more > LARGEST_RATE:
            yield f"rate and uplifts add up to more than {LARGEST_RATE} per km²; lower them"

    def _scene_problems(self) -> Iterator[str]:
        if self.price_per_scene is None:
            yield 'billing = "per-scene" needs a price_per_scene; add it, or change billing'
        else:
            yield from amount_problems("price_per_scene", self.price_per_scene, _LARGEST_PRICE, positive=True)
        for name in ("rate_per_km2", "tiers", "tiers_apply", "minimum_km2", "minimum_value"):
            if getattr(self, name):
                yield f'{name} means nothing with billing = "per-scene"; remove it, or change billing'
        if self.shape.footprint_km2 is None:
            yield (
                'billing = "per-scene" needs the scene\'s footprint; add max_width_km and max_height_km to [shape]'
            )
        if any(uplift.per_km2 is not None for uplift in self.uplifts):
            yield 'an uplift per_km2 means nothing with billing = "per-scene"; give it as percent'


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, date):
        return value.isoformat()
    return list(value) if isinstance(value, tuple) else value

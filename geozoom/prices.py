"""Price lists: TOML in, bill out. Pure: money is `Decimal`, areas are whole square decimetres.

An order is billed as max(area, minimum) × rate, rounded half up to the cent, each order on its own.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geozoom.errors import PriceListError

DM2_PER_KM2 = 10**8
"""Square decimetres in a square kilometre; areas are added up in these, without rounding errors."""
_CENT = Decimal("0.01")
_LARGEST_ORDER_KM2 = 10_000
"""Up to here, and at no more than 50,000 a km², bills in cents fit into 64 bits."""
_LARGEST_RATE = Decimal(50_000)


@dataclass(frozen=True, kw_only=True)
class PriceList:
    """What a vendor bills for an order."""

    name: str
    """Name of the product."""
    currency: str
    """ISO 4217 code, of a currency with cents."""
    rate_per_km2: Decimal
    """Price of a square kilometre, in whole cents."""
    minimum_km2: Decimal
    """Smallest area that an order is billed for."""
    order_side_km: Decimal
    """Patches within a square of this side go into one order, as parts of one MultiPolygon."""
    source: str
    """Where the figures come from."""
    effective_date: date
    """Day from which they hold."""
    trust: str
    """How far to trust them."""

    def bill(self, area_dm2: int) -> Decimal:
        """Return the cost of an order of this area; nothing ordered costs nothing."""
        if area_dm2 == 0:
            return Decimal("0.00")
        billed = max(Decimal(area_dm2) / DM2_PER_KM2, self.minimum_km2)
        return (billed * self.rate_per_km2).quantize(_CENT, ROUND_HALF_UP)

    def billed_km2(self, area_dm2: int) -> Decimal:
        """Return the area that an order is billed for."""
        if area_dm2 == 0:
            return Decimal(0)
        return max(Decimal(area_dm2) / DM2_PER_KM2, self.minimum_km2)

    def bills_cents(self, area_dm2: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return `bill` of many orders at once, in cents."""
        rate = int(self.rate_per_km2 * 100)
        minimum = int(self.minimum_km2 * DM2_PER_KM2)
        billed = np.maximum(area_dm2, minimum)
        cents = (billed * rate + DM2_PER_KM2 // 2) // DM2_PER_KM2
        return np.where(area_dm2 == 0, 0, cents)


def parse_price_list(text: str, where: str) -> PriceList:
    """Read a price list from TOML text.

    Args:
        text: The TOML.
        where: File name for messages.

    Raises:
        PriceListError: It is not TOML, lacks a key, or a figure makes no sense.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PriceListError(f"{where}: not valid TOML ({error}); correct the file") from error
    known = set(PriceList.__dataclass_fields__)
    for problem, keys in (
        ("lacks the key", known - set(content)),
        ("has an unknown key", set(content) - known),
    ):
        if keys:
            raise PriceListError(
                f"{where}: {problem} {min(keys)!r}; a price list has {', '.join(sorted(known))}"
            )
    rate = _figure(content, "rate_per_km2", where)
    minimum = _figure(content, "minimum_km2", where)
    side = _figure(content, "order_side_km", where)
    if not 0 < rate <= _LARGEST_RATE or rate != rate.quantize(_CENT):
        raise PriceListError(
            f"{where}: rate_per_km2 is {rate}; it must be a positive amount in whole cents, "
            f"{_LARGEST_RATE} at most"
        )
    if not 0 <= minimum <= _LARGEST_ORDER_KM2 or minimum * DM2_PER_KM2 % 1:
        raise PriceListError(
            f"{where}: minimum_km2 is {minimum}; it must lie in 0..{_LARGEST_ORDER_KM2}, with 8 decimals at most"
        )
    if not 0 < side <= 100:
        raise PriceListError(f"{where}: order_side_km is {side}; it must lie above 0 and up to 100")
    return PriceList(
        name=str(content["name"]),
        currency=str(content["currency"]),
        rate_per_km2=rate,
        minimum_km2=minimum,
        order_side_km=side,
        source=str(content["source"]),
        effective_date=_date(content["effective_date"], where),
        trust=str(content["trust"]),
    )


def _figure(content: dict[str, Any], key: str, where: str) -> Decimal:
    """Read a figure from a string or a whole number; a TOML float would have been rounded already."""
    value = content[key]
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PriceListError(f'{where}: {key} must be written as a string, for example {key} = "12.50"')
    try:
        figure = Decimal(value)
    except InvalidOperation as error:
        raise PriceListError(f"{where}: {key} = {value!r} is not a number") from error
    if not figure.is_finite():
        raise PriceListError(f"{where}: {key} = {value!r} is not a finite number")
    return figure


def _date(value: Any, where: str) -> date:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError as error:
        raise PriceListError(
            f"{where}: effective_date {value!r} is not a date; write it as YYYY-MM-DD"
        ) from error


def to_cents(amount: Decimal | int | str) -> int:
    """Return an amount of money in whole cents, rounded down: a budget is never exceeded.

    Raises:
        ValueError: It is not an amount from 0.01 to 10¹².
    """
    try:
        exact = Decimal(amount)
    except InvalidOperation as error:
        raise ValueError(f"{amount!r} is not a number") from error
    if not exact.is_finite() or not Decimal("0.01") <= exact <= Decimal(10) ** 12:
        raise ValueError(f"{amount} is not a positive amount of money that anyone has")
    return int(exact * 100)

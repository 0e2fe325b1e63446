"""Checks of the figures of a price list: what is wrong with them, a sentence each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal

from geozoom.errors import PriceListError

CENT = Decimal("0.01")
DM2 = Decimal("1e-8")
"""A square decimetre in square kilometres: areas are whole ones."""
LARGEST_KM2 = 10**9
"""More than the Earth has."""


def refuse(problems: Iterable[str]) -> None:
    """Raise what is wrong, if anything.

    Raises:
        PriceListError: There is a problem; a line for each.
    """
    found = "\n".join(problems)
    if found:
        raise PriceListError(found)


def within(value: Decimal, most: int, unit: Decimal, *, positive: bool) -> bool:
    """Return whether a figure is a multiple of a unit, not negative and not too large."""
    in_range = value.is_finite() and 0 <= value <= most and (value > 0 or not positive)
    return in_range and value % unit == 0


def amount_problems(name: str, value: Decimal, most: int, *, positive: bool = False) -> Iterator[str]:
    """Say why a figure is no amount of money."""
    if not within(value, most, CENT, positive=positive):
        kind = "a positive amount" if positive else "0 or an amount"
        yield f"{name} is {value}; it must be {kind} in whole cents, up to {most}"


def area_problems(
    name: str, value: Decimal, most: int = LARGEST_KM2, *, positive: bool = False
) -> Iterator[str]:
    """Say why a figure is no area in square kilometres."""
    if not within(value, most, DM2, positive=positive):
        least = "more than 0 and" if positive else "0 or more,"
        yield f"{name} is {value}; it must be {least} up to {most}, with 8 decimals at most"

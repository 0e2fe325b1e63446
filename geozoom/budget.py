"""A budget: an amount of money, with its currency where the user names one. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from geozoom.errors import BudgetError
from geozoom.prices import PriceList

_WRITTEN = re.compile(r"\s*([A-Za-z]{3})?\s*([^\sA-Za-z]\S*?)\s*([A-Za-z]{3})?\s*")


@dataclass(frozen=True, order=True)
class Budget:
    """What may be spent."""

    cents: int
    """In hundredths, rounded down: a budget is never exceeded."""
    currency: str | None = None
    """ISO 4217 code; None stands for the price list's."""

    @classmethod
    def of(cls, amount: Budget | Decimal | int | str) -> Budget:
        """Read a budget from an amount, or from text such as "5000", "5000 EUR" or "EUR 5000".

        Raises:
            BudgetError: It is not a positive amount of money.
        """
        if isinstance(amount, Budget):
            return amount
        currency = None
        number = amount
        if isinstance(amount, str) and (written := _WRITTEN.fullmatch(amount)) is not None:
            before, number, after = written.groups()
            if before and after:
                raise BudgetError(f"budget {amount!r}: names two currencies; give one")
            currency = (before or after or "").upper() or None
        try:
            return cls(to_cents(number), currency)
        except ValueError as error:
            raise BudgetError(f"budget {amount!r}: {error}; give a positive amount") from error

    def cents_in(self, prices: PriceList) -> int:
        """Return the cents that may be spent on a price list.

        Raises:
            BudgetError: The list is in another currency: geozoom knows no exchange rates.
        """
        if self.currency not in (None, prices.currency):
            raise BudgetError(
                f"the budget is in {self.currency}, but the price list {prices.name} is in {prices.currency}; give "
                f"the budget in {prices.currency}, or prices in {self.currency}"
            )
        return self.cents

    @property
    def amount(self) -> Decimal:
        """The amount with its cents."""
        return Decimal(self.cents).scaleb(-2)


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

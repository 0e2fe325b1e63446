"""A plan in the making. Pure NumPy, no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.regions import Regions
from geozoom.ordering.shapes import CellLimits
from geozoom.prices import PriceList

Integers = NDArray[np.int64]


@dataclass
class Draft:
    """A plan in the making: the orders of each lattice, and the best one left out."""

    regions: list[Regions]
    missed: tuple[float, int] | None = None
    """Value per cent and bill in cents of the best order that was left out."""

    def bills(self, prices: PriceList) -> list[Integers]:
        """Return the bill of every order in cents, lattice by lattice."""
        return [prices.bills_cents(regions.area[1:]) for regions in self.regions]

    def cost(self, prices: PriceList) -> int:
        """Return the sum of all bills in cents."""
        return sum(int(bills.sum()) for bills in self.bills(prices))

    def worth(self, prices: PriceList) -> NDArray[np.float64]:
        """Return the value per cent of every order, one lattice after the other."""
        bills = np.concatenate([np.zeros(0, np.int64), *self.bills(prices)])
        values = np.concatenate([np.zeros(0), *(regions.value[1:] for regions in self.regions)])
        return np.asarray(values / np.maximum(bills, 1))

    def keep(self, kept: NDArray[np.bool_]) -> None:
        """Drop whole orders.

        Args:
            kept: Whether each order stays, one lattice after the other.
        """
        start = 0
        for regions in self.regions:
            mine = kept[start : start + regions.count]
            start += regions.count
            if not mine.all():
                regions.keep(mine)

    def copy(self) -> Draft:
        """Return a plan that changes apart from this one."""
        copies = [Regions(each.lattice, each.limits, each.labels.copy()) for each in self.regions]
        return Draft(regions=copies, missed=self.missed)

    def within(self, limits: Sequence[CellLimits]) -> Draft:
        """Return the same orders, which are free to change within other rules from here on.

        Args:
            limits: The rules of each lattice, which the orders keep already.
        """
        pairs = zip(self.regions, limits, strict=True)
        return Draft(
            regions=[Regions(each.lattice, limit, each.labels) for each, limit in pairs], missed=self.missed
        )

    @property
    def value(self) -> float:
        """The sum of the values of all cells in orders."""
        return sum(float(regions.value[1:].sum()) for regions in self.regions)

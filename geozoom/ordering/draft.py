"""A plan in the making: the orders of each lattice. Pure NumPy, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geozoom.ordering.lattice import Lattice
from geozoom.ordering.regions import Regions
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

    @property
    def value(self) -> float:
        """The sum of the values of all cells in orders."""
        return sum(float(regions.value[1:].sum()) for regions in self.regions)

    def smallest_bill(self, prices: PriceList) -> int:
        """Return what the smallest order that the vendor takes is billed, in cents."""
        least = [
            max(regions.limits.least_dm2, int(regions.lattice.area_dm2.min(initial=1)))
            for regions in self.regions
        ]
        return int(prices.bills_cents(np.array(least, dtype=np.int64)).min())

    def rest(self) -> list[Lattice]:
        """Return the lattices with the ground of all orders closed."""
        found = []
        for regions in self.regions:
            lattice = regions.lattice
            taken = regions.inner > 0
            found.append(
                replace(
                    lattice,
                    value=np.where(taken, np.float32(0), lattice.value),
                    closed=taken if lattice.closed is None else taken | lattice.closed,
                )
            )
        return found

    def join(self, other: Draft) -> None:
        """Add the orders of a plan that was made on the rest."""
        for index, more in enumerate(other.regions):
            mine = self.regions[index]
            labels = mine.labels + np.where(more.labels > 0, more.labels + np.int32(mine.count), 0)
            self.regions[index] = Regions(mine.lattice, mine.limits, labels.astype(np.int32))
        self.missed = other.missed

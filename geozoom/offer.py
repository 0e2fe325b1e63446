"""All that can be ordered, of which plans for any budget are made: at once where memory holds it, else in pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from geozoom.land import Ground
from geozoom.ordering import Solver
from geozoom.patches import Patches
from geozoom.prices import PriceList
from geozoom.purchase import Purchase, purchase
from geozoom.tiles import Tile


class Offer(Protocol):
    """Candidates and the ground that they lie on."""

    @property
    def least_dm2(self) -> int:
        """Area of the smallest cell that can be ordered."""

    def purchase(
        self, prices: PriceList, budget_cents: int | None, solver: Solver
    ) -> tuple[Purchase, Patches]:
        """Choose orders under a budget; return them and the patches whose rows they name.

        Args:
            prices: What an order is billed, and which polygons the vendor takes.
            budget_cents: What may be spent, in cents; None buys every candidate.
            solver: "exact" proves the optimum of small cases.

        Raises:
            SolverError: The case is too large for the exact solver.
            TileError: A tile's coordinates do not lie in its CRS.
            OutputError: A temporary file cannot be read.
        """


@dataclass(frozen=True, kw_only=True)
class AtOnce:
    """Candidates in memory."""

    tiles: Sequence[Tile]
    patches: Patches
    """The candidates."""
    grounds: Sequence[Ground]
    """What can be ordered on each tile that has some."""

    @property
    def least_dm2(self) -> int:
        """Area of the smallest cell that can be ordered."""
        return min(int(ground.lattice.area_dm2.min()) for ground in self.grounds)

    @property
    def cells(self) -> int:
        """Number of cells that are laid out."""
        return sum(ground.lattice.value.size for ground in self.grounds)

    def purchase(
        self, prices: PriceList, budget_cents: int | None, solver: Solver
    ) -> tuple[Purchase, Patches]:
        """Choose orders under a budget over all ground at once; as of `Offer`."""
        bought = purchase(self.tiles, self.grounds, self.patches.value, prices, budget_cents, solver)
        return bought, self.patches[bought.patches]

"""Offers for processes beside the first one, apart from the tests: to load these brings no torch along."""

from __future__ import annotations

import multiprocessing
import os
import time
from datetime import date
from decimal import Decimal

from geozoom.errors import SolverError
from geozoom.offer import AtOnce
from geozoom.ordering import Solver
from geozoom.patches import Patches
from geozoom.prices import PriceList
from geozoom.purchase import Purchase
from geozoom.workers import purchase_each


class Refusing(AtOnce):
    """An offer from which nobody can choose."""

    def purchase(
        self, prices: PriceList, budget_cents: int | None, solver: Solver
    ) -> tuple[Purchase, Patches]:
        raise SolverError(
            f"refused in {'the first' if multiprocessing.parent_process() is None else 'another'}"
        )


class Dying(AtOnce):
    """An offer from which nobody chooses but the first process."""

    def purchase(
        self, prices: PriceList, budget_cents: int | None, solver: Solver
    ) -> tuple[Purchase, Patches]:
        if multiprocessing.parent_process() is not None:
            os._exit(1)
        return super().purchase(prices, budget_cents, solver)


class Sleeping(AtOnce):
    """An offer of many cells from which everyone says that they choose, and does not."""

    @property
    def cells(self) -> int:
        return 100_000

    def purchase(
        self, prices: PriceList, budget_cents: int | None, solver: Solver
    ) -> tuple[Purchase, Patches]:
        print("begun", flush=True)  # noqa: T201 - read by the test
        time.sleep(600)
        raise AssertionError("nobody came")


def choose_asleep() -> None:
    """Let two processes choose beside each other until they are killed."""
    prices = PriceList(
        name="any",
        currency="USD",
        billing="per-order",
        rate_per_km2=Decimal(1),
        source="made for tests",
        effective_date=date(2026, 1, 31),
        trust="illustrative",
    )
    purchase_each(Sleeping(tiles=(), patches=Patches.empty(0), grounds=()), prices, [1, 2], "fast", 2)

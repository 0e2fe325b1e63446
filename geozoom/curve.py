"""Benefit and bill against budget: where more money stops helping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from decimal import ROUND_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from geozoom.budget import Budget
from geozoom.pointfiles import write_points
from geozoom.prices import DM2_PER_KM2

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from geozoom.orders import Plan
    from geozoom.planner import Candidates

DEFAULT_POINTS = 16
_FIRST_SHARE = 0.01
"""Default budgets begin at this share of the price of everything, or at the smallest order."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """The best plan for one budget."""

    budget: Decimal
    cost: Decimal
    """The bill, at most the budget."""
    benefit: float
    """In the curve's unit."""
    bound: float
    """No plan of this budget is worth more."""
    patches: int
    orders: int
    billed_km2: Decimal


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Plans of the same candidates under rising budgets."""

    points: tuple[CurvePoint, ...]
    unit: str
    """What benefit counts."""
    currency: str
    price_list: str
    """Name, source and date of the price list."""

    @classmethod
    def of(cls, candidates: Candidates, plans: Sequence[Plan]) -> Curve:
        """Return the curve that plans of the same candidates make, the one of the lowest budget first."""
        prices = candidates.prices
        return cls(
            points=tuple(_point(plan) for plan in plans),
            unit=candidates.value_unit,
            currency=prices.currency,
            price_list=f"{prices.name} ({prices.source}, {prices.dated})",
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return the points as plain values, money as text with its cents."""
        found = []
        for point in self.points:
            row: dict[str, Any] = asdict(point)
            row |= {name: f"{row[name]:.2f}" for name in ("budget", "cost")}
            row |= {name: round(row[name], 6) for name in ("benefit", "bound")}
            row["billed_km2"] = f"{point.billed_km2:.6f}"
            found.append(row)
        return found

    def write(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the curve; the suffix says how: .csv, .json, .png or .svg.

        Raises:
            OutputError: The file exists and `overwrite` is not set, its folder cannot be written, or the
                suffix is not known.
        """
        write_points(
            path,
            columns=[field.name for field in fields(CurvePoint)],
            content=self.to_dict(),
            draw=self._draw,
            overwrite=overwrite,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "unit": self.unit,
            "currency": self.currency,
            "price_list": self.price_list,
            "points": self.rows(),
        }

    def _draw(self, panel: Axes) -> None:
        budgets = [float(point.budget) for point in self.points]
        panel.plot(budgets, [point.bound for point in self.points], ":", color="#888888", label="upper bound")
        panel.plot(
            [float(point.cost) for point in self.points],
            [point.benefit for point in self.points],
            "o-",
            color="#1f5fa8",
            markersize=4,
            label="best plan, at its bill",
        )
        panel.set_xlabel(f"bill, {self.currency}")
        panel.set_ylabel(self.unit)
        panel.set_ylim(bottom=0)


def trace(candidates: Candidates, budgets: Sequence[Budget] | None = None, *, workers: int = 1) -> Curve:
    """Plan the same candidates under every budget, lowest first.

    Args:
        candidates: What `prepare` found.
        budgets: What may be spent; None takes some amounts up to the price of everything.
        workers: Most processes to work in; see `geozoom.workers.purchase_each`.

    Raises:
        BudgetError: A budget is in another currency than the prices.
    """
    wanted = default_budgets(candidates) if budgets is None else budgets
    return Curve.of(candidates, candidates.choose_each(wanted, workers=workers))


def default_budgets(candidates: Candidates, points: int = DEFAULT_POINTS) -> list[Budget]:
    """Return budgets from the smallest order, or a hundredth of everything, to everything, at equal ratios."""
    everything = candidates.choose(None).cost
    if everything <= 0:
        return []
    smallest = candidates.prices.bill(
        max(candidates.offer.least_dm2, int((candidates.prices.shape.min_km2 or 0) * DM2_PER_KM2))
    )
    first = max(_FIRST_SHARE, min(1.0, float(smallest / everything)))
    shares = np.geomspace(first, 1, points)
    amounts = {(everything * Decimal(share)).quantize(Decimal(1), ROUND_UP) for share in shares.tolist()[:-1]}
    return sorted(Budget.of(amount) for amount in {amount for amount in amounts if amount > 0} | {everything})


def _point(plan: Plan) -> CurvePoint:
    assert plan.budget is not None
    return CurvePoint(
        budget=plan.budget,
        cost=plan.cost,
        benefit=plan.value,
        bound=plan.bound,
        patches=len(plan),
        orders=len(plan.orders),
        billed_km2=plan.billed_km2,
    )

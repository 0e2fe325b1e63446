"""Accuracy against money as a table and as a picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geozoom.pointfiles import write_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POLICY, SCOUT, DOUBT, TWICE, ENTROPY, CENTRE, RANDOM = (
    "policy",
    "policy and scout",
    "policy and classifier",
    "policy and classifier, two rounds",
    "LR entropy",
    "centre-first",
    "random",
)
WAYS = (TWICE, SCOUT, DOUBT, POLICY, CENTRE, RANDOM, ENTROPY)
"""How money is spent."""
OWN = "policy, s above its threshold"
RULE = "rate of the price list on the area of the patches together, without minimums"
DRAWS = 3
"""Random is the mean over so many draws."""
_COLOURS = {
    SCOUT: "#b02a55",
    DOUBT: "#7b3fa0",
    TWICE: "#000000",
    POLICY: "#1f5fa8",
    ENTROPY: "#d9730d",
    CENTRE: "#2e8b57",
    RANDOM: "#888888",
}


@dataclass(frozen=True, kw_only=True)
class MoneyPoint:
    """How many answers are right for so much money."""

    way: str
    """How it is spent."""
    cost: Decimal
    km2: float
    """Area bought."""
    sampled: float
    """S, the mean number of patches of a scene."""
    accuracy: float
    """Share of scenes answered correctly."""
    low: float
    high: float
    """Its 95% Wilson interval."""


@dataclass(frozen=True, kw_only=True)
class MoneyCurve:
    """Accuracy against money, way by way."""

    points: tuple[MoneyPoint, ...]
    scenes: int
    currency: str
    price_list: str
    """Name, source and date of the price list."""
    seed: int
    """Of random patches, and of which scene comes first where several ways tie."""

    @property
    def ways(self) -> list[str]:
        """The ways of spending that were measured, of `WAYS`."""
        measured = {point.way for point in self.points}
        return [way for way in WAYS if way in measured]

    def of(self, way: str) -> list[MoneyPoint]:
        """Return the points of one way of spending, the cheapest first."""
        return [point for point in self.points if point.way == way]

    def rows(self) -> list[dict[str, Any]]:
        """Return the points as plain values, money as text with its cents."""
        return [
            asdict(point)
            | {"cost": f"{point.cost:.2f}"}
            | {name: round(getattr(point, name), 6) for name in ("km2", "sampled", "accuracy", "low", "high")}
            for point in self.points
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "scenes": self.scenes,
            "currency": self.currency,
            "price_list": self.price_list,
            "rule": RULE,
            "draws": DRAWS,
            "seed": self.seed,
            "points": self.rows(),
        }

    def write(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the curve; the suffix says how: .csv, .json, .png or .svg.

        Raises:
            OutputError: The file exists and `overwrite` is not set, its folder cannot be written, or the suffix is
                not known.
        """
        write_points(
            path,
            columns=[field.name for field in fields(MoneyPoint)],
            content=self.to_dict(),
            draw=self._draw,
            overwrite=overwrite,
        )

    def _draw(self, panel: Axes) -> None:
        for way in self.ways:
            points = self.of(way)
            cost = [float(point.cost) for point in points]
            panel.plot(
                cost,
                [100 * point.accuracy for point in points],
                "o-",
                color=_COLOURS[way],
                markersize=4,
                label=way,
                zorder=3 if way == POLICY else 2,
            )
            if way == POLICY:
                low, high = ([100 * getattr(point, end) for point in points] for end in ("low", "high"))
                panel.fill_between(
                    cost,
                    low,
                    high,
                    color=_COLOURS[way],
                    alpha=0.12,
                    linewidth=0,
                    label="policy, 95% interval",
                )
        for point in self.of(OWN):
            panel.plot(
                float(point.cost),
                100 * point.accuracy,
                "*",
                color="black",
                markersize=12,
                zorder=4,
                label=OWN,
            )
        panel.set_xlabel(f"{self.currency} for {self.scenes:,} scenes ({RULE})", fontsize=9)
        panel.set_ylabel("scenes classified correctly, %")

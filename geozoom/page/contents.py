"""All that a page shows, as plain arrays, amounts and words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class PageTile:
    """An LR tile and its picture."""

    name: str
    width: int
    """Columns of the grid on which patches and rings are given."""
    height: int
    """Rows of that grid."""
    pixel_m: float
    """Side of a pixel of that grid on the ground, in metres."""
    corners: NDArray[np.float64]
    """(4, 2) longitude and latitude (WGS84) of the grid's upper left, upper right, lower right, lower left."""
    picture: NDArray[np.uint8]
    """(H, W, 4) RGBA that covers the whole grid, with as many pixels as are worth shipping; 0 alpha where data
    is missing."""


@dataclass(frozen=True, kw_only=True)
class PagePatches:
    """The patches to buy, in columns of one length N, in any order."""

    tile: NDArray[np.int64]
    """(N,) index of the tile."""
    box: NDArray[np.float64]
    """(N, 4) left, top, right and bottom in pixels of the tile's grid."""
    value: NDArray[np.float64]
    """(N,) what each adds, in the page's `value_unit`."""
    probability: NDArray[np.float64]
    """(N,) the policy's, in 0..1."""
    area_km2: NDArray[np.float64]
    cost_share: NDArray[np.float64]
    """(N,) part of the order's cost, in the page's currency."""
    order: NDArray[np.int64]
    """(N,) id of the order."""

    def __len__(self) -> int:
        return len(self.tile)


@dataclass(frozen=True, kw_only=True)
class PageOrder:
    """A row of the table that is signed."""

    id: int
    tile: str
    """Where it lies, in words."""
    rings: tuple[tuple[int, NDArray[np.float64]], ...]
    """Its outlines: index of a tile, and a closed ring (n, 2) of x and y in pixels of that tile's grid."""
    patches: int
    area_km2: Decimal
    """Area of the patches."""
    billed_km2: Decimal
    cost: Decimal
    value: float


@dataclass(frozen=True, kw_only=True)
class PageCurve:
    """The best plan for each of some budgets, in columns of one length, budgets rising."""

    budget: NDArray[np.float64]
    cost: NDArray[np.float64]
    value: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PagePrices:
    """What is said of the price list."""

    name: str
    terms: str
    """Rates and minimums in a line."""
    source: str
    dated: str
    """Date of the figures in words."""
    trust: str
    note: str


@dataclass(frozen=True, kw_only=True)
class PageData:
    """All of a page."""

    tiles: tuple[PageTile, ...]
    patches: PagePatches
    orders: tuple[PageOrder, ...]
    """In the order in which the table lists them at first."""
    cost: Decimal
    """The sum of all bills."""
    budget: Decimal | None
    currency: str
    value: float
    bound: float
    """Upper bound of the value under the budget; 0 if nothing is known."""
    value_unit: str
    facts: Mapping[str, str]
    """Further totals in words, by what they are."""
    curve: PageCurve | None
    prices: PagePrices
    warnings: tuple[str, ...]
    """What the buyer should know before signing, a sentence each."""
    model: str
    """Name of the model."""
    model_data: str
    """What it was trained on."""
    command: str
    """The command line that made the plan; empty if there was none."""
    version: str
    """Of geozoom."""

    def __post_init__(self) -> None:
        """Refuse patches and rings that lie on no tile, and patches of no order."""
        patches = self.patches
        columns = (patches.box, patches.value, patches.probability, patches.area_km2, patches.cost_share)
        if any(len(column) != len(patches) for column in (*columns, patches.order)):
            raise ValueError("the columns of the patches differ in length")
        on = [patches.tile, *(np.array([tile]) for order in self.orders for tile, _ in order.rings)]
        if any(((index < 0) | (index >= len(self.tiles))).any() for index in on):
            raise ValueError("a patch or a ring lies on a tile that the page does not have")
        if not np.isin(patches.order, [order.id for order in self.orders]).all():
            raise ValueError("a patch belongs to an order that the page does not have")

    @property
    def gap(self) -> float | None:
        """How far the value may be from the best that the budget can buy, as a share of it."""
        return None if self.bound <= 0 else max(0.0, 1 - self.value / self.bound)

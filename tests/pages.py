"""Pages made for tests: small plans whose every figure is known."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geozoom.page import PageCurve, PageData, PageOrder, PagePatches, PagePrices, PageTile

WIDTH, HEIGHT = 120, 80
GREY = (90, 110, 100)


def page_tile(name: str, **changes: Any) -> PageTile:
    """A grey tile of 120 × 80 px, or of another size."""
    width, height = changes.get("width", WIDTH), changes.get("height", HEIGHT)
    picture = np.full((min(height, 80), min(width, 120), 4), (*GREY, 255), dtype=np.uint8)
    corners = np.array([[13.0, 54.0], [13.2, 54.0], [13.2, 53.9], [13.0, 53.9]])
    values: dict[str, Any] = {
        "name": name,
        "width": width,
        "height": height,
        "pixel_m": 10.0,
        "corners": corners,
        "picture": picture,
    }
    return PageTile(**(values | changes))


def frame(left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    """A closed ring around a rectangle."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], dtype=float)


def page_of(**changes: Any) -> PageData:
    """Two tiles, three orders, 36 patches of 4 × 4 px with a gap of 4 px between them."""
    rng = np.random.default_rng(3)
    row, col = (index.ravel() for index in np.mgrid[0:4, 0:3])
    tile = np.repeat([0, 0, 1], 12)
    left = np.tile(8 * col, 3) + np.repeat([8, 72, 40], 12)
    top = np.tile(8 * row, 3) + np.repeat([8, 32, 16], 12)
    count = len(tile)
    order = np.repeat([7, 2, 5], 12)
    value = rng.uniform(0.001, 0.07, count)
    cost = {7: Decimal("1234.50"), 2: Decimal("20.25"), 5: Decimal("300.00")}
    names = {7: "north.tif", 2: "north.tif", 5: "south.tif"}
    rings = {7: (0, frame(6, 6, 32, 42)), 2: (0, frame(70, 30, 96, 66)), 5: (1, frame(38, 14, 64, 50))}
    values: dict[str, Any] = {
        "tiles": (page_tile("north.tif"), page_tile("south.tif")),
        "patches": PagePatches(
            tile=tile,
            box=np.column_stack([left, top, left + 4, top + 4]).astype(float),
            value=value,
            probability=rng.uniform(0.5, 1, count),
            area_km2=rng.uniform(0.0015, 0.0017, count),
            cost_share=np.array([float(cost[number]) / 12 for number in order.tolist()]),
            order=order,
        ),
        "orders": tuple(
            PageOrder(
                id=number,
                tile=names[number],
                rings=(rings[number],),
                patches=12,
                area_km2=Decimal("0.0192"),
                billed_km2=Decimal("1.0000"),
                cost=cost[number],
                value=float(value[order == number].sum()),
            )
            for number in (7, 5, 2)
        ),
        "cost": sum(cost.values(), Decimal(0)),
        "budget": Decimal("2000.00"),
        "currency": "EUR",
        "value": float(value.sum()),
        "bound": 2.0,
        "value_unit": "scenes classified correctly",
        "facts": {"Area wanted": "0.0576 km²"},
        "curve": PageCurve(
            budget=np.array([100.0, 1000.0, 2000.0]),
            cost=np.array([90.0, 900.0, 1554.75]),
            value=np.array([0.3, 0.9, 1.2]),
        ),
        "prices": PagePrices(
            name="made-up",
            terms="10.00 EUR per km²",
            source="a test",
            dated="2026-01-31",
            trust="illustrative",
            note="of no vendor",
        ),
        "warnings": ("The prices are illustrative.",),
        "model": "small",
        "model_data": "made for tests",
        "command": "geozoom plan tiles",
        "version": "0",
    }
    return PageData(**(values | changes))


def page_of_many(side: int) -> PageData:
    """One tile with side × side patches of 2 × 2 px, as on a lattice, all of one order."""
    row, col = (index.ravel() for index in np.mgrid[0:side, 0:side])
    count = side * side
    value = np.random.default_rng(4).uniform(0.01, 0.09, count)
    box = np.column_stack([2 * col, 2 * row, 2 * col + 2, 2 * row + 2]).astype(float)
    return page_of(
        tiles=(page_tile("granule.tif", width=2 * side, height=2 * side),),
        patches=PagePatches(
            tile=np.zeros(count, dtype=np.int64),
            box=box,
            value=value,
            probability=np.full(count, 0.75),
            area_km2=np.full(count, 0.0004),
            cost_share=np.full(count, 0.004),
            order=np.ones(count, dtype=np.int64),
        ),
        orders=(
            PageOrder(
                id=1,
                tile="granule.tif",
                rings=((0, frame(0, 0, 2 * side, 2 * side)),),
                patches=count,
                area_km2=Decimal("0.0004") * count,
                billed_km2=Decimal("0.0004") * count,
                cost=Decimal("0.004") * count,
                value=float(value.sum()),
            ),
        ),
    )

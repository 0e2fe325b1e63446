"""A plan → what its page shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geozoom import __version__
from geozoom.footprints import to_lonlat
from geozoom.page.contents import PageCurve, PageData, PageOrder, PagePatches, PagePrices, PageTile
from geozoom.pictures import picture_of
from geozoom.vectors import PixelSpace

if TYPE_CHECKING:
    from geozoom.curve import Curve
    from geozoom.orders import Plan
    from geozoom.purchase import Order
    from geozoom.tiles import Tile

PICTURE_PX = 1500
"""Longest side of a tile's picture."""
PICTURES_PX = 12_000_000
"""All pictures together have about as many pixels: a hundred tiles make smaller ones, not a file that no mail takes."""
_SMALLEST_PICTURE_PX = 128


def page_data(plan: Plan, *, curve: Curve | None, today: date, command: str = "") -> PageData:
    """Return what the page of a plan shows.

    Args:
        plan: The plan; its tiles are read again, for their pictures.
        curve: Benefit and bill against budget, or None to leave them out.
        today: The day that the price list is held against.
        command: The command line that made the plan; see `without_secrets`.

    Raises:
        TileError: A tile can no longer be read.
    """
    columns = plan.columns()
    longest = min(PICTURE_PX, max(_SMALLEST_PICTURE_PX, int((PICTURES_PX / len(plan.tiles)) ** 0.5)))
    prices = plan.prices
    order = np.asarray(columns["order"], dtype=np.int64)
    spaces = [PixelSpace(tile) for tile in plan.tiles]
    box = _boxes(plan, spaces)
    ranked = np.argsort(order, kind="stable")
    ids, starts = np.unique(order[ranked], return_index=True)
    mine = dict(zip(ids.tolist(), np.split(ranked, starts[1:]), strict=False))
    return PageData(
        tiles=tuple(_tile(tile, plan, longest) for tile in plan.tiles),
        patches=PagePatches(
            tile=plan.patches.tile.astype(np.int64),
            box=box,
            value=plan.patches.value.astype(np.float64),
            probability=plan.patches.probability.astype(np.float64),
            area_km2=np.asarray(columns["area_km2"], dtype=np.float64),
            cost_share=np.asarray(columns["cost_share"], dtype=np.float64),
            order=order,
        ),
        orders=tuple(_order(each, plan, mine[each.id], spaces) for each in plan.orders),
        cost=plan.cost,
        budget=plan.budget,
        currency=prices.currency,
        value=plan.value,
        bound=plan.bound,
        value_unit=plan.value_unit,
        facts=_facts(plan),
        curve=None
        if curve is None
        else PageCurve(
            budget=np.array([float(point.budget) for point in curve.points]),
            cost=np.array([float(point.cost) for point in curve.points]),
            value=np.array([point.benefit for point in curve.points]),
        ),
        prices=PagePrices(
            name=prices.name,
            terms=prices.terms,
            source=prices.source,
            dated=prices.dated,
            trust=prices.trust,
            note=prices.note,
        ),
        warnings=_warnings(plan, today),
        model=plan.card.name,
        model_data=plan.card.data,
        command=without_secrets(command),
        version=__version__,
    )


def without_secrets(command: str) -> str:
    """Return a command line whose URLs have lost their queries and passwords: a page is passed on."""
    without_queries = re.sub(r"(https?://[^\s?'\"]*)\?[^\s'\"]*", r"\1?…", command)
    return re.sub(r"(\w+://)[^\s/@'\"]+@", r"\1…@", without_queries)


def _facts(plan: Plan) -> dict[str, str]:
    area = sum((order.area_km2 for order in plan.orders), Decimal(0))
    facts = {
        "Area ordered": f"{area:,.4f} km²",
        "Area billed": f"{plan.billed_km2:,.4f} km²",
        "Patches bought": f"{len(plan):,} of {plan.candidates:,} that are worth buying",
        "Scenes seen": f"{plan.scenes:,}, {plan.scenes_skipped}",
        "Patches valued by": {
            "policy": "the policy",
            "scout": "the policy, and how unsure the scout is of their scene",
            "classifier": "the policy, and how unsure the LR classifier is of their scene",
        }[plan.when],
    }
    if plan.received is not None:
        facts["Scenes with HR"] = (
            f"{plan.scenes_with_hr:,}: of these both classifiers said how unsure they are with it"
        )
    if plan.next_cost is not None:
        facts["Next that did not fit"] = (
            f"an order of {plan.next_cost:,.2f} {plan.prices.currency}, for which {plan.next_lacking:,.2f} are lacking"
        )
    return facts


def _warnings(plan: Plan, today: date) -> tuple[str, ...]:
    doubt = plan.prices.doubt(today)
    found = [] if doubt is None else [f"Price list {plan.prices.name}: {doubt}."]
    if plan.prices.trust != "published":
        found.append(f"The prices are {plan.prices.trust}: ask the vendor for an offer before you sign.")
    found += [
        f"{name} has unmarked pixels that are 0 in every band; they may be missing data."
        for name in plan.tiles_with_zeros
    ]
    if plan.settled_by_name:
        found.append(
            f"{len(plan.settled_by_name):,} tile(s) say no date; of those that overlap the first by name is planned."
        )
    if plan.off_tiles:
        found.append(f"{len(plan.off_tiles):,} site(s) lie on no tile and are not planned.")
    if plan.received is not None and (plan.received.gone or plan.received.colourless):
        lost = len(plan.received.gone) + len(plan.received.colourless)
        found.append(
            f"{lost:,} deliveries were not used (gone, or without colours); their ground may be bought again."
        )
    if plan.received is not None and plan.received.rewritten:
        count = len(plan.received.rewritten)
        found.append(f"{count:,} deliveries were written again since they were ingested: ingest them again.")
    if plan.coarse:
        found.append(f"{len(plan.coarse):,} deliveries are much coarser than what the model was trained on.")
    if plan.owned_elsewhere:
        found.append("Nothing of what is owned already lies on these tiles.")
    return tuple(found)


def _tile(tile: Tile, plan: Plan, longest: int) -> PageTile:
    """Return a tile with its picture, thinned to `longest` pixels a side."""
    corners = np.array([[[0, 0], [tile.width, 0], [tile.width, tile.height], [0, tile.height]]], dtype=float)
    resampled_m = plan.card.lr_gsd_m if tile.resampled else None
    return PageTile(
        name=tile.name,
        width=tile.width,
        height=tile.height,
        pixel_m=resampled_m or tile.gsd_m[0],
        corners=np.concatenate([to_lonlat(tile, corners[:, [corner] * 4])[0, :1] for corner in range(4)]),
        picture=np.rint(picture_of(tile, longest).clip(0, 1) * 255).astype(np.uint8),
    )


def _boxes(plan: Plan, spaces: Sequence[PixelSpace]) -> NDArray[np.float64]:
    """Return the boxes (N, 4) of the patches in pixels of their tiles: windows on them, so upright there."""
    boxes = np.empty((len(plan), 4))
    for index, space in enumerate(spaces):
        mine = np.flatnonzero(plan.patches.tile == index)
        # Opposite corners stay opposite whichever way the ring runs.
        one, other = (space.points(plan.corners[mine, corner]) for corner in (0, 2))
        boxes[mine] = np.hstack([np.minimum(one, other), np.maximum(one, other)])
    return boxes


def _order(order: Order, plan: Plan, mine: NDArray[np.int64], spaces: Sequence[PixelSpace]) -> PageOrder:
    """Return an order with its outline on the tiles of its patches, `mine` (n,)."""
    on = np.unique(plan.patches.tile[mine]).tolist()
    rings = tuple((index, spaces[index].points(order.ring)) for index in on)
    return PageOrder(
        id=order.id,
        tile=order.tile,
        rings=rings,
        patches=order.patches,
        area_km2=order.area_km2,
        billed_km2=order.billed_km2,
        cost=order.cost,
        value=order.value,
    )

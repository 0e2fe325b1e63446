"""Options of request bodies: what the buyer says beside the plan."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

_F = TypeVar("_F", bound=Callable[..., Any])

FLAGS = {
    "product": "--product",
    "start": "--from",
    "end": "--until",
    "max_cloud": "--max-cloud",
    "max_incidence": "--max-incidence",
    "images": "--image",
    "item_type": "--item-type",
    "bundle": "--bundle",
    "mission": "--mission",
    "program": "--program",
    "contract": "--contract",
    "params": "--param",
}
"""What `Details` calls it → the option that says it."""


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A day, 2026-05-31, or a moment in UTC, 2026-05-31T12:00:00Z."""

    name = "date"

    def __init__(self, *, ends: bool = False) -> None:
        self._ends = ends  # a day that ends a period is part of it

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment in UTC, or fail with what is wrong with it."""
        try:
            moment = datetime.fromisoformat(str(value))
            if len(str(value)) <= len("2026-05-31"):
                whole = moment.replace(tzinfo=UTC)
                return whole + timedelta(days=1, seconds=-1) if self._ends else whole
            in_utc = None if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):  # of the first and last days there are
            self.fail(f"{value!r} is no date, as in 2026-05-31 or 2026-05-31T12:00:00Z", param, ctx)
        if in_utc is None:
            self.fail(f"{value!r} names no time zone; end it in Z for UTC", param, ctx)
        return in_utc


class OrderImage(click.ParamType):  # type: ignore[type-arg]
    """The id of an archive image for all orders, or for one of them as in 3=ID."""

    name = "[order=]id"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, str]:
        """Return the order's number (0 stands for all) and the id."""
        number, equals, image = str(value).partition("=")
        if equals and number.isascii() and number.isdigit():
            if not int(number) or not image:
                self.fail(f"{value!r}: orders are counted from 1, as in 3=ID", param, ctx)
            return int(number), image
        if not value:
            self.fail("is empty; give the vendor's id of the image", param, ctx)
        return 0, str(value)


class Parameter(click.ParamType):  # type: ignore[type-arg]
    """A further parameter of the product, NAME=VALUE; a value that is JSON is taken as JSON."""

    name = "name=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Return name and value."""
        name, equals, text = str(value).partition("=")
        if not equals or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        try:
            return name, json.loads(text, parse_constant=_no_json, parse_float=_finite)
        except ValueError:
            return name, text


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is more than JSON's readers hold")
    return number


def _no_json(text: str) -> None:
    raise ValueError(f"{text} is what Python calls JSON, and nobody else")


_OPTIONS = (
    click.option("--name", help="What the vendor shows orders as; the plan's file name if absent."),
    click.option(
        "--product", help="Id of the product: STAPI product, UP42 data product, Planet tasking product."
    ),
    click.option("--from", "start", type=Moment(), help="First day, or moment, of new imagery."),
    click.option("--until", "end", type=Moment(ends=True), help="Last day, or moment, of new imagery."),
    click.option("--max-cloud", type=click.FloatRange(0, 1), help="Share of an image that may be clouded."),
    click.option(
        "--max-incidence",
        type=click.FloatRange(0, 90),
        help="Largest angle from the vertical in degrees (Airbus).",
    ),
    click.option(
        "--image",
        "--archive-id",
        "images",
        type=OrderImage(),
        multiple=True,
        help="Archive image that orders are cut from (UP42, Planet, SkyFi); ORDER=ID for one order. Repeatable.",
    ),
    click.option("--item-type", help="Planet's type of the images, as in SkySatCollect."),
    click.option("--bundle", help="Planet's product bundle, as in analytic."),
    click.option(
        "--mission", type=click.Choice(("PLEIADESNEO", "PLEIADES", "SPOT")), help="Airbus' satellites."
    ),
    click.option(
        "--program",
        type=click.Choice(("ONEPLAN", "ONEDAY", "ONENOW", "ONENOWATTEMPTS", "ONENOWWEATHER")),
        help="Airbus' kind of tasking.",
    ),
    click.option("--contract", help="Id of your contract (Airbus Pléiades Neo, Planet tasking)."),
    click.option(
        "--param",
        "params",
        type=Parameter(),
        multiple=True,
        help="Further parameter that the product wants (UP42, STAPI orders). Repeatable.",
    ),
)


def detail_options(command: _F) -> _F:
    """Add the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command

"""Price lists as TOML: the user's own, and those that ship with geozoom."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, get_args

from geozoom.errors import PriceListError
from geozoom.prices import UNDATED, AoiFormat, Billing, PriceList, TiersApply, Trust
from geozoom.rates import Tier, Uplift
from geozoom.rules import ONE_POLYGON, ShapeRules

DEFAULT_PRICE_LIST = "skywatch-archive-50cm"
_FOLDER = resources.files("geozoom") / "data" / "prices"
_EXAMPLES = {
    "name": "my archive",
    "currency": "USD",
    "billing": "per-order",
    "source": "offer of 3 March",
    "effective_date": "2026-03-03",
    "trust": "published",
}
"""Values of the keys that every price list has."""
_T = TypeVar("_T")


def shipped_price_lists() -> tuple[str, ...]:
    """Return the names of the price lists that ship with geozoom."""
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in _FOLDER.iterdir()))


def load_price_list(prices: Path | str | None = None) -> PriceList:
    """Load a price list.

    Args:
        prices: The name of one that ships with geozoom, or the path of your own; None takes
            `DEFAULT_PRICE_LIST`.

    Raises:
        PriceListError: The file is missing or not a price list.
    """
    prices = DEFAULT_PRICE_LIST if prices is None else prices
    try:
        if prices in shipped_price_lists():
            file = f"{prices}.toml"
            return parse_price_list((_FOLDER / file).read_text(encoding="utf-8"), file)
        return parse_price_list(Path(prices).read_text(encoding="utf-8-sig"), str(prices))
    except (OSError, ValueError) as error:
        raise PriceListError(
            f"{prices}: cannot be read as a price list ({error}); give a TOML file, or one of the names that "
            "`geozoom prices list` prints"
        ) from error


def parse_price_list(text: str, where: str) -> PriceList:
    """Read a price list from TOML text.

    Args:
        text: The TOML.
        where: File name for messages.

    Raises:
        PriceListError: It is not TOML, lacks a key, or a figure makes no sense; a line for each problem.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PriceListError(f"{where}: not valid TOML ({error}); correct the file") from error
    table = _Table(content, needed=tuple(_EXAMPLES))
    made = table.build(
        PriceList,
        name=table.text("name"),
        vendor=table.text("vendor"),
        product=table.text("product"),
        currency=table.text("currency"),
        billing=table.choice("billing", Billing),
        rate_per_km2=table.figure("rate_per_km2"),
        tiers=table.tables("tiers", _tier, needed=("from_km2", "rate_per_km2")),
        price_per_scene=table.figure("price_per_scene"),
        tiers_apply=table.choice("tiers_apply", TiersApply),
        minimum_km2=table.figure("minimum_km2") or Decimal(0),
        minimum_value=table.figure("minimum_value") or Decimal(0),
        uplifts=table.tables("uplifts", _uplift, needed=("name",)),
        shape=table.table("shape", _shape) or ONE_POLYGON,
        aoi_format=table.choice("aoi_format", AoiFormat) or "geojson",
        gsd_m=table.figure("gsd_m"),
        source=table.text("source"),
        effective_date=table.day("effective_date"),
        trust=table.choice("trust", Trust),
        note=table.text("note"),
    )
    if made is None or table.problems:
        raise PriceListError("\n".join(f"{where}: {problem}" for problem in table.problems))
    return made


def _tier(table: _Table) -> Tier | None:
    return table.build(Tier, from_km2=table.figure("from_km2"), rate_per_km2=table.figure("rate_per_km2"))


def _uplift(table: _Table) -> Uplift | None:
    return table.build(
        Uplift,
        name=table.text("name"),
        percent=table.figure("percent"),
        per_km2=table.figure("per_km2"),
        applies=table.flag("applies"),
    )


def _shape(table: _Table) -> ShapeRules | None:
    parts = table.count("max_parts")
    return table.build(
        ShapeRules,
        min_km2=table.figure("min_km2"),
        max_km2=table.figure("max_km2"),
        min_width_km=table.figure("min_width_km"),
        max_width_km=table.figure("max_width_km"),
        max_height_km=table.figure("max_height_km"),
        max_vertices=table.count("max_vertices"),
        holes=table.flag("holes"),
        max_parts=1 if parts is None else parts,
        convex=table.flag("convex"),
        min_box_share=table.figure("min_box_share"),
    )


class _Table:
    """A TOML table, read key by key; what is wrong with it is collected, so that all of it is said at once."""

    def __init__(self, content: dict[str, Any], needed: Sequence[str] = ()) -> None:
        self.problems: list[str] = []
        self._content = content
        self._needed = needed
        self._known: list[str] = []
        self._sound = True  # everything that figures are checked against could be read

    def build(self, kind: Callable[..., _T], **values: Any) -> _T | None:
        """Return what the table describes, or None if that could not be made."""
        for key in sorted(set(self._content) - set(self._known)):
            near = get_close_matches(key, self._known, n=1)
            help_ = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(self._known)}"
            self.problems.append(f"has an unknown key {key!r}; correct or remove it ({help_})")
        if not self._sound:
            return None
        try:
            return kind(**values)
        except PriceListError as error:
            self.problems += str(error).splitlines()
            return None

    def text(self, key: str) -> str:
        """Return a text; where it is wrong or missing, one that checks of figures can go on with."""
        value = self._take(key)
        if value is None:
            return _EXAMPLES[key] if key in self._needed else ""
        if isinstance(value, str) and value.strip():
            return value.strip()
        self.problems.append(f"{key} is {value!r}; write a text in quotes")
        return _EXAMPLES.get(key, "")

    def day(self, key: str) -> date | None:
        """Return a date, or None where the list says that there is none."""
        value = self._take(key)
        if value is None or value == UNDATED:
            return None
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        try:
            return date.fromisoformat(value)
        except (TypeError, ValueError):
            self.problems.append(f'{key} {value!r} is not a date; write it as "YYYY-MM-DD", or "{UNDATED}"')
            return None

    def choice(self, key: str, choices: Any) -> Any:
        """Return one of the values of a `Literal`."""
        value = self._take(key)
        if value is not None and value not in get_args(choices):
            self._wrong(f"{key} is {value!r}; it must be one of {', '.join(get_args(choices))}")
        self._sound &= value is not None or key not in self._needed
        return value

    def figure(self, key: str) -> Decimal | None:
        """Return a figure of a string or a whole number; a TOML float would have been rounded already."""
        value = self._take(key)
        if value is None:
            self._sound &= key not in self._needed
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            self._wrong(f'{key} must be written as a string; put it in quotes, as in {key} = "12.50"')
            return None
        try:
            figure = Decimal(value)
        except InvalidOperation:
            self._wrong(f'{key} = {value!r} is not a number; write one, as in {key} = "12.50"')
            return None
        if not figure.is_finite():
            self._wrong(f'{key} = {value!r} is not a finite number; write one, as in {key} = "12.50"')
            return None
        return figure

    def count(self, key: str) -> int | None:
        """Return a whole number."""
        value = self._take(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            return value
        self._wrong(f"{key} is {value!r}; write a whole number without quotes")
        return None

    def flag(self, key: str) -> bool:
        """Return a truth value, false if it is not given."""
        value = self._take(key)
        if isinstance(value, bool) or value is None:
            return bool(value)
        self._wrong(f"{key} is {value!r}; write true or false, without quotes")
        return False

    def table(self, key: str, make: Callable[[_Table], _T | None]) -> _T | None:
        """Return what a table in this one describes."""
        value = self._take(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self._wrong(f"{key} is {value!r}; write it as a table, under [{key}]")
            return None
        return self._inner(make, f"[{key}]", _Table(value))

    def tables(
        self, key: str, make: Callable[[_Table], _T | None], needed: Sequence[str]
    ) -> tuple[_T | None, ...]:
        """Return what an array of tables describes."""
        value = self._take(key)
        if value is None:
            return ()
        if not (isinstance(value, list) and all(isinstance(entry, dict) for entry in value)):
            self._wrong(f"{key} is {value!r}; write tables, each under its own [[{key}]]")
            return ()
        return tuple(
            self._inner(make, f"[[{key}]] {number}", _Table(entry, needed))
            for number, entry in enumerate(value, start=1)
        )

    def _inner(self, make: Callable[[_Table], _T | None], label: str, inner: _Table) -> _T | None:
        made = make(inner)
        self.problems += [f"{label} {problem}" for problem in inner.problems]
        self._sound &= made is not None
        return made

    def _take(self, key: str) -> Any:
        self._known.append(key)
        if key in self._needed and key not in self._content:
            self.problems.append(
                f'lacks the key {key!r}; add it, as in {key} = "{_EXAMPLES.get(key, "12.50")}"'
            )
        return self._content.get(key)

    def _wrong(self, problem: str) -> None:
        self.problems.append(problem)
        self._sound = False

"""geozoom prices."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from geozoom.cli import options

if TYPE_CHECKING:
    from geozoom.prices import PriceList

EXAMPLE_KM2 = ("0.1", "1", "10", "100")
"""Areas of which `show` says the price."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead.")


@click.group("prices")
def command() -> None:
    """List, show and check price lists."""


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the price lists that ship with geozoom."""
    from rich.console import Console
    from rich.table import Table

    from geozoom.files import on_stdout
    from geozoom.pricelists import DEFAULT_PRICE_LIST, load_price_list, shipped_price_lists

    lists = [load_price_list(name) for name in shipped_price_lists()]
    if as_json:
        entries = [{"default": each.name == DEFAULT_PRICE_LIST, **each.facts()} for each in lists]
        options.print_json(entries, indent=1)
        return
    table = Table(box=None)
    for heading in ("name", "terms", "date", "trust"):
        table.add_column(heading, overflow="fold")
    for each in lists:
        mark = " (default)" if each.name == DEFAULT_PRICE_LIST else ""
        table.add_row(each.name + mark, each.terms, each.dated, each.trust)
    # What is piped has no width of its own.
    with on_stdout() as stdout:
        console = Console(file=stdout, width=None if stdout.isatty() else 200, highlight=False, markup=False)
        console.print(table)


@command.command("show")
@click.argument("prices", metavar="NAME|FILE")
@options.uplift_option
@json_option
def show(prices: str, uplifts: tuple[str, ...], as_json: bool) -> None:
    """Show all that a price list says, and what orders of some areas cost by it."""
    from geozoom.pricelists import load_price_list

    shown = load_price_list(prices).with_uplifts(uplifts)
    if as_json:
        costs = {area: str(cost) for area, cost in _costs(shown)}
        options.print_json(shown.facts() | {"costs": costs}, indent=1)
        return
    facts = shown.facts() | {"effective_date": shown.dated}
    for label, value in _lines(facts):
        options.print_text(f"{label:<{_LABEL}}{value}")
    for area, cost in _costs(shown):
        options.print_text(f"{f'{area} km² cost':<{_LABEL}}{cost:,} {shown.currency}")


_LABEL = 20


@command.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def check(files: tuple[str, ...]) -> None:
    """Say whether price lists can be used, and all that is wrong with those that cannot.

    Exit code 1 if one cannot.
    """
    from geozoom.errors import PriceListError
    from geozoom.pricelists import load_price_list

    problems = []
    for file in files:
        try:
            prices = load_price_list(file)
        except PriceListError as error:
            problems.append(str(error))
            continue
        options.print_text(f"{file}: OK, {prices.name}, {prices.currency}, {prices.dated}")
        doubt = prices.doubt(options.today())
        if doubt is not None:
            click.echo(f"warning: {file}: {doubt}", err=True)
    if problems:
        raise PriceListError("\n".join(problems))


def _costs(prices: PriceList) -> Iterator[tuple[str, Decimal]]:
    from geozoom.prices import DM2_PER_KM2

    largest = min(filter(None, (prices.shape.max_km2, prices.shape.footprint_km2)), default=None)
    for area in EXAMPLE_KM2:
        if largest is not None and Decimal(area) > largest:
            return  # that takes several orders, and how many their shapes decide
        yield area, prices.bill(int(Decimal(area) * DM2_PER_KM2))


def _lines(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a label and a value for each thing that is said; tables have a line for each entry."""
    for key, value in facts.items():
        if isinstance(value, list):
            for entry in value:
                yield key, ", ".join(_words(entry))
        elif isinstance(value, dict):
            yield key, ", ".join(_words(value))
        elif value not in (None, ""):
            yield key, str(value)


def _words(entry: dict[str, Any]) -> Iterator[str]:
    for key, value in entry.items():
        if value is not None:
            yield f"{key} {str(value).lower() if isinstance(value, bool) else value}"

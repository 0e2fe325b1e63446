"""geozoom export."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geozoom.cli import exporting, loading, options
from geozoom.cli.exporting import FLAGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from geozoom.exports.request import Details, Endpoint, Kind
    from geozoom.orderfile import OrderPolygons

VENDORS = ("stapi", "up42", "planet", "airbus", "skyfi")
DOCUMENTS = ("wkt", "kml")
SHOWN_ORDERS = 20


@click.command("export")
@click.argument("orders", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--to", "vendor", type=click.Choice(VENDORS + DOCUMENTS), required=True, help="Vendor or format."
)
@click.option(
    "--estimate/--order",
    "estimate",
    default=None,
    help="Bodies that ask for an estimate (the default), or that place the orders when you send them.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    default=Path("-"),
    help="Folder for a .json file per order, or file for WKT and KML; - (the default) for JSON lines, WKT or KML on "
    "stdout.",
)
@options.overwrite_option
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors on stderr.")
@exporting.detail_options
def command(
    orders: Path,
    vendor: str,
    estimate: bool | None,
    output: Path,
    overwrite: bool,
    quiet: bool,
    name: str | None,
    images: tuple[tuple[int, str], ...],
    params: tuple[tuple[str, Any], ...],
    **given: Any,
) -> None:
    """Write a plan's orders as a vendor's request bodies, or as WKT or KML. Nothing is sent.

    ORDERS is the plan as GeoJSON or GeoPackage; - reads GeoJSON from stdin.
    """
    for key in ("max_cloud", "max_incidence"):
        if given[key] is not None and not math.isfinite(given[key]):
            raise click.UsageError(f"{FLAGS[key]} must be a finite number")
    if given["start"] is not None and given["end"] is not None and given["start"] >= given["end"]:
        raise click.UsageError("--from is not before --until")
    with loading.libraries():
        from geozoom.exports.request import Details

        console = options.stderr_console(quiet)
    by_order: dict[int, tuple[str, ...]] = {}
    for order, image in images:
        by_order[order] = (*by_order.get(order, ()), image)
    details = Details(name=name or "", images=by_order, params=dict(params), **given)
    if vendor in DOCUMENTS:
        if estimate is not None or details.given:
            used = ["--estimate/--order"] if estimate is not None else [FLAGS[key] for key in details.given]
            raise click.UsageError(f"{', '.join(sorted(used))}: means nothing with --to {vendor}")
        _write_document(orders, vendor, output, name, console, overwrite=overwrite)
        return
    endpoint = _endpoint(vendor, "order" if estimate is False else "estimate", details)
    _write_bodies(orders, vendor, endpoint, details, output, console, overwrite=overwrite)


def _endpoint(vendor: str, kind: Kind, details: Details) -> Endpoint:
    """Return where the bodies go that can be made of what was said.

    Raises:
        click.UsageError: Something is missing, or means nothing there.
    """
    from geozoom.exports import endpoints

    there = endpoints(vendor, kind)
    fitting = next((each for each in there if each.fits(details)), None)
    if fitting is not None:
        return fitting
    if not there and kind == "order":
        raise click.UsageError(f"--to {vendor} has no documented body that orders; leave --order out")
    for each in endpoints(vendor, "order") if kind == "estimate" else ():
        if not there or each.fits(details):
            raise click.UsageError(
                f"--to {vendor} has no documented estimate of {each.what}; give --order for it"
            )
    best = min(there, key=lambda each: len(each.missing(details)) + len(each.foreign(details)))
    if best.missing(details):
        ways = ", or ".join(f"{_flags(each.needs)} for {each.what}" for each in there)
        raise click.UsageError(f"--to {vendor} needs {ways}")
    raise click.UsageError(
        f"{_flags(best.foreign(details))} cannot be said in {best.what} with --to {vendor}; leave it out"
    )


def _flags(names: Sequence[str]) -> str:
    flags = [FLAGS[name] for name in names]
    return flags[0] if len(flags) == 1 else f"{', '.join(flags[:-1])} and {flags[-1]}"


def _write_document(
    orders: Path, format_: str, output: Path, name: str | None, console: Console, *, overwrite: bool
) -> None:
    from geozoom.exports import DOCUMENTS, check
    from geozoom.files import check_output, on_stdout, write_text
    from geozoom.orderfile import read_order_polygons

    to_stdout = str(output) == "-"
    if not to_stdout:
        check_output(output, overwrite=overwrite, suffixes=(f".{format_}",))
    plan = read_order_polygons(orders)
    check(plan)
    text = DOCUMENTS[format_](plan.orders, name or plan.name)
    if to_stdout:
        with on_stdout() as stdout:
            stdout.write(text)
    else:
        write_text(output, text)
    _show(plan, console, None)


def _write_bodies(
    orders: Path,
    vendor: str,
    endpoint: Endpoint,
    details: Details,
    output: Path,
    console: Console,
    *,
    overwrite: bool,
) -> None:
    from dataclasses import replace

    from geozoom.errors import DetailsError
    from geozoom.exports import check
    from geozoom.exports.bodies import body_names, check_bodies_folder, write_folder
    from geozoom.exports.request import EVERY_ORDER
    from geozoom.orderfile import read_order_polygons

    to_stdout = str(output) == "-"
    if not to_stdout:
        check_bodies_folder(output, overwrite=overwrite)
    plan = read_order_polygons(orders)
    details = replace(details, name=details.name or plan.name)
    check(plan, endpoint.rules(details), endpoint.vendor)
    unknown = sorted(set(details.images).difference({EVERY_ORDER}, (order.id for order in plan.orders)))
    if unknown:
        raise click.UsageError(f"--image {unknown[0]}=...: the plan has no order {unknown[0]}")
    try:
        bodies = [endpoint.body(order, details) for order in plan.orders]
    except DetailsError as error:
        raise click.UsageError(f"{error}") from error
    if to_stdout:
        for body in bodies:
            options.print_json(body)
    else:
        names = body_names(plan, vendor, endpoint.kind)
        write_folder(output, dict(zip(names, bodies, strict=True)))
    _show(plan, console, endpoint.vendor)
    console.print(
        f"{len(bodies):,} bodies for {endpoint.what}, each for POST "
        f"{endpoint.post.replace('{product}', details.product or '')}",
        soft_wrap=True,
    )
    console.print("nothing was sent")
    if endpoint.kind == "order":
        console.print(f"warning: {endpoint.vendor} bills what you send there", soft_wrap=True)


def _show(plan: OrderPolygons, console: Console, vendor: str | None) -> None:
    """Print what each order costs by the plan."""
    from rich.table import Table

    table = Table(title="Orders, billed as the plan says", title_justify="left", show_footer=True)
    billed, cost = sum(order.billed_km2 for order in plan.orders), sum(order.cost for order in plan.orders)
    for heading, footer in (
        ("order", "total"),
        ("tile", ""),
        ("patches", f"{sum(order.patches for order in plan.orders):,}"),
        ("vertices", ""),
        ("km²", f"{sum(order.area_km2 for order in plan.orders):.4f}"),
        ("km² billed", f"{billed:.4f}"),
        (f"cost {plan.currency}".strip(), f"{cost:,.2f}"),
    ):
        justify = "left" if heading == "tile" else "right"
        table.add_column(heading, footer=footer, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for order in plan.orders[:SHOWN_ORDERS]:
        table.add_row(
            str(order.id),
            order.tile,
            f"{order.patches:,}",
            str(len(order.ring) - 1),
            f"{order.area_km2:.4f}",
            f"{order.billed_km2:.4f}",
            f"{order.cost:,.2f}",
        )
    console.print(table)
    hidden = len(plan.orders) - SHOWN_ORDERS
    if hidden > 0:
        console.print(f"and {hidden:,} more orders")
    for line in _remarks(plan, vendor):
        console.print(line, soft_wrap=True)


def _remarks(plan: OrderPolygons, vendor: str | None) -> list[str]:
    lines = []
    if plan.prices is None:
        lines.append("prices: a GeoPackage does not hold the price list; the plan as GeoJSON does")
    else:
        of = plan.prices.get("vendor") or "no named vendor"
        dated = plan.prices.get("effective_date") or "undated"
        lines.append(
            f"prices: {plan.prices.get('name')}, of {of} ({dated}, trust: {plan.prices.get('trust')})"
        )
        if vendor not in (None, "STAPI", of):
            lines.append(f"warning: the plan was billed by a price list of {of}, not of {vendor}")
    lines += [
        f"warning: order {order.id} covers {order.covered_km2:.4f} km², not the {order.area_km2:.4f} km² that were "
        "planned: its polygon was changed since, and what it costs is not what the plan says"
        for order in plan.orders
        if order.has_other_area
    ]
    lines += [
        f"warning: order {order.id}: by the plan's own price list its vendor refuses it: {why}"
        for order in plan.orders
        for why in order.violations
    ]
    return lines

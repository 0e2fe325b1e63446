"""geozoom plan."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from geozoom.cli import loading, options

if TYPE_CHECKING:
    from rich.console import Console

    from geozoom.orders import Plan

SHOWN_ORDERS = 20
"""Orders listed on the terminal; the file holds them all."""


@click.command("plan")
@click.argument("tiles", nargs=-1, required=True)
@click.option("--budget", type=options.Money(), help="What may be spent, in the price list's currency.")
@options.output_option
@options.model_option
@click.option(
    "--prices",
    metavar="NAME|FILE",
    help="Price list: a name of `geozoom prices list`, or a TOML file; the default of them if absent.",
)
@options.uplift_option
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Buy only patches with a probability above this.",
)
@options.scene_options
@click.option(
    "--overlap",
    type=click.Choice(["latest", "clearest", "first", "all"]),
    default="latest",
    show_default=True,
    help="Where tiles show the same place, plan the latest, the one with least clouds and missing data, the "
    "first by name, or all of them.",
)
@click.option("--aoi", metavar="FILE", help="Plan only patches whose centre lies in these polygons.")
@click.option(
    "--owned",
    metavar="FILE",
    multiple=True,
    help="Polygons of what is owned or ordered already, such as an earlier plan; not bought again. Repeatable.",
)
@click.option(
    "--sites",
    metavar="FILE",
    help="Plan only these scenes: points, boxes or polygons, named by a column site, id or name.",
)
@click.option(
    "--dask",
    metavar="ADDRESS",
    help="Scheduler of a running Dask cluster, as tcp://host:8786; its workers read the tiles by the same paths.",
)
@options.raster_options("", "TILES")
@click.option("--assume-crs", help="CRS of tiles that have none, for example EPSG:32633.")
@options.human_options
def command(
    tiles: tuple[str, ...],
    budget: Decimal | None,
    output: Path,
    overwrite: bool,
    model: Path | None,
    prices: str | None,
    uplifts: tuple[str, ...],
    threshold: float,
    max_nodata: float,
    max_cloud: float,
    cloud_mask: str | None,
    overlap: Literal["latest", "clearest", "first", "all"],
    aoi: str | None,
    owned: tuple[str, ...],
    sites: str | None,
    dask: str | None,
    bands: tuple[int, int, int] | None,
    scale: float | None,
    offset: float | None,
    nodata: float | None,
    assume_crs: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Choose the high-resolution patches that are worth buying.

    TILES are low-resolution rasters: files, folders, /vsi... paths or URLs.
    """
    if aoi is not None and sites is not None:
        raise click.UsageError("--aoi clips the lattice and --sites replaces it: give one of them")
    if dask is not None and sites is not None:
        raise click.UsageError("--sites are planned in one process: leave --dask out")
    with loading.libraries():
        options.check_json(as_json, output)
        read_options = options.read_options(bands, scale, offset, nodata, assume_crs, cloud_mask=cloud_mask)
        options.check_features_output(output, overwrite=overwrite)
        console = options.stderr_console(quiet)
        from geozoom.planner import plan
        from geozoom.pricelists import load_price_list
        from geozoom.scenes import SceneLimits

    price_list = load_price_list(prices).with_uplifts(uplifts)
    with options.progress_bar(console, "scenes") as progress:
        chosen = plan(
            tiles,
            budget=budget,
            model=model,
            prices=price_list,
            threshold=threshold,
            limits=SceneLimits(max_nodata=max_nodata, max_cloud=max_cloud),
            overlap=overlap,
            area=aoi,
            owned=owned,
            sites=sites,
            options=read_options,
            dask=dask,
            progress=progress,
        )
    chosen.write(output, overwrite=overwrite)
    if not quiet:
        _show(chosen, console)
    if as_json:
        # Times are no part of the plan: the same inputs give the same file.
        seconds = {"scenes": round(chosen.seconds_scenes, 3), "choice": round(chosen.seconds_choice, 3)}
        click.echo(json.dumps(chosen.summary() | {"seconds": seconds}, ensure_ascii=False))


def _show(plan: Plan, console: Console) -> None:
    """Print what a buyer signs."""
    from rich.table import Table

    currency = plan.prices.currency
    table = Table(title="Orders", title_justify="left", show_footer=True)
    totals = plan.summary()["totals"]
    columns: list[tuple[str, Any]] = [
        ("order", "total"),
        ("tile", ""),
        ("patches", f"{len(plan):,}"),
        ("km² wanted", f"{totals['area_km2']:.4f}"),
        ("km² billed", f"{totals['billed_km2']:.4f}"),
        (f"cost {currency}", f"{plan.cost:,.2f}"),
        ("benefit", f"{plan.value:,.1f}"),
    ]
    for heading, footer in columns:
        justify = "left" if heading == "tile" else "right"
        table.add_column(heading, footer=footer, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for order in plan.orders[:SHOWN_ORDERS]:
        table.add_row(
            str(order.id),
            order.tile,
            f"{order.patches:,}",
            f"{order.area_km2:.4f}",
            f"{order.billed_km2:.4f}",
            f"{order.cost:,.2f}",
            f"{order.value:,.1f}",
        )
    console.print(table)
    hidden = len(plan.orders) - SHOWN_ORDERS
    if hidden > 0:
        console.print(f"and {hidden:,} smaller orders; the file holds them all")
    for line in _remarks(plan, options.today()):
        console.print(line, soft_wrap=True)


def _remarks(plan: Plan, today: date) -> list[str]:
    currency = plan.prices.currency
    prices = plan.prices
    lines = [
        (
            f"{plan.scenes:,} scenes on {len(plan.tiles)} tile(s), {plan.scenes_skipped}; "
            f"the policy would buy {plan.candidates:,} patches, the plan buys {len(plan):,}"
        ),
        f"{plan.scenes / plan.seconds_scenes:,.0f} scenes a second; choosing took {plan.seconds_choice:.1f} s",
        f"benefit: {plan.value_unit}"
        + (f", {plan.value / plan.bound:.2%} of the most that this budget can buy" if plan.bound else ""),
    ]
    if plan.budget is not None:
        lines.append(f"budget {plan.budget:,.2f} {currency}, left {plan.budget - plan.cost:,.2f} {currency}")
    if plan.next_cost is not None:
        lines.append(
            f"next best patches that did not fit lie on {plan.next_tile}: {plan.next_cost:,.2f} {currency} more "
            "would buy them"
        )
    lines.append(
        f"prices: {prices.name}, {prices.terms}; {prices.source} ({prices.effective_date or 'undated'}, trust: "
        f"{prices.trust})"
    )
    if prices.note:
        lines.append(f"note on the prices: {prices.note}")
    doubt = prices.doubt(today)
    if doubt is not None:
        lines.append(f"warning: price list {prices.name}: {doubt}")
    lines.append(f"model: {plan.card.name}, {plan.card.data}")
    lines += [
        f"warning: {name} has unmarked pixels that are 0 in every band; if they are missing, give --nodata 0"
        for name in plan.tiles_with_zeros
    ]
    if plan.off_tiles:
        named = ", ".join(plan.off_tiles[:5]) + (" and more" if len(plan.off_tiles) > 5 else "")
        lines.append(f"warning: {len(plan.off_tiles)} site(s) lie on no tile: {named}")
    lines += options.ignored_remarks(plan.ignored)
    if not len(plan):
        lines.append("nothing to buy: no patch is above the threshold, or none fits the budget")
    return lines

"""geozoom ingest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from geozoom.cli import loading, options
from geozoom.errors import some_of

if TYPE_CHECKING:
    from rich.console import Console

    from geozoom.receiving.report import Ingested

SHOWN_ORDERS = 20
"""Orders listed on the terminal, the least complete first; --json lists them all."""
SHOWN_FILES = 5
"""Files listed in a remark."""


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True)
@click.option(
    "--orders", type=click.Path(path_type=Path), required=True, help="File that `geozoom plan` wrote."
)
@click.option(
    "-o",
    "--output",
    "catalog",
    type=click.Path(path_type=Path),
    required=True,
    help="Catalog to make or to add to: a GeoPackage.",
)
@click.option(
    "--require-complete", is_flag=True, help="Exit with 1 if something that was ordered is missing."
)
@click.option(
    "--gsd",
    type=click.FloatRange(0, min_open=True),
    help="Ground sample distance that was ordered, in metres; that of the plan's model if absent.",
)
@click.option(
    "--max-cloud",
    type=click.FloatRange(0, 1),
    default=0.2,
    show_default=True,
    help="Name images whose metadata say more than this share of clouds.",
)
@click.option(
    "--lr",
    multiple=True,
    help="LR tiles of the plan or a folder of them: name deliveries whose content lies elsewhere on them. Repeatable.",
)
@click.option("--lr-bands", type=options.Bands(), help="Of --lr: band numbers of red, green and blue.")
@click.option("--lr-nodata", type=float, help="Of --lr: digital number that means no data.")
@click.option("--bands", type=options.Bands(), help="Of PATHS: band numbers of red, green and blue.")
@click.option("--nodata", type=float, help="Of PATHS: digital number that means no data.")
@options.human_options
def command(
    paths: tuple[str, ...],
    orders: Path,
    catalog: Path,
    require_complete: bool,
    gsd: float | None,
    max_cloud: float,
    lr: tuple[str, ...],
    lr_bands: tuple[int, int, int] | None,
    lr_nodata: float | None,
    bands: tuple[int, int, int] | None,
    nodata: float | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Take what was delivered into a catalog, and say what of the orders is missing.

    PATHS are rasters, zips, and folders with either in them, however deep. Exit code 1 if one of them cannot be used;
    the others are taken all the same.
    """
    if not lr and (lr_bands is not None or lr_nodata is not None):
        raise click.UsageError("--lr-bands and --lr-nodata are of --lr: give it")
    with loading.libraries():
        console = options.stderr_console(quiet)
        from geozoom.bands import ReadOptions
        from geozoom.receiving.ingest import ingest

    with options.progress_bar(console, "files") as progress:
        found = ingest(
            paths,
            orders=orders,
            catalog=catalog,
            options=ReadOptions(bands=bands, nodata=nodata),
            ordered_gsd_m=gsd,
            max_cloud=max_cloud,
            lr=lr,
            lr_options=ReadOptions(bands=lr_bands, nodata=lr_nodata, prefix="lr-"),
            progress=progress,
        )
    if not quiet:
        _show(found, console)
    if as_json:
        options.print_json(found.summary())
    for problem in found.problems:
        click.echo(f"Error: {problem}", err=True)
    missing = require_complete and not found.complete
    if missing:
        short = [str(order.order) for order in found.orders if not order.complete]
        named = some_of(short, SHOWN_ORDERS)
        click.echo(
            f"Error: {catalog}: {len(short)} of {len(found.orders)} orders are not complete ({named}); ask for "
            "what is missing, and ingest it",
            err=True,
        )
    if found.problems or missing:
        sys.exit(1)


def _show(found: Ingested, console: Console) -> None:
    from rich.table import Table

    totals = found.summary()["totals"]
    table = Table(title="Delivered", title_justify="left", show_footer=True)
    for heading, footer in (
        ("order", "total"),
        ("files", ""),
        ("km² ordered", f"{totals['area_km2']:.4f}"),
        ("delivered", f"{totals['delivered_share']:.1%}"),
        ("patches", f"{totals['patches']:,}"),
        ("missing", f"{totals['patches_missing']:,}"),
        *([("unusable", f"{totals['patches_unusable']:,}")] if totals["patches_unusable"] else []),
        ("km² twice", f"{totals['overlap_km2']:.4f}"),
        ("km² coarser", f"{totals['coarse_km2']:.4f}"),
    ):
        table.add_column(heading, footer=footer, justify="right")
    ranked = sorted(found.orders, key=lambda order: (order.complete, order.delivered_share, order.order))
    for order in ranked[:SHOWN_ORDERS]:
        table.add_row(
            str(order.order),
            f"{len(order.files):,}",
            f"{order.area_km2:.4f}",
            f"{order.delivered_share:.1%}",
            f"{order.patches:,}",
            f"{len(order.missing):,}",
            *([f"{len(order.unusable):,}"] if totals["patches_unusable"] else []),
            f"{order.overlap_km2:.4f}",
            f"{order.coarse_km2:.4f}",
        )
    console.print(table)
    if len(ranked) > SHOWN_ORDERS:
        console.print(f"and {len(ranked) - SHOWN_ORDERS:,} more orders; --json lists them all")
    for line in _remarks(found):
        console.print(line, soft_wrap=True)


def _remarks(found: Ingested) -> list[str]:
    lines = [
        (
            f"{found.catalog}: {len(found.entries):,} deliveries, {len(found.added):,} of them new; "
            f"{len(found.known):,} were known, {len(found.duplicates):,} have the same bytes as another one"
        )
    ]
    gsd = "" if found.ordered_gsd_m is None else f"{found.ordered_gsd_m:.2f} m"
    for names, what in (
        ([f"{each.name} ({each.gsd_m:.2f} m)" for each in found.coarser], f"coarser than the {gsd} ordered"),
        (
            [f"{each.name} ({each.cloud_share:.0%})" for each in found.clouded],
            f"clouded by more than {found.max_cloud:.0%}, say their metadata or masks",
        ),
        ([each.name for each in found.colourless], "without colours, so they do not count as delivered"),
        (
            [f"{each.name} ({each.zero_share:.1%})" for each in found.zeros],
            "with unmarked pixels that are 0 in every band; if they are missing, give --nodata 0 and a new catalog",
        ),
        (list(found.gone), "no longer where they were, so they do not count as delivered"),
        (
            list(found.rewritten),
            "written again since they were ingested; name them here, too, to read them again",
        ),
        (list(found.elsewhere), "on no order of this plan, but perhaps of an earlier one"),
        (
            list(found.ignored),
            "not read: masks, small pictures, zips in zips, linked folders, or formats that are only read if named",
        ),
    ):
        if names:
            lines.append(f"warning: {len(names)} file(s) {what}: {some_of(names, SHOWN_FILES)}")
    if found.compared is not None:
        lines += [
            f"warning: {each.name} is shifted by {each.metres:.0f} m to the {each.towards} of where the LR tile shows "
            f"its content (correlation {each.correlation:.2f}); ask for a corrected delivery"
            for each in found.compared.shifted
        ]
        lines.append(
            f"compared with the LR tiles: {len(found.compared.in_place):,} deliveries are in place, "
            f"{len(found.compared.shifted):,} shifted, {len(found.compared.undecided):,} cannot be told"
        )
    if found.ordered_gsd_m is None:
        lines.append("the format of the orders does not say which GSD was ordered; say it with --gsd")
    return lines

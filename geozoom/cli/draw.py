"""geozoom draw."""

from __future__ import annotations

from pathlib import Path

import click

from geozoom.cli import loading, options


@click.command("draw")
@click.argument("orders", type=click.Path(path_type=Path))
@click.option(
    "--lr", multiple=True, required=True, help="LR tiles of the plan or a folder of them; repeatable."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Picture to write: .png or .svg."
)
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@options.raster_options("", "the LR tiles")
@click.option("--assume-crs", help="CRS of LR tiles that have none.")
def command(
    orders: Path,
    lr: tuple[str, ...],
    output: Path,
    overwrite: bool,
    bands: tuple[int, int, int] | None,
    scale: float | None,
    offset: float | None,
    nodata: float | None,
    assume_crs: str | None,
) -> None:
    """Draw a plan's patches over its tiles.

    ORDERS is the GeoJSON file that `geozoom plan` wrote.
    """
    with loading.libraries():
        read_options = options.read_options(bands, scale, offset, nodata, assume_crs)
        console = options.stderr_console()
        from geozoom.errors import some_of
        from geozoom.report import draw_plan

    absent = draw_plan(orders, lr, output, options=read_options, overwrite=overwrite)
    if absent:
        console.print(
            f"warning: the plan buys patches on {len(absent)} tiles that are not among --lr and were not drawn: "
            f"{some_of(absent)}",
            soft_wrap=True,
        )

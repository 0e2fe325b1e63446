"""geozoom classify."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from geozoom.cli import classifying, options


@click.command("classify")
@click.option(
    "--orders",
    type=click.Path(path_type=Path),
    multiple=True,
    help="File that `geozoom plan` wrote: its scenes, with what was bought of them. Repeatable, for plans of the same "
    "scenes.",
)
@click.option("--hr", multiple=True, help="Delivered rasters or a folder of them; repeatable.")
@click.option(
    "--catalog", type=click.Path(path_type=Path), help="Catalog that `geozoom ingest` wrote, instead of --hr."
)
@click.option("--lr", multiple=True, help="LR tiles of the plan or a folder of them; repeatable.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="Classify image files instead: a tree of CLASS/image or {train,val,test}/CLASS/image.",
)
@click.option(
    "--fmow",
    type=click.Path(path_type=Path),
    help="Classify fMoW's boxes instead: images with their JSON beside them.",
)
@click.option(
    "--split", help="Of --folder or --fmow: which split; test, val or train if absent, as there are."
)
@click.option(
    "--skip-unreadable", is_flag=True, help="Of --folder or --fmow: leave images out that cannot be read."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Of --folder or --fmow: use patches with a probability above this; 0.5 if absent.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, options.LARGEST_SEED),
    help="Of --folder or --fmow: seed of the simulated LR sensor's noise; as in the model's test if absent.",
)
@click.option(
    "--scene-m",
    type=click.FloatRange(min=0, min_open=True),
    help="Of --curve with --folder or --fmow: side of a scene in metres; fMoW's own or the model's if absent.",
)
@options.output_option(
    ".geojson, .gpkg, .fgb or .parquet, and .csv, .json or .parquet of image files; - (the default) for GeoJSON, or "
    "JSON, on stdout."
)
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Of labelled scenes: write figures, per-class F1, confusion matrix and reliability plot.",
)
@click.option(
    "--curve",
    "curves",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="Of labelled scenes with all HR at hand: accuracy against money for the policy and for simpler ways to spend "
    "it; .csv, .json, .png or .svg. Repeatable.",
)
@click.option(
    "--prices",
    metavar="NAME|FILE",
    help="Price list of --curve; the default of `geozoom prices list` if absent.",
)
@options.uplift_option
@options.model_option
@options.scene_options
@options.raster_options("", "the LR tiles")
@click.option("--assume-crs", help="CRS of LR tiles that have none.")
@options.raster_options("hr-", "the deliveries")
@options.human_options
@click.pass_context
def command(context: click.Context, /, **given: Any) -> None:
    """Classify every scene, with the HR patches that were bought and delivered.

    Of image files, HR is used where the policy would buy it, and LR is simulated from them as in training.
    """
    ways = [name for name in ("orders", "folder", "fmow") if given[name]]
    if len(ways) != 1:
        raise click.UsageError("give one of --orders, --folder and --fmow")
    classifying.check(context, given)
    if given["orders"]:
        classifying.classify_orders(given)
    else:
        classifying.classify_files(given)

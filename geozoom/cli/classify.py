"""geozoom classify."""

from __future__ import annotations

import json
from pathlib import Path

import click

from geozoom.cli import loading, options


@click.command("classify")
@click.option(
    "--orders",
    type=click.Path(path_type=Path),
    required=True,
    help="File that `geozoom plan` wrote.",
)
@click.option("--hr", multiple=True, help="Delivered rasters or a folder of them; repeatable.")
@click.option(
    "--catalog", type=click.Path(path_type=Path), help="Catalog that `geozoom ingest` wrote, instead of --hr."
)
@click.option(
    "--lr", multiple=True, required=True, help="LR tiles of the plan or a folder of them; repeatable."
)
@options.output_option
@options.model_option
@options.scene_options
@options.raster_options("", "the LR tiles")
@click.option("--assume-crs", help="CRS of LR tiles that have none.")
@options.raster_options("hr-", "the deliveries")
@options.human_options
def command(
    orders: Path,
    hr: tuple[str, ...],
    catalog: Path | None,
    lr: tuple[str, ...],
    output: Path,
    overwrite: bool,
    model: Path | None,
    max_nodata: float,
    max_cloud: float,
    cloud_mask: str | None,
    bands: tuple[int, int, int] | None,
    scale: float | None,
    offset: float | None,
    nodata: float | None,
    assume_crs: str | None,
    hr_bands: tuple[int, int, int] | None,
    hr_scale: float | None,
    hr_offset: float | None,
    hr_nodata: float | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Classify every scene, with the HR patches that were bought and delivered."""
    if bool(hr) == (catalog is not None):
        raise click.UsageError("give the deliveries as --catalog or as --hr, one of them")
    with loading.libraries():
        options.check_json(as_json, output)
        read_options = options.read_options(bands, scale, offset, nodata, assume_crs, cloud_mask=cloud_mask)
        hr_options = options.read_options(hr_bands, hr_scale, hr_offset, hr_nodata, prefix="hr-")
        options.check_features_output(output, overwrite=overwrite)
        console = options.stderr_console(quiet)
        from geozoom.classification import classify
        from geozoom.scenes import SceneLimits

    with options.progress_bar(console, "scenes") as progress:
        scenes = classify(
            orders,
            hr=hr,
            catalog=catalog,
            lr=lr,
            model=model,
            limits=SceneLimits(max_nodata=max_nodata, max_cloud=max_cloud),
            options=read_options,
            hr_options=hr_options,
            progress=progress,
        )
    scenes.write(output, overwrite=overwrite)
    totals = scenes.summary()["totals"]
    console.print(
        f"{totals['scenes']:,} scenes classified, {totals['scenes_with_hr']:,} of them with HR; "
        f"{scenes.skipped}",
        soft_wrap=True,
    )
    console.print(
        f"{totals['patches_delivered']:,} of {totals['patches_bought']:,} bought patches were delivered; "
        f"HR changed the class of {totals['scenes_changed_by_hr']:,} scenes",
        soft_wrap=True,
    )
    for path in scenes.coarse:
        console.print(
            f"warning: {path} is much coarser than the {scenes.card.hr_gsd_m:.2f} m that the model was trained on",
            soft_wrap=True,
        )
    for names, what in (
        (scenes.received.colourless, "show no colours, so they were not used"),
        (scenes.received.gone, "are no longer where the catalog has them, so they were not used"),
    ):
        if names:
            named = ", ".join(names[:5]) + (" and more" if len(names) > 5 else "")
            console.print(f"warning: {len(names)} deliveries {what}: {named}", soft_wrap=True)
    for line in options.ignored_remarks(scenes.received.ignored):
        console.print(line, soft_wrap=True)
    if as_json:
        click.echo(json.dumps(scenes.summary(), ensure_ascii=False))

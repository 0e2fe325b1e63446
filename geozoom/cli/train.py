"""geozoom train."""

from __future__ import annotations

from pathlib import Path

import click

from geozoom.cli import loading, options
from training import DATASETS, STAGES


@click.command("train")
@click.option("--dataset", type=click.Choice(DATASETS), default="folder", show_default=True)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    required=True,
    help="The dataset's folder, as unpacked; for folder {train,val,test}/CLASS/image, where val may be missing.",
)
@click.option(
    "--lr-root",
    type=click.Path(path_type=Path),
    help="fmow: folder of fMoW-Sentinel, for real LR images instead of simulated ones.",
)
@click.option(
    "--skip-unreadable", is_flag=True, help="Leave out images that cannot be read, instead of stopping."
)
@click.option(
    "--memory",
    type=click.FloatRange(min=0),
    default=8.0,
    show_default=True,
    metavar="GIB",
    help="Hold a dataset in memory up to this size; a larger one is read as it is needed, with the same result.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the run, for example runs/NAME."
)
@click.option(
    "--recipe",
    default="default",
    show_default=True,
    help="default or paper (each the dataset's own), another that ships (sentinel2, aid), or a TOML file.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="TABLE.KEY=VALUE",
    help="Change a value of the recipe; repeatable.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of every stage, instead of the recipe's.")
@click.option("--stage", type=click.Choice(["all", *STAGES]), default="all", show_default=True)
@click.option("--resume", is_flag=True, help="Go on with the run in --out.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(
    dataset: str,
    root: Path,
    lr_root: Path | None,
    skip_unreadable: bool,
    memory: float,
    out: Path,
    recipe: str,
    overrides: tuple[str, ...],
    epochs: int | None,
    stage: str,
    resume: bool,
    seed: int,
    device: str,
    quiet: bool,
) -> None:
    """Train classifiers and policy, then write the checkpoint and the results table."""
    with loading.libraries():
        console = options.stderr_console(quiet)
        from geozoom.errors import RunError
        from training.recipe import load_recipe, recipe_of
        from training.record import RunRequest
        from training.run import train
        from training.tables import as_rich

    recipe = recipe_of(dataset, recipe)
    request = RunRequest(
        dataset=dataset,
        root=root,
        out=out,
        recipe=load_recipe(recipe, list(overrides), epochs),
        recipe_name=recipe,
        stage=stage,
        seed=seed,
        resume=resume,
        device=device,
        lr_root=lr_root,
        skip_unreadable=skip_unreadable,
        memory_gib=memory,
    )
    try:
        rows = train(request, console)
    except KeyboardInterrupt as error:
        raise RunError(f"{out}: interrupted; give --resume to go on from the last checkpoint") from error
    if rows:
        console.print(as_rich(rows, "Test split"))
        console.print(f"checkpoint: {out / 'model.safetensors'}", soft_wrap=True)

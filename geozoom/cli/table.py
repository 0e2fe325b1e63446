"""geozoom table."""

from __future__ import annotations

import json
from pathlib import Path

import click

from geozoom.cli import loading, options
from training import DATASETS


@click.command("table")
@click.option(
    "--table", "which", type=click.Choice(["bagnet"]), required=True, help="bagnet: the paper's Table 3."
)
@click.option("--dataset", type=click.Choice(DATASETS), default="cifar10", show_default=True)
@click.option(
    "--root", type=click.Path(path_type=Path), required=True, help="The dataset's folder, as unpacked."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the table and of the runs that it needs.",
)
@click.option("--recipe", default="default", show_default=True, help="As for `geozoom train`.")
@click.option("--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="As for `geozoom train`.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of each stage, instead of the recipe's.")
@click.option("--rounds", type=click.IntRange(min=1), default=15, show_default=True, help="Of timing.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@options.human_options
def command(
    which: str,
    dataset: str,
    root: Path,
    out: Path,
    recipe: str,
    overrides: tuple[str, ...],
    epochs: int | None,
    rounds: int,
    seed: int,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train what is missing of a table of the paper, and measure its rows side by side.

    Given again, it goes on where it was interrupted.
    """
    with loading.libraries():
        console = options.stderr_console(quiet)
        from geozoom.errors import RunError
        from geozoom.grid import PatchGrid
        from training.comparing.bagnet import compare_bagnets
        from training.comparing.bagnet_table import as_columns, as_rich, write
        from training.comparing.rules import fixed_rules
        from training.recipe import load_recipe, recipe_of
        from training.record import RunRequest

    name = recipe_of(dataset, recipe)
    runs = {
        kind: RunRequest(
            dataset=dataset,
            root=root,
            out=out / kind,
            recipe=load_recipe(name, list(overrides), epochs, bagnet=kind == "bagnet"),
            recipe_name=name,
            seed=seed,
            device=device,
        )
        for kind in ("bagnet", "cnn")
    }
    data = runs["bagnet"].recipe.data
    rules = fixed_rules(PatchGrid(rows=data.grid_rows, cols=data.grid_cols))
    try:
        rows = compare_bagnets(runs["bagnet"], runs["cnn"], rules, console, rounds)
    except KeyboardInterrupt as error:
        raise RunError(f"{out}: interrupted; give the same command again to go on") from error
    summary = {"table": which, "dataset": dataset, "recipe": name, "seed": seed, "rounds": rounds}
    write(out, rows, dataset, summary)
    console.print(as_rich(rows, dataset))
    console.print(f"table: {out / 'table3.md'}", soft_wrap=True)
    if as_json:
        click.echo(json.dumps(summary | {"rows": as_columns(rows, dataset)}))

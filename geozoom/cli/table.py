"""geozoom table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from geozoom.cli import datasets, loading, options
from training import DATASETS

if TYPE_CHECKING:
    from rich.console import Console

    from training.comparing.comparison import Compared

_SEEDS = {"results": (0,), "bagnet": (0,), "hard-positives": (0, 1, 2)}
"""Tables, and the seeds that each takes if none are given."""


class Seeds(click.ParamType):  # type: ignore[type-arg]
    """Different seeds, as in 0,1,2."""

    name = "seed[,seed...]"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return the seeds, or fail with what is wrong with them."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r} is no list of seeds; write them as 0,1,2", param, ctx)
        seeds = tuple(int(part) for part in parts)
        if max(seeds) > options.LARGEST_SEED:
            self.fail(f"{value!r} names a seed above {options.LARGEST_SEED}", param, ctx)
        if len(set(seeds)) < len(seeds):
            self.fail(f"{value!r} names a seed twice", param, ctx)
        return seeds


@click.command("table")
@click.option(
    "--table",
    "name",
    type=click.Choice(list(_SEEDS)),
    default="results",
    show_default=True,
    help="results: Tables 1 and 2, every baseline beside PatchDrop; bagnet: Table 3; "
    "hard-positives: Table 4.",
)
@click.option("--dataset", type=click.Choice(DATASETS), default="folder", show_default=True)
@click.option("--root", type=click.Path(path_type=Path), required=True, help="The dataset's folder.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the table and its runs; the same command again goes on with what is unfinished.",
)
@click.option("--recipe", default="default", show_default=True, help="As of `geozoom train`.")
@click.option("--set", "overrides", multiple=True, metavar="TABLE.KEY=VALUE", help="As of `geozoom train`.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of each stage, instead of the recipe's.")
@click.option(
    "--seeds",
    type=Seeds(),
    help="A run of every row for each; by default 0,1,2 for hard-positives, else 0.",
)
@click.option(
    "--rows",
    metavar="ROW[,ROW...]",
    help="results: only these rows now, in this order; the table shows all that were ever measured.",
)
@click.option(
    "--policy",
    type=click.Path(path_type=Path),
    help="hard-positives: a run (its stage ft1), a checkpoint of its pt, ft1 or ft2, or a model.safetensors; "
    "trained here first if absent.",
)
@datasets.reading_options
@options.human_options
def command(
    name: str,
    dataset: str,
    root: Path,
    lr_root: Path | None,
    out: Path,
    recipe: str,
    overrides: tuple[str, ...],
    epochs: int | None,
    seeds: tuple[int, ...] | None,
    rows: str | None,
    policy: Path | None,
    skip_unreadable: bool,
    memory: float,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make a table of the paper that takes several runs: train and measure them, write table.md, .csv and .json."""
    if policy is not None and name != "hard-positives":
        raise click.UsageError("--policy is the policy of --table hard-positives")
    if rows is not None and name != "results":
        raise click.UsageError("--rows chooses rows of --table results")
    with loading.libraries():
        from geozoom.errors import RunError
        from training.comparing import TABLES, TableRequest
        from training.comparing.comparison import working_in
        from training.parallel import leave
        from training.recipe_files import load_recipe, recipe_of

    console = options.stderr_console(quiet)
    recipe = recipe_of(dataset, recipe)
    request = TableRequest(
        dataset=dataset,
        root=root,
        out=out,
        recipe=load_recipe(recipe, list(overrides), epochs),
        recipe_name=recipe,
        seeds=seeds or _SEEDS[name],
        rows=None if rows is None else tuple(part.strip() for part in rows.split(",")),
        policy=policy,
        device=device,
        lr_root=lr_root,
        skip_unreadable=skip_unreadable,
        memory_gib=memory,
    )
    with working_in(out):
        try:
            made = TABLES[name](request, console)
        except KeyboardInterrupt as error:
            raise RunError(f"{out}: interrupted; give the same command again to go on") from error
        leave()
        if made is None:
            return
        made.keep(out)
    _show(console, made, out)
    for sentence in made.about:
        console.print(sentence, highlight=False, soft_wrap=True)
    if as_json:
        options.print_json(made.to_dict())


def _show(console: Console, made: Compared, out: Path) -> None:
    """Print a table's name column and as many of the others as fit beside it, and say where the rest is."""
    from rich.cells import cell_len
    from rich.table import Table

    headings, rows = made.headings(), made.cells()
    names = max(cell_len(word) for row in rows for word in row[0].split())
    others = zip(headings[1:], *(row[1:] for row in rows), strict=True)
    widths = [names, *(max(map(cell_len, column)) for column in others)]
    columns = len(headings)
    while columns > 2 and sum(widths[:columns]) + 3 * columns + 1 > console.width:
        columns -= 1
    shown = Table(title=made.title)
    shown.add_column("", overflow="fold")
    for heading in headings[1:columns]:
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(*row[:columns])
    console.print(shown)
    if columns < len(headings):
        left = ", ".join(headings[columns:])
        console.print(f"{out / 'table.md'} has more columns: {left}", highlight=False, soft_wrap=True)

"""geozoom curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geozoom.cli import loading, options, planning

if TYPE_CHECKING:
    from rich.console import Console

    from geozoom.budget import Budget
    from geozoom.curve import Curve


@click.command("curve")
@click.option(
    "--budget",
    "budgets",
    type=options.Budgets(),
    help="Budgets to plan for, as in 500,1000,5000; some up to the price of everything if absent.",
)
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="File to write: .csv, .json, .png or .svg. Repeatable.",
)
@options.overwrite_option
@planning.planning_options
@options.human_options
def command(
    budgets: tuple[Budget, ...] | None,
    outputs: tuple[Path, ...],
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Show where more money stops helping: benefit and bill against budget.

    TILES are low-resolution rasters: files, folders, /vsi... paths or URLs.
    """
    planning.check(given)
    options.check_apart(outputs)
    with loading.libraries():
        from geozoom.cores import usable_cores
        from geozoom.curve import trace
        from geozoom.files import check_output
        from geozoom.pointfiles import SUFFIXES

        for path in outputs:
            check_output(path, overwrite=overwrite, suffixes=SUFFIXES)
        console = options.stderr_console(quiet)
    candidates = planning.find_candidates(given, console, budgets or ())
    curve = trace(candidates, budgets, workers=usable_cores())
    for path in outputs:
        curve.write(path, overwrite=overwrite)
    if not quiet:
        _show(curve, console)
        scored = candidates.scored
        for line in planning.hr_remarks(candidates.received, scored.scenes_with_hr, candidates.card):
            console.print(line, soft_wrap=True)
    if as_json:
        options.print_json(curve.to_dict())


def _show(curve: Curve, console: Console) -> None:
    from rich.table import Table

    table = Table(title=f"Benefit: {curve.unit}", title_justify="left")
    for heading in (
        f"budget {curve.currency}",
        f"bill {curve.currency}",
        "benefit",
        "of the bound",
        "more per 100",
        "patches",
        "orders",
    ):
        table.add_column(heading, justify="right")
    before = None
    for point in curve.points:
        spent = point.cost - (before.cost if before else 0)
        gained = point.benefit - (before.benefit if before else 0.0)
        table.add_row(
            f"{point.budget:,.2f}",
            f"{point.cost:,.2f}",
            f"{point.benefit:,.1f}",
            f"{point.benefit / point.bound:.1%}" if point.bound else "",
            f"{100 * gained / float(spent):,.2f}" if spent > 0 else "",
            f"{point.patches:,}",
            f"{point.orders:,}",
        )
        before = point
    console.print(table)
    console.print(f"prices: {curve.price_list}", soft_wrap=True)

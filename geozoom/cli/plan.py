"""geozoom plan."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geozoom.cli import loading, options, planning, reporting
from geozoom.errors import some_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from geozoom.budget import Budget
    from geozoom.curve import Curve
    from geozoom.ordering import Solver
    from geozoom.orders import Plan
    from geozoom.planner import Candidates

REPORTED_BUDGETS = 7
"""Points of the curve on a page, each a plan of its own."""
ASKED = {"scout": "scout", "classifier": "LR classifier"}
SHOWN_ORDERS = 20
"""Orders listed on the terminal; the file holds them all."""


@click.command("plan")
@click.option(
    "--budget",
    "budgets",
    type=options.Budgets(),
    help="What may be spent, in the price list's currency. Several, as in 1000,5000, make a plan each, in a file "
    "named after its budget.",
)
@click.option(
    "--solver",
    type=click.Choice(["fast", "exact"]),
    default="fast",
    show_default=True,
    help="How orders are chosen under a budget; exact proves the optimum of small cases and refuses others.",
)
@reporting.report_option
@options.output_option()
@planning.planning_options
@options.human_options
def command(
    budgets: tuple[Budget, ...] | None,
    solver: Solver,
    report: Path | None,
    output: Path,
    overwrite: bool,
    quiet: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Choose the high-resolution patches that are worth buying.

    TILES are low-resolution rasters: files, folders, /vsi... paths or URLs.
    """
    planning.check(given)
    wanted: tuple[Budget | None, ...] = budgets or (None,)
    if len(wanted) > 1 and str(output) == "-":
        raise click.UsageError("several budgets make several files: give -o FILE")
    with loading.libraries():
        options.check_json(as_json, output)
        outputs = [output if len(wanted) == 1 else _named_after(output, budget) for budget in wanted]
        for path in outputs:
            options.check_features_output(path, overwrite=overwrite)
        pages = [
            report if report is None or len(wanted) == 1 else _named_after(report, budget)
            for budget in wanted
        ]
        for page in pages:
            if page is not None:
                reporting.check(page, overwrite=overwrite)
        console = options.stderr_console(quiet)
        import geozoom.planner  # noqa: F401
    candidates = planning.find_candidates(given, console, budgets or ())
    plans, curve = _plans(candidates, wanted, solver, reported=report is not None)
    summaries = []
    for chosen, path, page in zip(plans, outputs, pages, strict=True):
        chosen.write(path, overwrite=overwrite)
        if page is not None and curve is not None:
            reporting.write(page, chosen, curve, overwrite=overwrite)
        if not quiet:
            _show(chosen, console)
        # Times are no part of the plan: the same inputs give the same file.
        seconds = {"scenes": round(chosen.seconds_scenes, 3), "choice": round(chosen.seconds_choice, 3)}
        summaries.append(chosen.summary() | {"seconds": seconds} if as_json else {})
    if as_json:
        options.print_json(summaries[0] if len(summaries) == 1 else summaries)


def _plans(
    candidates: Candidates, wanted: Sequence[Budget | None], solver: Solver, *, reported: bool
) -> tuple[list[Plan], Curve | None]:
    """Return the plan of each budget wanted, None for all that there is, and the curve of a page that reports them."""
    from geozoom.cores import usable_cores
    from geozoom.curve import Curve, default_budgets, trace

    budgets = [budget for budget in wanted if budget is not None]
    together = reported and solver == "fast"  # to prove the points too could take hours
    points = default_budgets(candidates, REPORTED_BUDGETS) if together else []
    # Made together, no point of the curve is worth more than a dearer plan.
    made = candidates.choose_each([*budgets, *points], solver=solver, workers=usable_cores())
    by_amount = {plan.budget: plan for plan in made}
    plans = [
        candidates.choose(None, solver=solver) if budget is None else by_amount[budget.amount]
        for budget in wanted
    ]
    if together:
        return plans, Curve.of(candidates, [by_amount[point.amount] for point in points])
    if not reported:
        return plans, None
    return plans, trace(candidates, default_budgets(candidates, REPORTED_BUDGETS), workers=usable_cores())


def _named_after(output: Path, budget: Budget | None) -> Path:
    """Return orders-5000.geojson for orders.geojson and a budget of 5000."""
    amount = "all" if budget is None else f"{budget.amount:f}".removesuffix(".00")
    return output.with_name(f"{output.stem}-{amount}{output.suffix}")


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
        ("km²", f"{totals['area_km2']:.4f}"),
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
    speed = plan.scenes / plan.seconds_scenes
    lines = [
        (
            f"{plan.scenes:,} scenes on {len(plan.tiles)} tile(s), {plan.scenes_skipped}; "
            f"{plan.candidates:,} patches are worth buying, the plan buys {len(plan):,}"
        ),
        f"{speed:{',.0f' if speed >= 10 else '.2g'}} scenes a second; choosing took {plan.seconds_choice:.1f} s",
        f"benefit: {plan.value:,.1f} {plan.value_unit}"
        + (
            f"; no plan for this budget has more than {plan.bound:,.1f} (gap {plan.gap:.1%})"
            if plan.budget is not None
            else ""
        ),
    ]
    if plan.budget is not None:
        lines.append(f"budget {plan.budget:,.2f} {currency}, left {plan.budget - plan.cost:,.2f} {currency}")
    if plan.next_cost is not None:
        lines.append(
            f"next best order that did not fit: {plan.next_cost:,.2f} {currency}; the budget lacks "
            f"{plan.next_lacking:,.2f} {currency}"
        )
    lines.append(
        f"prices: {prices.name}, {prices.terms}; {prices.source} ({prices.dated}, trust: {prices.trust})"
    )
    if prices.note:
        lines.append(f"note on the prices: {prices.note}")
    doubt = prices.doubt(today)
    if doubt is not None:
        lines.append(f"warning: price list {prices.name}: {doubt}")
    asked = (
        ""
        if plan.when == "policy"
        else f"; its {ASKED[plan.when]} was asked how sure it is of every scene"
        + ("" if plan.received is None else " without HR")
    )
    lines.append(f"model: {plan.card.name}, {plan.card.data}{asked}")
    lines += planning.hr_remarks(plan.received, plan.scenes_with_hr, plan.card)
    lines += [
        f"warning: {name} has unmarked pixels that are 0 in every band; if they are missing, give --nodata 0"
        for name in plan.tiles_with_zeros
    ]
    if plan.settled_by_name:
        lines.append(
            f"note: {some_of(plan.settled_by_name)}: no date is said; of undated tiles that overlap the first by name "
            "is planned, as none is known to be the latest; --overlap clearest decides by what they show"
        )
    if plan.off_tiles:
        lines.append(f"warning: {len(plan.off_tiles)} site(s) lie on no tile: {some_of(plan.off_tiles)}")
    if plan.owned_elsewhere:
        lines.append(
            "warning: nothing of --owned lies on these tiles; if it should, check its coordinates and CRS"
        )
    lines += options.ignored_remarks(plan.ignored)
    if not len(plan):
        least = "adds enough" if plan.threshold is None else "is above the threshold"
        lines.append(f"nothing to buy: no patch {least}, or none fits the budget")
    return lines

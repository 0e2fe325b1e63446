"""What every command that plans is told, and the candidates that it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geozoom.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from geozoom.budget import Budget
    from geozoom.card import ModelCard
    from geozoom.deliveries import Received
    from geozoom.planner import Candidates

_F = TypeVar("_F", bound=Callable[..., Any])

_OPTIONS = (
    click.argument("tiles", nargs=-1, required=True),
    options.model_option,
    click.option(
        "--prices",
        metavar="NAME|FILE",
        help="Price list: a name of `geozoom prices list`, or a TOML file; the default of them if absent.",
    ),
    options.uplift_option,
    click.option(
        "--threshold",
        type=click.FloatRange(0, 1),
        show_default="0.5; if the LR classifier or its scout is asked, what patches add decides",
        help="Buy only patches with a probability above this.",
    ),
    click.option(
        "--when",
        type=click.Choice(["policy", "scout", "classifier"]),
        show_default="scout if the model has one, classifier beside a BagNet, else policy",
        help="What says when HR is worth buying: the policy alone, or also how sure the LR classifier is of the scene, "
        "which spends a small budget better. Its scout, a small network that answers nearly as it does, takes as long "
        "again as the policy, the classifier itself 15 times as long or more.",
    ),
    options.scene_options,
    click.option(
        "--overlap",
        type=click.Choice(["latest", "clearest", "first", "all"]),
        default="latest",
        show_default=True,
        help="Where tiles show the same place, plan the latest, the one with least clouds and missing data, the "
        "first by name, or all of them.",
    ),
    click.option("--aoi", metavar="FILE", help="Plan only patches whose centre lies in these polygons."),
    click.option(
        "--owned",
        metavar="FILE",
        multiple=True,
        help="Polygons of what is owned or ordered already, such as an earlier plan; not bought again. Repeatable.",
    ),
    click.option(
        "--catalog",
        metavar="FILE",
        help="Catalog that `geozoom ingest` wrote of what was delivered: not bought again, and looked at, so that "
        "further patches are bought of the scenes that both classifiers are still unsure of.",
    ),
    click.option(
        "--sites",
        metavar="FILE",
        help="Plan only these scenes: points, boxes or polygons, named by a column site, id or name.",
    ),
    click.option(
        "--label-column",
        metavar="COLUMN",
        help="Of --sites: what each of them shows, for `geozoom classify` to compare; a column label if absent.",
    ),
    click.option(
        "--dask",
        metavar="ADDRESS",
        help="Scheduler of a running Dask cluster, as tcp://host:8786; its workers read the tiles by the same paths.",
    ),
    options.raster_options("", "TILES"),
    options.raster_options("hr-", "the deliveries of --catalog"),
    click.option("--assume-crs", help="CRS of tiles that have none, for example EPSG:32633."),
)
_OF_HR = ("hr_bands", "hr_scale", "hr_offset", "hr_nodata")


def planning_options(command: _F) -> _F:
    """Add the tiles and everything that says how to plan them, except the budget."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def check(given: dict[str, Any]) -> None:
    """Refuse options that do not go together.

    Raises:
        click.UsageError: They do not.
    """
    if given["aoi"] is not None and given["sites"] is not None:
        raise click.UsageError("--aoi clips the lattice and --sites replaces it: give one of them")
    if given["label_column"] is not None and given["sites"] is None:
        raise click.UsageError("--label-column is of --sites: give them")
    if given["dask"] is not None and given["sites"] is not None:
        raise click.UsageError("--sites are planned in one process: leave --dask out")
    if given["catalog"] is None:
        for name in _OF_HR:
            if given[name] is not None:
                raise click.UsageError(
                    f"--{name.replace('_', '-')} is of the deliveries of --catalog: give them"
                )
        return
    if given["dask"] is not None:
        raise click.UsageError("what --catalog holds is looked at in one process: leave --dask out")
    if given["when"] == "policy":
        raise click.UsageError("--when policy does not look at HR: give the catalog as --owned")


def find_candidates(given: dict[str, Any], console: Console, budgets: Iterable[Budget]) -> Candidates:
    """Run the policy over the tiles, with a bar on a terminal; `given` is what `planning_options` added.

    Raises:
        BudgetError: A budget is in another currency than the prices.
        GeozoomError: See `geozoom.planner.prepare`.
        click.UsageError: An offset without a scale.
    """
    from geozoom.planner import prepare
    from geozoom.pricelists import load_price_list
    from geozoom.scenes import SceneLimits

    read = ("bands", "scale", "offset", "nodata", "assume_crs", "cloud_mask")
    read_options = options.read_options(**{name: given[name] for name in read})
    plain = ("bands", "scale", "offset", "nodata")
    hr_options = options.read_options(**{name: given[f"hr_{name}"] for name in plain}, prefix="hr-")
    price_list = load_price_list(given["prices"]).with_uplifts(given["uplifts"])
    for budget in budgets:  # before tiles are read
        budget.cents_in(price_list)
    with options.progress_bar(console, "scenes") as progress:
        return prepare(
            given["tiles"],
            model=given["model"],
            prices=price_list,
            threshold=given["threshold"],
            when=given["when"],
            limits=SceneLimits(max_nodata=given["max_nodata"], max_cloud=given["max_cloud"]),
            overlap=given["overlap"],
            area=given["aoi"],
            owned=given["owned"],
            catalog=given["catalog"],
            hr_options=hr_options,
            sites=given["sites"],
            label_column=given["label_column"],
            options=read_options,
            dask=given["dask"],
            progress=progress,
        )


def hr_remarks(received: Received | None, scenes_with_hr: int, card: ModelCard) -> list[str]:
    """Return what is to be said of deliveries that were looked at, if any were."""
    from geozoom.planscenes import coarse_m

    if received is None:
        return []
    coarse = received.coarser(coarse_m(card))
    then = ", and their ground may be bought again"
    return [
        f"HR is there of {scenes_with_hr:,} of these scenes, and was looked at",
        *options.delivery_remarks(received, coarse, card.hr_gsd_m, then),
    ]

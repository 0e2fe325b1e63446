"""What a plan can be told, and what of it goes together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from geozoom.bands import ReadOptions
from geozoom.card import ModelCard
from geozoom.doubt import When
from geozoom.errors import ModelError
from geozoom.model import PatchDrop
from geozoom.overlaps import OverlapRule
from geozoom.prices import PriceList
from geozoom.scenes import SceneLimits
from geozoom.scoring import Progress


class Planning(TypedDict, total=False):
    """What a plan can be told besides its tiles and its budget."""

    model: PatchDrop | Path | str | None
    """A loaded model or a checkpoint's path; None (or absent) takes the one that ships with geozoom."""
    prices: PriceList | Path | str | None
    """A price list, the name of one that ships with geozoom or the path of one; None takes the default."""
    threshold: float | None
    """Only patches with a probability above it are candidates. None: 0.5, as in the paper; where the LR classifier or
    its scout is asked, those that add more than what the model's card says, which are as many on its validation
    scenes."""
    when: When | None
    """"policy" values a patch by the policy alone; "classifier" asks the LR classifier too, and buys more of the scenes
    that it is not sure of; "scout" asks a small network that has learned to answer as the classifier does. None: the
    scout of a model that has one, the classifier beside a BagNet, where it is as small, else the policy."""
    limits: SceneLimits | None
    """Which scenes are skipped and counted, for missing data or clouds."""
    overlap: OverlapRule
    """Which tile is planned where several show the same place."""
    area: Path | str | None
    """Vector file of polygons; only patches whose centre lies in them are planned."""
    owned: Sequence[Path | str]
    """Vector files of polygons of what is owned or ordered already, for example earlier plans: patches whose
    centre lies in them are not bought again."""
    catalog: Path | str | None
    """Catalog that `ingest` wrote of what was delivered. It is owned, and looked at: of scenes of which HR is there
    both streams say how sure they are with it, and further patches are bought where they are not."""
    hr_options: ReadOptions | None
    """What the user says about the deliveries of the catalog."""
    sites: Path | str | None
    """Vector file of points, boxes or polygons; scenes are these instead of a lattice."""
    label_column: str | None
    """Column of the sites that says what each of them shows; None takes "label" where there is one."""
    options: ReadOptions | None
    """What the user says about rasters that do not say it themselves."""
    dask: str | None
    """Address of a Dask scheduler whose workers score the tiles; they must see the same paths."""
    progress: Progress | None
    """Called after every batch with the scenes done and all there are."""


def check_together(how: Planning) -> None:
    """Refuse what does not go together.

    Raises:
        ValueError: It does not.
    """
    sites, catalog = how.get("sites") is not None, how.get("catalog") is not None
    for refused, why in (
        (
            how.get("area") is not None and sites,
            "an area clips the lattice, and sites replace it: give one of them",
        ),
        (
            how.get("dask") is not None and sites,
            "sites are planned in one process: leave the cluster out",
        ),
        (
            how.get("dask") is not None and catalog,
            "deliveries are looked at in one process: leave the cluster out",
        ),
        (
            how.get("when") == "policy" and catalog,
            "the policy alone does not look at HR: give the catalog as what is owned",
        ),
    ):
        if refused:
            raise ValueError(why)


def who_says_when(card: ModelCard, how: Planning) -> When:
    """Return what says when HR is worth buying, as the user or the card has it.

    Raises:
        ModelError: The card does not know what that means.
    """
    when: When = how.get("when") or card.asks
    if when != "policy" and card.doubt_of(when) is None:
        lacks = "the model has no scout" if when == "scout" else "its card does not say how often it is wrong"
        raise ModelError(
            f"{card.name}: its LR classifier cannot be asked ({lacks}); train it again, or plan by the policy alone "
            "(--when policy)"
        )
    if how.get("catalog") is None:
        return when
    if when == "policy" and card.doubts_in_rounds is not None:
        raise ModelError(
            f"{card.name}: has no scout to ask about scenes without HR, and the policy alone does not look at HR; "
            "ask its LR classifier (--when classifier), or give the catalog as --owned"
        )
    if when == "policy" or card.doubts_with_hr is None:
        raise ModelError(
            f"{card.name}: its card does not say what further patches are worth where HR is there already; finish its "
            "run again (geozoom train --resume), or give the catalog as --owned"
        )
    return when

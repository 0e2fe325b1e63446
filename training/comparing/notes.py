"""What stands below Tables 1 and 2: how the rows were made, and where and why they are not in the paper's order."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence

from training.baselines.lowres import LOWRES
from training.comparing.comparison import TableRequest
from training.comparing.ledger import Ledger
from training.comparing.order import Departure, departures
from training.comparing.published import PUBLISHED
from training.comparing.results_table import COLUMNS, ROWS
from training.decomposition import CENTRAL_PATCHES, ITS_PATCHES

_LR_ALONE = ("lr-cnn", *LOWRES)


def notes(request: TableRequest, ledger: Ledger) -> tuple[str, ...]:
    """Return what stands below the table, a sentence or two each."""
    recipe = request.recipe
    data, networks = recipe.data, recipe.networks
    scenes = next((cell.scenes for entry in ledger.entries.values() for cell in entry.cells.values()), 0)
    return (
        (
            f"{scenes} test scenes of {data.hr_px} px, LR of {data.lr_px} px; {networks.classifier} and "
            f"{networks.policy}; recipe {request.recipe_name}. Mean ± standard deviation over the seeds, where there "
            "are several."
        ),
        (
            "The masked baselines buy PatchDrop's S of the same column and seed, spread evenly over scenes (the gate: "
            "whole scenes), and begin with the classifier that PatchDrop's begins with."
        ),
        (
            "Parameters are of all networks that answer in Ft-2; training is all that a row needs, what it begins with "
            "included."
        ),
        "PatchDrop, logits added, is the published code's rule: Ft-2's streams summed without weights.",
        (
            "PatchDrop, classifier asked, buys as many patches as Ft-2, where they are worth most by how sure the LR "
            "stream is; scout asked, by how sure a small network is that answers as it does: what `geozoom plan` does."
        ),
        (
            "PatchDrop, two rounds, buys half of as many so, and the other half where both streams, which have seen "
            "the first, are still unsure: what `geozoom plan --catalog` does; four rounds buy a quarter each."
        ),
        *_order(request, ledger),
    )


def _order(request: TableRequest, ledger: Ledger) -> Iterator[str]:
    """Say column by column which rows are not in the paper's order, and what is known of the reasons."""
    found = list(departures(ledger.entries, request.dataset))
    if not found:
        return
    paper = "the paper" if request.dataset in PUBLISHED else "all of the paper's tables"
    for column in (None, *COLUMNS):
        clauses = "; ".join(_clauses([each for each in found if each.column == column]))
        if clauses:
            yield f"Otherwise than in {paper}{'' if column is None else f', {COLUMNS[column]}'}: {clauses}."
    if len({seed for seed, _ in ledger.entries}) > 1:
        yield "Where rows have other seeds, these are means over the seeds that both have."
    if any(each.level for each in found):
        yield (
            "Level are figures no further apart than the standard error of the difference of two such shares of so "
            "many scenes."
        )
    if any((each.better, each.worse) == ("kd", "lr-cnn") for each in found):
        yield (
            "A teacher helps a student that learns its images by heart: on AID KD was behind the LR-CNN after 12 "
            "epochs and ahead after 36 (one seed, by less than the error; training/evidence, aid_kd)."
        )
    if any((each.better, each.worse) == ("srgan", "lr-cnn") for each in found):
        yield (
            "What SRGAN draws tells no more of a scene than its LR image: on AID at ds = 12 its discriminator told "
            "drawn images from real ones nearly always, the HR-CNN was right on 41% of them, and a classifier that "
            "learned from them on as many as the LR-CNN (72.2%, and 73.0% on the mean of five seeds; "
            "training/evidence, aid_gpu)."
        )
    if any(each.better == "patchdrop" and each.column == "ft2" for each in found):
        yield from _worth(request)
    if request.recipe.robust.epochs and any(
        each.column == "pt" and each.better in _LR_ALONE for each in found
    ):
        yield (
            "In Pt all rows that buy begin with a classifier that has learned under random masks (stage robust), the "
            "paper's with one that had seen whole images only."
        )


def _clauses(found: Sequence[Departure]) -> list[str]:
    """Say of each of the paper's better rows of a column which others it is not above."""
    said: dict[tuple[str, float], list[str]] = defaultdict(list)
    for each in found:
        level = ", level" if each.level else ""
        said[each.better, each.accuracy[0]].append(f"{ROWS[each.worse]} ({each.accuracy[1]:.1f}{level})")
    return [
        f"{ROWS[better]} ({accuracy:.1f}) is not above {', '.join(others)}"
        for (better, accuracy), others in said.items()
    ]


def _worth(request: TableRequest) -> Iterator[str]:
    """Say what PatchDrop's choice of patches is worth on its own classifier, where decomposition.json knows it."""
    try:
        rows = json.loads((request.out / "decomposition.json").read_text(encoding="utf-8"))
        accuracy = {row["name"]: float(row["accuracy"]) for row in rows}
        own, central = accuracy[ITS_PATCHES], accuracy[CENTRAL_PATCHES]
        seed = rows[0]["seed"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return  # it is written when all rows are measured
    worth = round(own - central, 1) + 0.0  # not -0.0
    yield (
        f"PatchDrop's choice of patches is worth {worth:+.1f} points (seed {seed}): spread evenly over scenes, "
        f"Ft-2's own classifier is right on {own:.1f}% with its patches and on {central:.1f}% with as many central "
        "ones. What its choice of scenes adds is in decomposition.md."
    )

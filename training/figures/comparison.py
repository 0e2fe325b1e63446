"""Figure 5: accuracy and S against the downsampling ratio, and against the price (λ) or penalty (σ)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geozoom.errors import RunError
from training.evaluate import Row
from training.evaluation import OpenedRun
from training.figures.canvas import BLUE, GREEN, GREY, ORANGE, blank, write_figure
from training.recipe import Recipe
from training.recipe_files import recipe_from
from training.record import differing, read_record
from training.results import POLICIES

_LINES = {"Pt": (GREEN, "^", ":", -1), "Ft-1": (ORANGE, "s", "--", 0), "Ft-2": (BLUE, "o", "-", 1)}
"""Colour, mark, line, and to which side intervals are moved so that they do not cover each other."""
_MOVED = 0.008
"""How far, as a share of the axis."""


_COMPARED = {("data", "lr_px"), ("data", "hr_px")} | {
    (stage, key) for stage in POLICIES for key in ("price", "penalty")
}
"""Keys of a recipe that are the figure's own axes."""


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """A run as a point of the figure."""

    name: str
    recipe: Recipe
    rows: dict[str, Row]

    @property
    def ds(self) -> float:
        """How many times coarser the LR image is."""
        return self.recipe.data.hr_px / self.recipe.data.lr_px

    @property
    def weight(self) -> str:
        """What cost is weighed by in every policy stage: λ of the priced rewards, σ of the paper's."""
        kinds = {"σ" if getattr(self.recipe, stage).reward == "paper" else "λ" for stage in POLICIES}
        return kinds.pop() if len(kinds) == 1 else "λ or σ"

    def weights(self) -> dict[str, float]:
        """Return the λ or σ of every policy stage, by its name in tables."""
        found = {}
        for stage, (name, _) in POLICIES.items():
            recipe = getattr(self.recipe, stage)
            found[name] = recipe.penalty if recipe.reward == "paper" else recipe.price
        return found

    def same_price(self, first: ComparedRun) -> bool:
        """Tell whether it stands beside another in the half that shows ds."""
        return (self.weight, self.weights()) == (first.weight, first.weights())

    def same_ds(self, first: ComparedRun) -> bool:
        """Tell whether it stands beside another in the half that shows the price or penalty."""
        return (self.weight, self.ds) == (first.weight, first.ds)


def compared(opened: OpenedRun, rows: Sequence[Row]) -> ComparedRun:
    """Return a run that was just measured."""
    return ComparedRun(name=opened.name, recipe=opened.recipe, rows={row.name: row for row in rows})


def read_others(run: Path, others: Sequence[Path]) -> list[ComparedRun]:
    """Return what finished runs say in their own tables.

    Raises:
        RunError: One of them is unfinished, of other data, classes or grid than `run`, or differs from it in ds as well
            as in price or penalty.
    """
    own = read_record(run)
    first = ComparedRun(name=run.resolve().name, recipe=recipe_from(own["recipe"]), rows={})
    found = []
    for other in others:
        record = read_record(other)
        for key in ("data", "classes", "scenes"):
            if record.get(key) != own.get(key):
                raise RunError(f"{other}: is of other {key} than {run}, and cannot be compared; leave it out")
        recipe, mine = recipe_from(record["recipe"]), first.recipe
        if (recipe.data.grid_rows, recipe.data.grid_cols) != (mine.data.grid_rows, mine.data.grid_cols):
            raise RunError(f"{other}: is of another grid than {run}, and cannot be compared; leave it out")
        table = other / "table.json"
        try:
            lines = json.loads(table.read_text(encoding="utf-8"))
            rows = {
                line["name"]: Row(
                    name=line["name"],
                    accuracy=float(line["accuracy"]),
                    sampled=float(line["sampled"]),
                    scenes=int(line["scenes"]),
                )
                for line in lines
            }
        except FileNotFoundError as error:
            raise RunError(f"{other}: is not finished, it has no table.json; leave it out") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{table}: cannot be read ({error}); evaluate that run, or leave it out"
            ) from error
        point = ComparedRun(name=other.resolve().name, recipe=recipe, rows=rows)
        if not (point.same_price(first) or point.same_ds(first)):
            raise RunError(
                f"{other}: is of another ds than {run} and of another price or penalty, so that neither half of figure "
                "5 has a place for it; leave it out"
            )
        found.append(point)
    return found


def remarks(opened: OpenedRun, others: Sequence[ComparedRun]) -> list[str]:
    """Say in what else the runs of the figure differ from the first than in what they are compared by."""
    said = []
    for other in others:
        keys = [
            f"{'.'.join(path)} = {theirs} (not {own})"
            for path, own, theirs in differing((), opened.recipe.to_dict(), other.recipe.to_dict())
            if path not in _COMPARED and path[0] not in ("card", "compile")
        ]
        if keys:
            said.append(
                f"note: {other.name} differs from {opened.name} in more than figure 5 shows: {', '.join(keys)}"
            )
    return said


def draw_comparison(runs: Sequence[ComparedRun], file: Path) -> None:
    """Draw runs beside the first: those of its prices against ds, those of its ds against the prices."""
    first = runs[0]
    same_price = [run for run in runs if run.same_price(first)]
    same_ds = [run for run in runs if run.same_ds(first)]
    figure = blank(9, 6)
    axes = figure.subplots(2, 2, sharey="row", sharex="col")
    rows: list[dict[str, Any]] = []
    columns: tuple[tuple[str, Sequence[ComparedRun], Callable[[ComparedRun, str], float]], ...] = (
        ("ds, HR pixels for one LR pixel", same_price, lambda run, _: run.ds),
        (f"{first.weight} of the stage", same_ds, lambda run, stage: run.weights()[stage]),
    )
    for column, (title, shown, where) in enumerate(columns):
        accuracy, sampled = axes[0, column], axes[1, column]
        for name in ("HR-CNN", "LR-CNN"):
            points = sorted(
                (where(run, "Ft-2"), run.rows[name].accuracy) for run in shown if name in run.rows
            )
            accuracy.plot(*zip(*points, strict=True), color=GREY, marker="_", linewidth=1, label=name)
            rows += [{"against": title, "at": x, "row": name, "accuracy": y, "S": ""} for x, y in points]
            accuracy.annotate(
                name, points[-1], xytext=(5, 0), textcoords="offset points", fontsize=8, va="center"
            )
        places = [where(run, name) for run in shown for name in _LINES]
        step = _MOVED * (max(places) - min(places))
        for name, (colour, marker, line, side) in _LINES.items():
            marked = sorted(
                ((where(run, name), run.rows[name]) for run in shown if name in run.rows),
                key=lambda at: at[0],
            )
            if not marked:
                continue
            across = [x + side * step for x, _ in marked]
            style = {"color": colour, "marker": marker, "linestyle": line, "label": name}
            accuracy.errorbar(
                across,
                [row.accuracy for _, row in marked],
                yerr=[
                    [row.accuracy - row.interval[0] for _, row in marked],
                    [row.interval[1] - row.accuracy for _, row in marked],
                ],
                capsize=3,
                **style,
            )
            sampled.plot(across, [row.sampled for _, row in marked], **style)
            rows += [
                {"against": title, "at": x, "row": name, "accuracy": row.accuracy, "S": row.sampled}
                for x, row in marked
            ]
        sampled.set_xlabel(title)
        for axis in (accuracy, sampled):
            axis.grid(alpha=0.3)
            axis.margins(x=0.17)  # the names beside the lines take it
    axes[0, 0].set_ylabel("accuracy %, 95% intervals")
    axes[1, 0].set_ylabel("S, patches sampled")
    highest = max(1, *(at.dataLim.y1 for at in axes[1]))  # at least a patch, where nothing is bought
    axes[1, 0].set_ylim(0, 1.15 * highest)
    axes[1, 0].legend(frameon=False)
    write_figure(figure, file, rows)

"""The runs of a table: begun, gone on with, or left as they are where they are done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from geozoom.errors import ModelError, ModelFormatError, RunError
from geozoom.model import load_card
from training import STAGES
from training.comparing.comparison import TableRequest
from training.engine import Engine
from training.evaluation import EvaluationRequest, OpenedRun, open_run
from training.recipe import Recipe
from training.record import RunRequest, check_recipe, read_record, write_record
from training.run import pick_device, train
from training.scout import wants_scout


def train_run(
    request: TableRequest,
    out: Path,
    recipe: Recipe,
    seed: int,
    stages: tuple[str, ...],
    title: str,
    console: Console,
) -> None:
    """Train stages of one run, or go on with them; what is done stays as it is.

    Args:
        request: The table.
        out: The run's folder.
        recipe: The run's.
        seed: The run's.
        stages: Of `training.STAGES`, in order.
        title: What the run is called for people.
        console: Where it is said what begins.

    Raises:
        RunError: The folder holds a run of another recipe or seed, or it cannot be trained.
        DatasetError: The dataset is not as expected.
    """
    begun = (out / "config.json").is_file()
    engine = run_engine(request, out, seed, console)
    if begun:
        record = check_run(request, out, recipe, seed, console)
        if record["recipe"].get("card") != recipe.to_dict()["card"]:
            (out / "table.json").unlink(missing_ok=True)  # the model has the card of before
        # What has not begun may change, baselines too, of which the run itself knows nothing.
        write_record(out, record | {"recipe": recipe.to_dict()})
    left = [name for name in stages if getattr(recipe, name).epochs and not engine.is_done(name)]
    whole = (out / "table.json").is_file() and _is_model(out / "model.safetensors")
    measured = whole and (engine.is_done("scout") or not wants_scout(recipe))
    if left or (stages[-1] == STAGES[-1] and not measured):
        what = f"stage{'s' * (len(left) > 1)} {', '.join(left)}" if left else "its table"
        console.print(f"{title}, seed {seed}: {what}", highlight=False)
        train(_asked(request, out, recipe, seed, stages, begun=begun), console)


def _is_model(file: Path) -> bool:
    """Tell whether a run's model is there and whole.

    Raises:
        RunError: Another version of geozoom wrote it.
    """
    try:
        load_card(file)
    except ModelFormatError as error:
        raise RunError(str(error)) from error
    except ModelError:
        return False
    return True


def check_run(
    request: TableRequest, out: Path, recipe: Recipe, seed: int, console: Console
) -> dict[str, Any]:
    """Return the record of a run, with what changes in it, refusing one that is not of the table that is asked for.

    Raises:
        RunError: It is of another recipe, seed or dataset.
    """
    record = read_record(out)
    if record["dataset"] != request.dataset:
        raise RunError(f"{out}: is a run on {record['dataset']}, not on {request.dataset}; use another --out")
    changes = check_recipe(
        _asked(request, out, recipe, seed, STAGES, begun=True),
        run_engine(request, out, seed, console),
        record,
    )
    if changes:
        record["changes"] = [*record.get("changes", []), *changes]
    return record


def is_where_it_was(request: TableRequest, record: dict[str, Any]) -> bool:
    """Tell whether a run's data is given where it was when the run was begun."""
    given = [request.root, request.lr_root]
    return [record.get("root"), record.get("lr_root")] == [
        None if path is None else str(path.resolve()) for path in given
    ]


def open_measured(request: TableRequest, out: Path, console: Console) -> OpenedRun:
    """Open a run of the table to be measured, on the data that the table was asked for.

    Raises:
        RunError: As `open_run`.
        DatasetError: The dataset is not as expected.
    """
    asked = EvaluationRequest(
        run=out,
        dataset=request.dataset,
        root=request.root,
        lr_root=request.lr_root,
        moved=True,
        device=request.device,
        skip_unreadable=request.skip_unreadable,
        memory_gib=request.memory_gib,
    )
    return open_run(asked, console)


def _asked(
    request: TableRequest, out: Path, recipe: Recipe, seed: int, stages: tuple[str, ...], *, begun: bool
) -> RunRequest:
    return RunRequest(
        dataset=request.dataset,
        root=request.root,
        out=out,
        recipe=recipe,
        recipe_name=request.recipe_name,
        stages=stages,
        seed=seed,
        resume=begun,
        device=request.device,
        lr_root=request.lr_root,
        skip_unreadable=request.skip_unreadable,
        memory_gib=request.memory_gib,
    )


def run_engine(request: TableRequest, out: Path, seed: int, console: Console) -> Engine:
    """Return the engine of a folder, on the table's device."""
    device, precision = pick_device(request.device), request.recipe.precision
    return Engine(folder=out, device=device, precision=precision, seed=seed, console=console)

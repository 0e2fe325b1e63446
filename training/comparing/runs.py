"""The runs of a table: begun, gone on with, or left as they are where they are done."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from training import STAGES
from training.comparing.comparison import TableRequest
from training.engine import Engine
from training.recipe import Recipe
from training.record import RunRequest, check_recipe, read_record, write_record
from training.run import pick_device, train


def train_run(
    request: TableRequest,
    out: Path,
    recipe: Recipe,
    seed: int,
    stages: Sequence[str],
    name: str,
    console: Console,
) -> None:
    """Train stages of one run, or go on with them; what is done stays as it is.

    Args:
        request: The table.
        out: The run's folder.
        recipe: The run's.
        seed: The run's.
        stages: Of `training.STAGES`, in order.
        name: What the run is called for people.
        console: Where it is said what begins.

    Raises:
        RunError: The folder holds a run of another recipe or seed, or it cannot be trained.
        DatasetError: The dataset is not as expected.
    """
    for stage in stages:
        begun = (out / "config.json").is_file()
        asked = RunRequest(
            dataset=request.dataset,
            root=request.root,
            out=out,
            recipe=recipe,
            recipe_name=request.recipe_name,
            stage=stage,
            seed=seed,
            resume=begun,
            device=request.device,
            lr_root=request.lr_root,
            skip_unreadable=request.skip_unreadable,
            memory_gib=request.memory_gib,
        )
        engine = run_engine(request, out, seed, console)
        if begun:
            record = read_record(out)
            check_recipe(asked, engine, record)
            # What has not begun may change, baselines too, of which the run itself knows nothing.
            write_record(out, record | {"recipe": recipe.to_dict()})
        measured = stage != STAGES[-1] or (out / "table.json").is_file()
        if getattr(recipe, stage).epochs and not (engine.is_done(stage) and measured):
            console.print(f"{name}, seed {seed}: stage {stage}", highlight=False)
            train(asked, console)


def run_engine(request: TableRequest, out: Path, seed: int, console: Console) -> Engine:
    """Return the engine of a folder, on the table's device."""
    device, precision = pick_device(request.device), request.recipe.precision
    return Engine(folder=out, device=device, precision=precision, seed=seed, console=console)

"""A run's folder, opened again to be measured on a split."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from rich.console import Console

from geozoom.errors import ModelError, ModelFormatError, RunError
from geozoom.files import write_text
from geozoom.model import PatchDrop, load_card, load_model
from training import STAGES
from training.checkpoints import read_header
from training.datasets import Reading, SceneData, read_dataset
from training.engine import Engine
from training.evaluate import EVALUATION_BATCH, Row, view_split
from training.memory import moving, out_of_memory
from training.recipe import Recipe
from training.recipe_files import recipe_from
from training.record import card_of, check_files, files_digest, read_record
from training.results import Results
from training.run import pick_device
from training.tables import as_plain

EvaluationSplit = Literal["test", "val"]
_Loaded = TypeVar("_Loaded")
NOISE = {"val": 1, "test": 2}
"""What the seed of a split's simulated LR images has on the run's: as in training."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What `geozoom evaluate` was asked to do."""

    run: Path
    dataset: str | None = None
    """One of `training.DATASETS`; None for the run's own."""
    root: Path | None = None
    """Its folder; None for the one that the run's record names."""
    lr_root: Path | None = None
    split: EvaluationSplit = "test"
    scenes: int | None = None
    """Measure on so many scenes, drawn by the run's seed; None for all of them."""
    batch_size: int = EVALUATION_BATCH
    device: str = "auto"
    skip_unreadable: bool = False
    memory_gib: float = 8.0
    moved: bool = False
    """The dataset and root given are the run's own data, wherever it lies now."""

    @property
    def own(self) -> bool:
        """Whether the run's own data is meant, and no other."""
        return self.moved or (self.dataset is None and self.root is None)


@dataclass(frozen=True, kw_only=True)
class StageState:
    """How far a stage is."""

    epoch: int
    """Epochs that are done."""
    epochs: int
    """Epochs of the recipe; 0 for a stage that it leaves out."""
    begun: bool
    """Whether it has a checkpoint, which may fall within its first epoch."""

    @property
    def complete(self) -> bool:
        """Whether nothing of the stage is missing."""
        return self.epoch == self.epochs


@dataclass(frozen=True, kw_only=True)
class OpenedRun:
    """A run and the scenes that it is measured on."""

    name: str
    recipe: Recipe
    record: dict[str, Any]
    """What its config.json says."""
    stages: dict[str, StageState]
    results: Results
    data: str
    """Name of the dataset."""
    scenes: SceneData
    """All of it."""
    split: EvaluationSplit
    files: tuple[str, ...]
    """Where the scenes came from."""

    @property
    def missing(self) -> list[str]:
        """What the run lacks, a phrase for each stage."""
        return [
            f"{stage} has {state.epoch} of {state.epochs} epochs" if state.begun else f"{stage} has not begun"
            for stage, state in self.stages.items()
            if not state.complete
        ]

    def remarks(self) -> list[str]:
        """Return what a reader of the table must know beforehand."""
        said = [
            f"{self.data}: {len(self.files)} scenes of the {self.split} split; on {self.results.engine.device}"
        ]
        if self.missing:
            said.append(f"unfinished, what there is is measured as it is: {'; '.join(self.missing)}")
        own = self.record["data"]
        if self.data != own:
            said.append(f"note: the run was trained on {own}")
        elif self.record.get("files", digest := files_digest(self.scenes)) != digest:
            said.append(
                "note: these are other files than the run's: some were renamed, added or removed since, or another "
                "dataset has its name; it may have been trained on some of them"
            )
        if self.split == "val":
            said.append("note: the validation split has had a say in the run; results are stated on test")
        return said


def open_run(request: EvaluationRequest, console: Console) -> OpenedRun:
    """Open a run and read the scenes that it is to be measured on.

    Raises:
        RunError: It is no run, has trained nothing yet, or is of another grid or other classes than what it is to be
            measured on.
        DatasetError: The dataset is not as expected.
    """
    record = read_record(request.run)
    request = _on_its_own(request, record)
    recipe, seed = recipe_from(record["recipe"]), int(record["seed"])
    device = pick_device(request.device)
    engine = Engine(folder=request.run, device=device, precision=recipe.precision, seed=seed, console=console)
    stages = {stage: _state(engine, stage, getattr(recipe, stage).epochs) for stage in STAGES}
    if not engine.checkpoint("hr").is_file():
        raise RunError(f"{request.run}: has no checkpoint of stage hr yet; train it further with --resume")
    data = _read(request, record, recipe, console)
    _refuse_other_classes(request.run, record["classes"], data)
    if request.own:
        check_files(request.run, data_root(request, record), record, files_digest(data))
    if "mean" not in record:  # a run of before records had it
        record |= _moments(request.run, data)
    model = PatchDrop(card_of(record, request.run.name)).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    with moving(data.name, device):
        split, train = getattr(data, request.split).to(device), data.train.to(device)
    if request.scenes is not None and request.scenes < len(split):
        drawn = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
        split = split.only(drawn[: request.scenes].sort().values.to(device))
    views = view_split(split, recipe, seed=seed + NOISE[request.split])
    finished = _of_finished(request.run, load_model)
    results = Results(
        engine=engine,
        model=model,
        views=replace(views, batch_size=request.batch_size),
        train=train,
        recipe=recipe,
        seed=seed,
        finished=None if finished is None else finished.to(device),
    )
    return OpenedRun(
        name=request.run.resolve().name,
        recipe=recipe,
        record=record,
        stages=stages,
        results=results,
        data=data.name,
        scenes=data,
        split=request.split,
        files=split.files,
    )


def _on_its_own(request: EvaluationRequest, record: dict[str, Any]) -> EvaluationRequest:
    """Return a request that names the run's own data as one that names none."""
    same = request.dataset in (None, record["dataset"]) and request.lr_root is None
    if same and request.root is not None and str(request.root.resolve()) == record.get("root"):
        return replace(request, dataset=None, root=None)
    return request


def _state(engine: Engine, stage: str, epochs: int) -> StageState:
    file = engine.checkpoint(stage)
    if not file.is_file():
        return StageState(epoch=0, epochs=epochs, begun=False)
    header = read_header(file)
    done = header["done"] == "true"
    return StageState(epoch=epochs if done else int(header["epoch"]), epochs=epochs, begun=True)


def _read(request: EvaluationRequest, record: dict[str, Any], recipe: Recipe, console: Console) -> SceneData:
    root, lr_root = data_root(request, record), request.lr_root
    if request.own and lr_root is None and record.get("lr_root"):
        lr_root = Path(record["lr_root"])
    return read_dataset(
        request.dataset or record["dataset"],
        root,
        recipe.data,
        seed=int(record["seed"]),
        reading=Reading(
            memory_gib=request.memory_gib,
            skip_unreadable=request.skip_unreadable or (request.own and record.get("skip_unreadable", False)),
            # Another dataset's survey would take the place of the run's.
            survey_file=request.run / "survey.json" if request.own else None,
            console=console,
        ),
        lr_root=lr_root,
        card=recipe.card,
    )


def data_root(request: EvaluationRequest, record: dict[str, Any]) -> Path:
    """Return the folder of the data that a run is measured on.

    Raises:
        RunError: Neither request nor record tells.
    """
    root = request.root or (Path(record["root"]) if "root" in record else None)
    if root is None:
        raise RunError(f"{request.run}: its config.json does not say where its data is; give --root")
    return root


def _refuse_other_classes(run: Path, classes: list[str], data: SceneData) -> None:
    """Refuse a dataset whose classes the run's classifiers do not answer with.

    Raises:
        RunError: Names how they differ.
    """
    if list(data.classes) == classes:
        return
    if len(data.classes) != len(classes):
        what = f"{len(data.classes)} classes, and the run has {len(classes)}"
    else:
        at = next(at for at, name in enumerate(classes) if name != data.classes[at])
        what = f"{data.classes[at]!r} as class {at}, where the run has {classes[at]!r}"
    raise RunError(
        f"{run}: was trained on other classes: {data.name} has {what}; give the data it was trained on"
    )


def _of_finished(run: Path, load: Callable[[Path], _Loaded]) -> _Loaded | None:
    """Return what is read of a finished run's model; None of a run that is not finished.

    Raises:
        RunError: It is damaged, or another version of geozoom wrote it.
    """
    file = run / "model.safetensors"
    if not file.is_file():
        return None
    try:
        return load(file)
    except ModelFormatError as error:
        raise RunError(str(error)) from error
    except ModelError as error:
        raise RunError(f"{error}; `geozoom train --resume` writes a run's own again") from error


def _moments(run: Path, data: SceneData) -> dict[str, Any]:
    """Return the colour statistics by which a run normalises: its checkpoint's, else those of its training scenes."""
    known = _of_finished(run, load_card) or data
    return {"mean": known.mean, "std": known.std}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was measured."""

    opened: OpenedRun
    rows: list[Row]

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        opened = self.opened
        return {
            "run": opened.name,
            "data": opened.data,
            "split": opened.split,
            "scenes": len(opened.files),
            "seed": opened.record["seed"],
            "complete": not opened.missing,
            "stages": {
                stage: {"epoch": state.epoch, "epochs": state.epochs}
                for stage, state in opened.stages.items()
            },
            "rows": as_plain(self.rows),
        }

    def write(self, file: Path) -> None:
        """Write it as JSON.

        Raises:
            OutputError: The file cannot be written.
        """
        write_text(file, json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")


def evaluate(opened: OpenedRun, console: Console) -> Evaluation:
    """Measure every stage that a run has.

    Raises:
        RunError: A checkpoint is damaged or of another grid or other classes, or the device has too little memory.
    """
    results = opened.results
    rows = []
    size = results.views.batch_size
    smaller = f"{size} scenes at once do not fit in memory; give --batch-size {max(1, size // 2)}"
    with out_of_memory(smaller), results.engine.autocast(), console.status("LR-CNN") as status:
        for measured in results.rows():
            rows.append(measured)
            status.update(f"after {measured.name}")
    return Evaluation(opened=opened, rows=rows)

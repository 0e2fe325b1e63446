"""One training run: the stages in order, then the checkpoint and the results table."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from geozoom.card import ModelCard
from geozoom.errors import RunError
from geozoom.grid import PatchGrid
from geozoom.model import PatchDrop
from training import CLASSIFIER_STAGES, POLICY_STAGES, STAGES
from training.alone import alone_in
from training.compiling import compile_networks
from training.datasets import Reading, Split, read_dataset
from training.datasets.streamed import StreamedSplit
from training.engine import Engine, Stage
from training.evaluate import Row, correct, view_split
from training.finishing import finish
from training.judges import Judges, assign_folds
from training.memory import moving, out_of_memory
from training.parallel import Team, join
from training.plots import draw_log
from training.policies import FrozenPolicy, load_policy
from training.recalibrate import forget
from training.recipe import Recipe
from training.record import (
    RunRequest,
    card_of,
    changed_device,
    check_data,
    check_recipe,
    held_record,
    new_record,
    write_down,
)
from training.stages import (
    Bench,
    FineTuning,
    HrStage,
    LrStage,
    PreTraining,
    RobustStage,
)

SMALL_GAP = 2.0
"""Points of accuracy between HR and LR below which there is little to buy (METHOD §8)."""


def train(request: RunRequest, console: Console) -> list[Row]:
    """Train the stages asked for; after the last one, write `model.safetensors` and the table.

    Started by `torchrun`, the processes train together, and the first of them writes.

    Returns:
        The rows of the results table, or none if stages are still missing or another process has them.

    Raises:
        RunError: The folder holds another run, another process works in it, a stage before the one asked for is
            missing, or training diverged.
        DatasetError: The data set is not as expected.
    """
    device = pick_device(request.device)
    team, device = join(device)
    if team.leads:
        with alone_in(request.out):
            return _train(request, console, team, device)
    return _train(request, Console(quiet=True), team, device)


def _train(request: RunRequest, console: Console, team: Team, device: torch.device) -> list[Row]:
    engine = Engine(
        folder=request.out,
        device=device,
        precision=request.recipe.precision,
        seed=request.seed,
        console=console,
        team=team,
    )
    held = held_record(request.out, resume=request.resume)
    changes = [] if held is None else [*held.get("changes", []), *check_recipe(request, engine, held)]
    _check_order(request, engine)
    policy = _hard_positive_policy(request, engine, held)
    data = read_dataset(
        request.dataset,
        request.root,
        request.recipe.data,
        seed=request.seed,
        reading=Reading(
            memory_gib=request.memory_gib,
            skip_unreadable=request.skip_unreadable,
            survey_file=request.out / "survey.json",
            console=console,
        ),
        lr_root=request.lr_root,
        card=request.recipe.card,
    )
    record = new_record(request, data, device)
    record["changes"] = changes + ([] if held is None else changed_device(held, record))
    record["policy"] = (held or {}).get("policy") if policy is None else policy.recorded()
    if held is not None:
        check_data(request, held, record)
    team.wait()  # all have seen what the folder held
    if team.leads:
        write_down(request, data, record)
    asked = request.recipe.precision == "bf16"
    instead = ", in float32, as it does not multiply bfloat16" if asked and not engine.half else ""
    console.print(
        f"{data.name}: {len(data.classes)} classes; {len(data.train)} training, {len(data.val)} "
        f"validation ({data.val_from}) and {len(data.test)} test scenes; on {device}{instead}",
        highlight=False,
    )
    for note in data.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    torch.manual_seed(request.seed)
    model = _ready(_new_model(card_of(record, request.out.name), device), request, engine)
    with moving(data.name, device):
        train_split, val_split = data.train.to(device), data.val.to(device)
    if device.type == "cuda" and isinstance(train_split, StreamedSplit) and not train_split.decodes_there:
        console.print("note: nvJPEG decodes nothing here, so that the CPU does", highlight=False)
    bench = Bench(
        model=model,
        recipe=request.recipe,
        val=view_split(val_split, request.recipe, seed=request.seed + 1),
        policy=policy,
        team=team,
    )
    _run_stages(request, engine, bench, train_split)
    if not team.leads:
        return []
    draw_log(engine.log.rows(), request.out / "log.png")
    if not engine.is_done("ft2"):
        return []
    if team.size > 1:  # batch norms that wait for no one
        bench = replace(bench, model=_new_model(model.card, device))
    return finish(request, engine, bench, data, train_split)


def _hard_positive_policy(
    request: RunRequest, engine: Engine, held: dict[str, Any] | None
) -> FrozenPolicy | None:
    """Return the policy whose best patches stage `hr` hides, if the recipe names one and the stage is to come.

    Raises:
        RunError: It cannot be used, or is not the one that the run was begun with.
    """
    recipe = request.recipe
    judged = recipe.judges.folds and not engine.is_done("ft2")  # each judge has a stage hr of its own
    if recipe.hard_positives.policy is None or (engine.is_done("hr") and not judged):
        return None
    path, data = Path(recipe.hard_positives.policy), recipe.data
    grid = PatchGrid(rows=data.grid_rows, cols=data.grid_cols)
    policy = load_policy(path, grid=grid, lr_px=data.lr_px, device=engine.device)
    begun_with = ((held or {}).get("policy") or {}).get("sha256", policy.sha256)
    if policy.sha256 != begun_with:
        raise RunError(
            f"{policy.file}: is not the policy any more that {request.out} was begun with; put that one back, "
            "or use another --out"
        )
    return policy


def _run_stages(request: RunRequest, engine: Engine, bench: Bench, split: Split) -> None:
    """Train the stages asked for, each from the weights that the one before it left behind."""
    before: str | None = None
    for name in STAGES:
        if getattr(request.recipe, name).epochs == 0:
            continue
        if engine.is_done(name):
            before = name
            continue
        if name not in request.stages:
            continue
        _refuse_before_later(request, engine, name)
        if name in POLICY_STAGES and bench.judges is None and bench.recipe.judges.folds:
            bench = replace(bench, judges=_train_judges(request, engine, bench, split))
        bench = _train_stage(name, before, engine, bench, split)
        before = name
        if name == "lr" and engine.team.leads:
            with engine.autocast():
                _report_gap(bench, engine.console)


def _check_order(request: RunRequest, engine: Engine) -> None:
    """Refuse stages whose forerunners are not trained, or that have no epochs, before anything is read or written.

    Raises:
        RunError: Names the stage that is to come first.
    """
    first = request.stages[0]
    for name in STAGES[: STAGES.index(first)]:
        if getattr(request.recipe, name).epochs and not engine.is_done(name):
            raise RunError(
                f"{request.out}: stage {first} needs stage {name} first; run it with "
                f"--stage {name}, or all with --stage all"
            )
    if not any(getattr(request.recipe, name).epochs for name in request.stages):
        raise RunError(
            f"{request.out}: stage {first} has 0 epochs in this recipe and is left out; go on with the next, "
            f"or give it some with --set {first}.epochs=…"
        )


def _refuse_before_later(request: RunRequest, engine: Engine, name: str) -> None:
    """Refuse to train a stage that later ones have been trained without."""
    later = [stage for stage in STAGES[STAGES.index(name) + 1 :] if engine.checkpoint(stage).is_file()]
    if later:
        raise RunError(
            f"{request.out}: stage {later[0]} was trained without stage {name}, which comes before it; use another "
            f"--out, or delete the checkpoints of {', '.join(later)} to train them anew"
        )


def _train_stage(name: str, before: str | None, engine: Engine, bench: Bench, split: Split) -> Bench:
    """Train one stage from the weights that the one before it left; return the bench, now with a teacher."""
    if getattr(bench.recipe, name).distill > 0:
        bench = with_teacher(engine, bench)
    if before is not None:
        engine.load(bench.model, before)
    forget(engine, name)
    (engine.folder / "table.json").unlink(missing_ok=True)  # it would say that nothing is missing
    with engine.autocast(), out_of_memory(f"stage {name}: the validation scenes do not fit in memory"):
        stage = _build_stage(name, bench)
    engine.fit(stage, bench.model, split)
    return bench


def _train_judges(request: RunRequest, engine: Engine, bench: Bench, split: Split) -> Judges:
    """Train, or load, a classifier for each fold on the scenes of all others, in folders of their own."""
    recipe = bench.recipe
    folds = assign_folds(split.labels, recipe.judges.folds, request.seed)
    models = []
    for fold in range(recipe.judges.folds):
        seed = request.seed + 1000 * (fold + 1)
        own = replace(engine, folder=engine.folder / "judges" / str(fold), seed=seed, sized=False)
        own.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        model = engine.team.synchronise(_new_model(bench.model.card, engine.device))
        judge = replace(bench, model=model, recipe=_shortened(recipe), teacher=None)
        others = split.only((folds != fold).nonzero().squeeze(1))
        before: str | None = None
        for name in CLASSIFIER_STAGES:
            if getattr(recipe, name).epochs == 0:
                continue
            if not own.is_done(name):
                engine.console.print(f"judge of fold {fold + 1}: stage {name}", highlight=False)
                judge = _train_stage(name, before, own, judge, others)
            before = name
        if before is not None:
            own.load(model, before)
        models.append(model.eval().requires_grad_(False))
    return Judges(models=tuple(models), folds=folds)


def _shortened(recipe: Recipe) -> Recipe:
    """Return the recipe with the judges' share of the classifiers' epochs."""
    stages = {
        name: replace(stage, epochs=max(1, round(recipe.judges.share * stage.epochs)))
        for name in CLASSIFIER_STAGES
        if (stage := getattr(recipe, name)).epochs
    }
    return replace(recipe, **stages)


def with_teacher(engine: Engine, bench: Bench) -> Bench:
    """Return a bench whose teacher is the HR-CNN; the model's own weights are to be loaded again."""
    if bench.teacher is not None:
        return bench
    engine.load(bench.model, "hr")
    return replace(bench, teacher=copy.deepcopy(bench.model.hr).eval().requires_grad_(False))


def _new_model(card: ModelCard, device: torch.device) -> PatchDrop:
    model: PatchDrop = PatchDrop(card).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def _ready(model: PatchDrop, request: RunRequest, engine: Engine) -> PatchDrop:
    """Return the model compiled for one process, or with batch norms that several share."""
    if engine.team.size == 1:
        compile_networks(model, request.recipe, engine.device, engine.console)
    return engine.team.synchronise(model)


def pick_device(name: str) -> torch.device:
    """Return the device to train on: CUDA where there is one, else the CPU.

    Raises:
        RunError: A device was asked for by name that is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise RunError("--device cuda: no CUDA device is available here; use --device cpu")
    return torch.device(name)


def _build_stage(name: str, bench: Bench) -> Stage:
    if name == "hr":
        return HrStage(bench)
    if name == "lr":
        return LrStage(bench)
    if name == "robust":
        return RobustStage(bench)
    if name == "pt":
        return PreTraining(bench)
    return FineTuning(bench, "ft1" if name == "ft1" else "ft2")


def _report_gap(bench: Bench, console: Console) -> None:
    hr = 100 * correct(bench.model, bench.val, "hr").float().mean().item()
    lr = 100 * correct(bench.model, bench.val, "lr").float().mean().item()
    console.print(
        f"validation: HR-CNN {hr:.1f}%, LR-CNN {lr:.1f}%: {hr - lr:.1f} points that HR can buy",
        highlight=False,
    )
    if hr - lr < SMALL_GAP:
        console.print(
            f"warning: less than {SMALL_GAP:g} points: LR suffices here, and a policy has little to choose"
        )

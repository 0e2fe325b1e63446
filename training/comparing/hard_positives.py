"""Table 4 of the paper: the HR classifier trained on whole views, under CutOut, and without a policy's best patches.

Every row trains stage `hr` alone, and is tested on whole HR images. The rows of a seed begin with the same weights
and see the scenes in the same order.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console

from geozoom.errors import RunError
from geozoom.grid import PatchGrid
from geozoom.model import PatchDrop
from training import STAGES
from training.comparing.comparison import ComparedRow, Comparison, TableRequest
from training.comparing.runs import run_engine, train_run
from training.datasets import Reading, read_dataset
from training.evaluate import correct, view_split
from training.hard_positives import AUGMENTS
from training.parallel import join
from training.policies import checksum, load_policy
from training.record import card_of, check_files, files_digest, read_record
from training.run import pick_device

_NAMES = {"none": "no augmentation", "cutout": "CutOut", "patchdrop": "PatchDrop"}
_PUBLISHED = {
    "cifar10": ("ResNet32", (92.3, 93.5, 93.9)),
    "cifar100": ("ResNet32", (69.3, 70.4, 71.0)),
    "imagenet": ("ResNet50", (76.5, 76.5, 78.1)),
    "fmow": ("ResNet34", (67.3, 67.6, 69.6)),
}
_TO_FT1 = STAGES[: STAGES.index("ft1") + 1]


def compare_hard_positives(request: TableRequest, console: Console) -> Comparison | None:
    """Train what is not trained yet, and measure every row on the test split.

    Without a policy the first seed's plain run is trained on to stage ft1, whose policy is taken for all seeds; a table
    that has one goes on with that.

    Raises:
        RunError: A run cannot be trained, or the policy cannot be used, or is not that of the rows that are there.
        DatasetError: The dataset is not as expected.
    """
    own = replace(request.recipe.hard_positives, augment="none", policy=None)
    recipe = replace(request.recipe, hard_positives=own)
    asked = replace(request, recipe=recipe)
    policy = request.policy or _policy_of(request)
    if policy is not None:  # before hours of work
        _check_policy(request, policy)
    for seed in request.seeds:
        _train(asked, "none", seed, None, ("hr",), console)
    if policy is None:
        first = request.seeds[0]
        _train(asked, "none", first, None, _TO_FT1, console)
        policy = _folder(request, "none", first)
        _check_policy(request, policy)
    policy = policy.resolve()  # given from elsewhere the next time, it is the same
    for row in ("cutout", "patchdrop"):
        for seed in request.seeds:
            _train(asked, row, seed, policy, ("hr",), console)
    team, device = join(pick_device(request.device))
    return _measure(request, device, console) if team.leads else None


def _hidden(request: TableRequest) -> dict[Path, dict[str, str]]:
    """Return the policy of every row that is there, of any seed, by its folder."""
    runs = sorted(config.parent for config in request.out.glob("patchdrop-*/config.json"))
    recorded = {run: read_record(run).get("policy") for run in runs}
    return {run: policy for run, policy in recorded.items() if policy is not None}


def _policy_of(request: TableRequest) -> Path | None:
    """Return where the policy lies that the table's rows have; None if there are no such rows.

    Raises:
        RunError: It is there no more.
    """
    hidden = _hidden(request)
    if not hidden:
        return None
    own = sorted(request.out.glob("none-*/checkpoints/ft1.safetensors"))  # the table may have been moved
    run, theirs = next(iter(hidden.items()))
    for file in (Path(theirs["file"]), *own):
        if file.is_file() and checksum(file) == theirs["sha256"]:
            return file
    raise RunError(
        f"{run}: the policy whose best patches its views lost is not at {theirs['file']} any more; put it back "
        "there, or give it as --policy"
    )


def _check_policy(request: TableRequest, path: Path) -> None:
    """Refuse a policy that cannot be used, or another one than that of rows that are there.

    Raises:
        RunError: Says which.
    """
    data = request.recipe.data
    grid = PatchGrid(rows=data.grid_rows, cols=data.grid_cols)
    policy = load_policy(path, grid=grid, lr_px=data.lr_px, device=torch.device("cpu"))
    for run, theirs in _hidden(request).items():
        if theirs["sha256"] != policy.sha256:
            raise RunError(
                f"{run}: its views lost the best patches of another policy, {theirs['file']} (SHA-256 "
                f"{theirs['sha256'][:12]}), than {policy.file}; give that one as --policy, or use another --out"
            )


def _folder(request: TableRequest, row: str, seed: int) -> Path:
    return request.out / f"{row}-{seed}"


def _train(
    request: TableRequest, row: str, seed: int, policy: Path | None, stages: tuple[str, ...], console: Console
) -> None:
    """Train stages of one run, or go on with them; what is done stays as it is.

    Raises:
        RunError: The folder holds a run of another recipe or seed.
    """
    chosen = replace(
        request.recipe.hard_positives,
        augment=row,
        policy=str(policy) if row == "patchdrop" else None,
    )
    recipe = replace(request.recipe, hard_positives=chosen)
    train_run(request, _folder(request, row, seed), recipe, seed, stages, _NAMES[row], console)


def _measure(request: TableRequest, device: torch.device, console: Console) -> Comparison:
    """Return the table of what the runs of all seeds come to."""
    # Seed by seed, since two copies of the dataset may not fit.
    by_seed = [_measure_seed(request, seed, device, console) for seed in request.seeds]
    tested = by_seed[0]
    networks, published = _PUBLISHED.get(request.dataset, (None, (None,) * len(AUGMENTS)))
    return Comparison(
        title=f"Hard positives on {tested.data} (Table 4)",
        about=(*_about(request, tested.scenes), *tested.notes),
        rows=tuple(
            ComparedRow(
                name=_NAMES[row], accuracy=tuple(each.accuracy[row] for each in by_seed), published=value
            )
            for row, value in zip(AUGMENTS, published, strict=True)
        ),
        seeds=request.seeds,
        scenes=tested.scenes,
        published=networks,
    )


class _Measured(NamedTuple):
    """What the runs of a seed come to on the test split."""

    data: str
    """Name of the dataset."""
    notes: tuple[str, ...]
    scenes: int
    accuracy: dict[str, float]
    """Percent by row."""


def _measure_seed(request: TableRequest, seed: int, device: torch.device, console: Console) -> _Measured:
    """Classify the test split, whole HR images, with the classifier of every run of a seed.

    Raises:
        RunError: A run was trained on other data, or its files have changed since.
    """
    data = read_dataset(
        request.dataset,
        request.root,
        request.recipe.data,
        seed=seed,
        reading=Reading(
            memory_gib=request.memory_gib, skip_unreadable=request.skip_unreadable, console=console
        ),
        lr_root=request.lr_root,
        card=request.recipe.card,
    )
    views, digest = view_split(data.test.to(device), request.recipe, seed=seed), files_digest(data)
    accuracy = {}
    for row in AUGMENTS:
        out = _folder(request, row, seed)
        record = read_record(out)
        if (record["data"], record["classes"]) != (data.name, list(data.classes)):
            raise RunError(f"{out}: was trained on other data than {request.root}; choose another --out")
        check_files(out, request.root, record, digest)
        model: PatchDrop = PatchDrop(card_of(record, out.name)).to(  # type: ignore[call-overload]
            device, memory_format=torch.channels_last
        )
        engine = run_engine(request, out, seed, console)
        engine.load(model, "hr")
        with engine.autocast():
            accuracy[row] = 100 * correct(model, views, "hr").float().mean().item()
    return _Measured(data=data.name, notes=data.notes, scenes=len(data.test), accuracy=accuracy)


def _about(request: TableRequest, scenes: int) -> list[str]:
    """Return what a reader must know."""
    recipe = request.recipe
    own, data = recipe.hard_positives, recipe.data
    policy = read_record(_folder(request, "patchdrop", request.seeds[0]))["policy"]
    # Within the table's folder, which may be moved or published, as seen from there.
    file, out = Path(policy["file"]), request.out.resolve()
    shown = file.relative_to(out) if file.is_relative_to(out) else file
    hidden = f"{own.cutout_px or data.hr_px // 2} of {data.hr_px} px"
    patches = f"1 to {own.most_patches} of {data.grid_rows * data.grid_cols} patches"
    trained = f"{recipe.hr.epochs} epochs of {recipe.networks.classifier}, recipe {request.recipe_name}"
    return [
        f"Stage hr alone ({trained}), tested on {scenes} whole HR images; accuracy is mean ± standard deviation.",
        f"CutOut hides a square of {hidden}, PatchDrop the best {patches}.",
        f"The policy, one for all seeds, is {shown} (SHA-256 {policy['sha256'][:12]}).",
    ]

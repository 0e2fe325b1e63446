"""What a run was asked to do, and the record by which it is run again or gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision

from geozoom import __version__
from geozoom.card import ModelCard
from geozoom.errors import RunError
from geozoom.files import sweep, write_text
from geozoom.networks import NetworkSpec
from training import STAGES
from training.checkpoints import read_header
from training.datasets import SceneData
from training.engine import Engine
from training.precision import in_half
from training.recipe import Recipe
from training.recipe_files import recipe_from


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What `geozoom train` was asked to do."""

    dataset: str
    """One of `training.DATASETS`."""
    root: Path
    out: Path
    recipe: Recipe
    recipe_name: str
    stages: tuple[str, ...] = STAGES
    """Those to train, in order; the ones before them must be there."""
    seed: int = 0
    resume: bool = False
    device: str = "auto"
    lr_root: Path | None = None
    """Folder of fMoW-Sentinel, whose images take the place of simulated LR."""
    skip_unreadable: bool = False
    """Leave unreadable scenes out instead of refusing the dataset."""
    memory_gib: float = 8.0
    """Up to this size a dataset is held in memory; it changes no result."""


def held_record(out: Path, *, resume: bool) -> dict[str, Any] | None:
    """Return the record of the run that the folder holds, if any, when it may be gone on with.

    Raises:
        RunError: There is a run and --resume was not given, or the other way round; or there are checkpoints, and
            nothing says of which run.
    """
    if not (out / "config.json").is_file():
        kept = ("checkpoints", "judges", "baselines")
        left = next((name for name in kept if any((out / name).rglob("*.safetensors"))), None)
        if left is not None:
            raise RunError(
                f"{out}: holds {left} of a run, but not its config.json, which says of which; restore that, delete "
                f"{left}, or use another --out"
            )
        if resume:
            raise RunError(f"{out}: holds no run to resume; leave --resume out to begin one")
        return None
    if not resume:
        raise RunError(f"{out}: holds a run already; give --resume to go on with it, or another --out")
    return read_record(out)


def read_record(run: Path) -> dict[str, Any]:
    """Return what a run's config.json says.

    Raises:
        RunError: The folder is not a run's, or the file is damaged.
    """
    file = run / "config.json"
    if not file.is_file():
        raise RunError(
            f"{run}: is no run of `geozoom train`: it holds no config.json; name the folder of one"
        )
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error}); restore it from a copy") from error
    kinds = {"recipe": dict, "classes": list, "scenes": dict, "seed": int, "dataset": str, "data": str}
    if not isinstance(record, dict) or not all(
        isinstance(record.get(key), kind) for key, kind in kinds.items()
    ):
        raise RunError(f"{file}: is not what `geozoom train` writes; restore it from a copy")
    return record


def check_recipe(request: RunRequest, engine: Engine, held: dict[str, Any]) -> list[str]:
    """Refuse to mix two runs in one folder; stages and baselines that have not begun, and the card, may change.

    Of a stage that has begun and is not done, a baseline's too, the batch size may. What of the card makes real LR
    images may not.

    Returns:
        What changes within a stage, a phrase each.

    Raises:
        RunError: The seed or a table that matters already differs.
    """
    recorded, asked = recipe_from(held["recipe"]).to_dict(), request.recipe.to_dict()
    for each in (recorded, asked):  # where its policy lies may change; which one it is, its SHA-256 tells
        each["hard_positives"]["policy"] = each["hard_positives"]["policy"] is not None
    for key in ("reflectance_white", "reflectance_gamma") if held.get("lr_root") is not None else ():
        if recorded["card"][key] != asked["card"][key]:
            raise RunError(
                f"{request.out}: was begun with card.{key} = {recorded['card'][key]}, by which its LR images are read; "
                "leave that as it is, or use another --out"
            )
    changed = [table for table, content in asked.items() if recorded.get(table) != content]
    free = {"card", "compile"} | {stage for stage in STAGES if not engine.checkpoint(stage).is_file()}
    if not engine.checkpoint("scout").is_file():
        free.add("scout")
    if not (request.out / "baselines").is_dir():
        free.add("baselines")
    begun = [table for table in changed if table not in free]
    resized = {table: _resized(request, engine, table, recorded) for table in begun}
    fixed = [table for table in begun if resized.get(table) is None]
    if fixed or held.get("seed") != request.seed:
        what = f"recipe table {fixed[0]!r}" if fixed else f"seed {held.get('seed')}"
        raise RunError(
            f"{request.out}: was begun with another {what}; use what its config.json says, or another --out"
        )
    return [change for change in resized.values() if change is not None]


def changed_device(held: dict[str, Any], record: dict[str, Any]) -> list[str]:
    """Say that a run goes on on another device, which gives it other last digits, if it does."""
    keys = [key for key in ("device", "computed_in") if key in held]
    before, now = (" in ".join(each[key] for key in keys) for each in (held, record))
    return [] if before == now else [f"device from {before} to {now}"]


def _resized(request: RunRequest, engine: Engine, table: str, recorded: dict[str, Any]) -> str | None:
    """Say how batch sizes of unfinished stages change; None if they may not, or something else does too."""
    now, said = request.recipe.to_dict()[table], []
    for path, before, after in differing((table,), recorded[table], now):
        *stage, key = path
        if key != "batch_size":
            return None
        file = engine.checkpoint(table)
        if table == "baselines":
            file = request.out / "baselines" / stage[1] / "checkpoints" / f"{'-'.join(stage[1:])}.safetensors"
        elif table not in (*STAGES, "scout"):
            return None
        header = read_header(file) if file.is_file() else {"done": "false", "batch_size": "", "epoch": "0"}
        if header["done"] == "true" or "batch_size" not in header:
            return None
        done = f"{header['epoch']} epochs and {header.get('step', 0)} steps"
        said.append(f"{'.'.join(path)} from {before} to {after} after {done}")
    return ", ".join(said)


def differing(
    path: tuple[str, ...], before: object, now: object
) -> Iterator[tuple[tuple[str, ...], object, object]]:
    """Yield the keys below `path` at which two nested tables differ, with both values."""
    if isinstance(before, dict) and isinstance(now, dict) and before.keys() == now.keys():
        for key, value in now.items():
            yield from differing((*path, key), before[key], value)
    elif before != now:
        yield path, before, now


def check_data(request: RunRequest, held: dict[str, Any], record: dict[str, Any]) -> None:
    """Refuse to go on with other data than the run was begun with.

    Raises:
        RunError: Name, classes, sizes or files of the data set differ.
    """
    differing = [key for key in ("data", "classes", "scenes", "val_from") if held.get(key) != record[key]]
    if differing == ["data"]:
        raise RunError(
            f"{request.out}: was begun with the data set {held.get('data')}, and {request.root} is named "
            f"{record['data']}; if it was only renamed, give it its name back, else use another --out"
        )
    if differing:
        raise RunError(
            f"{request.out}: was begun with another data set than {request.root}; use that one, or another --out"
        )
    check_files(request.out, request.root, held, record["files"])


def check_files(run: Path, root: Path, held: dict[str, Any], digest: str) -> None:
    """Refuse data whose files are not the run's: what it was trained on may lie in another split.

    Args:
        run: The run's folder.
        root: The data's.
        held: The run's record; those of older runs do not tell.
        digest: Of the data, as `files_digest` makes it.

    Raises:
        RunError: They differ.
    """
    if held.get("files", digest) != digest:
        raise RunError(
            f"{run}: was begun with other files than those of {root}: some were renamed, added or removed since, so "
            "that training scenes may be tested on; restore them, or use another --out"
        )


def files_digest(data: SceneData) -> str:
    """Return the SHA-256 of the names of all scenes, split by split and in order."""
    names = [name for split in (data.train, data.val, data.test) for name in (*split.files, "")]
    return hashlib.sha256(os.fsencode("\n".join(names))).hexdigest()


def new_record(request: RunRequest, data: SceneData, device: torch.device) -> dict[str, Any]:
    """Return what config.json says: all that is needed to run this again."""
    return {
        "dataset": request.dataset,
        "root": str(request.root.resolve()),
        "data": data.name,
        "lr_root": None if request.lr_root is None else str(request.lr_root.resolve()),
        "skip_unreadable": request.skip_unreadable,
        "recipe_name": request.recipe_name,
        "seed": request.seed,
        "recipe": request.recipe.to_dict(),
        "classes": list(data.classes),
        "val_from": data.val_from,
        "mean": list(data.mean),
        "std": list(data.std),
        "notes": list(data.notes),
        "scenes": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
        "files": files_digest(data),
        "versions": {
            "geozoom": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "computed_in": "bfloat16" if in_half(request.recipe.precision, device) else "float32",
    }


def card_of(record: dict[str, Any], name: str) -> ModelCard:
    """Return the model card of the run that a record is of, before anything was measured.

    Raises:
        RecipeError: Its recipe cannot be used.
    """
    recipe = recipe_from(record["recipe"])
    return ModelCard(
        name=name,
        classes=tuple(record["classes"]),
        grid_rows=recipe.data.grid_rows,
        grid_cols=recipe.data.grid_cols,
        lr_px=recipe.data.lr_px,
        hr_px=recipe.data.hr_px,
        scene_m=recipe.card.scene_m,
        mean=tuple(record["mean"]),
        std=tuple(record["std"]),
        classifier=NetworkSpec(name=recipe.networks.classifier, widths=recipe.networks.classifier_widths),
        policy=NetworkSpec(name=recipe.networks.policy, widths=recipe.networks.policy_widths),
        stage="ft2",
        data=recipe.card.description or record["data"],
        data_license=recipe.card.license,
        notes=recipe.card.notes,
        reflectance_white=recipe.card.reflectance_white,
        reflectance_gamma=recipe.card.reflectance_gamma,
        lr_temperature=recipe.networks.lr_temperature,
        fusion=recipe.networks.fusion,
        recipe=recipe.to_dict(),
        seed=record["seed"],
        code_version=__version__,
    )


def write_record(run: Path, record: dict[str, Any]) -> None:
    """Write a run's config.json.

    Raises:
        OutputError: It cannot be written.
    """
    write_text(run / "config.json", json.dumps(record, indent=2, ensure_ascii=False) + "\n")


def write_down(request: RunRequest, data: SceneData, record: dict[str, Any]) -> None:
    """Write down the record and the validation split in the run's folder, and sweep it.

    Raises:
        OutputError: They cannot be written.
    """
    sweep(request.out)
    write_record(request.out, record)
    write_text(request.out / "val_split.txt", "\n".join(data.val.files) + "\n")
    if data.unreadable:
        write_text(request.out / "unreadable.txt", "\n".join(data.unreadable) + "\n")

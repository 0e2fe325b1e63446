"""geozoom train."""

from __future__ import annotations

import json
from pathlib import Path

import click

from geozoom.cli import datasets, loading, options
from training import DATASETS, STAGES


@click.command("train")
@click.option("--dataset", type=click.Choice(DATASETS), help="Kind of dataset; folder if absent.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="The dataset's folder, as unpacked; for folder {train,val,test}/CLASS/image, where val may be missing.",
)
@datasets.reading_options
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the run, for example runs/NAME."
)
@click.option(
    "--recipe",
    help="default (if absent) or paper, each the dataset's own; another that ships (sentinel2, aid), or a TOML file.",
)
@click.option(
    "--model",
    "kind",
    type=click.Choice(["bagnet"]),
    help="bagnet: the recipe's classifier runs on each patch alone, and what it finds is added up.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="TABLE.KEY=VALUE",
    help="Change a value of the recipe; repeatable.",
)
@click.option(
    "--augment",
    type=click.Choice(["none", "cutout", "patchdrop"]),
    help="What stage hr hides of its views: a square at random, or the best 1 to 4 patches of --policy.",
)
@click.option(
    "--policy",
    type=click.Path(path_type=Path),
    help="--augment patchdrop: a run (its stage ft1), a checkpoint of its pt, ft1 or ft2, or a model.safetensors.",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Epochs of each stage that this command begins, instead of the recipe's.",
)
@click.option(
    "--stage",
    type=click.Choice(["all", *STAGES]),
    default="all",
    show_default=True,
    help="Train this stage only; the ones before it must be there.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in --out; what is not given is as the run's config.json says.",
)
@click.option(
    "--seed", type=click.IntRange(0, options.LARGEST_SEED), help="Seed of every random choice; 0 if absent."
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def command(
    dataset: str | None,
    root: Path | None,
    lr_root: Path | None,
    skip_unreadable: bool,
    memory: float,
    out: Path,
    recipe: str | None,
    kind: str | None,
    overrides: tuple[str, ...],
    augment: str | None,
    policy: Path | None,
    epochs: int | None,
    stage: str,
    resume: bool,
    seed: int | None,
    device: str,
    quiet: bool,
) -> None:
    """Train classifiers and policy, then write the checkpoint and the results table."""
    with loading.libraries():
        console = options.stderr_console(quiet)
        from geozoom.errors import RunError
        from training.parallel import leave
        from training.recipe_files import load_recipe, recipe_of
        from training.record import RunRequest, held_record
        from training.run import train
        from training.tables import as_rich

    held = held_record(out, resume=resume) or {}
    dataset = dataset or held.get("dataset", "folder")
    if root is None:
        if not held.get("root"):
            raise click.UsageError("Missing option '--root'.")
        root, lr_root = (
            Path(held["root"]),
            lr_root or (Path(held["lr_root"]) if held.get("lr_root") else None),
        )
    as_held = held.get("recipe") if recipe is None else None
    recipe = recipe_of(dataset, recipe or "default") if as_held is None else held.get("recipe_name", "")
    begun = [name for name in STAGES if (out / "checkpoints" / f"{name}.safetensors").is_file()]
    stages = STAGES if stage == "all" else (stage,)
    request = RunRequest(
        dataset=dataset,
        root=root,
        out=out,
        recipe=load_recipe(
            recipe,
            [*overrides, *_hard_positives(augment, policy)],
            epochs,
            stages=[name for name in stages if name not in begun],
            bagnet=kind == "bagnet",
            held=as_held,
        ),
        recipe_name=recipe,
        stages=stages,
        seed=held.get("seed", 0) if seed is None else seed,
        resume=resume,
        device=device,
        lr_root=lr_root,
        skip_unreadable=skip_unreadable or held.get("skip_unreadable", False),
        memory_gib=memory,
    )
    try:
        rows = train(request, console)
    except KeyboardInterrupt as error:
        is_run = (out / "config.json").is_file()
        further = "give --resume to go on from the last checkpoint" if is_run else "nothing was trained yet"
        raise RunError(f"{out}: interrupted; {further}") from error
    if rows:
        console.print(as_rich(rows, "Test split"))
        console.print(f"checkpoint: {out / 'model.safetensors'}", soft_wrap=True)
    leave()


def _hard_positives(augment: str | None, policy: Path | None) -> list[str]:
    """Return the options as values of the recipe."""
    return [
        *([] if augment is None else [f"hard_positives.augment={augment}"]),
        *([] if policy is None else [f"hard_positives.policy={json.dumps(str(policy.resolve()))}"]),
    ]

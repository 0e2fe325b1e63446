"""geozoom evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from geozoom.cli import datasets, loading, options
from training import DATASETS


@click.command("evaluate")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("others", type=click.Path(path_type=Path), nargs=-1)
@click.option(
    "--dataset", type=click.Choice(DATASETS), help="Dataset to measure on; the run's own if absent."
)
@click.option(
    "--root", type=click.Path(path_type=Path), help="The dataset's folder; where the run found it if absent."
)
@click.option("--split", type=click.Choice(["test", "val"]), default="test", show_default=True)
@click.option(
    "--scenes", type=click.IntRange(min=1), help="Measure on so many scenes, drawn at random; all if absent."
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder for the paper's figures as PNG, with their data as CSV: 1a (dropping), 4 and 6 (examples), "
    "5 (comparison, with OTHERS), 7 (habits).",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="JSON file to write; RUN/evaluation-SPLIT.json if absent.",
)
@options.overwrite_option
@click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True)
@datasets.reading_options
@options.human_options
def command(
    run: Path,
    others: tuple[Path, ...],
    dataset: str | None,
    root: Path | None,
    lr_root: Path | None,
    split: Literal["test", "val"],
    scenes: int | None,
    figures: Path | None,
    output: Path | None,
    overwrite: bool,
    batch_size: int,
    device: str,
    skip_unreadable: bool,
    memory: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure a run, finished or not: accuracy and patches bought of every stage, beside its controls.

    RUN is a folder of `geozoom train`. OTHERS are finished runs on the same data, which figure 5 compares RUN with.
    """
    if dataset is not None and root is None:
        raise click.UsageError("--dataset needs --root")
    if others and figures is None:
        raise click.UsageError("several runs are compared in a figure: give --figures DIR")
    if others and (split != "test" or scenes is not None or dataset is not None):
        raise click.UsageError(
            "OTHERS are compared by their tables of the whole test split: leave --split, --scenes and --dataset out"
        )
    with loading.libraries():
        from geozoom.files import check_output
        from training.evaluation import EvaluationRequest, evaluate, open_run
        from training.figures import check_folder, draw_all, read_others, remarks
        from training.record import read_record
        from training.tables import as_rich

    read_record(run)
    output = output or run / f"evaluation-{split}.json"
    check_output(output, overwrite=overwrite, suffixes=(".json",))
    compared = read_others(run, others)
    if figures is not None:
        check_folder(figures, overwrite=overwrite)
    console = options.stderr_console(quiet)
    opened = open_run(
        EvaluationRequest(
            run=run,
            dataset=dataset,
            root=root,
            lr_root=lr_root,
            split=split,
            scenes=scenes,
            batch_size=batch_size,
            device=device,
            skip_unreadable=skip_unreadable,
            memory_gib=memory,
            moved=bool(others),  # their tables are of the run's own scenes
        ),
        console,
    )
    for line in (*opened.remarks(), *remarks(opened, compared)):
        console.print(line, soft_wrap=True)
    evaluation = evaluate(opened, console)
    evaluation.write(output)
    console.print(as_rich(evaluation.rows, f"{opened.name}: {split} split of {opened.data}"))
    if figures is not None:
        drawn = draw_all(opened, evaluation.rows, compared, figures)
        for line in [f"figure: {file}" for file in drawn] or ["no figures: the run has no policy yet"]:
            console.print(line, soft_wrap=True)
    if as_json:
        options.print_json(evaluation.to_dict())

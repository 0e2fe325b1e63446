"""The end of a run: batch norms recalibrated, benefit and sureness fitted for the card, the table, the checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from geozoom.files import write_text
from training.calibrate import calibration_error, fit_benefit, fit_doubt, forecast, measure_gains
from training.datasets import SceneData, Split
from training.engine import Engine
from training.evaluate import Row, ViewedSplit, view_split
from training.recalibrate import load_as_shipped, settle
from training.record import RunRequest
from training.results import POLICIES, Results
from training.stages import Bench
from training.tables import write_table


def finish(
    request: RunRequest, engine: Engine, bench: Bench, data: SceneData, train_split: Split
) -> list[Row]:
    """Measure a run whose stages are all trained, and write its table and `model.safetensors`.

    Args:
        request: Where the run is, and its seed.
        engine: Holds its checkpoints.
        bench: Its model, which is left as it ships, and the validation scenes.
        data: Name and scenes of the dataset.
        train_split: The training scenes, on the engine's device.

    Returns:
        The rows of the table, on the test split.

    Raises:
        OutputError: Something cannot be written.
    """
    model = bench.model
    test = view_split(data.test.to(engine.device), request.recipe, seed=request.seed + 2)
    with engine.autocast():
        _settle(engine, bench, train_split)
        _calibrate(request, bench, test)
        results = Results(
            engine=engine,
            model=model,
            views=test,
            train=train_split,
            recipe=bench.recipe,
            seed=request.seed,
            doubt=model.card.doubt,
        )
        rows = list(results.rows())
    write_table(request.out, rows)
    table = {line.name: {"accuracy": round(line.accuracy, 2), "S": round(line.sampled, 2)} for line in rows}
    model.card = replace(model.card, metrics={"test_scenes": len(data.test), "table": table})
    model.save(request.out / "model.safetensors", half=True)
    return rows


def _settle(engine: Engine, bench: Bench, train_split: Split) -> None:
    """Recalibrate Ft-1 and Ft-2; the model is left as it ships."""
    for stage in ("ft1", "ft2"):
        name, streams = POLICIES[stage]
        before, after = settle(engine, bench.model, stage, train_split, bench.val, streams, bench.recipe)
        engine.console.print(
            f"{name}: validation {100 * before:.1f}% as trained, {100 * after:.1f}% with batch norm recalibrated"
        )
    load_as_shipped(engine, bench.model, "ft2")


def _calibrate(request: RunRequest, bench: Bench, test: ViewedSplit) -> None:
    """Fit what a patch is worth and how sure answers are on the validation split, for the card.

    Both are held against the test split in benefit.json and calibration.json.
    """
    model = bench.model
    gains = measure_gains(model, bench.val)
    benefit, doubt = fit_benefit(gains), fit_doubt(gains)
    content = {
        "benefit": asdict(benefit),
        "doubt": asdict(doubt),
        "test": forecast(benefit, doubt, measure_gains(model, test)),
    }
    write_text(request.out / "benefit.json", json.dumps(content, indent=2) + "\n")
    model.card = replace(model.card, benefit=benefit, doubt=doubt, answer_temperatures=gains.temperatures)
    sure = {
        "answer_temperatures": gains.temperatures,
        "val": calibration_error(model, bench.val),
        "test": calibration_error(model, test),
    }
    write_text(request.out / "calibration.json", json.dumps(sure, indent=2) + "\n")

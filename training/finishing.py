"""The end of a run: batch norms recalibrated, a scout, benefit and sureness fitted for the card, table, checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import torch

from geozoom.files import write_text
from geozoom.model import PatchDrop
from training.calibrate import (
    calibration_error,
    fit_benefit,
    fit_doubt,
    fit_doubts_with_hr,
    forecast,
    measure_gains,
)
from training.datasets import SceneData, Split
from training.engine import Engine
from training.evaluate import Row, ViewedSplit, scout_answers, view_split
from training.memory import moving
from training.recalibrate import load_as_shipped, settle
from training.record import RunRequest
from training.results import POLICIES, Results
from training.scout import scout_spec, train_scout, wants_scout
from training.stages import Bench
from training.tables import write_table


def finish(
    request: RunRequest, engine: Engine, bench: Bench, data: SceneData, train_split: Split
) -> list[Row]:
    """Measure a run whose stages are all trained, and write `model.safetensors` and its table.

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
    # That of before a scout would say that nothing is missing.
    (request.out / "table.json").unlink(missing_ok=True)
    with moving(data.name, engine.device):
        test_split = data.test.to(engine.device)
    test = view_split(test_split, request.recipe, seed=request.seed + 2)
    with engine.autocast():
        _settle(engine, bench, train_split)
    finished = _with_scout(engine, bench, train_split)
    with engine.autocast():
        _calibrate(request, finished, bench.val, test)
        results = Results(
            engine=engine,
            model=bench.model,
            views=test,
            train=train_split,
            recipe=bench.recipe,
            seed=request.seed,
            finished=finished,
        )
        rows = list(results.rows())
    table = {line.name: {"accuracy": round(line.accuracy, 2), "S": round(line.sampled, 2)} for line in rows}
    finished.card = replace(finished.card, metrics={"test_scenes": len(data.test), "table": table})
    finished.save(request.out / "model.safetensors", half=True)
    write_table(request.out, rows)  # last: it says that nothing is missing
    return rows


def _with_scout(engine: Engine, bench: Bench, train_split: Split) -> PatchDrop:
    """Return a model of its own, as it ships, with the scout that the recipe asks for."""
    card, weights = bench.model.card, dict(bench.model.state_dict())
    if wants_scout(bench.recipe):
        card = replace(card, scout=scout_spec(bench.recipe, card))
        scout = train_scout(engine, bench, train_split)
        weights |= {f"scout.{name}": tensor for name, tensor in scout.network.state_dict().items()}
    finished: PatchDrop = PatchDrop(card).to(engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    finished.load_state_dict(weights)
    finished.load_state_dict(finished.half_weights())
    return finished.eval()


def _settle(engine: Engine, bench: Bench, train_split: Split) -> None:
    """Recalibrate Ft-1 and Ft-2; the model is left as it ships."""
    for stage in ("ft1", "ft2"):
        name, streams = POLICIES[stage]
        before, after = settle(engine, bench.model, stage, train_split, bench.val, streams, bench.recipe)
        recalibrated = (
            "not recalibrated: it buys of too few training scenes"
            if after is None
            else f"{100 * after:.1f}% with batch norm recalibrated"
        )
        engine.console.print(f"{name}: validation {100 * before:.1f}% as trained, {recalibrated}")
    load_as_shipped(engine, bench.model, "ft2")


def _calibrate(request: RunRequest, model: PatchDrop, val: ViewedSplit, test: ViewedSplit) -> None:
    """Fit what a patch is worth and how sure answers are on the validation split, for the card.

    Both are held against the test split in benefit.json and calibration.json.
    """
    gains, held = measure_gains(model, val), measure_gains(model, test)
    benefit, doubt, doubts_with_hr = fit_benefit(gains), fit_doubt(gains), fit_doubts_with_hr(gains)
    content: dict[str, object] = {
        "benefit": asdict(benefit),
        "doubt": asdict(doubt),
        "doubts_with_hr": [asdict(each) for each in doubts_with_hr],
        "test": forecast(benefit, doubt, held),
    }
    model.card = replace(
        model.card,
        benefit=benefit,
        doubt=doubt,
        doubts_with_hr=doubts_with_hr,
        answer_temperatures=gains.temperatures,
    )
    if model.scout is not None:
        by_scout, by_scout_held = (
            replace(each, known=scout_answers(model, views).double().cpu().numpy())
            for each, views in ((gains, val), (held, test))
        )
        scout_doubt = fit_doubt(by_scout)
        model.card = replace(model.card, scout_doubt=scout_doubt)
        content |= {
            "scout_doubt": asdict(scout_doubt),
            "test_by_scout": forecast(benefit, scout_doubt, by_scout_held),
        }
    write_text(request.out / "benefit.json", json.dumps(content, indent=2) + "\n")
    sure = {
        "answer_temperatures": gains.temperatures,
        "val": calibration_error(model, val),
        "test": calibration_error(model, test),
    }
    write_text(request.out / "calibration.json", json.dumps(sure, indent=2) + "\n")

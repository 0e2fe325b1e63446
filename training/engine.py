"""The engine: one loop for every stage, with schedule, log, checkpoint and resume."""

from __future__ import annotations

import time
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from rich.console import Console
from torch import Tensor

from geozoom.errors import RunError
from training import STAGES
from training.checkpoints import (
    Carded,
    Position,
    read_checkpoint,
    read_header,
    take_weights,
    write_checkpoint,
)
from training.compiling import begin_step, fastest_kernels
from training.datasets import Batch, Split
from training.log import RunLog
from training.memory import out_of_memory, within_memory
from training.optimizing import learning_rate_factor
from training.parallel import ALONE, SharedGenerator, Team
from training.precision import full_convolutions, in_half
from training.progress import progress_bar

CHECKPOINT_INTERVAL_S = 30.0
"""Least time between two checkpoints, which fall between any two steps; the last epoch is always written."""


STEPS_BETWEEN_LOOKS = 100
"""Of several processes: steps after which all of them look whether to stop, and the first may write a checkpoint.

One that stopped by its own clock would leave the others waiting for it."""


class Stage(Protocol):
    """What the engine needs of a stage: networks, an optimiser, a step and a validation.

    A stage whose keys are not in the recipe's table of its name says in which they are by an attribute `table`.
    """

    epochs: int
    batch_size: int
    schedule: str
    optimizer: torch.optim.Optimizer

    @property
    def name(self) -> str:
        """One of `training.STAGES`, or a baseline's own."""

    def train_mode(self) -> None:
        """Put the networks that learn into training mode, the frozen ones into evaluation mode."""

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Take one optimiser step and return scalar metrics, still on the device.

        Args:
            batch: Scenes of the training split.
            progress: Share of the stage that is done, 0..1.
            generator: Source of every random number of the step.
        """

    def validate(self) -> dict[str, float]:
        """Return metrics on the validation split."""


@dataclass(kw_only=True)
class Engine:
    """Runs stages on one device and keeps their record in one folder."""

    folder: Path
    """The run's folder: log.jsonl and checkpoints/ live in it."""
    device: torch.device
    precision: str
    """bf16 or fp32, as the recipe asks for it."""
    seed: int
    console: Console
    team: Team = ALONE
    """The processes that train together; the first alone writes."""
    sized: bool = True
    """Whether a batch size can be set for its stages alone; judges and masked baselines have those of the run's."""
    log: RunLog = field(init=False)
    _written: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.log = RunLog(self.folder)

    @property
    def half(self) -> bool:
        """Whether convolutions and products are in bfloat16."""
        return in_half(self.precision, self.device)

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Compute in the run's precision."""
        # Without the cache: weights cast under no_grad would be reused, without gradient, outside it.
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.half, cache_enabled=False)
        with half, full_convolutions():
            yield

    def checkpoint(self, stage: str) -> Path:
        """Return where a stage's checkpoint lives."""
        return self.folder / "checkpoints" / f"{stage}.safetensors"

    def is_done(self, stage: str) -> bool:
        """Tell whether a stage has been trained to its end."""
        file = self.checkpoint(stage)
        return file.is_file() and read_header(file)["done"] == "true"

    def load(self, model: Carded, stage: str) -> None:
        """Load the weights that a finished stage left behind."""
        file = self.checkpoint(stage)
        weights, _, header = read_checkpoint(file)
        take_weights(model, file, weights, header)

    def save_weights(self, model: Carded, stage: str) -> None:
        """Write the checkpoint of a finished stage, weights only, for every process to find."""
        if self.team.leads:
            write_checkpoint(self.checkpoint(stage), model, {"done": "true", "stage": stage})
        self.team.wait()

    def fit(self, stage: Stage, model: Carded, split: Split) -> None:
        """Train a stage to its end, going on from its checkpoint where there is one.

        Raises:
            RunError: The loss is no longer a number, a checkpoint cannot be read, memory does not suffice,
                or a batch cannot be shared out among the processes.
        """
        seed = stage_seed(self.seed, stage.name)
        shuffle = torch.Generator().manual_seed(seed)
        noise = SharedGenerator(self.device)
        noise.team = self.team
        noise.manual_seed(seed)
        generators = {"shuffle": shuffle, "noise": noise}
        start = self._resume(stage, model, generators, len(split))
        batches = max(1, len(split) // stage.batch_size)
        with progress_bar(self.console) as bar:
            done = start.epoch * batches + start.step
            task = bar.add_task(stage.name, total=stage.epochs * batches, completed=done)
            for epoch in range(start.epoch, stage.epochs):
                here = start if epoch == start.epoch else Position(epoch=epoch)
                began = time.perf_counter() - here.seconds
                totals = dict(here.totals)
                lost = torch.full((), batches, device=self.device)  # the first step whose loss is no number
                order = shuffle.get_state()  # a resumed epoch is shuffled again, and goes on at its step
                drawn = split.batches(stage.batch_size, shuffle, here.step, self.team)
                steps = self._steps(stage, drawn, here, batches, noise)
                for number, metrics in enumerate(steps, start=here.step):
                    for name, value in metrics.items():
                        totals[name] = totals.get(name, torch.zeros_like(value)) + value
                    lost = torch.where(metrics["loss"].isfinite(), lost, lost.clamp(max=number))
                    bar.advance(task)
                    if number + 1 < batches and self._looks(number + 1):
                        self._refuse_nan(stage, epoch, int(lost), batches)
                        states = {"shuffle": order, "noise": noise.get_state()}
                        seconds = time.perf_counter() - began
                        at = Position(epoch=epoch, step=number + 1, totals=totals, seconds=seconds)
                        self._keep(stage, model, states, at)
                row = {name: (total / batches).item() for name, total in totals.items()}
                trained = time.perf_counter() - began
                self._refuse_nan(stage, epoch, int(lost), batches)
                if self.team.leads:
                    with self.autocast():
                        row |= stage.validate()
                    self.log.add(stage.name, epoch + 1, row | {"seconds": trained})
                bar.update(task, description=_describe(stage.name, row))
                states = {name: generator.get_state() for name, generator in generators.items()}
                self._keep(stage, model, states, Position(epoch=epoch + 1))
        self.save_weights(model, stage.name)
        self.log.close()

    def _steps(
        self, stage: Stage, drawn: Iterator[Batch], here: Position, batches: int, noise: torch.Generator
    ) -> Iterator[dict[str, Tensor]]:
        """Take the steps of an epoch from `here` on, and yield the metrics of each, of all processes together."""
        peaks = [group["lr"] for group in stage.optimizer.param_groups]
        too_large = self._smaller_batch(stage)
        stage.train_mode()
        for number, batch in enumerate(within_memory(drawn, too_large), start=here.step):
            progress = (here.epoch * batches + number) / (stage.epochs * batches)
            rate = learning_rate_factor(stage.schedule, progress)
            for group, peak in zip(stage.optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * rate
            begin_step(self.device)
            search = fastest_kernels(self.device.type == "cuda")
            with self.autocast(), search, out_of_memory(too_large):
                metrics = stage.step(batch, progress, noise)
            metrics = {name: value.detach().float() for name, value in metrics.items()}
            self.team.average(list(metrics.values()))
            yield metrics
        for group, peak in zip(stage.optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak

    def _resume(
        self, stage: Stage, model: Carded, generators: dict[str, torch.Generator], scenes: int
    ) -> Position:
        file = self.checkpoint(stage.name)
        if not file.is_file():
            if self.team.leads:
                self.log.drop_after(stage.name, 0)
            return Position()
        weights, extra, header = read_checkpoint(file)
        take_weights(model, file, weights, header)
        state = stage.optimizer.state_dict()
        parameters = [entry for group in stage.optimizer.param_groups for entry in group["params"]]
        slots: dict[int, dict[str, Tensor]] = defaultdict(dict)
        totals: dict[str, Tensor] = {}
        for name, tensor in extra.items():
            kind, rest = name.split(".", 1)
            if kind == "optimizer":
                parameter, key = rest.split(".", 1)
                like = parameters[int(parameter)]
                # Fused optimisers walk a parameter and its state side by side: both must lie in memory alike.
                alike = tensor.shape == like.shape
                slots[int(parameter)][key] = (
                    torch.empty_like(like, requires_grad=False).copy_(tensor) if alike else tensor
                )
            elif kind == "total":
                totals[rest] = tensor.to(self.device)
            elif tensor.shape == generators[rest].get_state().shape:
                generators[rest].set_state(tensor)
            else:
                self.console.print(
                    f"note: stage {stage.name} was begun on another kind of device, and goes on with other random "
                    "numbers than there",
                    highlight=False,
                    soft_wrap=True,
                )
        state["state"] = dict(slots)
        stage.optimizer.load_state_dict(state)
        if self.team.leads:
            self.log.drop_after(stage.name, int(header["epoch"]))
        at = Position(
            epoch=int(header["epoch"]),
            step=int(header.get("step", 0)),
            totals=totals,
            seconds=float(header.get("seconds", 0)),
        )
        before = int(header.get("batch_size", stage.batch_size))
        return at.resized(min(before, scenes), min(stage.batch_size, scenes), scenes)

    def _is_due(self) -> bool:
        return self.team.leads and time.monotonic() - self._written >= CHECKPOINT_INTERVAL_S

    def _looks(self, step: int) -> bool:
        return self._is_due() if self.team.size == 1 else step % STEPS_BETWEEN_LOOKS == 0

    def _keep(self, stage: Stage, model: Carded, states: dict[str, Tensor], at: Position) -> None:
        """Write a checkpoint if one is due; every process calls it, and all stop where the weights are bad."""
        wanted = self.team.leads and (self._is_due() or at.epoch == stage.epochs)
        bad = wanted and not _are_numbers(model)
        if self.team.any(bad, self.device):
            raise self._diverged(stage, f"a weight is no number after {at.epoch} epochs and {at.step} steps")
        if not wanted:
            return
        header = {"done": "false", "stage": stage.name, "epoch": str(at.epoch), "step": str(at.step)}
        header |= {"batch_size": str(stage.batch_size), "seconds": f"{at.seconds:.3f}"}
        file = self.checkpoint(stage.name)
        write_checkpoint(file, model, header, stage.optimizer, states, at.totals)
        self._written = time.monotonic()

    def _refuse_nan(self, stage: Stage, epoch: int, lost: int, batches: int) -> None:
        """Stop before weights that are no numbers replace the last good checkpoint."""
        if lost < batches:
            raise self._diverged(stage, f"the loss is no number at step {lost + 1} of epoch {epoch + 1}")

    def _smaller_batch(self, stage: Stage) -> str:
        what = f"stage {stage.name}: a batch of {stage.batch_size} scenes does not fit in memory"
        if not self.sized:
            return f"{what}, where one of the run's own stage did; make room, and give the same command again"
        half = max(2, stage.batch_size // 2 // self.team.size * self.team.size)
        return (
            f"{what}; go on with the same command and --set {_table(stage)}.batch_size={half}, "
            "`geozoom train` with --resume too"
        )

    def _diverged(self, stage: Stage, what: str) -> RunError:
        file = self.checkpoint(stage.name)
        kept, delete = "there is no checkpoint of the stage yet", ""
        if file.is_file():
            header = read_header(file)
            kept = f"the last good checkpoint is {file}, of {header['epoch']} epochs and {header.get('step', 0)} steps"
            delete = "delete that checkpoint, "
        return RunError(
            f"stage {stage.name}: {what}; {kept}; to train the stage with another learning rate, {delete}set it with "
            f"--set {_table(stage)}.… and give --resume"
        )


def stage_seed(seed: int, name: str) -> int:
    """Return a seed of the stage's own, so that it draws the same whatever was trained before it."""
    number = STAGES.index(name) if name in STAGES else len(STAGES) + zlib.crc32(name.encode()) % 90
    return seed * 100 + number


def _are_numbers(model: Carded) -> bool:
    """Tell whether all weights are finite; the host waits for the device once."""
    return bool(torch.stack([tensor.isfinite().all() for tensor in model.state_dict().values()]).all())


def _table(stage: Stage) -> str:
    return str(getattr(stage, "table", stage.name))


def _describe(stage: str, row: dict[str, float]) -> str:
    shown = {key: row[key] for key in ("loss", "val_accuracy", "val_sampled") if key in row}
    return " ".join([stage, *(f"{name} {value:.3f}" for name, value in shown.items())])

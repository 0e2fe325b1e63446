"""Checkpoints of a stage: weights, and what it takes to go on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geozoom.card import ModelCard
from geozoom.errors import RunError
from geozoom.files import write_tensors

_MADE_FOR = "made_for"
"""Key of the header: the grid and the classes that the weights are of."""


class Carded(Protocol):
    """What a network needs to be trained and kept: a card, and weights by name; PatchDrop and the baselines."""

    card: ModelCard

    def state_dict(self) -> dict[str, Any]:
        """As `nn.Module.state_dict`."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> object:
        """As `nn.Module.load_state_dict`."""


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where in a stage a run is."""

    epoch: int = 0
    """Epochs that are done."""
    step: int = 0
    """Steps of the epoch after them that are done."""
    totals: dict[str, Tensor] = field(default_factory=dict)
    """Sums of the metrics of these steps."""
    seconds: float = 0.0
    """What these steps took."""

    def resized(self, before: int, now: int, scenes: int) -> Position:
        """Return the same place in an epoch of `scenes` that goes on in batches of `now`, after batches of `before`.

        The order of the scenes stays. None is seen twice; where what was seen is no whole number of new batches,
        the scenes up to the next such number are left out of this epoch.
        """
        if now == before or not self.step:
            return self
        step = min(-(-self.step * before // now), max(1, scenes // now))
        totals = {name: total * (step / self.step) for name, total in self.totals.items()}
        return replace(self, step=step, totals=totals)


def write_checkpoint(
    file: Path,
    model: Carded,
    header: dict[str, str],
    optimizer: torch.optim.Optimizer | None = None,
    states: dict[str, Tensor] | None = None,
    totals: dict[str, Tensor] | None = None,
) -> None:
    """Write weights and, within a stage, the states of optimiser and generators and the metrics' sums.

    Raises:
        OutputError: The file cannot be written; the one before it is still there.
    """
    tensors: dict[str, Tensor] = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if optimizer is not None:
        for parameter, slots in optimizer.state_dict()["state"].items():
            for key, value in slots.items():
                if value is not None:
                    tensors[f"optimizer.{parameter}.{key}"] = torch.as_tensor(value)
    tensors |= {f"generator.{name}": state for name, state in (states or {}).items()}
    tensors |= {f"total.{name}": total for name, total in (totals or {}).items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(file, tensors, header | {_MADE_FOR: json.dumps(_made_for(model), ensure_ascii=False)})


def read_checkpoint(file: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, str]]:
    """Return the weights, the other tensors and the header.

    Raises:
        RunError: The file is damaged, or not a checkpoint.
    """
    header = read_header(file)
    weights: dict[str, Tensor] = {}
    extra: dict[str, Tensor] = {}
    with safe_open(file, framework="pt") as checkpoint:
        for name in checkpoint.keys():
            tensor = checkpoint.get_tensor(name)
            if name.startswith("model."):
                weights[name.removeprefix("model.")] = tensor
            else:
                extra[name] = tensor
    return weights, extra, header


def take_weights(model: Carded, file: Path, weights: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Give a model the weights of a checkpoint.

    Raises:
        RunError: They are of another grid, of other classes, or of other networks.
    """
    theirs, ours = json.loads(header.get(_MADE_FOR, "null")), _made_for(model)
    if theirs not in (None, ours):
        what = (
            f"a grid of {theirs['grid']} patches, not {ours['grid']}"
            if theirs["grid"] != ours["grid"]
            else _difference(theirs["classes"], ours["classes"])
        )
        raise RunError(
            f"{file}: is of {what}; delete it to train the stage again, or put the right one there"
        )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(
            f"{file}: is of another grid, class list or network than the run; delete it to train the stage again, "
            "or put the right one there"
        ) from error


def _made_for(model: Carded) -> dict[str, Any]:
    card = model.card
    return {"grid": f"{card.grid_rows} × {card.grid_cols}", "classes": list(card.classes)}


def _difference(theirs: list[str], ours: list[str]) -> str:
    """Say how two lists of classes differ."""
    for number, (their, our) in enumerate(zip(theirs, ours, strict=False)):
        if their != our:
            return f"other classes (class {number} is {their!r}, not {our!r})"
    return f"{len(theirs)} classes, not {len(ours)}"


def read_header(file: Path) -> dict[str, str]:
    """Return what a checkpoint says of itself.

    Raises:
        RunError: The file is damaged, or not a checkpoint.
    """
    try:
        with safe_open(file, framework="pt") as checkpoint:
            header: dict[str, str] = checkpoint.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"{file}: the checkpoint cannot be read ({error}); delete it to train the stage again"
        ) from error
    if "done" not in header:
        raise RunError(f"{file}: not a checkpoint of a training run; delete it to train the stage again")
    return header

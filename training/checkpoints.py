"""Checkpoints of a stage: weights, and what it takes to go on as if nothing had happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from geozoom.errors import RunError
from geozoom.files import written_aside


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where in a stage a run is."""

    epoch: int = 0
    """Epochs that are done."""
    step: int = 0
    """Steps of the epoch after them that are done."""
    totals: dict[str, Tensor] = field(default_factory=dict)
    """Sums of the metrics of these steps."""


def write_checkpoint(
    file: Path,
    model: nn.Module,
    header: dict[str, str],
    optimizer: torch.optim.Optimizer | None = None,
    states: dict[str, Tensor] | None = None,
    totals: dict[str, Tensor] | None = None,
) -> None:
    """Write weights and, within a stage, the states of optimiser and generators and the metrics' sums.

    Raises:
        OutputError: The file cannot be written; the one before it is still there.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if optimizer is not None:
        for parameter, slots in optimizer.state_dict()["state"].items():
            for key, value in slots.items():
                if value is not None:
                    tensors[f"optimizer.{parameter}.{key}"] = torch.as_tensor(value)
    tensors |= {f"generator.{name}": state for name, state in (states or {}).items()}
    tensors |= {f"total.{name}": total for name, total in (totals or {}).items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(file) as aside:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, aside, header)


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

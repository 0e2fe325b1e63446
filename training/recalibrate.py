"""Batch norm statistics of the HR stream for what it will meet: whole scenes under the policy's own masks.

Fine-tuning gathers them on augmented crops under sampled masks, and is tested on neither (METHOD §7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from geozoom.files import write_tensors
from geozoom.model import PatchDrop
from geozoom.sensor import simulate_lr
from training.checkpoints import read_checkpoint
from training.compiling import as_written
from training.datasets import Split
from training.engine import Engine
from training.evaluate import EVALUATION_BATCH, Streams, ViewedSplit, correct, policy_probabilities, whole
from training.recipe import Recipe

Choose = Callable[[Tensor], Tensor]
"""Maps LR images (B, 3, h, w) to masks (B, P)."""


FEWEST = 32
"""Training scenes with a bought patch that statistics are worth gathering on, where there are as many."""


class Recalibration(NamedTuple):
    """What recalibration did to accuracy on the validation split, 0..1."""

    before: float
    """As trained."""
    after: float | None
    """With new statistics; None where too few training scenes have anything bought of them."""

    @property
    def better(self) -> bool:
        """Whether the new statistics are kept: accuracy does not fall."""
        return self.after is not None and self.after >= self.before


@torch.no_grad()
def recalibrate(model: PatchDrop, train: Split, recipe: Recipe, seed: int, choose: Choose) -> int:
    """Replace the HR stream's batch norm statistics by their mean over the training scenes that it sees anything of.

    A scene of which nothing is bought shows the HR stream one colour, which would be taken for what scenes look like.

    Args:
        model: Its HR stream's buffers change, no weight does.
        train: Training scenes; seen whole, at the HR size.
        recipe: Sizes and sensor.
        seed: Of the shuffle and the LR images' noise.
        choose: What is bought.

    Returns:
        The number of scenes that were seen. Fewer than two change nothing but forget what was gathered before.
    """
    model.eval()
    seen = 0
    with _averaging(model.hr), as_written(train.labels.device):
        for hr, masks in _bought(train, recipe, seed, choose):
            model.hr_logits(hr, masks)
            seen += len(hr)
    return seen


def _bought(train: Split, recipe: Recipe, seed: int, choose: Choose) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield whole views and masks of the scenes of which something is bought, in batches of one size.

    What fills no batch is left out, but where nothing fills one.
    """
    noise = torch.Generator(train.labels.device).manual_seed(seed)
    held: tuple[Tensor, Tensor] | None = None
    full = False
    for batch in train.batches(EVALUATION_BATCH, torch.Generator().manual_seed(seed)):
        hr = whole(batch.images, recipe.data.hr_px)
        if batch.twins is None:
            lr = simulate_lr(hr, recipe.data.lr_px, recipe.sensor, noise)
        else:
            lr = whole(batch.twins, recipe.data.lr_px)
        masks = choose(lr)
        some = masks.any(dim=1)
        found = hr[some], masks[some]
        held = found if held is None else (torch.cat([held[0], found[0]]), torch.cat([held[1], found[1]]))
        if len(held[0]) >= len(hr):
            full = True
            yield held[0][: len(hr)], held[1][: len(hr)]
            held = held[0][len(hr) :], held[1][len(hr) :]
    if held is not None and not full and len(held[0]) > 1:
        yield held


def recalibrate_if_better(
    model: PatchDrop,
    train: Split,
    recipe: Recipe,
    seed: int,
    choose: Choose,
    accuracy: Callable[[], float],
) -> Recalibration:
    """Recalibrate, and keep it only if accuracy on the validation split does not fall.

    Args:
        model: The model, whose HR stream's buffers change.
        train: Training scenes.
        recipe: Sizes and sensor.
        seed: Of the shuffle and the LR images' noise.
        choose: What is bought.
        accuracy: Measures the model as it is then, 0..1.
    """
    before = accuracy()
    held = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    enough = recalibrate(model, train, recipe, seed, choose) >= min(FEWEST, len(train))
    done = Recalibration(before, accuracy() if enough else None)
    if not done.better:
        model.load_state_dict(held)
    return done


def settle(
    engine: Engine,
    model: PatchDrop,
    stage: str,
    train: Split,
    val: ViewedSplit,
    streams: Streams,
    recipe: Recipe,
) -> Recalibration:
    """Recalibrate a finished stage as it ships, and keep the statistics beside its checkpoint if they are better.

    Raises:
        OutputError: They cannot be written.
    """
    load_as_shipped(engine, model, stage, recalibrated=False)
    masks = (policy_probabilities(model, val) > 0.5).float()
    done = recalibrate_if_better(
        model,
        train,
        recipe,
        engine.seed,
        lambda lr: (model.policy_logits(lr) > 0).float(),
        lambda: correct(model, val, streams, masks).float().mean().item(),
    )
    keep(engine, model, stage, better=done.better)
    return done


def keep(engine: Engine, model: PatchDrop, stage: str, *, better: bool) -> None:
    """Write a model's statistics beside the stage's checkpoint; none if that holds better ones, as trained.

    Raises:
        OutputError: They cannot be written.
    """
    kept = {f"model.hr.{name}": tensor for name, tensor in model.hr.named_buffers() if better}
    write_tensors(_norms(engine, stage), kept, {"done": "true", "stage": stage})


def is_settled(engine: Engine, stage: str) -> bool:
    """Tell whether it is known which statistics a finished stage ships with."""
    return _norms(engine, stage).is_file()


def load_as_shipped(engine: Engine, model: PatchDrop, stage: str, *, recalibrated: bool = True) -> bool:
    """Load a stage as its checkpoint ships: Ft-1 and Ft-2 in half precision, recalibrated where that was better.

    Returns:
        Whether recalibrated statistics were loaded.
    """
    engine.load(model, stage)
    if stage not in ("ft1", "ft2"):
        return False
    model.load_state_dict(model.half_weights())
    file = _norms(engine, stage)
    if not (recalibrated and file.is_file()):
        return False
    norms, _, _ = read_checkpoint(file)
    model.load_state_dict(norms, strict=False)
    return bool(norms)


def forget(engine: Engine, stage: str) -> None:
    """Drop the statistics of a stage that is about to be trained anew."""
    _norms(engine, stage).unlink(missing_ok=True)


def _norms(engine: Engine, stage: str) -> Path:
    return engine.checkpoint(f"{stage}-norms")


@contextmanager
def _averaging(network: nn.Module) -> Iterator[None]:
    """Let batch norms gather the plain mean of the batches' statistics from now on."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    try:
        yield
    finally:
        network.eval()
        for norm, value in zip(norms, momentum, strict=True):
            norm.momentum = value

"""Networks compiled where that pays: on a GPU, whose kernels are shorter than the time to launch them one by one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.console import Console

from geozoom.bagnet import BagNet
from geozoom.errors import first_line
from geozoom.model import PatchDrop
from training import POLICY_STAGES
from training.precision import in_half
from training.recipe import Recipe

_SHAPES = 64
"""Graphs of one network: batches of training and validation, sizes, and with or without gradient."""


def compile_networks(model: PatchDrop, recipe: Recipe, device: torch.device, console: Console) -> None:
    """Compile policy and streams in place, as the recipe asks; leave them as they are where it fails of the policy."""
    mode = recipe.compile
    if mode == "auto":
        mode = "reduce-overhead" if device.type == "cuda" else "off"
    if mode == "off":
        return
    # It has no public name.
    torch._dynamo.config.recompile_limit = _SHAPES  # noqa: SLF001
    try:
        _try_out(model, mode, device, recipe)
    except Exception as error:  # noqa: BLE001 a compiler has a hundred ways to fail, and none is fatal here
        torch._dynamo.reset()  # noqa: SLF001
        console.print(
            f"note: networks are not compiled ({first_line(error)[:200]})", highlight=False, soft_wrap=True
        )
        return
    # Of a BagNet what sees patches, which stages ask for all of them, in one shape.
    hr = model.hr.network if isinstance(model.hr, BagNet) else model.hr
    # A compiled network may give away what the first of two backward passes leaves to the second.
    twice = any(getattr(recipe, stage).estimator == "straight_through" for stage in POLICY_STAGES)
    for network in (model.policy, model.lr) if twice else (model.policy, hr, model.lr):
        network.compile(mode=mode, dynamic=False)


def begin_step(device: torch.device) -> None:
    """Let graphs on a GPU write over what the step before left; elsewhere are none, and no compiler is loaded."""
    if device.type == "cuda":
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]


@contextmanager
def as_written(device: torch.device) -> Iterator[None]:
    """Let compiled networks on a GPU run as they are written: for what is asked once, of batches of any size.

    Graphs would be recorded for each of its shapes, and their memory held until the next step of training.
    """
    if device.type == "cpu":
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def fastest_kernels(wanted: bool) -> Iterator[None]:
    """Let cuDNN try which of its kernels is fastest for a shape, or let it not: that pays where shapes are few."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _try_out(model: PatchDrop, mode: str, device: torch.device, recipe: Recipe) -> None:
    """Take steps of a policy as stages do: one forward with gradient, one without, one backward.

    The first warms up, the second records a graph, the third plays it.
    """
    network = copy.deepcopy(model.policy).train()
    network.compile(mode=mode, dynamic=False)
    side = recipe.data.lr_px
    images = torch.rand(2, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    half = in_half(recipe.precision, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=half, cache_enabled=False):
        for _ in range(3):
            begin_step(device)
            with fastest_kernels(device.type == "cuda"):
                kept = network(images).float()
                with torch.no_grad():
                    network(images)
                network.zero_grad(set_to_none=True)  # those of the step before lie in its graph's memory
                kept.sum().backward()

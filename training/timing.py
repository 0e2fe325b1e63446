"""Milliseconds per image of several ways to classify, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from training.precision import in_half


@torch.inference_mode()
def time_in_turns(
    ways: Mapping[str, Callable[[], object]], images: int, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Measure ways of classifying the same images, in bfloat16 where the device multiplies it.

    Every round takes each way once, so that other load on the machine falls on all of them; the first round, in
    which memory is laid out, does not count.

    Args:
        ways: Each does all of the work on all images.
        images: How many they are.
        rounds: Rounds that count, at least 1.
        device: Where the work is done.

    Returns:
        Milliseconds per image of each round, by way.
    """
    half = in_half("bf16", device)
    found: dict[str, list[float]] = {name: [] for name in ways}
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        for number in range(rounds + 1):
            for name, work in ways.items():
                _wait(device)
                began = time.perf_counter()
                work()
                _wait(device)
                if number:
                    found[name].append(1000 * (time.perf_counter() - began) / images)
    return found


def median_ratio(of: list[float], to: list[float]) -> float:
    """Return the median over rounds of the ratio of two ways' times in the same round."""
    return statistics.median(a / b for a, b in zip(of, to, strict=True))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""What a run's precision means on a device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from geozoom.inference import has_bfloat16


def in_half(precision: str, device: torch.device) -> bool:
    """Tell whether to compute in bfloat16: where it is asked for and the device multiplies it itself.

    Elsewhere it would be emulated, which on a CPU with AVX2 takes 12 to 14 times as long as float32.

    Args:
        precision: bf16 or fp32, as a recipe asks for it.
        device: Where the networks are.
    """
    if precision != "bf16":
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type != "cpu" or has_bfloat16()


@contextmanager
def full_convolutions() -> Iterator[None]:
    """Convolve float32 in float32, as a run's record says; of its own accord torch leaves out 13 bits on CUDA."""
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    before = convolutions.fp32_precision
    convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = before

"""Whether half precision pays on a device."""

from __future__ import annotations

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

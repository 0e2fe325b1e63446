"""Values that do not change between steps, kept on the device that uses them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache
def constant_on(
    device: torch.device,
    values: Callable[..., Tensor],
    *given: Hashable,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return what a function makes on a device: a copy at every step would make the host wait.

    Args:
        device: Where.
        values: Makes the values; asked once.
        given: Its arguments.
        dtype: Of the result.
    """
    with torch.inference_mode(False):  # one made in that mode could not be used outside of it
        return values(*given).to(device, dtype)

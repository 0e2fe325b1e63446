"""How the answers of the HR and the LR stream become one: the paper's mixture (Eq. 7), or a product of experts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FUSIONS = ("mixture", "product")
"""Eq. 7 mixes probabilities by the share of patches that were bought; the product multiplies them."""


def fuse_streams(
    fusion: str, hr_logits: Tensor, lr_logits: Tensor, bought: Tensor, temperature: float = 1.0
) -> Tensor:
    """Return the log-probabilities (B, N) float32 of both streams together.

    Args:
        fusion: One of `FUSIONS`.
        hr_logits: (B, N) of the HR stream.
        lr_logits: (B, N) of the LR stream.
        bought: (B, P) 1 for a bought patch, 0 for a masked one; where nothing was bought the LR stream answers alone.
        temperature: What the LR stream's logits are divided by where both answer, so that the weaker one speaks more
            softly.
    """
    both = bought.bool().any(dim=1, keepdim=True)
    if fusion == "product":
        alone = F.log_softmax(lr_logits.float(), dim=1)
        return torch.where(both, multiply_streams(hr_logits, lr_logits / temperature), alone)
    return mix_streams(hr_logits, torch.where(both, lr_logits / temperature, lr_logits), bought)


def mix_streams(hr_logits: Tensor, lr_logits: Tensor, bought: Tensor) -> Tensor:
    """Mix the two streams' probabilities by the share of bought patches (Eq. 7), in log space.

    Args:
        hr_logits: (B, N) of the HR stream.
        lr_logits: (B, N) of the LR stream.
        bought: (B, P) 1 for a bought patch, 0 for a masked one.

    Returns:
        (B, N) float32: log((S/P) softmax(hr) + (1 - S/P) softmax(lr)).
    """
    share = bought.float().mean(dim=1, keepdim=True)
    # A weight of exactly zero has the log −inf; clamping keeps the gradient finite and the other
    # stream's probabilities unchanged in float32.
    tiny = torch.finfo(torch.float32).tiny
    log_hr = F.log_softmax(hr_logits.float(), dim=1) + share.clamp(min=tiny).log()
    log_lr = F.log_softmax(lr_logits.float(), dim=1) + (1 - share).clamp(min=tiny).log()
    return torch.logaddexp(log_hr, log_lr)


def multiply_streams(hr_logits: Tensor, lr_logits: Tensor) -> Tensor:
    """Multiply the two streams' probabilities, (B, N) float32 logs: a product of experts (Hinton, 2002).

    In Eq. 7 a stream has its weight whatever it knows: below S = P/2 an LR stream that is sure and wrong outvotes an HR
    stream that is right, and what both hold for second best is lost. In a product either can rule a class out.
    """
    return F.log_softmax(hr_logits.float() + lr_logits.float(), dim=1)

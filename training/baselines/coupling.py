"""Networks that share some of each convolution's filters and learn the rest apart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.networks import pointwise


class CoupledConv2d(nn.Module):
    """A convolution whose first filters may be another's; its biases are its own.

    Args:
        conv: Gives shape and first weights of the filters that are its own, and of the shared ones without `partner`.
        coupled: Share of the filters, 0..1, that is shared.
        partner: The convolution that holds the shared filters; None holds them itself.
    """

    def __init__(self, conv: nn.Conv2d, coupled: float, partner: CoupledConv2d | None = None) -> None:
        super().__init__()
        count = round(coupled * conv.out_channels)
        # In a list, the partner is no part of this module: shared filters are in one network's weights only.
        self._partner = [] if partner is None else [partner]
        if partner is None:
            self.shared = nn.Parameter(conv.weight[:count].detach().clone())
        self.own = nn.Parameter(conv.weight[count:].detach().clone())
        self.bias = None if conv.bias is None else nn.Parameter(conv.bias.detach().clone())
        self.stride, self.padding = conv.stride, conv.padding

    @property
    def filters(self) -> Tensor:
        """All filters, the shared ones first: (out, in, height, width)."""
        holder = self._partner[0] if self._partner else self
        return torch.cat([holder.shared, self.own])

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) as the convolution did."""
        filters = self.filters
        if filters.shape[2:] == (1, 1):
            return pointwise(x, filters, self.bias, self.stride)
        return F.conv2d(x, filters, self.bias, self.stride, self.padding)


def couple(holder: nn.Module, guest: nn.Module, coupled: float) -> None:
    """Let two networks of one architecture share filters, in place; batch norms and linear layers stay apart.

    Args:
        holder: Gets the shared filters, with the weights that it has.
        guest: Uses them, and keeps the other filters, batch norms and linear layers that it has.
        coupled: Share of each convolution's filters, 0..1, that is shared.
    """
    for name, child in list(holder.named_children()):
        other = guest.get_submodule(name)
        if isinstance(child, nn.Conv2d) and isinstance(other, nn.Conv2d):
            shared = CoupledConv2d(child, coupled)
            setattr(holder, name, shared)
            setattr(guest, name, CoupledConv2d(other, coupled, shared))
        else:
            couple(child, other, coupled)

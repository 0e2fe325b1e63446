"""Hard positives: views of which a part is hidden, at random or where a policy would look first (paper §7).

What is hidden shows the mean colour, zero in normalised space, as a masked patch does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geozoom.grid import PatchGrid
from geozoom.model import on_pixels
from training.parallel import rand

AUGMENTS = ("none", "cutout", "patchdrop")
"""What stage `hr` may hide of its views: nothing, a square at random, or a policy's best patches."""


def hide(views: Tensor, hidden: Tensor, colour: Tensor) -> Tensor:
    """Paint the pixels (B, H, W) bool of views (B, 3, H, W) with one colour (1, 3, 1, 1)."""
    return torch.where(hidden[:, None], colour, views)


def draw_squares(views: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Draw the square that CutOut hides of each view (DeVries and Taylor, 2017).

    Its centre is uniform over the pixels; what reaches beyond the border is clipped.

    Args:
        views: (B, 3, H, W).
        side: Side of the square in pixels.
        generator: Source of the random numbers, on the views' device.

    Returns:
        (B, H, W) bool, true where hidden.
    """
    batch, _, height, width = views.shape
    device = views.device

    def inside(size: int) -> Tensor:
        centre = (rand((batch, 1), device, generator) * size).floor()
        offset = torch.arange(size, device=device) - (centre - side // 2)
        return (offset >= 0) & (offset < side)

    return inside(height)[:, :, None] & inside(width)[:, None, :]


def draw_counts(batch: int, most: int, device: torch.device, generator: torch.Generator) -> Tensor:
    """Draw how many patches each of `batch` views loses, (B,) int64: M ~ U{1..most}."""
    return 1 + (rand((batch,), device, generator) * most).long()


def top_patches(logits: Tensor, counts: Tensor) -> Tensor:
    """Return the patches of highest probability of each view, (B, P) bool.

    Ranked by logits, in which probabilities that round to 1 still differ; of equal ones the first comes first.

    Args:
        logits: (B, P) of a policy.
        counts: (B,) how many of each view.
    """
    rank = logits.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    return rank < counts.view(-1, 1)


def patch_pixels(patches: Tensor, grid: PatchGrid, height: int, width: int) -> Tensor:
    """Return the pixels (B, height, width) bool that patches (B, P) bool cover."""
    return on_pixels(patches.float(), grid, height, width)[:, 0].bool()

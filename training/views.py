"""Augmented crops of a stored scene.

Everything works on whole batches on the scenes' device, with the random numbers of one generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.parallel import rand


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random crops, flips, quarter turns and radiometry of a training scene."""

    crop: str = "area"
    """area (a random share of the scene, resized) or shift (a window of the HR size, by whole pixels)."""
    min_area: float = 0.35
    """area: smallest share of the scene's area that a crop shows; 1 turns cropping off."""
    pad_px: int = 0
    """shift: how far the window may leave the scene; what lies beyond is black."""
    quarter_turns: bool = True
    """Turn by multiples of 90° and flip both ways: a scene from above has no upright."""
    jitter: float = 0.2
    """Half-width of the random brightness and contrast factors."""


def augment(images: Tensor, side: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Draw one random view of each scene.

    Args:
        images: (B, 3, H, W) uint8.
        side: Side of the views in pixels.
        augmentation: What may vary.
        generator: Source of the random numbers, on the images' device.

    Returns:
        (B, 3, side, side) float32 RGB in 0..1.
    """
    crops = draw_crops(images, side, augmentation, generator)
    return jitter(cut(images, crops, side, augmentation), augmentation.jitter, generator)


def draw_crops(images: Tensor, side: int, augmentation: Augmentation, generator: torch.Generator) -> Tensor:
    """Draw where each view of (B, 3, H, W) scenes lies.

    Returns:
        (B, 2, 3) float32, what carries view coordinates (-1..1) to scene coordinates.
    """
    batch, device = len(images), images.device

    def uniform(low: float, high: float) -> Tensor:
        return rand((batch,), device, generator) * (high - low) + low

    if augmentation.crop == "shift":
        stored = images.shape[-1]
        wide = tall = torch.full((batch,), side / stored, device=device)
        shift_x, shift_y = (
            (
                2 * (uniform(0, stored - side + 2 * augmentation.pad_px + 1).floor() - augmentation.pad_px)
                + side
            )
            / stored
            - 1
            for _ in range(2)
        )
    else:
        area = uniform(augmentation.min_area, 1.0)
        ratio = uniform(-1.0, 1.0) * math.log(4 / 3) * (augmentation.min_area < 1)
        wide = (area.sqrt() * (ratio / 2).exp()).clamp(max=1.0)
        tall = (area.sqrt() * (-ratio / 2).exp()).clamp(max=1.0)
        shift_x = uniform(-1.0, 1.0) * (1 - wide)
        shift_y = uniform(-1.0, 1.0) * (1 - tall)
    flip = (uniform(0, 1) < 0.5).float() * 2 - 1
    turn = (uniform(0, 4)).floor() * (math.pi / 2) * augmentation.quarter_turns
    cos, sin = turn.cos().round(), turn.sin().round()
    return torch.stack(
        [
            torch.stack([wide * cos * flip, -wide * sin, shift_x], dim=1),
            torch.stack([tall * sin * flip, tall * cos, shift_y], dim=1),
        ],
        dim=1,
    )


def cut(images: Tensor, crops: Tensor, side: int, augmentation: Augmentation) -> Tensor:
    """Return the views (B, 3, side, side) in 0..1 that `draw_crops` drew, of uint8 images of any size."""
    with torch.autocast(images.device.type, enabled=False):  # in bfloat16 places are up to a pixel off
        where = F.affine_grid(crops, [len(images), 3, side, side], align_corners=False)
    beyond = "zeros" if augmentation.crop == "shift" else "reflection"
    return F.grid_sample(
        images.float() / 255, where, mode="bilinear", padding_mode=beyond, align_corners=False
    )


def jitter(views: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    """Change brightness and contrast of each view by random factors of 1 ± `amount`."""
    if not amount:
        return views

    low, high = 1 - amount, 1 + amount

    def factor() -> Tensor:
        drawn = rand((len(views),), views.device, generator)
        return (drawn * (high - low) + low).view(-1, 1, 1, 1)

    brightness, contrast = factor(), factor()
    mean = views.mean(dim=(1, 2, 3), keepdim=True)
    return ((views - mean) * contrast + mean * brightness).clamp(0, 1)

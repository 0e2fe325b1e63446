"""From a stored scene to what a sensor would have seen: augmented HR crops and simulated LR images.

Everything works on whole batches on the scenes' device, with the random numbers of one generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from geozoom.grid import area_weights
from training.parallel import rand, randn


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


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """How the LR image comes out of the HR image: optics, sampling, radiometry and noise."""

    psf_fwhm: float = 0.0
    """Full width at half maximum of the Gaussian point spread function, in LR pixels."""
    gain: float = 0.0
    """Standard deviation of the random gain of each scene and band."""
    offset: float = 0.0
    """Standard deviation of the random offset of each scene and band, in 0..1."""
    noise: float = 0.0
    """Standard deviation of the noise of each pixel, in 0..1."""


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


def simulate_lr(hr: Tensor, lr_px: int, sensor: Sensor, generator: torch.Generator | None = None) -> Tensor:
    """Simulate the LR image of each HR image (METHOD: antialiased area downsampling).

    Args:
        hr: (B, 3, H, H) RGB in 0..1.
        lr_px: Side of the LR images in pixels.
        sensor: Point spread function, radiometry and noise on top of the area average.
        generator: Source of radiometry and noise; None leaves both out.

    Returns:
        (B, 3, lr_px, lr_px) float32 RGB in 0..1.
    """
    weights = _sampling_matrix_on(hr.device, hr.shape[-1], lr_px, sensor.psf_fwhm)
    lr = weights @ hr @ weights.T
    if generator is not None:
        shape = (len(hr), 3, 1, 1)

        def normal(size: tuple[int, ...]) -> Tensor:
            return randn(size, hr.device, generator)

        lr = lr * (1 + sensor.gain * normal(shape)) + sensor.offset * normal(shape)
        lr = lr + sensor.noise * normal(tuple(lr.shape))
    return lr.clamp(0, 1)


@lru_cache
def _sampling_matrix_on(device: torch.device, hr_px: int, lr_px: int, psf_fwhm: float) -> Tensor:
    """Return `sampling_matrix` as float32 on a device: a copy at every step would make the host wait."""
    with torch.inference_mode(False):  # one made in that mode could not be used outside of it
        return sampling_matrix(hr_px, lr_px, psf_fwhm).to(device, torch.float32)


def sampling_matrix(hr_px: int, lr_px: int, psf_fwhm: float) -> Tensor:
    """Return the (lr_px, hr_px) weights of one axis: a Gaussian PSF, then the mean over each LR pixel.

    Rows sum to 1. With `psf_fwhm` 0 it is exact area averaging, whole ratio or not.
    """
    weights = torch.from_numpy(area_weights(lr_px, hr_px))
    if psf_fwhm > 1e-6:  # below, a pixel would weigh 0 / 0
        pixel = torch.arange(hr_px, dtype=torch.float64)
        sigma = psf_fwhm * hr_px / lr_px / 2.3548
        blur = torch.exp(-0.5 * ((pixel[:, None] - pixel) / sigma) ** 2)
        weights = weights @ (blur / blur.sum(dim=1, keepdim=True))
    return weights / weights.sum(dim=1, keepdim=True)

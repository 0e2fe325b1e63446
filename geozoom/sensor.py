"""From an HR image to what an LR sensor would have seen of it.

Everything works on whole batches on the images' device, with the random numbers of one generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geozoom.constants import constant_on
from geozoom.grid import area_weights


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


def _standard_normal(shape: tuple[int, ...], device: torch.device, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, device=device, generator=generator)


def simulate_lr(
    hr: Tensor,
    lr_px: int,
    sensor: Sensor,
    generator: torch.Generator | None = None,
    normal: Callable[[tuple[int, ...], torch.device, torch.Generator], Tensor] = _standard_normal,
) -> Tensor:
    """Simulate the LR image of each HR image (METHOD: antialiased area downsampling).

    Args:
        hr: (B, 3, H, H) RGB in 0..1.
        lr_px: Side of the LR images in pixels.
        sensor: Point spread function, radiometry and noise on top of the area average.
        generator: Source of radiometry and noise; None leaves both out.
        normal: Draws them: shape, device, generator → standard normal numbers.

    Returns:
        (B, 3, lr_px, lr_px) float32 RGB in 0..1.
    """
    weights = constant_on(hr.device, sampling_matrix, hr.shape[-1], lr_px, sensor.psf_fwhm)
    with torch.autocast(hr.device.type, enabled=False):  # products would be in bfloat16
        lr = weights @ hr @ weights.T
    if generator is not None:
        shape = (len(hr), 3, 1, 1)

        def draw(size: tuple[int, ...]) -> Tensor:
            return normal(size, hr.device, generator)

        lr = lr * (1 + sensor.gain * draw(shape)) + sensor.offset * draw(shape)
        lr = lr + sensor.noise * draw(tuple(lr.shape))
    return lr.clamp(0, 1)


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

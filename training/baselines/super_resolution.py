"""SRGAN's networks (Ledig et al., 2017, Fig. 4) for any pair of LR and HR sizes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Generator(nn.Module):
    """Residual blocks at the LR size, then sub-pixel convolutions up to the HR size.

    What the paper has, for its factor of 4: a 9×9 convolution, 16 blocks of two 3×3 convolutions with batch norm and
    parametric ReLU, a skip connection over all blocks, two sub-pixel convolutions by 2, and a 9×9 convolution.
    **Decided:** a sub-pixel convolution for each prime factor of HR / LR, the smallest first (12 → 144 px: by 2, 2
    and 3); where HR is no multiple of LR, of the next whole ratio, and features are then resized. What the last
    convolution gives is added to the bilinearly upsampled LR image, and is nothing to begin with: the schedules here
    have thousands of steps where the paper's has a million.

    Args:
        lr_px: Side of the LR images.
        hr_px: Side of the HR images.
        width: Channels.
        blocks: Residual blocks.
    """

    def __init__(self, lr_px: int, hr_px: int, width: int, blocks: int) -> None:
        super().__init__()
        self.hr_px = hr_px
        self.head = nn.Sequential(nn.Conv2d(3, width, 9, padding=4), nn.PReLU())
        body: list[nn.Module] = [_GeneratorBlock(width) for _ in range(blocks)]
        self.body = nn.Sequential(*body, nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))
        steps: list[nn.Module] = []
        for factor in prime_factors(-(-hr_px // lr_px)):
            steps += [
                nn.Conv2d(width, width * factor**2, 3, padding=1),
                nn.PixelShuffle(factor),
                nn.PReLU(),
            ]
        self.upsampling = nn.Sequential(*steps)
        self.tail = nn.Conv2d(width, 3, 9, padding=4)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, lr_px, lr_px), RGB in 0..1, to (B, 3, hr_px, hr_px), which may leave 0..1 a little."""
        size = (self.hr_px, self.hr_px)
        features = self.head(lr.contiguous(memory_format=torch.channels_last))
        features = self.upsampling(features + self.body(features))
        if features.shape[-1] != self.hr_px:
            features = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
        smooth = F.interpolate(lr, size=size, mode="bilinear", align_corners=False)
        detail: Tensor = self.tail(features)
        return smooth + detail.float()


class _GeneratorBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(width)
        self.act = nn.PReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(self.act(self.bn1(self.conv1(x)))))
        return x + out


class Discriminator(nn.Module):
    """Tells HR images from super-resolved ones.

    Eight 3×3 convolutions, every second of stride 2, with batch norm and leaky ReLU, and two linear layers.
    **Decided:** what the convolutions leave is averaged down to 6 × 6, their output on the paper's crops of 96 px, so
    that the linear layer is no larger on a larger image.

    Args:
        hr_px: Side of the images.
        width: Channels of the first convolution; they double with every second one after it.
    """

    SIDE = 6

    def __init__(self, hr_px: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for number in range(8):
            out = width * 2 ** (number // 2)
            # The paper's first layer alone has no batch norm.
            layers.append(nn.Conv2d(channels, out, 3, 1 + number % 2, 1, bias=number == 0))
            if number:
                layers.append(nn.BatchNorm2d(out))
            layers.append(nn.LeakyReLU(0.2))
            channels = out
        self.convolutions = nn.Sequential(*layers)
        self.side = min(self.SIDE, -(-hr_px // 16))
        self.verdict = nn.Sequential(
            nn.Linear(channels * self.side**2, 16 * width), nn.LeakyReLU(0.2), nn.Linear(16 * width, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (B, 3, hr_px, hr_px) to the logit (B,) float32 that each is a real HR image."""
        features = F.adaptive_avg_pool2d(self.convolutions(images), self.side)
        logits: Tensor = self.verdict(features.flatten(1))
        return logits.squeeze(1).float()


def prime_factors(number: int) -> list[int]:
    """Return the prime factors of a number, the smallest first; of 1 there are none."""
    factors, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            factors.append(divisor)
            number //= divisor
        divisor += 1
    return factors

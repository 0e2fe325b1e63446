"""JPEG files decoded, cropped and resized on the GPU; what it refuses is left to Pillow.

Pixels differ from Pillow's a little: decoders round differently, boxes are cut at whole pixels, and where a file holds
colours at half of the pixels (4:2:0, as most do) nvJPEG repeats them and Pillow interpolates. Training alone uses it.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.io import ImageReadMode, decode_jpeg

from geozoom.images import Box

LARGEST_PX = 2**24
"""Of a larger image Pillow decodes a reduced copy, which costs less than all of its pixels."""


def read_encoded(file: Path) -> Tensor | None:
    """Return the bytes (n,) of a JPEG that the GPU may decode, None for any other file.

    Raises:
        OSError: The file cannot be read.
    """
    with Image.open(file) as opened:
        plain = opened.format == "JPEG" and opened.mode in ("RGB", "L")
        if not plain or opened.width * opened.height > LARGEST_PX:
            return None
    return torch.from_numpy(np.fromfile(file, dtype=np.uint8))


def decode(
    encoded: list[Tensor], boxes: list[Box | None], side: int, device: torch.device
) -> list[Tensor | None]:
    """Decode JPEG on a device.

    Args:
        encoded: Bytes (n,) of each file, on the CPU.
        boxes: The part of each that is a scene, in pixels; None takes the central square.
        side: Side of the scenes in pixels.
        device: Where to decode.

    Returns:
        (3, side, side) uint8 RGB on the device for each; None for those that its decoder refuses.
    """
    decoded: list[Tensor | None] = []
    try:
        with warnings.catch_warnings():
            # torchvision 0.29 hands decoding over to torchcodec, which brings FFmpeg along.
            warnings.simplefilter("ignore", DeprecationWarning)
            decoded += decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
    except RuntimeError:
        if len(encoded) < 2:
            return [None] * len(encoded)
        # It says not which of them: each half is tried by itself.
        half = len(encoded) // 2
        return [
            *decode(encoded[:half], boxes[:half], side, device),
            *decode(encoded[half:], boxes[half:], side, device),
        ]
    return [
        None if image is None else _resized(image, box, side)
        for image, box in zip(decoded, boxes, strict=True)
    ]


def _resized(image: Tensor, box: Box | None, side: int) -> Tensor | None:
    height, width = image.shape[-2:]
    if box is None:
        short = min(width, height)
        box = np.array([width - short, height - short, width + short, height + short]) / 2
    left, right = np.clip(box[[0, 2]], 0, width).astype(int)
    top, bottom = np.clip(box[[1, 3]], 0, height).astype(int)
    if right <= left or bottom <= top:
        return None
    scene = image[None, :, top:bottom, left:right].float()
    resized = F.interpolate(scene, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return resized[0].round().clamp(0, 255).to(torch.uint8)

"""JPEG files decoded, cropped and resized on the GPU; what it refuses is left to Pillow.

Pixels differ from Pillow's a little: decoders round differently, boxes are cut at whole pixels, and where a file holds
colours at half of the pixels (4:2:0, as most do) nvJPEG repeats them and Pillow interpolates. Training alone uses it.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from geozoom.images import Box

try:
    from torchvision.io import ImageReadMode, decode_jpeg
except ImportError:  # torchvision means to give it up
    decode_jpeg = None

LARGEST_PX = 2**24
"""Of a larger image Pillow decodes a reduced copy, which costs less than all of its pixels."""
LARGEST_PART = 2**24
"""Bytes of files that are decoded before they are resized: some hundred megapixels."""


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
    if device.type != "cuda":
        return _decode(encoded, boxes, side, device)
    # nvJPEG writes into fresh memory at once, and what the allocator calls free may still be read by kernels that wait
    # on the stream it was freed on. So there is a stream on which nothing waits.
    here, own = torch.cuda.current_stream(device), _own_stream(device)
    with torch.cuda.stream(own):
        found = [
            image for part in _parts(encoded) for image in _decode(encoded[part], boxes[part], side, device)
        ]
    here.wait_stream(own)
    for image in found:
        if image is not None:
            image.record_stream(here)
    return found


@lru_cache
def _own_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@lru_cache
def works_on(device: torch.device) -> bool:
    """Tell whether a device decodes JPEG, by having it decode one."""
    if device.type != "cuda" or decode_jpeg is None:
        return False
    written = io.BytesIO()
    Image.new("RGB", (16, 16)).save(written, "JPEG")
    encoded = torch.from_numpy(np.frombuffer(written.getvalue(), dtype=np.uint8).copy())
    return decode([encoded], [None], 16, device)[0] is not None


def _parts(encoded: list[Tensor]) -> Iterator[slice]:
    """Yield runs of files that together are of `LARGEST_PART`, or one file."""
    start, held = 0, 0
    for end, file in enumerate(encoded):
        if held and held + len(file) > LARGEST_PART:
            yield slice(start, end)
            start, held = end, 0
        held += len(file)
    yield slice(start, len(encoded))


def _decode(
    encoded: list[Tensor], boxes: list[Box | None], side: int, device: torch.device
) -> list[Tensor | None]:
    """Decode on the current stream of a device.

    Raises:
        OutOfMemoryError: Its memory does not suffice.
    """
    decoded: list[Tensor | None] = []
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    try:
        with warnings.catch_warnings():
            # torchvision 0.29 hands decoding over to torchcodec, which brings FFmpeg along.
            warnings.simplefilter("ignore", DeprecationWarning)
            decoded += decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device)
    except RuntimeError as error:
        if "out of memory" in str(error).lower():  # torchvision's error is of no class of its own
            raise torch.OutOfMemoryError(str(error)) from error
        if len(encoded) < 2:
            return [None] * len(encoded)
        # It says not which of them: each half is tried by itself.
        half = len(encoded) // 2
        return [
            *_decode(encoded[:half], boxes[:half], side, device),
            *_decode(encoded[half:], boxes[half:], side, device),
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
    try:
        resized = F.interpolate(scene, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # CUDA's kernel has no room for a scale of 48 and more
        return None
    return resized[0].round().clamp(0, 255).to(torch.uint8)

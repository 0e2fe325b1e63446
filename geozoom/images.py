"""Image files → square uint8 RGB."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile
from torch import Tensor

from geozoom.errors import some_of

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
UNREADABLE = (
    OSError,
    UnidentifiedImageError,
    ValueError,
    SyntaxError,
    RuntimeError,  # of a damaged AVIF; NotImplementedError of a DDS, whatever their names end in
    Image.DecompressionBombError,
)
"""What Pillow raises for files that it cannot decode."""

Box = NDArray[np.float64]
"""Left, top, right and bottom of the part of an image that is a scene, in pixels."""


class Source(Protocol):
    """Where pixels come from."""

    def read(self, file: str, box: Box | None, side: int) -> Tensor:
        """Return one scene as (3, side, side) uint8 RGB; raise one of `UNREADABLE` if it cannot be."""


def images_by_class(folder: Path) -> dict[str, list[Path]]:
    """Return the images of every class folder, classes and images in order of their names."""
    return {
        each.name: sorted(file for file in each.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        for each in sorted(folder.iterdir())
        if each.is_dir()
    }


def unread_in(folder: Path) -> list[str]:
    """Say what of the class folders `images_by_class` does not read: images further down, files of other suffixes."""
    classes = [each for each in folder.iterdir() if each.is_dir()]
    inner = [
        entry
        for each in classes
        for entry in each.iterdir()
        if entry.suffix.lower() not in IMAGE_SUFFIXES and not entry.name.startswith(".")
    ]
    deep = sum(is_image(file) for entry in inner if entry.is_dir() for file in entry.rglob("*"))
    others = sorted(entry.name for entry in inner if entry.is_file())
    said = [f"{deep} images in folders within the classes of {folder.name} are not read"] if deep else []
    if others:
        said.append(
            f"{len(others)} other files in the classes of {folder.name} are not read: {some_of(others)}"
        )
    return said


def is_image(file: Path) -> bool:
    """Tell whether a file is an image by its name."""
    return file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """Scenes that are image files below one folder."""

    root: Path

    def read(self, file: str, box: Box | None, side: int) -> Tensor:
        """Return a scene as (3, side, side) uint8 RGB: its box, or the central square of the file."""
        if box is None:
            return read_square(self.root / file, side)
        return read_box(self.root / file, box, side)


def read_square(file: Path, side: int) -> Tensor:
    """Read the central square of an image as (3, side, side) uint8 RGB, antialiased."""
    with Image.open(file) as opened:
        _refuse_deep(opened)
        image = opened.convert("RGB")
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    return _resized(image, (left, top, left + short, top + short), side)


def read_box(file: Path, box: Box, side: int) -> Tensor:
    """Read a box of an image as (3, side, side) uint8 RGB, antialiased.

    The box is clipped to the image, and squeezed into a square.
    """
    with Image.open(file) as opened:
        _refuse_deep(opened)
        width, height = opened.size
        left, right = np.clip(box[[0, 2]], 0, width)
        top, bottom = np.clip(box[[1, 3]], 0, height)
        if right <= left or bottom <= top:
            raise ValueError(f"the box {box.round(1).tolist()} is outside of its {width} × {height} pixels")
        # A JPEG of fMoW can have 100 million pixels: libjpeg reduces it by up to 8 while it decodes.
        shrink = min(right - left, bottom - top) / side
        if shrink >= 2:
            opened.draft(None, (int(width / shrink), int(height / shrink)))
        image = opened.convert("RGB")
    across, down = image.width / width, image.height / height
    right, bottom = min(right * across, image.width), min(bottom * down, image.height)
    return _resized(image, (left * across, top * down, right, bottom), side)


def _refuse_deep(image: ImageFile) -> None:
    """Refuse what has more than 8 bits a band; of colours Pillow would keep the high byte, which is next to black."""
    deep = image.mode.startswith(("I", "F")) or any("16" in str(part[3]) for part in image.tile)
    bits = image.tag_v2.get(BITSPERSAMPLE, (8,)) if isinstance(image, TiffImageFile) else (8,)
    if deep or max(bits) > 8:
        raise ValueError("pixels of more than 8 bits; store it as 8-bit RGB")


def _resized(image: Image.Image, box: tuple[float, float, float, float], side: int) -> Tensor:
    square = image.resize((side, side), Image.Resampling.BICUBIC, box=box)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1)

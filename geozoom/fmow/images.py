"""fMoW's pixels: JPEGs, GeoTIFFs of fMoW-full, and fMoW-Sentinel's real view of the same place at 10 m."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window
from torch import Tensor

from geozoom.images import Box, read_box, read_square

Image.MAX_IMAGE_PIXELS = 20_000**2  # fMoW has images of more pixels than Pillow takes for an attack

_RGB_OF_COUNT = {3: (1, 2, 3), 4: (3, 2, 1), 8: (5, 3, 2)}
"""Red, green and blue by number of bands: RGB; blue to near infrared; WorldView-2 and -3, coastal first."""
_STRETCH = (2, 98)
"""Percentiles that become black and white where bands have more than 8 bits."""
_STRETCH_PX = 256
"""Pixels a side of the overview that percentiles are taken from."""


@dataclass(frozen=True, kw_only=True)
class FmowFiles:
    """Scenes that are boxes of fMoW's images."""

    root: Path

    def read(self, file: str, box: Box | None, side: int) -> Tensor:
        """Return a scene as (3, side, side) uint8 RGB, its box squeezed into a square."""
        path = self.root / file
        if path.suffix.lower() in (".tif", ".tiff"):
            return read_tiff(path, box, side)
        return read_square(path, side) if box is None or np.isnan(box[0]) else read_box(path, box, side)


def read_tiff(file: Path, box: Box | None, side: int) -> Tensor:
    """Read a box of a 3-, 4- or 8-band GeoTIFF as (3, side, side) uint8 RGB.

    Bands of more than 8 bits are stretched between the 2nd and 98th percentile of the whole image.
    """
    import rasterio

    with rasterio.open(file) as dataset:
        bands = _RGB_OF_COUNT.get(dataset.count)
        if bands is None:
            raise ValueError(f"{dataset.count} bands; fMoW has 3, 4 or 8")
        whole = np.array([0.0, 0.0, dataset.width, dataset.height])
        window = _window(whole if box is None or np.isnan(box[0]) else box, dataset)
        pixels: NDArray[np.float64] = dataset.read(
            bands, window=window, out_shape=(3, side, side), resampling=Resampling.cubic
        ).astype(np.float64)
        if dataset.dtypes[0] != "uint8":
            shape = tuple(min(_STRETCH_PX, length) for length in (dataset.height, dataset.width))
            overview = dataset.read(bands, out_shape=(3, *shape)).reshape(3, -1)
            low, high = np.percentile(overview, _STRETCH, axis=1)[:, :, None, None]
            pixels = (pixels - low) / np.maximum(high - low, 1) * 255
    return _uint8(pixels)


@dataclass(frozen=True, kw_only=True)
class SentinelTwins:
    """fMoW-Sentinel: for an fMoW image, a Sentinel-2 composite of the same ground around the same date."""

    root: Path
    twins: dict[str, str]
    """File of fMoW's image → its twin, relative to `root`."""
    sizes: dict[str, tuple[int, int]]
    """File of fMoW's image → its width and height in pixels."""
    white: float
    """Surface reflectance that is shown as white."""
    gamma: float
    """Display gamma."""

    def read(self, file: str, box: Box | None, side: int) -> Tensor:
        """Return the part of the twin that shows the box, as (3, side, side) uint8 RGB."""
        import rasterio

        with rasterio.open(self.root / self.twins[file]) as dataset:
            if dataset.count < 4:
                raise ValueError(f"{dataset.count} band, as fMoW-Sentinel has where a download failed")
            across, down = (
                own / hr for own, hr in zip((dataset.width, dataset.height), self.sizes[file], strict=True)
            )
            assert box is not None
            window = _window(box * np.array([across, down, across, down]), dataset)
            # B4, B3, B2 of thirteen bands that begin with B1.
            pixels = dataset.read(
                (4, 3, 2), window=window, out_shape=(3, side, side), resampling=Resampling.bilinear
            )
        reflectance = pixels.astype(np.float64) / 10_000
        return _uint8(255 * np.clip(reflectance / self.white, 0, 1) ** (1 / self.gamma))


def _window(box: Box, dataset: DatasetReader) -> Window:
    """Return the part of a box (left, top, right, bottom in pixels) that lies on the raster."""
    left, right = np.clip(box[[0, 2]], 0, dataset.width)
    top, bottom = np.clip(box[[1, 3]], 0, dataset.height)
    if right <= left or bottom <= top:
        raise ValueError(
            f"the box {box.round(1).tolist()} is outside of its {dataset.width} × {dataset.height} pixels"
        )
    return Window(left, top, right - left, bottom - top)


def _uint8(pixels: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))

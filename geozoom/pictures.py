"""Pictures of LR tiles for people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geozoom.calibration import Display
from geozoom.tiles import Tile

DISPLAY = Display(white=0.3, gamma=1.6)
"""For the eye, not for the networks."""


def picture_of(tile: Tile, longest: int) -> NDArray[np.float32]:
    """Return a tile as RGB and alpha (H, W, 4) in 0..1, thinned to `longest` pixels a side.

    Raises:
        TileError: The raster cannot be read to its end.
    """
    shrink = min(1.0, longest / max(tile.height, tile.width))
    shape = (max(1, round(tile.height * shrink)), max(1, round(tile.width * shrink)))
    with tile.open() as dataset:
        pixels = tile.read(dataset, None, DISPLAY, shape)
    picture = np.concatenate([pixels.rgb, pixels.valid[None].astype(np.float32)])
    return picture.transpose(1, 2, 0)

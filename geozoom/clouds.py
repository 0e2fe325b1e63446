"""Clouds: which pixels a product's own classification, or the user's mask, calls clouded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SCL_CLOUDS = (3, 8, 9, 10)
"""Sentinel-2 scene classification: cloud shadow, cloud at medium and high probability, thin cirrus."""
QA_PIXEL_CLOUDS = 0b11110
"""Landsat Collection 2 QA_PIXEL: dilated cloud, cirrus, cloud and cloud shadow."""


@dataclass(frozen=True, kw_only=True)
class CloudMask:
    """A raster that says where clouds are, on any grid."""

    dataset: str
    """What GDAL opens."""
    kind: Literal["scl", "msk_classi", "qa_pixel", "mask"]
    """Sentinel-2's classes or, of L1C, masks of opaque cloud and cirrus; Landsat's bits; or a mask that is not 0 under
    clouds."""

    @property
    def bands(self) -> list[int]:
        """Which of its bands say so; any of them does."""
        return [1, 2] if self.kind == "msk_classi" else [1]

    def clouded(self, numbers: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Return which of its digital numbers mean cloud or a cloud's shadow."""
        if self.kind == "scl":
            return np.isin(numbers, SCL_CLOUDS)
        if self.kind == "qa_pixel":
            return np.asarray(numbers.astype(np.int64) & QA_PIXEL_CLOUDS, dtype=np.bool_)
        return np.asarray(numbers != 0, dtype=np.bool_)

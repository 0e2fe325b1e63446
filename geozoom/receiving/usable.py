"""Planet's usable data mask (UDM2): how much of a delivery itself lies under clouds.

Eight bands of 0 or 1, the first six of which share the image's pixels out: clear, snow, shadow, light haze, heavy haze
and cloud. A pixel without any of them holds no image.
"""

from __future__ import annotations

from rasterio.errors import RasterioError

from geozoom.errors import DeliveryError, first_line
from geozoom.rasters import open_raster

BANDS = 8
_CLASSES = (1, 2, 3, 4, 5, 6)
_CLOUD = 6


def cloud_share(mask: str) -> float | None:
    """Return the share of the image's pixels that a UDM2 calls cloud, or None if it is no UDM2 or marks nothing.

    Raises:
        DeliveryError: It cannot be read to its end.
    """
    with open_raster(mask, DeliveryError) as dataset:
        if dataset.count != BANDS:
            return None
        shown = clouded = 0
        try:
            for _, window in dataset.block_windows(1):
                classes = dataset.read(_CLASSES, window=window) == 1
                shown += int(classes.any(axis=0).sum())
                clouded += int(classes[_CLASSES.index(_CLOUD)].sum())
        except RasterioError as error:
            raise DeliveryError(
                f"{mask}: cannot be read to its end ({first_line(error)}); copy it again, or remove it to take its "
                "image without a mask"
            ) from error
    return clouded / shown if shown else None

"""Whether a cloud mask says of every place of a tile where clouds are."""

from __future__ import annotations

from typing import Any

import numpy as np
from pyproj import CRS, Transformer
from rasterio.enums import MaskFlags

from geozoom.clouds import CloudMask
from geozoom.errors import TileError
from geozoom.ground import turned
from geozoom.pixelgrid import PixelGrid
from geozoom.rasters import open_raster
from geozoom.warping import longitudes


def check_cover(name: str, grid: PixelGrid, clouds: CloudMask) -> None:
    """Refuse a cloud mask that says nothing of a part of a tile: it would pass for clear.

    Raises:
        TileError: It does not cover the tile, has a mask of its own, several bands or no CRS, or cannot be opened.
    """
    with open_raster(clouds.dataset, TileError) as mask:
        if mask.crs is None:
            raise TileError(f"{clouds.dataset}: a cloud mask needs a CRS; give a georeferenced one")
        if clouds.kind == "mask" and mask.count > 1:
            raise TileError(
                f"{clouds.dataset}: has {mask.count} bands; give a cloud mask of one, which is not 0 under clouds"
            )
        if MaskFlags.per_dataset in mask.mask_flag_enums[0] and not _all_valid(mask):
            raise TileError(
                f"{clouds.dataset}: is masked itself, and says nothing of clouds there; write 1 where they are or may "
                "be, and no mask"
            )
        col, row = np.meshgrid(np.linspace(0, grid.width, 17), np.linspace(0, grid.height, 17))
        to_mask = Transformer.from_crs(grid.crs, CRS.from_user_input(mask.crs), always_xy=True)
        a, b, c, d, e, f = grid.transform[:6]
        x, y = to_mask.transform(a * col + b * row + c, d * col + e * row + f)
        shown = longitudes(mask.crs.to_wkt(), mask.transform, mask.width, mask.height)
        if shown is not None:
            x = turned(x, sum(shown) / 2)
        a, b, c, d, e, f = (~mask.transform)[:6]
        at_col, at_row = a * x + b * y + c, d * x + e * y + f
        # By one pixel of the finer of both: grids of two products are rounded apart.
        slack = min(1.0, max(np.ptp(at_col) / grid.width, np.ptp(at_row) / grid.height))
        inside = (at_col >= -slack) & (at_col <= mask.width + slack)
        inside &= (at_row >= -slack) & (at_row <= mask.height + slack)
        if not inside.all():
            raise TileError(f"{clouds.dataset}: a cloud mask that does not cover {name}; give one that does")


def _all_valid(dataset: Any) -> bool:
    return all(dataset.read_masks(1, window=window).all() for _, window in dataset.block_windows(1))

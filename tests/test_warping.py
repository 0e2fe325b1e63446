"""Rasters brought to another grid where longitudes go on beyond 180°, or start again at -180°."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.control import GroundControlPoint
from rasterio.io import MemoryFile

from geozoom.warping import in_blocks, on_grid, placed_by_gcps
from tests.conftest import WriteRaster, smooth_noise

DEG = 9e-5
"""About 10 m at the equator."""
PX = 60
"""Rows and columns of the rasters; the grids have fewer, so that they lie within."""


def in_degrees(middle: float, crs: str = "EPSG:4326", side: int = PX) -> tuple[str, Affine]:
    """Return a grid around a longitude at the equator."""
    return crs, Affine.translation(middle, 0) @ Affine.scale(DEG, -DEG) @ Affine.translation(
        -side / 2, -side / 2
    )


def in_utm(longitude: float, zone: int, side: int) -> tuple[str, Affine]:
    crs = f"EPSG:{32600 + zone}"
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(longitude, 0)
    return crs, Affine.translation(x, y) @ Affine.scale(10, -10) @ Affine.translation(-side / 2, -side / 2)


def brought(path: Path, grid: tuple[str, Affine], side: int, *, blocks: bool = False) -> NDArray[Any]:
    """Return the bands of a raster on a grid, and what of it holds data last."""
    crs, transform = grid
    with (
        rasterio.open(path) as dataset,
        on_grid(
            dataset,
            crs=dataset.crs.to_wkt(),
            to_crs=CRS.from_user_input(crs).to_wkt(),
            transform=transform,
            width=side,
            height=side,
            nodata=None,
        ) as warped,
    ):
        if not blocks:
            return np.asarray(warped.read())
        with rasterio.open(in_blocks(warped, 16, 16)) as reopened:
            return np.asarray(reopened.read())


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4269", "EPSG:4979", "EPSG:4326+5773"])
@pytest.mark.parametrize(("middle", "zone"), [(180, 60), (-180, 60), (186, 1)])
@pytest.mark.parametrize("blocks", [False, True])
def test_longitudes_beyond_180_are_found_from_a_projected_grid(
    write_raster: WriteRaster, crs: str, middle: float, zone: int, blocks: bool
) -> None:
    pixels = (smooth_noise(3, PX, PX) * 254 + 1).astype(np.uint8)
    _, inland = in_degrees(174)
    expected = brought(
        write_raster("a.tif", crs=crs, transform=inland, pixels=pixels), in_utm(174, 59, 40), 40
    )
    assert (expected[-1] == 255).all()
    _, beyond = in_degrees(middle)
    path = write_raster("b.tif", crs=crs, transform=beyond, pixels=pixels)
    found = brought(path, in_utm(middle, zone, 40), 40, blocks=blocks)
    np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)


@pytest.mark.parametrize(
    ("middle", "to_middle"), [(180, -180), (-180, 180), (190.5, -169.5), (-169.5, 190.5)]
)
@pytest.mark.parametrize("to_crs", ["EPSG:4326", "EPSG:4269"])
def test_grids_in_degrees_are_the_same_a_turn_apart(
    write_raster: WriteRaster, middle: float, to_middle: float, to_crs: str
) -> None:
    pixels = (smooth_noise(3, PX, PX) * 254 + 1).astype(np.uint8)
    _, transform = in_degrees(middle)
    path = write_raster(crs="EPSG:4326", transform=transform, pixels=pixels)
    found = brought(path, in_degrees(to_middle, to_crs, 40), 40)
    np.testing.assert_allclose(found[:3].astype(int), pixels[:, 10:50, 10:50].astype(int), atol=1)
    assert (found[3] == 255).all()


@pytest.mark.parametrize("to_middle", [180, -180])
@pytest.mark.parametrize("start", [-180, 180, 180 - PX * DEG, -180 - PX * DEG])
def test_a_raster_on_one_side_of_the_antimeridian_fills_that_side_of_a_grid_across_it(
    write_raster: WriteRaster, start: float, to_middle: float
) -> None:
    transform = Affine(DEG, 0, start, 0, -DEG, PX / 2 * DEG)
    path = write_raster(crs="EPSG:4326", transform=transform, height=PX, width=PX)
    for grid in (in_degrees(to_middle, side=40), in_utm(180, 60, 40)):
        valid = brought(path, grid, 40)[3] == 255
        east = start in (-180, 180)
        assert valid[:, 21:].mean() == east
        assert valid[:, :19].mean() != east


def test_beyond_180_a_datum_is_still_its_own(write_raster: WriteRaster) -> None:
    pixels = np.ones((3, PX, PX), dtype=np.uint8)
    pixels[:, 28:32, 28:32] = 201
    crs, transform = "EPSG:4284", Affine(2e-4, 0, 180 - PX * 1e-4, 0, -DEG, 66 + PX / 2 * DEG)  # Pulkovo 1942
    x, y = Transformer.from_crs(crs, "EPSG:32660", always_xy=True).transform(180, 66)
    x0, y0 = Transformer.from_crs("EPSG:4326", "EPSG:32660", always_xy=True).transform(180, 66)
    assert np.hypot(x - x0, y - y0) > 100
    grid = ("EPSG:32660", Affine.translation(x, y) @ Affine.scale(5, -5) @ Affine.translation(-20, -20))
    found = brought(write_raster(crs=crs, transform=transform, pixels=pixels), grid, 40)
    assert (found[3] == 255).all()
    row, col = np.nonzero(found[0] > 100)
    assert (row.mean() + 0.5, col.mean() + 0.5) == pytest.approx((20, 20), abs=1)


def test_what_is_wrapped_elsewhere_does_not_change_what_is_not(write_raster: WriteRaster) -> None:
    pixels = (smooth_noise(3, PX, PX) * 254 + 1).astype(np.uint8)
    shown = []
    for number, middle in enumerate([180, -180 + PX * DEG, -180, 180 - PX * DEG, 180]):
        crs, transform = in_degrees(middle)
        path = write_raster(f"{number}.tif", crs=crs, transform=transform, pixels=pixels)
        longitude = (middle + 180) % 360 - 180
        shown.append(brought(path, in_utm(longitude, 60, 40), 40))
    assert all(
        (each[3] == 255).all() for each in shown
    )  # GDAL keeps transformations for the next of their name


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize("gcps", [True, False])
def test_a_mask_counts_beside_a_number_for_missing_pixels(
    write_raster: WriteRaster, tagged: bool, gcps: bool
) -> None:
    pixels = (smooth_noise(3, PX, PX) * 254 + 1).astype(np.uint8)
    pixels[:, :10] = 0
    grid = in_utm(15, 33, PX)
    path = write_raster(crs=grid[0], transform=grid[1], pixels=pixels, nodata=0 if tagged else None)
    with rasterio.open(path, "r+") as dataset:
        mask = np.full((PX, PX), 255, dtype=np.uint8)
        mask[:, PX // 2 :] = 0
        dataset.write_mask(mask)
    twice = grid[0], grid[1] @ Affine.scale(0.5)
    with rasterio.open(path) as dataset:
        crs = CRS.from_user_input(grid[0]).to_wkt()
        if gcps:
            corners = [(row, col, *(grid[1] @ (col, row))) for row in (0, PX) for col in (0, PX)]
            points = [GroundControlPoint(row, col, x, y) for row, col, x, y in corners]
            with MemoryFile() as file:
                size = {"width": PX, "height": PX, "count": 3, "dtype": "uint8"}
                known = {"nodata": dataset.nodata, "gcps": points, "crs": grid[0]}
                with file.open(driver="GTiff", **size, **known) as to:
                    to.write(pixels)
                    to.write_mask(mask)
                with file.open() as placed, placed_by_gcps(placed, 0) as warped:
                    shown = warped.dataset_mask() > 0
        else:
            with on_grid(
                dataset, crs=crs, to_crs=crs, transform=twice[1], width=2 * PX, height=2 * PX, nodata=0
            ) as warped:
                shown = warped.dataset_mask() > 0
    assert shown.mean() == pytest.approx(0.5 * (1 - 10 / PX), abs=0.02)

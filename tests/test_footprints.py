"""The ground on which a raster holds data: its valid pixels, wherever and however it lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS, Geod, Transformer
from rasterio.features import rasterize
from shapely.geometry.base import BaseGeometry

from geozoom.receiving import footprint as module
from geozoom.receiving.footprint import ValidData, outlines, valid_data
from geozoom.receiving.globe import cut_at_antimeridian, distance_km, equal_area
from tests.conftest import ORIGIN, UTM33, WriteRaster, smooth_noise

GEOD = Geod(ellps="WGS84")


def look(path: Path, bands: tuple[int, ...] = (1, 2, 3), nodata: float | None = None) -> ValidData:
    with rasterio.open(path) as dataset:
        crs = CRS.from_user_input(dataset.crs)
        return valid_data(str(path), dataset, bands, crs, nodata=nodata, mask_band=None)


def ground_m2(geometry: BaseGeometry) -> float:
    return abs(float(GEOD.geometry_area_perimeter(geometry)[0]))


def in_utm(geometry: BaseGeometry) -> BaseGeometry:
    transformer = Transformer.from_crs(4326, UTM33, always_xy=True)
    return shapely.transform(geometry, lambda xy: np.column_stack(transformer.transform(*xy.T)))


def turned(height: int, width: int, degrees: float) -> np.ndarray:
    """Return a rectangle turned within its bounding box, as an image that was not cut along the map is."""
    row, col = np.mgrid[:height, :width]
    x, y = col + 0.5 - width / 2, row + 0.5 - height / 2
    angle = np.radians(degrees)
    along = np.abs(x * np.cos(angle) + y * np.sin(angle))
    across = np.abs(y * np.cos(angle) - x * np.sin(angle))
    return np.asarray((along < 0.35 * width) & (across < 0.35 * height))


@pytest.mark.parametrize("degrees", [0, 12, 45, 77])
def test_a_turned_image_has_the_footprint_of_its_data_not_of_its_box(
    write_raster: WriteRaster, degrees: float
) -> None:
    valid = turned(400, 400, degrees)
    found = look(write_raster(pixels=(valid * np.ones((3, 1, 1)) * 9).astype(np.uint8), nodata=0, gsd=1.0))
    assert found.share == pytest.approx(valid.mean())
    outline = in_utm(found.footprint)
    assert abs(outline.area - valid.sum()) < outline.length / 2  # half a pixel all around
    assert len(shapely.get_coordinates(outline)) < 400  # stairs are straightened
    row, col = np.nonzero(valid)
    centres = shapely.points(ORIGIN[0] + col + 0.5, ORIGIN[1] - row - 0.5)
    assert shapely.distance(outline, centres).max() < 0.8


def test_what_a_mask_an_alpha_band_or_nan_says_is_missing(write_raster: WriteRaster) -> None:
    pixels = (smooth_noise(3, 40, 48) * 200 + 1).astype(np.float32)
    pixels[1, :, :12] = np.nan  # in one band only
    assert look(write_raster("nan.tif", dtype="float32", pixels=pixels)).share == 0.75
    path = write_raster("masked.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.arange(40)[:, None] * np.ones(48) >= 10)
    found = look(path)
    assert found.share == 0.75
    assert ground_m2(found.footprint) == pytest.approx(0.75 * 400 * 480, rel=2e-3)


@settings(max_examples=40, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(5, 40), st.integers(5, 40)),
        min_size=1,
        max_size=5,
    ),
    chunk=st.sampled_from([16 * 96, 48 * 96, 1 << 22]),
)
def test_outlines_are_the_valid_pixels_however_the_raster_is_cut_into_parts(
    boxes: list[tuple[int, int, int, int]], chunk: int
) -> None:
    valid = np.zeros((96, 96), dtype=bool)
    for top, left, height, width in boxes:
        valid[top : top + height, left : left + width] = True
    rows = chunk // 96
    parts = []
    for top in range(0, 96, rows):
        strip = valid[top : top + rows]
        parts += [
            shapely.affinity.translate(part, 0, top) for part in outlines(strip, whole=bool(strip.all()))
        ]
    drawn = np.zeros_like(valid)
    if parts:
        drawn |= rasterize([(shapely.union_all(parts), 1)], out_shape=valid.shape).astype(bool)
    # Less than a speck may be lost where the parts meet.
    assert np.count_nonzero(drawn ^ valid) <= module.SPECK_PX * 2 * 5 * (96 // rows)
    assert chunk < 96 * 96 or np.array_equal(drawn, valid)


def test_specks_are_neither_holes_nor_data() -> None:
    valid = np.ones((64, 64), dtype=bool)
    valid[:, :8] = False
    valid[20, 30] = valid[40:43, 40:43] = False
    valid[30, 2] = True
    (outline,) = outlines(valid, whole=False)
    assert outline.equals(shapely.box(8, 0, 64, 64))


def test_parts_that_are_read_one_after_the_other_make_one_footprint(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = turned(200, 200, 30)
    path = write_raster(pixels=(valid * np.ones((3, 1, 1)) * 9).astype(np.uint8), nodata=0, gsd=1.0)
    whole = look(path)
    monkeypatch.setattr(module, "CHUNK_PX", 200 * 30)
    parts = look(path)
    assert parts.share == whole.share
    assert whole.footprint.symmetric_difference(parts.footprint).area < 0.005 * whole.footprint.area


def test_a_raster_without_data_has_no_footprint(write_raster: WriteRaster) -> None:
    found = look(write_raster(pixels=np.zeros((3, 20, 20), np.uint8)), nodata=0)
    assert found.footprint.is_empty
    assert (found.share, found.zero_share) == (0, 0)


def test_long_edges_follow_the_ground_in_every_crs(write_raster: WriteRaster) -> None:
    # A straight side of 60 km on a UTM grid is no straight line in degrees.
    path = write_raster(height=60, width=60, gsd=1000.0)
    footprint = look(path).footprint
    middle = shapely.Point(ORIGIN[0] + 30_000, ORIGIN[1])
    assert in_utm(footprint).exterior.distance(middle) < 0.05


def test_a_raster_across_the_antimeridian_is_cut_there(write_raster: WriteRaster) -> None:
    transformer = Transformer.from_crs(4326, "EPSG:32660", always_xy=True)
    x, y = transformer.transform(180, -17)
    corner = Affine.translation(x - 160, y)
    path = write_raster(crs="EPSG:32660", transform=corner @ Affine.scale(10, -10), height=24, width=32)
    footprint = look(path).footprint
    assert footprint.geom_type == "MultiPolygon"
    assert footprint.is_valid
    west, _, east, _ = footprint.bounds
    assert (west, east) == (-180, 180)
    (laid,) = equal_area(np.array([footprint], dtype=object))
    assert laid.area == pytest.approx(320 * 240, rel=2e-3)
    assert laid.area == pytest.approx(ground_m2(footprint), rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    lon=st.floats(-179, 178),
    lat=st.floats(-80, 80),
    width=st.floats(1e-4, 0.05),
    height=st.floats(1e-4, 0.05),
)
def test_areas_are_those_on_the_ground(lon: float, lat: float, width: float, height: float) -> None:
    polygon = shapely.box(lon, lat, lon + width, lat + height)
    (laid,) = equal_area(np.array([polygon], dtype=object))
    # Parallels are no geodesics: the geodesic area of a box this small is off by less than 10⁻⁵.
    assert laid.area == pytest.approx(ground_m2(polygon), rel=1e-5)


def test_distances_go_the_short_way_round() -> None:
    east, west = shapely.box(179.8, 0, 179.9, 0.1), shapely.box(-179.9, 0, -179.8, 0.1)
    assert distance_km(east, west) == pytest.approx(22.26, rel=1e-3)
    assert distance_km(west, east) == pytest.approx(22.26, rel=1e-3)
    assert distance_km(east, east) == 0


def test_a_ring_that_leaps_is_cut_and_one_that_does_not_stays() -> None:
    leaping = shapely.Polygon([(179, 1), (179, 0), (-179, 0), (-179, 1)])
    cut = cut_at_antimeridian(leaping)
    assert cut.equals(shapely.union_all([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)]))
    assert cut_at_antimeridian(shapely.box(1, 2, 3, 4)).equals(shapely.box(1, 2, 3, 4))

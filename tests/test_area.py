"""Areas lie where their own CRS says: across the antimeridian, at the poles, and along edges that bend elsewhere."""

from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.geometry import Polygon, box

from geozoom.area import read_area
from geozoom.bands import ReadOptions
from geozoom.cells import CellGrid
from geozoom.errors import VectorError
from geozoom.tiles import Tile, open_tiles
from geozoom.vectors import read_vectors
from tests.conftest import WriteRaster

PIXELS = CellGrid(rows=40, cols=48, left=0, top=0, width=1, height=1)
"""The pixels of the conftest raster."""


def write(path: Path, crs: str, *shapes: shapely.Geometry) -> Path:
    geopandas.GeoDataFrame(geometry=list(shapes), crs=crs).to_file(path)
    return path


def tile_around(write_raster: WriteRaster, crs: str, x: float, y: float, name: str = "tile.tif") -> Tile:
    """Return a tile of 480 × 400 m around a place in its CRS."""
    path = write_raster(name, crs=crs, transform=Affine(10, 0, x - 240, 0, -10, y + 200))
    (tile,), _ = open_tiles([str(path)], ReadOptions(), 10.0, 8)
    return tile


def lying_in(shape: shapely.Geometry, crs: str, tile: Tile) -> NDArray[np.bool_]:
    """Return which pixels (40, 48) of a tile have their centre in a shape, by pyproj."""
    col, row = np.meshgrid(np.arange(48) + 0.5, np.arange(40) + 0.5)
    x, y = tile.transform @ (col, row)
    return np.asarray(
        shapely.contains_xy(shape, *Transformer.from_crs(tile.crs, crs, always_xy=True).transform(x, y))
    )


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb"])
def test_an_area_in_metres_across_the_antimeridian_is_what_it_is_there(
    write_raster: WriteRaster, tmp_path: Path, suffix: str
) -> None:
    crs = "EPSG:32601"
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180, 51)
    tile = tile_around(write_raster, crs, x, y)
    shape = box(x - 100, y - 100, x + 100, y + 100).difference(box(x - 30, y - 30, x + 50, y + 40))
    area = read_area(write(tmp_path / f"area{suffix}", crs, shape))
    expected = lying_in(shape, crs, tile)
    assert 0 < expected.sum() == 400 - 56
    np.testing.assert_array_equal(area.cells(tile, PIXELS), expected)
    assert area.geometry.area < 1e-4
    assert not area.touches(tile_around(write_raster, "EPSG:32631", 500_000, y, "greenwich.tif"))


@pytest.mark.parametrize("crs", ["EPSG:3995", "EPSG:3031", "EPSG:32661"])
@pytest.mark.parametrize(
    "shape",
    [
        box(-100, -150, 140, 110),
        box(-100, -150, 140, 110).difference(box(-20, -20, 30, 40)),
        box(0, 0, 100, 100),
        box(-100, -150, 0, 110),
        box(-100, -150, 140, 110).difference(box(0, 0, 140, 110)),
        box(20, -150, 140, 110),
    ],
    ids=["around", "hole around", "corner on", "edge over", "notch at", "beside"],
)
def test_an_area_at_a_pole_is_what_it_is_there(
    write_raster: WriteRaster, tmp_path: Path, crs: str, shape: Polygon
) -> None:
    x = 2_000_000.0 if crs == "EPSG:32661" else 0.0
    shape = shapely.affinity.translate(shape, x, x)
    tile = tile_around(write_raster, crs, x, x)
    area = read_area(write(tmp_path / "area.gpkg", crs, shape))
    np.testing.assert_array_equal(area.cells(tile, PIXELS), lying_in(shape, crs, tile))


@pytest.mark.parametrize(
    ("crs", "shape", "place", "tile_crs"),
    [
        ("EPSG:3035", box(4e6, 3e6, 5e6, 3.5e6), (4.5e6, 3.5e6), "EPSG:32632"),
        ("EPSG:32633", box(399_960, 6_590_220, 509_760, 6_700_020), (455_000, 6_700_020), "EPSG:32634"),
        ("EPSG:32633", box(399_960, 6_590_220, 509_760, 6_700_020), (455_000, 6_700_020), "EPSG:32633"),
        ("EPSG:2263", box(8e5, 1e5, 1.1e6, 3e5), (9.5e5, 3e5), "EPSG:32618"),  # in feet
        ("EPSG:32618", box(3e5, 5e6, 5e5, 5.2e6), (4e5, 5.2e6), "EPSG:3978"),  # a cone, without a south pole
    ],
)
def test_edges_are_straight_in_the_crs_of_their_file(
    write_raster: WriteRaster,
    tmp_path: Path,
    crs: str,
    shape: Polygon,
    place: tuple[float, float],
    tile_crs: str,
) -> None:
    x, y = Transformer.from_crs(crs, tile_crs, always_xy=True).transform(*place)
    tile = tile_around(write_raster, tile_crs, x, y)
    expected = lying_in(shape, crs, tile)
    assert 0.3 < expected.mean() < 0.7
    area = read_area(write(tmp_path / "area.gpkg", crs, shape))
    np.testing.assert_array_equal(area.cells(tile, PIXELS), expected)


@given(
    place=st.sampled_from(
        [
            ("EPSG:32601", 5e5, 6e6),
            ("EPSG:32660", 7e5, 1e5),
            ("EPSG:3995", 0, 0),
            ("EPSG:3031", 1e5, -2e5),
            ("EPSG:3035", 4.3e6, 3.2e6),
            ("EPSG:3857", 2.003e7, 6e6),
            ("EPSG:6933", -1.7367e7, 0),
        ]
    ),
    middle=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    half=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)),
    reach_m=st.sampled_from([1e3, 3e4, 4e5]),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_a_place_lies_in_an_area_if_it_does_in_the_areas_crs(
    tmp_path_factory: pytest.TempPathFactory,
    place: tuple[str, float, float],
    middle: tuple[float, float],
    half: tuple[float, float],
    reach_m: float,
    seed: int,
) -> None:
    crs, x0, y0 = place
    (x, y), (dx, dy) = (np.array([x0, y0]) + reach_m * np.array(middle)), reach_m * np.array(half)
    shape = box(x - dx, y - dy, x + dx, y + dy)
    points = np.array([x, y]) + 1.5 * np.array([dx, dy]) * np.random.default_rng(seed).uniform(
        -1, 1, (200, 2)
    )
    points = points[shapely.distance(shape.boundary, shapely.points(points)) > 5]
    path = write(tmp_path_factory.mktemp("areas") / "area.fgb", crs, shape)
    geometry = read_area(path).geometry
    lon, lat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*points.T)
    np.testing.assert_array_equal(
        shapely.contains_xy(geometry, lon, lat), shapely.contains_xy(shape, *points.T)
    )


def test_every_layer_is_carried_from_its_own_crs(write_raster: WriteRaster, tmp_path: Path) -> None:
    crs, path = "EPSG:32601", tmp_path / "two.gpkg"
    x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(180, 51)
    shapes = box(x - 100, y - 100, x, y + 100), box(x, y - 100, x + 100, y + 100)
    for number, shape in enumerate(shapes):
        frame = geopandas.GeoDataFrame(geometry=[shape], crs=crs)
        frame.to_file(path, layer=f"part{number}", mode="a" if number else "w")
    tile = tile_around(write_raster, crs, x, y)
    np.testing.assert_array_equal(
        read_area(path).cells(tile, PIXELS), lying_in(shapely.union_all(shapes), crs, tile)
    )


def test_areas_in_wgs84_stay_as_they_are(tmp_path: Path) -> None:
    shapes = [
        shapely.union_all([box(179, 0, 180, 1), box(-180, 0, -179, 1)]),
        box(-180, -90, 180, 90),
        box(179, 4, 181, 5),
    ]
    read = read_vectors(write(tmp_path / "area.gpkg", "EPSG:4326", *shapes), ("Polygon", "MultiPolygon"))
    assert [shapely.get_parts(shape).tolist() for shape in read.geometry] == [
        shapely.get_parts(shape).tolist() for shape in shapes
    ]


@pytest.mark.parametrize("crs", ["EPSG:4167", "EPSG:4272"])
def test_longitudes_beyond_the_antimeridian_stay_there_in_another_datum(tmp_path: Path, crs: str) -> None:
    area = read_area(write(tmp_path / "area.gpkg", crs, box(179, -40, 181, -39)))
    assert area.geometry.bounds == pytest.approx((179, -40, 181, -39), abs=0.01)


def test_the_whole_world_in_a_projected_crs_is_the_whole_world(tmp_path: Path) -> None:
    edge = 20_037_508.342789244
    area = read_area(write(tmp_path / "area.gpkg", "EPSG:3857", box(-edge, -edge, edge, edge)))
    assert area.geometry.bounds == pytest.approx((-180, -85.0511288, 180, 85.0511288))
    assert area.geometry.area == pytest.approx(360 * 2 * 85.0511288)


@pytest.mark.parametrize("size", [1e12, 1e300])
def test_coordinates_that_lie_nowhere_on_the_globe_are_refused_at_once(tmp_path: Path, size: float) -> None:
    path = write(tmp_path / "area.gpkg", "EPSG:3857", box(0, 0, size, size))
    with pytest.raises(VectorError, match="holds coordinates that do not lie in its CRS; correct them"):
        read_area(path)


def test_outlines_of_the_globe_may_end_a_hair_beyond_a_pole(tmp_path: Path) -> None:
    file = tmp_path / "globe.geojson"
    for south, refused in ((-90.0000001, False), (-95.0, True)):
        geopandas.GeoDataFrame(geometry=[box(-180, south, 180, 90)], crs=4326).to_file(file)
        if refused:
            with pytest.raises(VectorError, match="no longitudes and latitudes"):
                read_area(file)
        else:
            assert read_area(file).geometry.area == pytest.approx(360 * 180)

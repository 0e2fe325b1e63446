from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import geopandas
import numpy as np
import pandas  # type: ignore[import-untyped]
import pyproj
import pytest
import shapely
from affine import Affine
from click.testing import CliRunner
from pyproj import Geod, Transformer
from shapely.geometry import Point, Polygon, box

import geozoom
from geozoom import sitegroups
from geozoom.bands import ReadOptions
from geozoom.bought import read_orders
from geozoom.cli import main
from geozoom.errors import VectorError
from geozoom.grid import span_weights
from geozoom.orders import Plan
from geozoom.placement import first_of_each_place
from geozoom.rules import ShapeRules
from geozoom.sitegroups import Box, group_tiles
from geozoom.sites import Sites, read_sites, share_on, windows_on
from geozoom.tiles import open_tiles
from geozoom.vectors import PixelSpace
from tests.conftest import BY_AREA, ORIGIN, WriteRaster, small_card, small_model, smooth_noise

CRS = "EPSG:32633"


def at(col: float, row: float) -> tuple[float, float]:
    """Return the place of a pixel's corner on the conftest raster's grid, in its CRS."""
    return ORIGIN[0] + 10 * col, ORIGIN[1] - 10 * row


def write(
    path: Path, geometries: list[shapely.Geometry], crs: str | None = CRS, **columns: list[object]
) -> Path:
    geopandas.GeoDataFrame(columns, geometry=geometries, crs=crs).to_file(path)
    return path


def footprint(plan: Plan) -> shapely.Geometry:
    to_tile = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    rings = shapely.polygons(plan.corners)
    return shapely.union_all(shapely.transform(rings, lambda xy: np.column_stack(to_tile.transform(*xy.T))))


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".fgb", ".shp"])
def test_an_area_clips_the_lattice_to_patches_whose_centre_lies_in_it(
    write_raster: WriteRaster, tmp_path: Path, suffix: str
) -> None:
    tile = write_raster()  # 48 × 40 px
    polygon = Polygon([at(5, 5), at(30, 9), at(22, 33)])
    area = write(tmp_path / f"area{suffix}", [polygon], crs="EPSG:4326" if suffix == ".geojson" else CRS)
    if suffix == ".geojson":
        area.write_text(geopandas.GeoSeries([polygon], crs=CRS).to_crs(4326).to_json())
    whole = geozoom.plan([tile], model=small_model(), threshold=0.0, prices=BY_AREA)
    plan = geozoom.plan([tile], model=small_model(), threshold=0.0, prices=BY_AREA, area=area)
    to_tile = Transformer.from_crs("EPSG:4326", CRS, always_xy=True)
    centres = shapely.points(*to_tile.transform(*whole.corners.mean(axis=1).T))
    expected = shapely.contains(polygon, centres)
    assert 0 < len(plan) == expected.sum()
    np.testing.assert_allclose(plan.corners, whole.corners[expected], atol=1e-12)
    np.testing.assert_array_equal(plan.patches.probability, whole.patches.probability[expected])
    assert plan.scenes + plan.scenes_skipped.outside == whole.scenes
    assert plan.summary()["totals"]["scenes_skipped_outside"] > 0


def test_a_hole_in_an_area_is_not_planned(write_raster: WriteRaster, tmp_path: Path) -> None:
    ring = box(*at(0, 40), *at(48, 0)).difference(box(*at(8, 24), *at(24, 8)))
    plan = geozoom.plan(
        [write_raster()],
        model=small_model(),
        threshold=0.0,
        prices=BY_AREA,
        area=write(tmp_path / "a.gpkg", [ring]),
    )
    assert footprint(plan).area == pytest.approx(ring.area, rel=1e-6)
    assert plan.scenes_skipped.outside == 4


def test_an_area_elsewhere_is_said_to_be(write_raster: WriteRaster, tmp_path: Path) -> None:
    far = write(tmp_path / "a.gpkg", [box(0, 0, 1, 1)], crs="EPSG:4326")
    result = CliRunner().invoke(main, ["plan", str(write_raster()), "--aoi", str(far)])
    assert result.exit_code == 1
    assert (
        result.stderr
        == f"Error: {far}: lies outside every tile; check the CRS that it says it has, or give tiles of that place\n"
    )


def test_points_are_scenes_around_them(write_raster: WriteRaster, tmp_path: Path) -> None:
    tile = write_raster("a.tif")
    points = [Point(at(20, 12)), Point(at(36.2, 21.7)), Point(at(400, 12))]
    sites = write(tmp_path / "s.gpkg", points, site=["mill", "quarry", "far"])
    plan = geozoom.plan([tile], model=small_model(), threshold=0.0, prices=BY_AREA, sites=sites)
    assert plan.site is not None
    assert sorted(set(plan.site.tolist())) == ["mill", "quarry"]
    assert (plan.scenes, plan.scenes_skipped.off_tiles, plan.off_tiles) == (2, 1, ("far",))
    assert footprint(plan).area == pytest.approx(2 * 80 * 80, rel=1e-6)
    mill = (
        footprint(plan).geoms[0] if footprint(plan).geoms[0].contains(points[0]) else footprint(plan).geoms[1]
    )
    assert mill.bounds == pytest.approx((*at(16, 16), *at(24, 8)), abs=1e-3)
    assert plan.area_dm2.sum() == pytest.approx(2 * 6400 * 100, rel=2e-3)


def test_a_point_on_the_lattice_is_the_lattices_scene(write_raster: WriteRaster, tmp_path: Path) -> None:
    tile = write_raster()
    lattice = geozoom.plan([tile], model=small_model(), threshold=0.0, prices=BY_AREA)
    sites = write(tmp_path / "s.gpkg", [Point(at(20, 12))])
    plan = geozoom.plan([tile], model=small_model(), threshold=0.0, prices=BY_AREA, sites=sites)
    same = (lattice.patches.scene_row == 1) & (lattice.patches.scene_col == 2)
    np.testing.assert_allclose(plan.corners, lattice.corners[same], atol=1e-12)
    np.testing.assert_array_equal(plan.patches.probability, lattice.patches.probability[same])
    np.testing.assert_array_equal(plan.area_dm2, lattice.area_dm2[same])
    assert list(plan.columns()["scene"]) == ["1"] * 16


def test_a_box_is_seen_whole_with_context_and_resampled_by_area(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    tile = write_raster()
    # 14 × 10 px: fMoW's context for a ratio of 0.71 is 15% of each side.
    sites = read_sites(write(tmp_path / "s.gpkg", [box(*at(10, 30), *at(24, 20))]))
    (described,), _ = open_tiles([str(tile)], ReadOptions(), 10.0, 8)
    (window,) = windows_on(described, sites, 8, limited=True)
    assert window == pytest.approx([17 - 14 * 1.15 / 2, 25 - 10 * 1.15 / 2, 14 * 1.15, 10 * 1.15], abs=1e-4)
    thin = read_sites(write(tmp_path / "t.gpkg", [box(*at(10, 21), *at(26, 20))]))
    (window,) = windows_on(described, thin, 8, limited=False)
    assert window[2:] == pytest.approx([16 * 3, 8], abs=1e-4)  # share 2 below a ratio of 0.1


def test_sites_too_large_for_the_model_are_named(write_raster: WriteRaster, tmp_path: Path) -> None:
    sites = write(tmp_path / "s.gpkg", [box(*at(10, 38), *at(40, 2)), Point(at(10, 10))], name=["field", "p"])
    with pytest.raises(VectorError, match=r"1 site\(s\) are larger .*'field'; give them to --aoi"):
        geozoom.plan([write_raster()], model=small_model(), sites=sites)


def test_sites_that_share_ground_are_not_bought_twice(write_raster: WriteRaster, tmp_path: Path) -> None:
    points = [Point(at(20, 12)), Point(at(22, 12)), Point(at(20, 12)), Point(at(28, 12))]
    plan = geozoom.plan(
        [write_raster()],
        model=small_model(),
        threshold=0.0,
        prices=BY_AREA,
        sites=write(tmp_path / "s.gpkg", points),
    )
    rings = shapely.polygons(plan.corners)
    assert shapely.union_all(rings).area == pytest.approx(shapely.area(rings).sum(), rel=1e-6)
    # x from 16 to 26 px, and 26 to 32: the last site's first column begins at 24
    assert footprint(plan).area == pytest.approx(16 * 8 * 100, rel=1e-6)


def test_a_site_is_planned_on_the_tile_that_holds_it_whole_and_shows_it(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    pixels = np.full((3, 40, 48), 90, np.uint8)
    pixels[:, :, 24:] = 0
    first = write_raster("a.tif", pixels=pixels, nodata=0)
    second = write_raster("b.tif", transform=Affine(10, 0, ORIGIN[0] + 200, 0, -10, ORIGIN[1]))
    sites = write(
        tmp_path / "s.gpkg", [Point(at(10, 10)), Point(at(30, 10)), Point(at(18, 10)), Point(at(66, 10))]
    )
    plan = geozoom.plan([first, second], model=small_model(), threshold=0.0, prices=BY_AREA, sites=sites)
    assert plan.site is not None
    on = {
        site: plan.tiles[tile].name
        for site, tile in zip(plan.site.tolist(), plan.patches.tile.tolist(), strict=True)
    }
    # 2 is missing on a; 4 overhangs b's right edge
    assert on == {"1": "a.tif", "2": "b.tif", "3": "a.tif", "4": "b.tif"}
    assert (plan.site == "4").sum() == 12


def test_what_of_a_site_lies_beyond_the_tile_is_not_sold(write_raster: WriteRaster) -> None:
    tile = write_raster()
    (described,), _ = open_tiles([str(tile)], ReadOptions(), 10.0, 8)
    sites = Sites(names=("1",), geometries=np.array([Point(0, 0)], dtype=object))
    assert np.isnan(windows_on(described, sites, 8, limited=True)).all()
    windows = np.array([[-4.0, 0, 8, 8], [44, 36, 8, 8], [0, 0, 8, 8], [np.nan] * 4])
    assert share_on(described, windows).tolist() == [0.5, 0.25, 1, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("not vectors", "cannot be read as vectors"),
        ('{"type": "FeatureCollection", "features": []}', "holds no features"),
        (
            json.dumps(
                {
                    "type": "Feature",
                    "properties": {},
                    "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]},
                }
            ),
            r"feature 1 \(LineString\): must be of type",
        ),
        (
            json.dumps({"type": "Feature", "properties": {}, "geometry": None}),
            "no geometry|holds no features",
        ),
    ],
)
@pytest.mark.parametrize("flag", ["--aoi", "--sites"])
def test_unusable_vectors_are_refused_in_one_line(
    write_raster: WriteRaster, tmp_path: Path, flag: str, content: str | None, message: str
) -> None:
    path = tmp_path / "v.geojson"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(main, ["plan", str(write_raster()), flag, str(path)])
    assert result.exit_code == 1
    assert str(path) in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert re.search(message, result.stderr), result.stderr


def test_vectors_without_a_crs_and_names_given_twice_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "a.shp", [Point(0, 0)])
    file.with_suffix(".prj").unlink()
    with pytest.raises(VectorError, match="has no CRS; assign one"):
        read_sites(file)
    with pytest.raises(VectorError, match="more than one site has id '7'"):
        read_sites(write(tmp_path / "b.gpkg", [Point(0, 0), Point(1, 1)], id=["7", "7"]))


@pytest.mark.parametrize(
    "content",
    [
        "id,lon,lat,label\nb,14.5,52.25,farm\na,-15,5.2e1,\n",
        "ID;Latitude;Longitude;label\nb;52.25;14.5;farm\na;52;-15;\n",
        "id\tlabel\tlat\tlng\nb\tfarm\t52.25\t14.5\na\t\t52\t-15\n",
        "id;lon;lat;label\nb;14,5;52,25;farm\na;-15;52;\n",  # as German spreadsheets write it
        "WKT,id,label\nPOINT (14.5 52.25),b,farm\nPOINT (-15 52),a,\n",
        "id,lon,lat,WKT,label\nb,1,2,POINT (14.5 52.25),farm\na,1,2,POINT (-15 52),\n",
        "id,geometry,lon,lat,label,2020\nb,park,14.5,52.25,farm,1\na,,-15,52,,2\n",
    ],
)
def test_a_table_of_longitudes_and_latitudes_is_one_of_sites(tmp_path: Path, content: str) -> None:
    path = tmp_path / ("sites.tsv" if "\t" in content else "sites.csv")
    path.write_text(content)
    sites = read_sites(path)
    assert (sites.names, sites.labels) == (("b", "a"), ("farm", ""))
    assert shapely.get_coordinates(sites.geometries).tolist() == [[14.5, 52.25], [-15, 52]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,east,north\na,14,52\n", "has no columns lon and lat, nor WKT; name them so"),
        ("id,lon,lat\na,400000,5800000\n", "its coordinates are no longitudes and latitudes"),
        ("id,lon,lat\na,14,52\nb,,\n", "feature 2 (no geometry)"),
        ("id,lon,lat\na,14 E,52 N\n", "feature 1 (no geometry)"),
        ("id,lon,lat,label,label\na,14,52,x,y\n", "more than one column 'label'"),
        ("id,lon,lat\nM\xfchle,14,52\n", "is not written in UTF-8; save it so"),
    ],
)
def test_a_table_without_places_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "sites.csv"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(VectorError, match=re.escape(said)):
        read_sites(path)


def test_the_crs_beside_a_table_is_of_its_wkt_and_not_of_longitudes(tmp_path: Path) -> None:
    for name, row in (("wkt", f"WKT\nPOINT ({at(0, 0)[0]} {at(0, 0)[1]})\n"), ("places", "lon,lat\n14,52\n")):
        (tmp_path / f"{name}.csv").write_text(row)
        (tmp_path / f"{name}.prj").write_text(pyproj.CRS(CRS).to_wkt("WKT1_ESRI"))
    to_wgs84 = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    (place,) = shapely.get_coordinates(read_sites(tmp_path / "wkt.csv").geometries).tolist()
    assert place == pytest.approx(to_wgs84.transform(*at(0, 0)))
    assert shapely.get_coordinates(read_sites(tmp_path / "places.csv").geometries).tolist() == [[14, 52]]


def test_ids_may_be_missing_as_pandas_has_it_or_lists(tmp_path: Path) -> None:
    points = [Point(14, 52), Point(15, 52)]
    frame = geopandas.GeoDataFrame({"id": pandas.array([7, None], "Int64")}, geometry=points, crs="EPSG:4326")
    frame.to_parquet(tmp_path / "some.parquet")
    with pytest.raises(VectorError, match="1 of 2 sites has no id"):
        read_sites(tmp_path / "some.parquet")
    frame.assign(id=pandas.array([None, None], "Int64")).to_parquet(tmp_path / "none.parquet")
    assert read_sites(tmp_path / "none.parquet").names == ("1", "2")
    listed = frame.assign(id=[["a", "b"], ["c"]])
    (tmp_path / "lists.geojson").write_text(listed.to_json())
    assert len(set(read_sites(tmp_path / "lists.geojson").names)) == 2


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson"])
@pytest.mark.parametrize("empty", [[None, None, None], ["", "", ""]])
def test_sites_whose_ids_are_all_empty_are_numbered(tmp_path: Path, suffix: str, empty: list[object]) -> None:
    """QGIS gives every new layer an id, which few fill in."""
    points = [Point(14, 52), Point(15, 52), Point(16, 52)]
    path = write(tmp_path / f"empty{suffix}", points, "EPSG:4326", id=empty)
    assert read_sites(path).names == ("1", "2", "3")
    named = write(tmp_path / f"named{suffix}", points, "EPSG:4326", id=empty, name=["a", "b", "c"])
    assert read_sites(named).names == ("a", "b", "c")


@pytest.mark.parametrize("ids", [[7, None, 9], ["7", "", "9"]])
def test_sites_of_which_some_have_an_id_are_refused(tmp_path: Path, ids: list[object]) -> None:
    points = [Point(14, 52), Point(15, 52), Point(16, 52)]
    path = write(tmp_path / "some.gpkg", points, "EPSG:4326", id=ids)
    with pytest.raises(
        VectorError, match=r"some\.gpkg: 1 of 3 sites has no id; give each one, or none of them"
    ):
        read_sites(path)


def test_an_area_and_sites_do_not_go_together(write_raster: WriteRaster, tmp_path: Path) -> None:
    path = str(tmp_path / "x.gpkg")
    result = CliRunner().invoke(main, ["plan", str(write_raster()), "--aoi", path, "--sites", path])
    assert result.exit_code == 2
    assert "give one of them" in result.stderr


@pytest.mark.parametrize("longitudes", [(179.9, 180.1), (-180.1, -179.9)])
def test_areas_and_sites_across_the_antimeridian(
    write_raster: WriteRaster, tmp_path: Path, longitudes: tuple[float, float]
) -> None:
    west, _ = longitudes
    tile = write_raster(crs="EPSG:4326", transform=Affine(1e-4, 0, west + 0.0984, 0, -1e-4, 0.002))
    # the tile spans 48 px around ±180°, 40 px around the equator
    parts = [box(179.9985, -0.0015, 180, 0.0015), box(-180, -0.0015, -179.9985, 0.0015)]
    area = write(tmp_path / "a.gpkg", [shapely.union_all(parts)], crs="EPSG:4326")
    plan = geozoom.plan([tile], model=small_model(), threshold=0.0, prices=BY_AREA, area=area)
    geod = Geod(ellps="WGS84")
    expected = 2 * abs(geod.geometry_area_perimeter(parts[0])[0])
    assert plan.area_dm2.sum() / 100 == pytest.approx(
        expected, rel=0.15
    )  # whole patches of 2 px, none astride
    points = [Point(179.9999, 0.001), Point(-179.9999, 0.0), Point(0, 0)]
    sites = write(tmp_path / "s.gpkg", points, crs="EPSG:4326")
    plan = geozoom.plan([tile], model=small_model(), threshold=0.0, prices=BY_AREA, sites=sites)
    assert (plan.scenes, plan.off_tiles) == (2, ("3",))


def test_a_rotated_tile_and_its_pixel_space_agree_with_pyproj(write_raster: WriteRaster) -> None:
    transform = Affine.translation(*ORIGIN) @ Affine.rotation(30) @ Affine.scale(10, -10)
    (tile,), _ = open_tiles([str(write_raster(transform=transform))], ReadOptions(), 10.0, 8)
    col, row = 12.25, 30.5
    x, y = transform @ (col, row)
    lon, lat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True).transform(x, y)
    (point,) = PixelSpace(tile).sites(np.array([Point(lon, lat)], dtype=object))
    assert (point.x, point.y) == pytest.approx((col, row), abs=1e-4)
    carried = PixelSpace(tile).area(Point(lon, lat).buffer(1e-3))
    assert (carried.centroid.x, carried.centroid.y) == pytest.approx((col, row), abs=1e-2)


def test_weights_of_a_span_are_exact() -> None:
    weights = span_weights(2, 0.5, 3.0, slice(0, 4))
    np.testing.assert_allclose(weights * 1.5, [[0.5, 1, 0, 0], [0, 0, 1, 0.5]])
    np.testing.assert_allclose(span_weights(2, -1, 4, slice(0, 2)).sum(axis=1), [0.5, 0.5])


@pytest.mark.parametrize("beside", [False, True])
def test_sites_of_tiles_on_one_lattice_are_ordered_together(
    write_raster: WriteRaster, tmp_path: Path, beside: bool
) -> None:
    px = (smooth_noise(3, 200, 200, 3) * 254 + 1).astype(np.uint8)
    clouded = px.copy()
    clouded[:, 80:120, 104:130] = 0
    # Two dates of which the better one lacks the second site, or two neighbours with a site on either side.
    start, columns = (200, (190, 210)) if beside else (0, (92, 114))
    first = write_raster("a_clear.tif", pixels=px if beside else clouded, nodata=0)
    transform = Affine(10, 0, ORIGIN[0] + 10 * start, 0, -10, ORIGIN[1])
    second = write_raster("b.tif", pixels=px, nodata=0, transform=transform)
    sites = write(tmp_path / "sites.gpkg", [Point(at(col, 100)) for col in columns])
    prices = replace(BY_AREA, minimum_km2=Decimal(1), shape=ShapeRules(min_km2=Decimal(1)))
    both = geozoom.plan([first, second], model=small_model(), threshold=0.0, prices=prices, sites=sites)
    assert set(both.patches.tile.tolist()) == {0, 1}
    (order,) = both.orders
    assert order.cost == both.cost < Decimal(110)
    ring = shapely.Polygon(order.ring).buffer(1e-7)
    assert all(ring.contains(shapely.Polygon(corners)) for corners in both.corners)
    if not beside:
        alone = geozoom.plan([second], model=small_model(), threshold=0.0, prices=prices, sites=sites)
        assert both.cost == pytest.approx(alone.cost, abs=1)
    written = tmp_path / "o.geojson"
    both.write(written)
    assert read_orders(written, small_card()).sites is not None


def test_sites_far_apart_have_grids_of_their_own(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [
        write_raster(f"{start}.tif", transform=Affine(10, 0, ORIGIN[0] + 10 * start, 0, -10, ORIGIN[1]))
        for start in (0, 48, 96, 960)
    ]
    tiles, _ = open_tiles([str(path) for path in paths], ReadOptions(), None, 8)
    reach = {index: Box(top=-2, left=-2, bottom=22, right=26) for index in range(4)}

    def groups() -> list[tuple[int, dict[int, tuple[int, int]]]]:
        return [(each.host, each.shifts) for each in group_tiles(tiles, reach, small_card().grid, 8)]

    assert groups() == [(0, {0: (0, 0), 1: (0, 24), 2: (0, 48)}), (3, {3: (0, 0)})]
    monkeypatch.setattr(sitegroups, "_MOST_BETWEEN", 0.9)  # less than two neighbours have together
    assert [host for host, _ in groups()] == [0, 1, 2, 3]
    monkeypatch.setattr(sitegroups, "_MOST_BETWEEN", 1.5)
    monkeypatch.setattr(sitegroups, "_MOST_CELLS", 24 * 60)
    assert groups() == [(0, {0: (0, 0), 1: (0, 24)}), (2, {2: (0, 0)}), (3, {3: (0, 0)})]


def test_a_place_on_the_antimeridian_changes_nothing_elsewhere() -> None:
    def square(lon: float) -> list[tuple[float, float]]:
        return [(lon, 0.0), (lon + 0.001, 0.0), (lon + 0.001, 0.001), (lon, 0.001)]

    greenwich = [square(-0.0015 + 0.001 * number) for number in range(4)]
    across = [(179.9995, 0.0), (-179.9995, 0.0), (-179.9995, 0.001), (179.9995, 0.001)]
    west = [
        (-179.9998, 0.0),
        (-179.999, 0.0),
        (-179.999, 0.001),
        (-179.9998, 0.001),
    ]  # a part of it is shared
    assert first_of_each_place(np.array(greenwich)).tolist() == [0, 1, 2, 3]
    assert first_of_each_place(np.array([*greenwich, across, west])).tolist() == [0, 1, 2, 3, 4]

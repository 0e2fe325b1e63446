"""Orders as vendors' request bodies, WKT and KML: their shape, what is refused, and how they are written."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas
import numpy as np
import pytest
import shapely
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from stapi_pydantic import OpportunityPayload, OrderParameters, OrderPayload

from geozoom import exports
from geozoom.cli import main
from geozoom.cli.export import DOCUMENTS, VENDORS
from geozoom.errors import OrdersError
from geozoom.exports import ENDPOINTS, kml, wkt
from geozoom.orderfile import OrderPolygon, read_order_polygons
from geozoom.pricelists import load_price_list
from geozoom.refusals import area_km2, extent_km, is_convex, refusals
from geozoom.rules import ShapeRules

SQUARE = [(13.4, 52.5), (13.41, 52.5), (13.41, 52.51), (13.4, 52.51)]
ELL = [(13.5, 52.5), (13.52, 52.5), (13.52, 52.51), (13.51, 52.51), (13.51, 52.52), (13.5, 52.52)]
DATES = ("--from", "2027-05-01", "--until", "2027-05-31")
UP42 = ("--to", "up42", "--product", "123eabab-0511-4f36-883a-80928716c3db")
AIRBUS = ("--to", "airbus", *DATES, "--max-cloud", "0.1", "--max-incidence", "30")

Corners = list[tuple[float, float]]


def circle(vertices: int) -> Corners:
    """A convex polygon of about 3 km²."""
    turns = [2 * math.pi * index / vertices for index in range(vertices)]
    return [(13.4 + 0.01 * math.cos(turn), 52.5 + 0.01 * math.sin(turn)) for turn in turns]


def plan_of(*polygons: Corners, prices: str = "up42-skysat", **changes: Any) -> dict[str, Any]:
    """A plan as `geozoom plan` writes it, in the members that are read here."""
    orders = [
        {
            "order": number,
            "tile": "tile <a & b>",
            "patches": 12,
            "area_km2": area_km2(np.array([*corners, corners[0]])),
            "billed_km2": 25.0,
            "cost": 175.1,
            "value": 3.2,
            "vertices": len(corners),
            "violations": [],
            "geometry": {"type": "Polygon", "coordinates": [[*corners, corners[0]]]},
        }
        | changes
        for number, corners in enumerate(polygons, start=1)
    ]
    return {
        "type": "FeatureCollection",
        "geozoom": {"format": 2, "price_list": load_price_list(prices).facts(), "orders": orders},
        "features": [],
    }


WritePlan = Callable[..., Path]


@pytest.fixture
def write_plan(tmp_path: Path) -> WritePlan:
    def write(*polygons: Corners, **changes: Any) -> Path:
        path = tmp_path / "orders.geojson"
        path.write_text(json.dumps(plan_of(*(polygons or (SQUARE, ELL)), **changes)))
        return path

    return write


def run(*arguments: object, **options: Any) -> Result:
    return CliRunner().invoke(main, ["export", *(str(argument) for argument in arguments)], **options)


def bodies_of(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def polygon_of(geometry: dict[str, Any]) -> shapely.Polygon:
    return shapely.geometry.shape(geometry)


def same_as_planned(found: list[shapely.Polygon]) -> bool:
    return [shapely.get_coordinates(each).tolist() for each in found] == [
        [list(corner) for corner in (*corners, corners[0])] for corners in (SQUARE, ELL)
    ]


# Request bodies


def test_stapi_bodies_are_what_the_published_model_reads(write_plan: WritePlan) -> None:
    path = write_plan()
    asked = (path, "--to", "stapi", "--product", "sky-50", *DATES, "--max-cloud", "0.2")
    for body in bodies_of(run(*asked)):
        search = OpportunityPayload.model_validate(body)
        assert search.datetime[1].isoformat() == "2027-05-31T23:59:59+00:00"
    result = run(*asked, "--order", "--param", "priority=high")
    placed = bodies_of(result)
    for body in placed:

        class Parameters(OrderParameters):
            priority: str

        order = OrderPayload[Parameters].model_validate(body)
        assert order.order_parameters.priority == "high"
        assert order.filter == {"op": "<=", "args": [{"property": "eo:cloud_cover"}, 20]}
    assert same_as_planned([polygon_of(body["geometry"]) for body in placed])
    assert "POST /products/sky-50/orders" in result.stderr
    assert "filter" not in bodies_of(run(*asked[:-2]))[0]


def test_up42_estimates_are_the_default_and_orders_must_be_asked_for(write_plan: WritePlan) -> None:
    path = write_plan()
    asked = (path, *UP42, *DATES, "--max-cloud", "0.15", "--param", "acquisitionMode=mono")
    estimate, order = run(*asked), run(*asked, "--order")
    assert bodies_of(estimate) == bodies_of(order)
    assert "POST https://api.up42.com/v2/orders/estimate\nnothing was sent\n" in estimate.stderr
    assert "POST https://api.up42.com/v2/orders?workspaceId=" in order.stderr
    assert "warning: UP42 bills what you send there" in order.stderr
    body = bodies_of(estimate)[1]
    features = body.pop("featureCollection")["features"]
    assert body == {
        "dataProduct": "123eabab-0511-4f36-883a-80928716c3db",
        "displayName": "orders order 2",
        "params": {
            "acquisitionStart": "2027-05-01T00:00:00Z",
            "acquisitionEnd": "2027-05-31T23:59:59Z",
            "cloudCoverage": 15,
            "acquisitionMode": "mono",
        },
    }
    assert [set(feature) for feature in features] == [{"type", "properties", "geometry"}]


def test_archive_images_are_said_for_all_orders_or_for_each(write_plan: WritePlan) -> None:
    path = write_plan()
    both = bodies_of(run(path, *UP42, "--image", "all", "--image", "2=second"))
    assert [body["params"] for body in both] == [{"id": "all"}, {"id": "second"}]
    result = run(path, *UP42, "--image", "2=second")
    assert result.exit_code == 2
    assert "order 1 has no archive image" in result.stderr
    result = run(path, *UP42, "--image", "3=third", "--image", "all")
    assert result.exit_code == 2
    assert "the plan has no order 3" in result.stderr
    result = run(path, *UP42, "--image", "a", "--image", "b")
    assert result.exit_code == 2
    assert "order 1 has 2 archive images" in result.stderr


def test_planet_bodies_are_of_the_orders_api_or_of_tasking(write_plan: WritePlan) -> None:
    path = write_plan()
    images = ("--image", "a", "--image", "b", "--item-type", "SkySatCollect", "--bundle", "analytic")
    result = run(path, "--to", "planet", "--order", *images, "--name", "harbour")
    first = bodies_of(result)[0]
    assert first == {
        "name": "harbour order 1",
        "source_type": "scenes",
        "products": [{"item_ids": ["a", "b"], "item_type": "SkySatCollect", "product_bundle": "analytic"}],
        "tools": [
            {"clip": {"aoi": {"type": "Polygon", "coordinates": [[*map(list, SQUARE), [13.4, 52.5]]]}}}
        ],
    }
    assert "POST https://api.planet.com/compute/ops/orders/v2" in result.stderr
    tasking = bodies_of(run(path, "--to", "planet", "--order", *DATES, "--contract", "PL-1"))
    assert same_as_planned([polygon_of(body["geometry"]) for body in tasking])
    assert set(tasking[0]) == {"name", "geometry", "start_time", "end_time", "pl_number"}
    estimate = run(path, "--to", "planet", *DATES, "--contract", "PL-1")
    assert bodies_of(estimate) == tasking
    assert "POST https://api.planet.com/tasking/v2/pricing/" in estimate.stderr
    result = run(path, "--to", "planet", *images)
    assert result.exit_code == 2
    assert "no documented estimate of an order of archive imagery, clipped; give --order" in result.stderr


def test_airbus_is_asked_for_feasibility_as_each_generation_of_satellites_wants_it(
    write_plan: WritePlan,
) -> None:
    path = write_plan()
    asked = (path, *AIRBUS[:-2], "--max-incidence", 30, "--max-cloud", "0.105", "--program", "ONEPLAN")
    body = bodies_of(run(*asked, "--mission", "PLEIADES"))[0]
    assert polygon_of(body.pop("aoi")).equals(shapely.Polygon(SQUARE))
    assert body == {
        "missions": ["PLEIADES"],
        "progTypeNames": ["ONEPLAN"],
        "acquisitionDate": {"startDate": "2027-05-01T00:00:00.000Z", "endDate": "2027-05-31T23:59:59.000Z"},
        "optical": {"acquisitionMode": "MONO", "maxCloudCover": 10.5, "maxIncidenceAngle": 30.0},
    }
    neo = bodies_of(run(*asked, "--mission", "PLEIADESNEO", "--contract", "CTR1"))[0]
    assert (neo["mission"], neo["contractId"]) == ("PLEIADESNEO", "CTR1")
    assert run(*asked, "--mission", "PLEIADESNEO").exit_code == 2
    assert run(*asked, "--mission", "SPOT", "--contract", "CTR1").exit_code == 2


def test_one_pass_of_a_satellite_is_no_wider_than_its_swath(write_plan: WritePlan) -> None:
    wide = [(13.0, 52.5), (13.25, 52.5), (13.25, 52.51), (13.0, 52.51)]  # 17 km
    asked = (*AIRBUS, "--mission", "PLEIADESNEO", "--contract", "CTR1", "--program")
    path = write_plan(wide)
    assert run(path, *asked, "ONEPLAN").exit_code == 0
    result = run(path, *asked, "ONEDAY")
    assert result.exit_code == 1
    assert "from west to east is more than 13 km; plan with a price list whose [shape] says" in result.stderr


def test_skyfi_takes_wkt_of_convex_polygons(write_plan: WritePlan) -> None:
    asked = ("--to", "skyfi", "--order", "--archive-id", "db4794dd")
    (body,) = bodies_of(run(write_plan(SQUARE), *asked))
    assert shapely.from_wkt(body.pop("aoi")).equals(shapely.Polygon(SQUARE))
    assert body == {"archiveId": "db4794dd", "label": "orders order 1"}
    result = run(write_plan(), *asked)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert (
        "order 2 is none that SkyFi takes: it is not convex; plan with a price list whose [shape]"
        in result.stderr
    )
    assert "convex = true\n" in result.stderr


@pytest.mark.parametrize(
    ("vendor", "most", "asked"),
    [
        ("UP42", 999, (*UP42, "--image", "a")),
        ("SkyFi", 500, ("--to", "skyfi", "--order", "--image", "a")),
        ("Airbus", 999, (*AIRBUS, "--mission", "SPOT", "--program", "ONEPLAN")),
        (
            "Planet",
            500,
            ("--to", "planet", "--order", "--image", "a", "--item-type", "SkySatCollect", "--bundle", "b"),
        ),
    ],
)
def test_as_many_vertices_as_the_vendor_takes_and_no_more(
    write_plan: WritePlan, vendor: str, most: int, asked: tuple[str, ...]
) -> None:
    assert run(write_plan(circle(most)), *asked).exit_code == 0
    result = run(write_plan(circle(most + 1)), *asked)
    assert result.exit_code == 1
    assert (
        f"order 1 is none that {vendor} takes: {most + 1} vertices are more than {most}; plan"
        in result.stderr
    )
    assert f"max_vertices = {most}" in result.stderr


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        ([*SQUARE, (13.4, 52.51)], "has duplicate vertices"),
        (
            [(13.4, 52.5), (13.41, 52.51), (13.41, 52.5), (13.4, 52.51)],
            "is no valid polygon (Self-intersection",
        ),
        ([(179.99, 1.0), (-179.99, 1.0), (-179.99, 1.01), (179.99, 1.01)], "crosses the antimeridian"),
    ],
)
@pytest.mark.parametrize("to", [("--to", "wkt"), ("--to", "kml"), (*UP42, "--image", "a")])
def test_polygons_that_nobody_takes_are_exported_nowhere(
    write_plan: WritePlan, corners: Corners, words: str, to: tuple[str, ...]
) -> None:
    path = write_plan(SQUARE, corners)
    result = run(path, *to)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert f"Error: {path}: order 2 {words}" in result.stderr


# What must be said


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--to", "up42"), "needs --product and --image for an estimate of archive imagery, or --product"),
        (
            ("--to", "up42", "--product", "p", "--from", "2027-05-01"),
            "--from and --until for an estimate of tasking",
        ),
        (("--to", "stapi", *DATES), "needs --product, --from and --until"),
        (("--to", "skyfi", "--order"), "needs --image"),
        (("--to", "skyfi", "--image", "a"), "give --order"),
        (("--to", "airbus", "--order", *DATES), "leave --order out"),
        (("--to", "skyfi"), "no documented estimate of an order of archive imagery; give --order"),
        (
            ("--to", "planet", "--order"),
            "--item-type and --bundle for an order of archive imagery, clipped, or --from",
        ),
        ((*UP42, *DATES, "--image", "a"), "cannot be said"),
        ((*UP42, *DATES, "--bundle", "b"), "--bundle cannot be said in an estimate of tasking"),
        ((*UP42, *DATES, "--max-cloud", "0.155"), "whole per cent"),
        ((*UP42, *DATES, "--max-cloud", "20"), "not in the range"),
        ((*UP42, *DATES, "--max-cloud", "nan"), "--max-cloud must be a finite number"),
        ((*UP42, *DATES, "--param", "acquisitionEnd=now"), "'acquisitionEnd' is said already"),
        (("--to", "up42", "--product", "", *DATES), "needs --product"),
        (("--to", "up42", "--product", "skysat", *DATES), "'skysat' is no id of an UP42 data product"),
        ((*UP42, "--from", "2027-06-01", "--until", "2027-05-01"), "--from is not before --until"),
        ((*UP42, "--from", "May"), "'May' is no date"),
        ((*UP42, "--from", "0001-01-01T00:00:00+05:00"), "is no date"),
        ((*UP42, "--from", "2027-05-01T12:00:00"), "names no time zone"),
        ((*UP42, "--image", "0=a"), "orders are counted from 1"),
        ((*UP42, "--param", "mono"), "'mono' is not NAME=VALUE"),
        (("--to", "wkt", "--product", "p"), "--product: means nothing with --to wkt"),
        (("--to", "kml", "--order"), "means nothing with --to kml"),
        ((), "Missing option '--to'"),
    ],
)
def test_what_is_missing_or_means_nothing_is_wrong_usage(
    write_plan: WritePlan, asked: tuple[str, ...], words: str
) -> None:
    result = run(write_plan(), *asked)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert words in " ".join(result.stderr.split())


# Documents


def test_wkt_is_a_polygon_a_line(write_plan: WritePlan, tmp_path: Path) -> None:
    path = write_plan()
    text = run(path, "--to", "wkt").stdout
    assert same_as_planned([shapely.from_wkt(line) for line in text.splitlines()])
    output = tmp_path / "orders.wkt"
    assert run(path, "--to", "wkt", "-o", output).exit_code == 0
    assert output.read_text() == text
    result = run(path, "--to", "wkt", "-o", output)
    assert result.exit_code == 1
    assert "exists already; give --overwrite" in result.stderr
    assert run(path, "--to", "wkt", "-o", output, "--overwrite").exit_code == 0


def test_gdal_reads_the_kml_and_finds_the_same_orders(write_plan: WritePlan, tmp_path: Path) -> None:
    output = tmp_path / "orders.kml"
    assert run(write_plan(), "--to", "kml", "-o", output).exit_code == 0
    read = geopandas.read_file(output, driver="LIBKML")
    assert same_as_planned(list(read.geometry.force_2d()))
    assert list(read["Name"]) == ["order 1", "order 2"]
    assert list(read["tile"]) == ["tile <a & b>"] * 2
    assert [Decimal(cost) for cost in read["cost"]] == [Decimal("175.10")] * 2


def test_what_xml_and_json_cannot_say_is_not_written(write_plan: WritePlan, tmp_path: Path) -> None:
    output = tmp_path / "orders.kml"
    assert run(write_plan(), "--to", "kml", "-o", output, "--name", "x\x01y").exit_code == 0
    assert ElementTree.parse(output).findtext(".//{*}name") == "x\ufffdy"  # noqa: S314  (our own text)
    said = run(write_plan(), *UP42, *DATES, "--param", "much=1e999")
    (body, _) = bodies_of(said)
    assert body["params"]["much"] == "1e999"


ends = st.floats(-0.05, 0.05, allow_nan=False)


@given(st.floats(-179, 179), st.floats(-80, 80), st.lists(st.tuples(ends, ends), min_size=3, max_size=30))
def test_documents_hold_every_corner_to_a_centimetre(
    lon: float, lat: float, offsets: list[tuple[float, float]]
) -> None:
    hull = shapely.MultiPoint([(lon + east, lat + north) for east, north in offsets]).convex_hull
    if hull.geom_type != "Polygon":
        return
    ring = shapely.get_coordinates(hull.exterior)
    order = OrderPolygon(
        id=1, tile="a", patches=1, area_km2=1.0, billed_km2=1.0, cost=Decimal(1), value=1.0, violations=(), ring=ring
    )  # fmt: skip
    assert shapely.get_coordinates(shapely.from_wkt(wkt.polygon(order))) == pytest.approx(ring, abs=6e-8)
    text = ElementTree.fromstring(kml.document([order], "a")).findtext(".//{*}coordinates")  # noqa: S314  (our own text)
    assert text is not None
    corners = [[float(part) for part in corner.split(",")] for corner in text.split()]
    assert corners == pytest.approx(ring, abs=6e-8)


# Files


def test_each_order_gets_a_file_of_its_own_in_a_new_folder(write_plan: WritePlan, tmp_path: Path) -> None:
    path, folder = write_plan(*[SQUARE] * 10), tmp_path / "up42"
    result = run(path, *UP42, "--image", "a", "-o", folder)
    assert result.exit_code == 0
    assert result.stdout == ""
    names = sorted(entry.name for entry in folder.iterdir())
    assert names[0] == "orders-order-01-up42-estimate.json"
    assert names[-1] == "orders-order-10-up42-estimate.json"
    lines = bodies_of(run(path, *UP42, "--image", "a"))
    assert [json.loads((folder / name).read_text()) for name in names] == lines
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["orders.geojson", "up42"]


def test_bodies_of_an_earlier_plan_do_not_stay_beside_new_ones(write_plan: WritePlan, tmp_path: Path) -> None:
    folder = tmp_path / "up42"
    asked = (*UP42, "--image", "a", "-o", folder)
    assert run(write_plan(SQUARE, ELL), *asked).exit_code == 0
    result = run(write_plan(SQUARE), *asked)
    assert result.exit_code == 1
    assert "holds request bodies already; give --overwrite" in result.stderr
    assert len(list(folder.iterdir())) == 2
    assert run(write_plan(SQUARE), *asked, "--overwrite").exit_code == 0
    assert [entry.name for entry in folder.iterdir()] == ["orders-order-1-up42-estimate.json"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["orders.geojson", "up42"]


def test_a_folder_with_other_things_is_never_touched(write_plan: WritePlan, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("keep")
    asked = (write_plan(), *UP42, "--image", "a", "--overwrite")
    result = run(*asked, "-o", folder)
    assert result.exit_code == 1
    assert "holds other things than request bodies (notes.txt)" in result.stderr
    assert [entry.name for entry in folder.iterdir()] == ["notes.txt"]
    assert "is a file; name a folder" in run(*asked, "-o", folder / "notes.txt").stderr
    assert "name a folder in it" in run(*asked, "-o", ".").stderr
    assert "is no folder; make it first" in run(*asked, "-o", tmp_path / "none" / "up42").stderr


def test_all_bodies_are_written_or_none(
    write_plan: WritePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "up42"
    asked = (write_plan(), *UP42, "-o", folder, "--overwrite", "--image")
    assert run(*asked, "first").exit_code == 0
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
    write = Path.write_text

    def full_at_the_second(self: Path, *arguments: Any, **options: Any) -> int:
        if "order-2" in self.name:
            raise OSError(28, "No space left on device")
        return write(self, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", full_at_the_second)
    result = run(*asked, "second")
    assert result.exit_code == 1
    assert f"{folder}: cannot be written (No space left on device)" in result.stderr
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_cannot_be_replaced_stays_as_it_was(
    write_plan: WritePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "up42"
    asked = (write_plan(), *UP42, "-o", folder, "--overwrite", "--image")
    assert run(*asked, "first").exit_code == 0
    before = {entry.name: entry.read_bytes() for entry in folder.iterdir()}
    replace = Path.replace

    def refused(self: Path, target: Path) -> Path:
        if self.suffix == ".part":
            raise OSError(13, "Permission denied")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refused)
    result = run(*asked, "second")
    assert result.exit_code == 1
    assert f"{folder}: cannot be written (Permission denied)" in result.stderr
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["orders.geojson", "up42"]


def test_every_vendor_and_format_can_be_named() -> None:
    assert set(VENDORS) == set(ENDPOINTS)
    assert set(DOCUMENTS) == set(exports.DOCUMENTS)


def test_nothing_is_sent(write_plan: WritePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: Any) -> None:
        raise AssertionError("the network was reached for")

    monkeypatch.setattr(socket, "socket", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    result = run(write_plan(), *UP42, *DATES, "--order")
    assert result.exit_code == 0
    assert "nothing was sent" in result.stderr


def test_people_read_what_the_plan_says_that_it_costs(write_plan: WritePlan) -> None:
    asked = (*UP42, *DATES)
    narrow = {"violations": ["it is narrower than 5 km"], "area_km2": 1.25}
    result = run(write_plan(**narrow), *asked)
    words = " ".join(result.stderr.split())
    assert "order 1 covers 0.7556 km², not the 1.2500 km² that were planned: its polygon was changed" in words
    assert words.split("total")[1].split("prices")[0].replace("│", "").split()[:4] == [
        "24",
        "2.5000",
        "50.0000",
        "350.20",
    ]
    assert "prices: up42-skysat, of UP42 (undated, trust: published)" in words
    assert "warning: order 2: by the plan's own price list its vendor refuses it: it is narrower" in words
    assert "warning: the plan was billed" not in words
    other = run(write_plan(prices="skywatch-archive-50cm"), *asked)
    assert "warning: the plan was billed by a price list of SkyWatch, not of UP42" in other.stderr
    assert "was changed since" not in other.stderr
    assert run(write_plan(), *asked, "--quiet").stderr == ""


# The plan's file


def test_a_plan_is_read_from_stdin_as_from_its_file(write_plan: WritePlan) -> None:
    path = write_plan()
    piped = run("-", "--to", "wkt", input=path.read_text())
    assert piped.stdout == run(path, "--to", "wkt").stdout


def test_a_geopackage_holds_the_same_orders_without_the_price_list(
    write_plan: WritePlan, tmp_path: Path
) -> None:
    content = plan_of(SQUARE, ELL)["geozoom"]["orders"]
    frame = geopandas.GeoDataFrame(
        [
            {key: value for key, value in row.items() if key not in ("geometry", "violations")}
            for row in content
        ],
        geometry=[polygon_of(row["geometry"]) for row in content],
        crs="EPSG:4326",
    )
    path = tmp_path / "orders.gpkg"
    frame.assign(violations="").to_file(path, layer="orders")
    frame.to_file(path, layer="patches", mode="a")
    of_file, of_json = read_order_polygons(path), read_order_polygons(write_plan())
    assert [order.cost for order in of_file.orders] == [order.cost for order in of_json.orders]
    for left, right in zip(of_file.orders, of_json.orders, strict=True):
        np.testing.assert_array_equal(left.ring, right.ring)
        assert left.violations == right.violations == ()
    result = run(path, *UP42, *DATES)
    assert "a GeoPackage does not hold the price list" in result.stderr


def test_older_plans_and_other_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "orders.geojson"
    good = plan_of(SQUARE)
    for content, words in (
        (good | {"geozoom": good["geozoom"] | {"format": 1}}, "is a plan of format 1.*plan again"),
        (good | {"geozoom": good["geozoom"] | {"orders": []}}, "buys nothing"),
        ({"type": "FeatureCollection", "features": []}, "not a plan that `geozoom plan` wrote"),
        ([1], "not a plan"),
        (plan_of(SQUARE, cost=None), "not a plan"),
        (plan_of(SQUARE, cost=math.nan), "a figure of order 1 is not finite"),
        (plan_of(SQUARE, order=0), "an order with the number 0"),
        (plan_of(SQUARE, ELL, order=3), "two orders have the same number"),
        (plan_of(SQUARE, geometry={"type": "Polygon", "coordinates": [[[1, 2], [3, 4]]]}), "not a plan"),
        (plan_of(SQUARE, geometry={"type": "Point", "coordinates": [1, 2]}), "order 1 is not one polygon"),
        (plan_of([(13.4, 52.5), (190.0, 52.5), (190.0, 53.0)]), "order 1 does not lie in longitude"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(OrdersError, match=words):
            read_order_polygons(path)
    path.write_text("{")
    with pytest.raises(OrdersError, match="not a plan"):
        read_order_polygons(path)
    for name, words in (("none.geojson", "no such orders file"), ("orders.fgb", "not read from .fgb")):
        (tmp_path / "orders.fgb").write_bytes(b"")
        with pytest.raises(OrdersError, match=words):
            read_order_polygons(tmp_path / name)


def test_a_geopackage_of_an_older_plan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orders.gpkg"
    frame = geopandas.GeoDataFrame(
        {"tile": ["a"], "patch": [3], "order": [1]}, geometry=[shapely.Polygon(SQUARE)], crs="EPSG:4326"
    )
    frame.to_file(path, layer="orders")
    with pytest.raises(OrdersError, match=r"holds no orders, but features without billed_km2.*plan again"):
        read_order_polygons(path)
    path.unlink()
    frame.to_file(path, layer="other")
    with pytest.raises(OrdersError, match="plan again"):
        read_order_polygons(path)


def test_clockwise_rings_are_turned(write_plan: WritePlan) -> None:
    (order,) = read_order_polygons(write_plan(SQUARE[::-1])).orders
    assert shapely.LinearRing(order.ring).is_ccw


# Rules


corner = st.tuples(st.integers(0, 1000), st.integers(0, 1000))


@given(st.lists(corner, min_size=3, max_size=12, unique=True))
def test_a_polygon_is_convex_where_it_is_its_own_hull(points: list[tuple[int, int]]) -> None:
    scaled = shapely.transform(shapely.MultiPoint(points), lambda xy: xy / 1000)
    hull = scaled.convex_hull
    if hull.geom_type != "Polygon":
        return
    ring = shapely.get_coordinates(shapely.orient_polygons(hull).exterior)
    assert is_convex(ring)
    # The middle of a side, pushed in, makes it concave.
    middle = (ring[0] + ring[1]) / 2
    inward = (shapely.get_coordinates(hull.centroid)[0] - middle) * 0.3
    assert not is_convex(np.insert(ring, 1, middle + inward, axis=0))


def test_every_rule_of_shape_is_measured_on_the_ground() -> None:
    ring = np.array([*ELL, ELL[0]])
    km2, (wide, high) = area_km2(ring), extent_km(ring)
    frame = geopandas.GeoSeries([shapely.Polygon(ELL)], crs="EPSG:4326").to_crs("EPSG:3035")  # equal area
    assert km2 == pytest.approx(frame.area.iloc[0] / 1e6, rel=1e-4)
    assert (wide, high) == pytest.approx((1.357, 2.225), abs=0.003)
    fitting = ShapeRules(
        min_km2=Decimal(2), max_km2=Decimal(3), min_width_km=Decimal(1), max_width_km=Decimal(2),
        max_height_km=Decimal(3), max_vertices=6, min_box_share=Decimal("0.7"),
    )  # fmt: skip
    assert refusals(ring, fitting) == []
    for rules, words in (
        (ShapeRules(min_km2=Decimal(3)), "less than the smallest order of 3 km²"),
        (ShapeRules(max_km2=Decimal(2)), "more than the largest order of 2 km²"),
        (ShapeRules(min_width_km=Decimal("1.5")), "narrower than 1.5 km"),
        (ShapeRules(max_width_km=Decimal(1)), "from west to east is more than 1 km"),
        (ShapeRules(max_height_km=Decimal(2)), "from south to north is more than 2 km"),
        (ShapeRules(max_vertices=5), "6 vertices are more than 5"),
        (ShapeRules(convex=True), "it is not convex"),
        (ShapeRules(min_box_share=Decimal("0.8")), "of its bounding box, less than 0.8"),
    ):
        (problem,) = refusals(ring, rules)
        assert words in problem

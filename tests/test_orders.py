"""What is written of orders: polygons, bills, shares and layers, each worked out again from the file."""

from __future__ import annotations

import dataclasses
import json
import re
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer
from shapely.geometry import shape

from geozoom.budget import Budget
from geozoom.errors import PriceListError
from geozoom.footprints import points_to_lonlat
from geozoom.offer import AtOnce
from geozoom.ordering import Rings
from geozoom.orders import Plan
from geozoom.outlining import order_rings
from geozoom.planner import Candidates, prepare
from geozoom.prices import PriceList
from geozoom.rates import Tier, Uplift
from geozoom.rules import ShapeRules
from tests.conftest import BY_AREA, WriteRaster, small_model

GEOD = Geod(ellps="WGS84")
VENDORS = (
    BY_AREA,
    dataclasses.replace(BY_AREA, minimum_km2=Decimal("0.01"), shape=ShapeRules(max_vertices=20)),
    dataclasses.replace(BY_AREA, minimum_km2=Decimal("0.02"), shape=ShapeRules(convex=True)),
    dataclasses.replace(
        BY_AREA, minimum_value=Decimal(3), shape=ShapeRules(min_km2=Decimal("0.01"), max_km2=Decimal("0.03"))
    ),
    dataclasses.replace(
        BY_AREA,
        billing="union",
        minimum_km2=Decimal("0.05"),
        uplifts=(Uplift(name="clear", percent=Decimal("12.5"), applies=True),),
    ),
    dataclasses.replace(
        BY_AREA,
        rate_per_km2=None,
        tiers=(
            Tier(from_km2=Decimal(0), rate_per_km2=Decimal(120)),
            Tier(from_km2=Decimal("0.015"), rate_per_km2=Decimal(70)),
        ),
        tiers_apply="marginal",
        shape=ShapeRules(
            min_width_km=Decimal("0.06"), max_width_km=Decimal("0.3"), max_height_km=Decimal("0.3")
        ),
    ),
)


@pytest.fixture(scope="module")
def tile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from affine import Affine

    from tests.conftest import ORIGIN, UTM33, smooth_noise

    path = tmp_path_factory.mktemp("tiles") / "tile.tif"
    import rasterio

    pixels = (smooth_noise(3, 40, 48, 0) * 254 + 1).astype(np.uint8)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype="uint8",
        count=3,
        height=40,
        width=48,
        crs=UTM33,
        transform=Affine(10, 0, ORIGIN[0], 0, -10, ORIGIN[1]),
        photometric="RGB",
    ) as file:
        file.write(pixels)
    return path


def _at_once(candidates: Candidates) -> AtOnce:
    assert isinstance(candidates.offer, AtOnce)
    return candidates.offer


class Found(list[Candidates]):
    """What each vendor could sell; of few words, since hypothesis writes down what a test is given."""

    def __repr__(self) -> str:
        return f"{len(self)} candidates"


@pytest.fixture(scope="module")
def found(tile: Path) -> Found:
    return Found(prepare([tile], model=small_model(), prices=vendor) for vendor in VENDORS)


def recomputed(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], Decimal]:
    """Read a plan and bill its polygons with nothing but pyproj and the price list in the file."""
    content = json.loads(path.read_text())
    summary = content["geozoom"]
    areas = [
        round(100 * GEOD.geometry_area_perimeter(shape(order["geometry"]))[0]) for order in summary["orders"]
    ]
    facts = summary["price_list"]

    def bill(area_dm2: int) -> Decimal:
        billed = max(Decimal(area_dm2) / 10**8, Decimal(facts["minimum_km2"]))
        if facts["rate_per_km2"] is not None:
            charge = billed * Decimal(facts["rate_per_km2"])
        else:
            starts = [Decimal(tier["from_km2"]) for tier in facts["tiers"]] + [Decimal(10**9)]
            charge = sum(
                (
                    (min(billed, end) - start) * Decimal(tier["rate_per_km2"])
                    for tier, start, end in zip(facts["tiers"], starts, starts[1:], strict=False)
                    if billed > start
                ),
                Decimal(0),
            )
        percent = sum((Decimal(each["percent"]) for each in facts["uplifts"] if each["applies"]), Decimal(0))
        charge = max(charge * (1 + percent / 100), Decimal(facts["minimum_value"]))
        return charge.quantize(Decimal("0.01"), "ROUND_HALF_UP")

    if facts["billing"] == "union":
        total = bill(sum(areas)) if areas else Decimal("0.00")
    else:
        bills = [bill(area) for area in areas]
        assert [Decimal(str(order["cost"])) for order in summary["orders"]] == bills
        total = sum(bills, Decimal("0.00"))
    return summary, content["features"], total


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(vendor=st.sampled_from(range(len(VENDORS))), cents=st.none() | st.integers(50, 3000))
def test_a_written_plan_is_what_it_says(found: Found, tmp_path: Path, vendor: int, cents: int | None) -> None:
    plan = found[vendor].choose(None if cents is None else Budget(cents))
    check_written(plan, tmp_path / "orders.geojson", VENDORS[vendor].shape, cents)


def check_written(plan: Plan, path: Path, rules: ShapeRules, cents: int | None) -> None:
    """Write a plan and hold the file against the vendor's rules, the budget and the plan's own figures."""
    plan.write(path, overwrite=True)
    summary, features, total = recomputed(path)
    assert Decimal(str(summary["totals"]["cost"])) == total == plan.cost
    assert cents is None or total <= Decimal(cents) / 100
    assert summary["totals"]["value"] <= summary["totals"]["value_bound"] + 1e-6
    shares = sum((Decimal(str(each["properties"]["cost_share"])) for each in features), Decimal(0))
    assert shares == total
    polygons = [shape(order["geometry"]) for order in summary["orders"]]
    for order, polygon in zip(summary["orders"], polygons, strict=True):
        assert order["violations"] == []
        assert polygon.is_valid
        assert polygon.exterior.is_ccw
        assert not polygon.interiors
        assert order["patches"] > 0
        km2 = GEOD.geometry_area_perimeter(polygon)[0] / 1e6
        assert km2 >= float(rules.min_km2 or 0)
        assert rules.max_km2 is None or km2 <= float(rules.max_km2)
        assert rules.max_vertices is None or len(polygon.exterior.coords) - 1 <= rules.max_vertices
        if rules.convex:
            assert polygon.convex_hull.area == pytest.approx(polygon.area, rel=1e-5)
    pairs = (
        shapely.STRtree(polygons).query(polygons, predicate="intersects").T if polygons else np.empty((0, 2))
    )
    for one, other in pairs[pairs[:, 0] < pairs[:, 1]].tolist():
        # Corners are written to a centimetre, and a corner may lie on the side of a neighbour.
        assert polygons[one].intersection(polygons[other]).area < 2e-7 * polygons[one].length
    for feature in features:
        patch = shape(feature["geometry"]).buffer(-1e-6)
        assert polygons[feature["properties"]["order"] - 1].covers(patch)


@settings(max_examples=3, deadline=None)
@given(
    vendor=st.sampled_from(range(len(VENDORS))),
    cents=st.lists(st.integers(50, 3000), min_size=2, max_size=4),
)
def test_of_plans_made_one_after_the_other_more_money_never_buys_less(
    found: Found, vendor: int, cents: list[int]
) -> None:
    candidates = dataclasses.replace(found[vendor], _made=[])
    plans = [candidates.choose(Budget(amount)) for amount in sorted(cents)]
    values = [plan.value for plan in plans]
    assert values == sorted(values)
    assert all(plan.cost * 100 <= amount for plan, amount in zip(plans, sorted(cents), strict=True))


def test_a_better_plan_for_less_money_is_taken(found: Found) -> None:
    candidates = dataclasses.replace(found[1], _made=[])
    best = candidates.choose(Budget(2500))

    class Worse:
        """An offer of which the solver finds nothing any more."""

        least_dm2 = 1

        def purchase(self, prices: PriceList, budget_cents: int | None, solver: str) -> Any:
            return _at_once(candidates).purchase(prices, 1, "fast")

    later = dataclasses.replace(candidates, offer=Worse())
    plan = later.choose(Budget(2600))
    assert plan.value == best.value > 0
    assert plan.orders == best.orders
    assert plan.budget == Decimal("26.00")
    if best.next_lacking is not None:
        assert plan.next_lacking == max(Decimal(0), best.next_lacking - 1)
    assert later.choose(Budget(2400)).value == 0  # which it does not pay for


def test_without_a_budget_all_that_is_wanted_is_bought(found: Found) -> None:
    for candidates in found:
        plan = candidates.choose(None)
        assert len(plan) == plan.candidates
        assert (plan.next_cost, plan.next_lacking) == (None, None)


def test_buying_nothing_is_a_plan(found: Found, tmp_path: Path) -> None:
    plan = found[3].choose(Budget(100))  # an order costs 3.00 at least
    plan.write(tmp_path / "orders.geojson")
    plan.write(tmp_path / "orders.gpkg")
    summary, features, total = recomputed(tmp_path / "orders.geojson")
    assert (summary["orders"], features, total) == ([], [], Decimal("0.00"))
    assert list(geopandas.read_file(tmp_path / "orders.gpkg", layer="orders").geometry) == []


def test_a_geopackage_holds_patches_orders_and_scenes_with_their_styles(found: Found, tmp_path: Path) -> None:
    plan = found[1].choose(Budget(1500))
    path = tmp_path / "orders.gpkg"
    plan.write(path)
    assert set(geopandas.list_layers(path)["name"]) >= {"patches", "orders", "scenes"}
    patches, orders, scenes = (
        geopandas.read_file(path, layer=layer) for layer in ("patches", "orders", "scenes")
    )
    assert len(patches) == len(plan)
    assert orders["cost"].sum() == pytest.approx(float(plan.cost))
    assert (orders["currency"] == "USD").all()
    assert scenes["patches"].sum() == len(plan)
    assert scenes["cost_share"].sum() == pytest.approx(float(plan.cost))
    # A scene's outline holds the patches bought of it.
    held = scenes.set_index(["tile", "scene"]).geometry
    for row in patches.itertuples():
        assert held[row.tile, row.scene].buffer(3e-7).covers(row.geometry)
    with sqlite3.connect(path) as database:
        styles = dict(database.execute("SELECT f_table_name, styleQML FROM layer_styles WHERE useAsDefault"))
        listed = database.execute("SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'")
        assert listed.fetchone() == ("attributes",)
    database.close()
    assert set(styles) == {"patches", "orders", "scenes"}
    steps = re.findall(r'<range lower="([0-9.]+)" upper="([0-9.]+)"', styles["patches"])
    assert len(steps) == 5
    assert float(steps[0][0]) == 0
    assert float(steps[-1][1]) == pytest.approx(patches["value"].max(), abs=1e-8)
    assert 'type="singleSymbol"' in styles["orders"]
    assert all(style.startswith("<qgis ") and style.endswith("</qgis>") for style in styles.values())


def test_long_sides_are_divided_where_the_vendor_allows_the_vertices(write_raster: WriteRaster) -> None:
    path = write_raster(height=80, width=1600)
    candidates = prepare([path], model=small_model(), prices=BY_AREA, threshold=0.0)
    (ground,) = _at_once(candidates).grounds
    down, across = ground.cells.shape
    whole = np.array([[0, 0], [0, down], [across, down], [across, 0]], dtype=np.int32)
    outline = Rings(points=whole, offsets=np.array([0, 4]))
    (divided,) = order_rings(candidates.tiles[0], ground, outline, ShapeRules())
    (plain,) = order_rings(candidates.tiles[0], ground, outline, ShapeRules(max_vertices=9))
    assert len(divided) - 1 == 4 + 2 * 3  # sides of 16 km in four pieces
    assert len(plain) - 1 == 4
    dense = np.asarray(shapely.segmentize(shapely.LinearRing(ground.cells.corners_px(whole)), 4).coords)
    truth = shapely.LineString(points_to_lonlat(candidates.tiles[0], dense))
    apart = [
        shapely.hausdorff_distance(truth, shapely.LineString(ring), densify=0.01) for ring in (divided, plain)
    ]
    assert apart[0] < 0.1 * apart[1]


@pytest.mark.parametrize("lat", [60.0, 80.0, 88.0, 89.5, 90.0])
def test_towards_the_poles_orders_still_hold_their_patches(write_raster: WriteRaster, lat: float) -> None:
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3413", always_xy=True).transform(30, lat)
    path = write_raster(height=48, width=520, crs="EPSG:3413", transform=Affine(10, 0, x, 0, -10, y))
    candidates = prepare([path], model=small_model(), prices=BY_AREA, threshold=0.0)
    (ground,) = _at_once(candidates).grounds
    down, across, middle = ground.cells.rows, 249, 124  # 4.98 km
    outline = np.array([[0, 0], [0, down], [across, down], [across, 0]], dtype=np.int32)
    rings = Rings(points=outline, offsets=np.array([0, 4]))
    (ring,) = order_rings(candidates.tiles[0], ground, rings, ShapeRules())
    (coarser,) = order_rings(candidates.tiles[0], ground, rings, ShapeRules(max_vertices=8))
    assert len(coarser) <= len(ring) < 100
    order = shapely.Polygon(ring)
    for row in (0, down - 1) if lat < 90 else ():  # there a side ends on the pole
        corners = np.array([(middle, row), (middle + 1, row), (middle + 1, row + 1), (middle, row + 1)])
        cell = shapely.Polygon(points_to_lonlat(candidates.tiles[0], ground.cells.corners_px(corners)))
        assert cell.intersection(order).area > 0.9 * cell.area


def test_tiers_by_which_one_cell_more_makes_an_order_cheaper_are_planned(write_raster: WriteRaster) -> None:
    prices = dataclasses.replace(
        BY_AREA,
        rate_per_km2=None,
        minimum_km2=Decimal("0.0392"),
        tiers=(
            Tier(from_km2=Decimal(0), rate_per_km2=Decimal("10.00")),
            Tier(from_km2=Decimal("0.04"), rate_per_km2=Decimal("9.75")),
        ),
        tiers_apply="whole",
        shape=ShapeRules(max_km2=Decimal("0.04")),
    )
    candidates = prepare([write_raster()], model=small_model(), prices=prices, threshold=0.1)
    for euros in ("0.45", "0.60", "0.80", "1.00", "1.20"):
        plan = candidates.choose(Budget.of(euros))
        assert plan.cost <= Decimal(euros)
        assert len(plan)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"max_km2": "0.0001"}, "max_km2 0.0001 is less than a patch of these tiles has, 0.0004"),
        ({"max_width_km": "0.01"}, "max_width_km 0.01 is less than a patch"),
        (
            {"min_km2": "0.01", "max_width_km": "0.1", "max_height_km": "0.1"},
            "its [shape] leaves no room between the least and the most that an order may be",
        ),
        ({"min_km2": "0.0044", "max_km2": "0.0044"}, "its [shape] leaves no room"),
    ],
)
def test_rules_that_no_order_can_keep_are_refused_before_tiles_are_read(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch, rules: dict[str, str], words: str
) -> None:
    monkeypatch.setattr("geozoom.planner.score", None)
    shape = ShapeRules(**{name: Decimal(value) for name, value in rules.items()})  # type: ignore[arg-type]
    with pytest.raises(PriceListError, match=re.escape(words)):
        prepare([write_raster()], model=small_model(), prices=dataclasses.replace(BY_AREA, shape=shape))

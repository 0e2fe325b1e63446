"""Price lists as TOML: those that ship, and the user's own."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

import geozoom
from geozoom.errors import PriceListError
from geozoom.pricelists import DEFAULT_PRICE_LIST, load_price_list, parse_price_list, shipped_price_lists
from geozoom.rates import Tier, Uplift
from geozoom.rules import ShapeRules
from tests.conftest import EXAMPLES
from tests.test_prices import dm2

GOOD = """
name = "test"
currency = "USD"
billing = "per-order"
rate_per_km2 = "20.00"
minimum_km2 = "0.25"
source = "made for tests"
effective_date = "2026-01-31"
trust = "illustrative"
"""
FULL = """
name = "full"
vendor = "vendor"
product = "product"
gsd_m = "0.5"
currency = "EUR"
billing = "union"
tiers_apply = "marginal"
minimum_km2 = "0.5"
minimum_value = "100"
aoi_format = "wkt"
source = "an offer"
effective_date = 2026-01-31
trust = "published"
note = " of no weight "

[[tiers]]
from_km2 = "0"
rate_per_km2 = "8.50"

[[tiers]]
from_km2 = "10"
rate_per_km2 = "7.00"

[[uplifts]]
name = "cloud"
percent = "50"

[[uplifts]]
name = "licence"
per_km2 = "5.00"
applies = true

[shape]
min_km2 = "0.5"
max_km2 = "2000"
min_width_km = "0.1"
max_width_km = "18.9"
max_height_km = "40"
max_vertices = 500
holes = false
max_parts = 3
convex = true
min_box_share = "0.05"
"""
SCENE = """
name = "scene"
currency = "USD"
billing = "per-scene"
price_per_scene = "300.00"
source = "made for tests"
effective_date = "undated"
trust = "illustrative"

[shape]
max_width_km = "20"
max_height_km = "10"
"""

# Name, currency, what the source says: this area costs this much; and the smallest order costs this much.
FIGURES = [
    ("skywatch-archive-standard", "USD", "10", "25.00", "12.50"),
    ("skywatch-archive-50cm", "USD", "10", "100.00", "10.00"),
    ("skywatch-archive-30cm", "USD", "10", "225.00", "112.50"),
    ("skywatch-archive-15cm", "USD", "10", "400.00", "0.01"),
    ("skywatch-tasking-50cm", "USD", "100", "1200.00", "300.00"),
    ("skywatch-tasking-30cm", "USD", "10", "325.00", "0.01"),
    ("skywatch-tasking-15cm", "USD", "10", "600.00", "0.01"),
    ("upstream-pleiades-neo-tasking", "USD", "100", "2800.00", "2800.00"),
    ("upstream-pleiades-tasking", "USD", "100", "1800.00", "1800.00"),
    ("upstream-skysat-tasking", "USD", "25", "500.00", "500.00"),
    ("sentinel-hub-pleiades-archive", "EUR", "1", "8.50", "2.13"),
    ("up42-skysat", "EUR", "25", "175.00", "175.00"),
    ("up42-beijing-3a", "EUR", "10", "120.00", "120.00"),
    ("up42-beijing-3n", "EUR", "15", "240.00", "240.00"),
    ("up42-triplesat", "EUR", "5", "30.00", "30.00"),
]


def test_every_list_that_ships_is_in_the_table_of_figures() -> None:
    assert sorted(figures[0] for figures in FIGURES) == list(shipped_price_lists())


@pytest.mark.parametrize(("name", "currency", "area", "cost", "least"), FIGURES)
def test_a_list_that_ships_says_what_its_source_says(
    name: str, currency: str, area: str, cost: str, least: str
) -> None:
    prices = load_price_list(name)
    assert (prices.name, prices.currency) == (name, currency)
    assert prices.bill(dm2(area)) == Decimal(cost)
    assert prices.bill(1) == Decimal(least)
    assert prices.vendor
    assert prices.product
    assert prices.source
    assert "  " not in prices.note
    # What is not the vendor's own figure says what it is.
    assert prices.trust == {"skywatch": "unverified", "upstream": "reseller", "sentinel": "unverified"}.get(
        name.split("-", maxsplit=1)[0], "published"
    )
    assert prices.effective_date == (date(2026, 7, 4) if name.startswith("skywatch") else None)


def test_the_default_list_is_one_of_those_that_ship() -> None:
    assert load_price_list() == load_price_list(None) == load_price_list(DEFAULT_PRICE_LIST)
    assert geozoom.load_price_list().name == "skywatch-archive-50cm"
    assert (load_price_list().rate_per_km2, load_price_list().minimum_km2) == (Decimal(10), Decimal(1))
    assert load_price_list().shape == ShapeRules(min_km2=Decimal(1), max_vertices=199)


def test_all_that_a_list_can_say_is_read() -> None:
    prices = parse_price_list(FULL, "full.toml")
    assert prices.tiers == (
        Tier(from_km2=Decimal(0), rate_per_km2=Decimal("8.50")),
        Tier(from_km2=Decimal(10), rate_per_km2=Decimal("7.00")),
    )
    assert prices.uplifts == (
        Uplift(name="cloud", percent=Decimal(50)),
        Uplift(name="licence", per_km2=Decimal("5.00"), applies=True),
    )
    assert prices.shape == ShapeRules(
        min_km2=Decimal("0.5"),
        max_km2=Decimal(2000),
        min_width_km=Decimal("0.1"),
        max_width_km=Decimal("18.9"),
        max_height_km=Decimal(40),
        max_vertices=500,
        max_parts=3,
        convex=True,
        min_box_share=Decimal("0.05"),
    )
    assert (prices.billing, prices.tiers_apply, prices.aoi_format) == ("union", "marginal", "wkt")
    assert (prices.minimum_value, prices.gsd_m, prices.note) == (Decimal(100), Decimal("0.5"), "of no weight")
    assert prices.effective_date == date(2026, 1, 31)
    assert prices.bill(dm2(20)) == Decimal("255.00")
    assert prices.terms == (
        "EUR per km²: 8.50 from 0 km², 7.00 from 10 km² (each km² at its own tier's rate), at least 0.5 km² and "
        "100 EUR for all orders together, licence +5.00 EUR per km²"
    )
    scene = parse_price_list(SCENE, "scene.toml")
    assert (scene.bill(1), scene.effective_date) == (Decimal("300.00"), None)


@pytest.mark.parametrize(
    ("base", "old", "new", "words"),
    [
        (GOOD, '"20.00"', "20.5", "rate_per_km2 must be written as a string; put it in quotes"),
        (GOOD, '"20.00"', '"cheap"', "rate_per_km2 = 'cheap' is not a number"),
        (GOOD, '"20.00"', '"NaN"', "not a finite number"),
        (GOOD, '"20.00"', "true", "must be written as a string"),
        (
            GOOD,
            '"20.00"',
            '"0"',
            "rate_per_km2 is 0; it must be a positive amount in whole cents, up to 50000",
        ),
        (GOOD, '"20.00"', '"-20"', "rate_per_km2 is -20; it must be a positive amount"),
        (GOOD, '"20.00"', '"20.005"', "whole cents"),
        (GOOD, '"20.00"', '"1e-999999"', "whole cents"),
        (GOOD, '"20.00"', '"1e999999"', "whole cents"),
        (
            GOOD,
            '"0.25"',
            '"-1"',
            "minimum_km2 is -1; it must be 0 or more, up to 10000, with 8 decimals at most",
        ),
        (GOOD, '"0.25"', '"0.000000001"', "with 8 decimals at most"),
        (
            GOOD,
            'minimum_km2 = "0.25"',
            'minimum_value = "-1"',
            "minimum_value is -1; it must be 0 or an amount",
        ),
        (GOOD, '"2026-01-31"', '"31.1.2026"', 'write it as "YYYY-MM-DD", or "undated"'),
        (GOOD, '"2026-01-31"', "2026-01-31T10:00:00", "is not a date"),
        (GOOD, '"2026-01-31"', "20260131", "is not a date"),
        (GOOD, "effective_date", "# effective_date", "lacks the key 'effective_date'; add it"),
        (GOOD, "currency", "# currency", "lacks the key 'currency'; add it, as in currency = \"USD\""),
        (GOOD, '"USD"', '"dollars"', "currency is 'dollars'; it must be a code of three capital letters"),
        (GOOD, '"made for tests"', '" "', "source is ' '; write a text in quotes"),
        (
            GOOD,
            '"illustrative"',
            '"blind"',
            "trust is 'blind'; it must be one of published, reseller, unverified",
        ),
        (GOOD, "billing", "# billing", "lacks the key 'billing'"),
        (
            GOOD,
            '"per-order"',
            '"per-patch"',
            "billing is 'per-patch'; it must be one of per-order, union, per-scene",
        ),
        (
            GOOD,
            "minimum_km2",
            "minimun_km2",
            r"unknown key 'minimun_km2'; .* \(did you mean 'minimum_km2'\?\)",
        ),
        (
            GOOD,
            "trust",
            'zz = "red"\ntrust',
            r"unknown key 'zz'; correct or remove it \(known are name, .*note\)",
        ),
        (GOOD, 'name = "test"', "name =", "not valid TOML"),
        (GOOD, "rate_per_km2", "# rate_per_km2", "a price list has either rate_per_km2 or tiers; give one"),
        (GOOD, "minimum_km2", "price_per_scene", 'price_per_scene is for billing = "per-scene"; remove it'),
        (GOOD, "minimum_km2", 'tiers_apply = "whole"\nminimum_km2', "tiers and tiers_apply belong together"),
        (
            GOOD,
            "minimum_km2",
            'gsd_m = "0"\nminimum_km2',
            "gsd_m is 0; it must be a positive number of metres",
        ),
        (
            GOOD,
            'rate_per_km2 = "20.00"',
            'tiers = "cheap"',
            r"tiers is 'cheap'; write tables, .* \[\[tiers\]\]",
        ),
        (GOOD, "trust", 'shape = "round"\ntrust', r"shape is 'round'; write it as a table, under \[shape\]"),
        (FULL, "minimum_km2", 'rate_per_km2 = "5"\nminimum_km2', "either rate_per_km2 or tiers"),
        (FULL, 'tiers_apply = "marginal"', "", "tiers and tiers_apply belong together; give both"),
        (FULL, '"marginal"', '"some"', "tiers_apply is 'some'; it must be one of marginal, whole"),
        (FULL, 'from_km2 = "0"', 'from_km2 = "1"', "the first tier begins at 1 km²; let it begin at 0"),
        (
            FULL,
            'from_km2 = "10"',
            'from_km2 = "0"',
            "tiers 1 and 2 overlap, from 0 and from 0 km²; let from_km2 rise",
        ),
        (FULL, 'from_km2 = "10"\n', "", r"\[\[tiers\]\] 2 lacks the key 'from_km2'"),
        (FULL, '"7.00"', '"-7.00"', r"\[\[tiers\]\] 2 rate_per_km2 is -7.00; it must be a positive amount"),
        (
            FULL,
            'from_km2 = "10"',
            'from_km2 = "-10"',
            r"\[\[tiers\]\] 2 from_km2 is -10; it must be 0 or more",
        ),
        (FULL, 'percent = "50"', 'percent = "-50"', r"\[\[uplifts\]\] 1 percent is -50; it must be positive"),
        (
            FULL,
            'percent = "50"',
            "",
            r"\[\[uplifts\]\] 1 has both or neither of percent and per_km2; give one",
        ),
        (
            FULL,
            'per_km2 = "5.00"',
            'per_km2 = "0"',
            r"\[\[uplifts\]\] 2 per_km2 is 0; it must be a positive amount",
        ),
        (FULL, 'per_km2 = "5.00"', 'per_km2 = "49999"', "rate and uplifts add up to more than 50000 per km²"),
        (FULL, 'per_km2 = "5.00"', 'percent = "951"', "the uplifts add up to more than 1000 percent"),
        (FULL, 'name = "licence"', 'name = "cloud"', "two uplifts are called 'cloud'; rename one"),
        (FULL, "applies = true", "applies = 1", r"\[\[uplifts\]\] 2 applies is 1; write true or false"),
        (
            FULL,
            "max_vertices = 500",
            'max_vertices = "500"',
            r"\[shape\] max_vertices is '500'; write a whole number",
        ),
        (FULL, "max_vertices = 500", "max_vertices = 3", "max_vertices is 3; it must be 4 at least"),
        (FULL, "max_parts = 3", "max_parts = 0", "max_parts is 0; it must be 1 at least"),
        (FULL, "max_parts = 3", "max_parts = true", "max_parts is True; write a whole number"),
        (FULL, 'max_km2 = "2000"', 'max_km2 = "0.4"', "min_km2 0.5 is above max_km2 0.4; correct one"),
        (FULL, 'min_width_km = "0.1"', 'min_width_km = "20"', "min_width_km 20 is above max_width_km 18.9"),
        (
            FULL,
            'max_height_km = "40"',
            'max_height_km = "0.05"',
            "min_width_km 0.1 is above max_height_km 0.05",
        ),
        (FULL, 'max_width_km = "18.9"', 'max_width_km = "0"', "max_width_km is 0; it must be more than 0"),
        (
            FULL,
            'min_km2 = "0.5"\n',
            'min_km2 = "800"\n',
            "min_km2 800 is more than max_width_km × max_height_km hold",
        ),
        (FULL, "holes = false", "holes = true", "holes and convex are both true"),
        (FULL, 'min_box_share = "0.05"', 'min_box_share = "1.1"', "min_box_share is 1.1; .* up to 1"),
        (FULL, '"wkt"', '"shp"', "aoi_format is 'shp'; it must be one of geojson, wkt"),
        (SCENE, 'price_per_scene = "300.00"', "", 'billing = "per-scene" needs a price_per_scene; add it'),
        (SCENE, '"300.00"', '"-1"', "price_per_scene is -1; it must be a positive amount"),
        (SCENE, 'max_width_km = "20"', "", "add max_width_km and max_height_km to"),
        (
            SCENE,
            "source",
            'rate_per_km2 = "5"\nsource',
            'rate_per_km2 means nothing with billing = "per-scene"',
        ),
        (
            SCENE,
            "[shape]",
            '[[uplifts]]\nname = "a"\nper_km2 = "1"\n[shape]',
            "an uplift per_km2 means nothing with",
        ),
    ],
)
def test_a_price_list_that_makes_no_sense_is_refused_in_one_sentence(
    base: str, old: str, new: str, words: str
) -> None:
    assert old in base
    with pytest.raises(PriceListError, match=words) as caught:
        parse_price_list(base.replace(old, new, 1), "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert "\n" not in str(caught.value)


def test_all_that_is_wrong_with_a_list_is_said_at_once() -> None:
    broken = FULL.replace('"EUR"', '"euro"').replace('"7.00"', '"-7"').replace("note", "notes")
    broken = broken.replace('source = "an offer"\n', "").replace("max_parts = 3", "max_parts = -3")
    with pytest.raises(PriceListError) as caught:
        parse_price_list(broken, "mine.toml")
    assert str(caught.value).splitlines() == [
        "mine.toml: [[tiers]] 2 rate_per_km2 is -7; it must be a positive amount in whole cents, up to 50000",
        "mine.toml: [shape] max_parts is -3; it must be 1 at least",
        "mine.toml: lacks the key 'source'; add it, as in source = \"offer of 3 March\"",
        "mine.toml: has an unknown key 'notes'; correct or remove it (did you mean 'note'?)",
    ]
    broken = GOOD.replace("currency", "# currency").replace('"20.00"', '"-20"')
    with pytest.raises(PriceListError, match=r"lacks the key 'currency'.*\n.*rate_per_km2 is -20"):
        parse_price_list(broken, "mine.toml")


def test_a_missing_price_list_is_named_with_where_to_find_others(tmp_path: Path) -> None:
    for missing in (
        tmp_path / "nowhere.toml",
        str(tmp_path / "nowhere"),
        "skywatch-archive-51cm",
        "",
        "a\0b",
    ):
        with pytest.raises(
            PriceListError, match=r"(?s)cannot be read as a price list.*geozoom prices list"
        ) as caught:
            load_price_list(missing)
        assert str(caught.value).startswith(str(missing))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PriceListError, match=r"binary\.toml: cannot be read"):
        load_price_list(tmp_path / "binary.toml")


def test_a_list_saved_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(b"\xef\xbb\xbf" + Path("examples/prices.toml").read_bytes())
    assert load_price_list(file) == load_price_list("examples/prices.toml")


def test_a_path_is_never_taken_for_a_name() -> None:
    with pytest.raises(PriceListError, match="cannot be read"):
        load_price_list(Path(DEFAULT_PRICE_LIST))


def test_the_example_can_be_used() -> None:
    prices = load_price_list(EXAMPLES / "prices.toml")
    assert prices.trust == "illustrative"
    assert prices.uplifts

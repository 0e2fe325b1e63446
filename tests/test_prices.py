from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geozoom.errors import PriceListError
from geozoom.planner import load_price_list
from geozoom.prices import DM2_PER_KM2, PriceList, parse_price_list, to_cents

GOOD = """
name = "test"
currency = "USD"
rate_per_km2 = "20.00"
minimum_km2 = "0.25"
order_side_km = "5"
source = "made for tests"
effective_date = "2026-01-31"
trust = "none"
"""

cents = st.integers(1, 5_000_000).map(lambda value: Decimal(value).scaleb(-2))
minimums = st.integers(0, 10_000 * DM2_PER_KM2).map(lambda value: Decimal(value) / DM2_PER_KM2)
areas = st.integers(0, 10_000 * DM2_PER_KM2)


def price_list(rate: Decimal = Decimal(20), minimum: Decimal = Decimal("0.25")) -> PriceList:
    text = GOOD.replace('"20.00"', f'"{rate}"').replace('"0.25"', f'"{minimum:f}"')
    return parse_price_list(text, "test.toml")


@given(cents, minimums, st.lists(areas, min_size=1, max_size=20))
def test_bills_of_many_orders_are_those_of_each(rate: Decimal, minimum: Decimal, many: list[int]) -> None:
    prices = price_list(rate, minimum)
    one_by_one = [int(prices.bill(area) * 100) for area in many]
    assert prices.bills_cents(np.array(many)).tolist() == one_by_one


@given(cents, minimums, areas, areas)
def test_more_area_never_costs_less(rate: Decimal, minimum: Decimal, one: int, other: int) -> None:
    prices = price_list(rate, minimum)
    assert prices.bill(min(one, other)) <= prices.bill(max(one, other))


@pytest.mark.parametrize(
    ("km2", "cost"),
    [("0", "0.00"), ("0.00000001", "5.00"), ("0.25", "5.00"), ("0.25025", "5.01"), ("1", "20.00")],
)
def test_an_order_is_billed_at_least_the_minimum_and_rounded_half_up(km2: str, cost: str) -> None:
    assert price_list().bill(int(Decimal(km2) * DM2_PER_KM2)) == Decimal(cost)


def test_the_shipped_list_says_that_it_is_illustrative() -> None:
    prices = load_price_list(None)
    assert "illustrative" in prices.name
    assert prices.trust == "illustrative"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"20.00"', "20.5", "must be written as a string"),
        ('"20.00"', '"cheap"', "is not a number"),
        ('"20.00"', '"NaN"', "not a finite number"),
        ('"20.00"', '"0"', "positive amount in whole cents"),
        ('"20.00"', '"20.005"', "positive amount in whole cents"),
        ('"0.25"', '"-1"', "minimum_km2 is -1"),
        ('"5"', '"0"', "order_side_km is 0"),
        ('"2026-01-31"', '"31.1.2026"', "YYYY-MM-DD"),
        ("trust", "distrust", "lacks the key 'trust'"),
        ("trust", 'colour = "red"\ntrust', "unknown key 'colour'"),
        ('name = "test"', "name =", "not valid TOML"),
    ],
)
def test_a_price_list_that_makes_no_sense_is_refused(old: str, new: str, words: str) -> None:
    assert old in GOOD
    with pytest.raises(PriceListError, match=words) as caught:
        parse_price_list(GOOD.replace(old, new), "mine.toml")
    assert "mine.toml" in str(caught.value)


def test_a_missing_price_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(PriceListError, match=r"nowhere\.toml"):
        load_price_list(tmp_path / "nowhere.toml")


def test_budgets_are_whole_cents_rounded_down() -> None:
    assert to_cents("10.999") == 1099
    assert to_cents(5) == 500
    for amount in ("0", "-1", "NaN", "Infinity", "0.001", "1e400"):
        with pytest.raises(ValueError, match="positive amount"):
            to_cents(amount)

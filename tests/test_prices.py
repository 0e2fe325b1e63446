"""What orders cost: the arithmetic of a bill, against fractions as the oracle."""

from __future__ import annotations

import decimal
from datetime import date
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geozoom.budget import to_cents
from geozoom.errors import PriceListError
from geozoom.prices import DM2_PER_KM2, PriceList
from geozoom.rates import Tier, Uplift
from geozoom.rules import ShapeRules

EARTH_DM2 = 10**9 * DM2_PER_KM2
SCENE = ShapeRules(max_width_km=Decimal(20), max_height_km=Decimal(10))


def price_list(
    rate: Decimal | None = Decimal(20), minimum: Decimal = Decimal("0.25"), **more: Any
) -> PriceList:
    values: dict[str, Any] = {
        "name": "test",
        "currency": "USD",
        "billing": "per-order",
        "rate_per_km2": rate,
        "minimum_km2": minimum,
        "source": "made for tests",
        "effective_date": date(2026, 1, 31),
        "trust": "illustrative",
    }
    return PriceList(**(values | more))


def tiers(*steps: tuple[object, object]) -> tuple[Tier, ...]:
    return tuple(Tier(from_km2=Decimal(str(km2)), rate_per_km2=Decimal(str(rate))) for km2, rate in steps)


def dm2(km2: object) -> int:
    return int(Decimal(str(km2)) * DM2_PER_KM2)


def cents(most: int) -> st.SearchStrategy[Decimal]:
    return st.integers(1, most).map(lambda value: Decimal(value).scaleb(-2))


def km2(most: int, least: int = 0) -> st.SearchStrategy[Decimal]:
    return st.integers(least, most * DM2_PER_KM2).map(lambda value: Decimal(value) / DM2_PER_KM2)


areas = st.integers(0, 20 * DM2_PER_KM2) | st.integers(0, EARTH_DM2) | st.just(EARTH_DM2)
switched = st.lists(
    st.builds(lambda figure, on: {"percent": figure, "applies": on}, cents(33_000), st.booleans())
    | st.builds(lambda figure, on: {"per_km2": figure, "applies": on}, cents(800_000), st.booleans()),
    max_size=3,
).map(lambda found: tuple(Uplift(name=str(number), **each) for number, each in enumerate(found)))
rates = cents(2_500_000)
steps = st.lists(km2(20, least=1), min_size=1, max_size=4, unique=True).map(
    lambda starts: [Decimal(0), *sorted(starts)]
)


@st.composite
def price_lists(draw: st.DrawFn) -> PriceList:
    """Any price list of rates: flat or in tiers, with uplifts on and off, minimums or none."""
    some: dict[str, Any] = {
        "minimum": draw(km2(30) | km2(10_000)),
        "minimum_value": draw(st.just(Decimal(0)) | cents(10**11)),
        "uplifts": draw(switched),
        "billing": draw(st.sampled_from(["per-order", "union"])),
    }
    if draw(st.booleans()):
        return price_list(draw(rates), **some)
    return price_list(
        None,
        tiers=tuple(Tier(from_km2=start, rate_per_km2=draw(rates)) for start in draw(steps)),
        tiers_apply=draw(st.sampled_from(["marginal", "whole"])),
        **some,
    )


def exact_cents(prices: PriceList, area_dm2: int) -> int:
    """The bill in cents, as the module says it: in fractions, one tier after the other."""
    if area_dm2 == 0:
        return 0
    area = max(Fraction(area_dm2, DM2_PER_KM2), Fraction(prices.minimum_km2))
    steps = [(Fraction(tier.from_km2), Fraction(tier.rate_per_km2)) for tier in prices.tiers]
    steps = steps or [(Fraction(0), Fraction(prices.rate_per_km2 or 0))]
    if prices.tiers_apply == "whole":
        steps = [(Fraction(0), [rate for start, rate in steps if start <= area][-1])]
    charge: Fraction = Fraction(0)
    for number, (start, rate) in enumerate(steps):
        end = steps[number + 1][0] if number + 1 < len(steps) else area
        charge += max(Fraction(0), min(area, end) - start) * rate
    applied = [uplift for uplift in prices.uplifts if uplift.applies]
    charge += area * sum((Fraction(uplift.per_km2 or 0) for uplift in applied), Fraction(0))
    charge *= 1 + sum((Fraction(uplift.percent or 0) for uplift in applied), Fraction(0)) / 100
    cents = floor(max(charge, Fraction(prices.minimum_value)) * 100 + Fraction(1, 2))
    return max(cents, 1) if charge else cents


@given(price_lists(), st.lists(areas, min_size=1, max_size=8))
def test_bills_of_many_orders_are_those_of_each_and_exact(prices: PriceList, many: list[int]) -> None:
    for tier in prices.tiers:  # just before, on and just behind each threshold
        many += [max(0, dm2(tier.from_km2) + step) for step in (-1, 0, 1)]
    expected = [exact_cents(prices, area) for area in many]
    assert [prices.bill(area) for area in many] == [Decimal(each).scaleb(-2) for each in expected]
    assert prices.bills_cents(np.array(many)).tolist() == expected


def test_the_largest_figures_of_all_still_fit_into_64_bits() -> None:
    prices = price_list(
        None,
        tiers=tiers((0, "30000"), ("0.00000001", "29999.99")),
        tiers_apply="marginal",
        minimum_value=Decimal(10**9),
        uplifts=(
            Uplift(name="a", per_km2=Decimal(20_000), applies=True),
            Uplift(name="b", percent=Decimal(1000), applies=True),
        ),
    )
    areas = [EARTH_DM2, EARTH_DM2 - 1, 1]
    assert prices.bills_cents(np.array(areas)).tolist() == [exact_cents(prices, area) for area in areas]
    # Areas of cells are kept in 32 bits.
    narrow = np.array(areas, dtype=np.int64).clip(0, 2**31 - 1).astype(np.int32)
    assert prices.bills_cents(narrow).tolist() == prices.bills_cents(narrow.astype(np.int64)).tolist()


def test_bills_do_not_depend_on_the_precision_that_the_caller_has_set() -> None:
    prices = price_list(Decimal("19.99"))
    expected = prices.bill(123_456_789_012)
    with decimal.localcontext(decimal.Context(prec=6, rounding=decimal.ROUND_DOWN)):
        assert prices.bill(123_456_789_012) == expected == Decimal("24679.01")
        assert prices.bills_cents(np.array([123_456_789_012])).tolist() == [2467901]


@pytest.mark.parametrize("area", [-1, EARTH_DM2 + 1])
def test_what_is_no_area_on_the_earth_is_not_billed(area: int) -> None:
    with pytest.raises(ValueError, match="no area on the Earth"):
        price_list().bill(area)
    with pytest.raises(ValueError, match="no area on the Earth"):
        price_list().bills_cents(np.array([5, area]))


@given(price_lists(), areas, areas)
def test_more_area_never_costs_less_but_by_whole_tiers(prices: PriceList, one: int, other: int) -> None:
    if prices.tiers_apply != "whole":
        assert prices.bill(min(one, other)) <= prices.bill(max(one, other))


def test_by_whole_tiers_reaching_the_next_one_may_cost_less() -> None:
    prices = price_list(None, tiers=tiers((0, 10), (100, 8)), tiers_apply="whole")
    assert prices.bill(dm2(99)) == Decimal("990.00")
    assert prices.bill(dm2(100)) == Decimal("800.00")


@given(price_lists(), st.integers(0, 3))
def test_marginal_tiers_have_no_steps(prices: PriceList, number: int) -> None:
    if prices.tiers_apply == "marginal" and number < len(prices.tiers):
        start = dm2(prices.tiers[number].from_km2)
        step = prices.bill(start + 1) - prices.bill(max(1, start - 1))
        assert 0 <= step <= Decimal("0.03")  # two square decimetres at no more than 550,000, and rounding


def test_marginal_tiers_bill_each_km2_at_its_own_rate() -> None:
    prices = price_list(None, tiers=tiers((0, "8.50"), (10, "7.00"), (100, "5.00")), tiers_apply="marginal")
    assert prices.bill(dm2(10)) == Decimal("85.00")
    assert prices.bill(dm2(20)) == Decimal("155.00")
    assert prices.bill(dm2(101)) == Decimal("720.00")


def test_the_tier_is_that_of_the_area_that_is_billed() -> None:
    prices = price_list(None, Decimal(50), tiers=tiers((0, 10), (50, 8)), tiers_apply="whole")
    assert "10 from 0 km², 8 from 50 km² (all at the rate of the last one reached)" in prices.terms
    assert prices.bill(1) == Decimal("400.00")


@pytest.mark.parametrize(
    ("area", "cost"),
    [
        ("0", "0.00"),
        ("0.00000001", "5.00"),
        ("0.25", "5.00"),
        ("0.25024", "5.00"),
        ("0.25025", "5.01"),
        ("1", "20.00"),
    ],
)
def test_an_order_is_billed_at_least_the_minimum_and_rounded_half_up(area: str, cost: str) -> None:
    assert price_list().bill(dm2(area)) == Decimal(cost)
    assert price_list().bills_cents(np.array([dm2(area)])).tolist() == [int(Decimal(cost) * 100)]


def test_a_tiny_order_is_never_free() -> None:
    prices = price_list(minimum=Decimal(0))
    assert prices.bill(1) == Decimal("0.01")
    assert prices.bills_cents(np.array([0, 1, 24_999, 75_000])).tolist() == [0, 1, 1, 2]


@given(price_lists(), areas)
def test_no_order_costs_less_than_the_minimum_value(prices: PriceList, area: int) -> None:
    assert prices.bill(area) >= (prices.minimum_value if area else 0)
    assert prices.billed_km2(area) == (max(prices.minimum_km2, Decimal(area) / DM2_PER_KM2) if area else 0)


def test_a_bill_is_rounded_once_at_its_end() -> None:
    # 0.012 USD for the area alone is a cent; with 25% more it is one and a half.
    prices = price_list(
        Decimal("0.40"), Decimal(0), uplifts=(Uplift(name="a", percent=Decimal(25), applies=True),)
    )
    assert prices.bill(dm2("0.03")) == Decimal("0.02")
    assert prices.bill(dm2("0.02999999")) == Decimal("0.01")


def test_uplifts_are_billed_per_km2_first_then_in_percent_and_only_if_switched_on() -> None:
    prices = price_list(
        Decimal(10),
        Decimal(2),
        minimum_value=Decimal(30),
        uplifts=(
            Uplift(name="cloud below 10%", percent=Decimal(50)),
            Uplift(name="rush", percent=Decimal(10)),
            Uplift(name="licence", per_km2=Decimal(5)),
        ),
    )
    assert prices.bill(dm2(1)) == Decimal("30.00")
    assert prices.with_uplifts(["licence", "rush"]).bill(dm2(1)) == Decimal("33.00")
    both = prices.with_uplifts(["licence"]).with_uplifts(["rush", "cloud below 10%"])
    assert both.bill(dm2(4)) == Decimal("96.00")
    assert prices.with_uplifts([]) == prices
    assert both.terms == (
        "10 USD per km², at least 2 km² and 30 USD an order, cloud below 10% +50%, rush +10%, "
        "licence +5 USD per km²"
    )


def test_an_unknown_uplift_is_answered_with_the_known_ones() -> None:
    prices = price_list(uplifts=(Uplift(name="rush", percent=Decimal(10)),))
    with pytest.raises(PriceListError, match=r"test: has no uplift 'hurry'; it has 'rush'"):
        prices.with_uplifts(["rush", "hurry"])
    with pytest.raises(PriceListError, match=r"test: has no uplift 'rush'; it has none"):
        price_list().with_uplifts(["rush"])


@given(st.data(), st.lists(areas.map(lambda area: area // 20), max_size=20))
def test_orders_billed_together_cost_no_more_than_alone_if_rates_do_not_rise(
    data: st.DataObject, many: list[int]
) -> None:
    steps_ = data.draw(steps)
    falling = sorted(data.draw(st.lists(rates, min_size=len(steps_), max_size=len(steps_))), reverse=True)
    some: dict[str, Any] = {
        "minimum": data.draw(km2(30)),
        "minimum_value": data.draw(cents(10**6)),
        "tiers": tiers(*zip(steps_, falling, strict=True)),
        "tiers_apply": "marginal",
        "uplifts": data.draw(switched),
    }
    together, alone = price_list(None, billing="union", **some), price_list(None, **some)
    assert alone.bill_all(many) == sum(map(alone.bill, many))
    assert together.bill_all(many) == together.bill(sum(many))
    rounding = Decimal("0.005") * (len(many) + 1)
    assert together.bill_all(many) <= alone.bill_all(many) + rounding


def test_the_minimum_of_a_union_is_billed_once() -> None:
    together, alone = price_list(billing="union"), price_list()
    assert together.bill_all([dm2("0.05")] * 3) == Decimal("5.00")
    assert alone.bill_all([dm2("0.05")] * 3) == Decimal("15.00")
    assert together.bill_all([]) == alone.bill_all([]) == Decimal("0.00")
    assert together.terms == "20 USD per km², at least 0.25 km² for all orders together"


def test_a_scene_has_one_price_whatever_is_wanted_of_it() -> None:
    prices = price_list(
        None,
        Decimal(0),
        billing="per-scene",
        price_per_scene=Decimal("300.10"),
        shape=SCENE,
        uplifts=(Uplift(name="rush", percent=Decimal("12.5")),),
    )
    assert prices.bill_all([0, 1, dm2(200)]) == Decimal("600.20")
    assert prices.billed_km2(1) == 200
    assert prices.with_uplifts(["rush"]).bill(1) == Decimal("337.61")
    assert prices.with_uplifts(["rush"]).bills_cents(np.array([0, 1, dm2(200)])).tolist() == [0, 33761, 33761]
    assert prices.terms == "300.10 USD a scene"


@pytest.mark.parametrize(
    ("day", "words"),
    [
        (date(2025, 11, 22), "of 2025-11-22, more than a year ago"),
        (date(2025, 11, 23), None),
        (date(2026, 11, 23), None),
        (date(2026, 11, 24), "hold only from 2026-11-24"),
        (None, "undated"),
    ],
)
def test_figures_that_are_old_to_come_or_undated_are_doubted(day: date | None, words: str | None) -> None:
    doubt = price_list(effective_date=day).doubt(date(2026, 11, 23))
    assert doubt is None if words is None else words in str(doubt)


def test_a_price_list_of_python_is_checked_like_one_of_a_file() -> None:
    with pytest.raises(PriceListError) as caught:
        price_list(Decimal(-5), Decimal("NaN"), currency="dollars")
    assert [line.split(" ")[0] for line in str(caught.value).splitlines()] == [
        "currency",
        "rate_per_km2",
        "minimum_km2",
    ]


def test_facts_are_plain_and_exact() -> None:
    prices = price_list(Decimal("1E+1"), uplifts=(Uplift(name="rush", percent=Decimal("12.50")),))
    facts = prices.facts()
    assert (facts["rate_per_km2"], facts["minimum_km2"], facts["effective_date"]) == (
        "10",
        "0.25",
        "2026-01-31",
    )
    assert facts["uplifts"] == [{"name": "rush", "percent": "12.50", "per_km2": None, "applies": False}]
    assert facts["shape"]["max_parts"] == 1


def test_budgets_are_whole_cents_rounded_down() -> None:
    assert to_cents("10.999") == 1099
    assert to_cents(5) == 500
    for amount in ("0", "-1", "NaN", "Infinity", "0.001", "1e400"):
        with pytest.raises(ValueError, match="positive amount"):
            to_cents(amount)

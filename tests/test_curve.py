"""Budgets: with a currency, several at once, and the curve of benefit against money."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import rasterio
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.transform import Affine
from rasterio.windows import Window

import geozoom
from geozoom.budget import Budget
from geozoom.cli import main, reporting
from geozoom.curve import Curve, trace
from geozoom.errors import BudgetError
from geozoom.orders import Plan
from geozoom.planner import prepare
from geozoom.pricelists import load_price_list, parse_price_list
from tests.conftest import BY_AREA, EXAMPLES, WriteRaster, small_model

CHEAP = """
name = "cheap"
currency = "USD"
billing = "per-order"
rate_per_km2 = "1000.00"
minimum_km2 = "0.004"
source = "made for tests"
effective_date = "undated"
trust = "illustrative"
"""


@given(st.decimals("0.01", "1e12", places=2), st.sampled_from(["{} EUR", "EUR {}", "{}EUR", " eur{} ", "{}"]))
def test_a_budget_is_read_with_its_currency_wherever_it_stands(amount: Decimal, text: str) -> None:
    budget = Budget.of(text.format(f"{amount:f}"))
    assert budget.amount == amount
    assert budget.currency == (None if text == "{}" else "EUR")


@pytest.mark.parametrize("text", ["", "0", "-5", "abc", "5 EUROS", "EUR 5 USD", "nan", "1e400", "EUR"])
def test_what_is_no_budget_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(BudgetError, match="budget"):
        Budget.of(text)


def test_a_budget_in_another_currency_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"the budget is in EUR, but the price list .* is in USD"):
        Budget.of("5 EUR").cents_in(load_price_list(None))


def test_a_budget_in_another_currency_is_refused_before_tiles_are_read(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.tif"
    with pytest.raises(BudgetError, match="the budget is in EUR"):
        geozoom.plan([nowhere], budget="5 EUR")
    for command in (["plan", "-o", str(tmp_path / "o.geojson")], ["curve"]):
        result = CliRunner().invoke(main, [*command, str(nowhere), "--budget", "5 EUR"])
        assert result.exit_code == 1
        assert "the budget is in EUR" in result.stderr


def test_more_money_never_buys_less_and_no_bill_exceeds_its_budget(write_raster: WriteRaster) -> None:
    candidates = prepare(
        [write_raster(height=24, width=32)],
        model=small_model(),
        prices=parse_price_list(CHEAP, "cheap.toml"),
        threshold=0.0,
    )
    curve = trace(candidates, [Budget(cents) for cents in (700, 1900, 4000, 8000)])
    benefits = [point.benefit for point in curve.points]
    assert benefits == sorted(benefits)
    assert all(point.cost <= point.budget for point in curve.points)
    assert all(point.benefit <= point.bound + 1e-6 for point in curve.points)
    everything = candidates.choose(None)
    assert curve.points[-1].benefit == pytest.approx(everything.value)


def test_the_plan_that_a_page_is_about_is_worth_no_less_than_cheaper_ones_on_its_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields of which the fast solver, asked for 3.10 alone, makes less than for 3.00."""
    with rasterio.open(EXAMPLES / "tiles" / "demmin_fields.tif") as tile:
        window = Window(100, 20, 56, 56)
        profile = tile.profile | {
            "driver": "GTiff",
            "height": 56,
            "width": 56,
            "crs": "EPSG:32633",
            "transform": Affine(10, 0, 500000, 0, -10, 5500000),
        }
        with rasterio.open(tmp_path / "t.tif", "w", **profile) as crop:
            crop.write(tile.read(window=window))
            crop.descriptions, crop.scales = tile.descriptions, tile.scales
    prices = tmp_path / "p.toml"
    prices.write_text(CHEAP.replace("1000.00", "33.33").replace("0.004", "0.013"))
    pages: list[tuple[Plan, Curve]] = []
    monkeypatch.setattr(reporting, "write", lambda _, *told, **__: pages.append(told))
    arguments = ["plan", tmp_path / "t.tif", "--prices", prices, "--budget", "3.1"]
    arguments += ["--report", tmp_path / "p.html", "-o", tmp_path / "o.geojson"]
    result = CliRunner().invoke(main, [str(each) for each in arguments])
    assert result.exit_code == 0, result.stderr
    ((plan, curve),) = pages
    within = [point for point in curve.points if point.cost <= Decimal("3.1")]
    assert len(within) > 2
    assert max(point.benefit for point in within) <= plan.value + 1e-9


def test_budgets_of_their_own_end_at_the_price_of_everything(write_raster: WriteRaster) -> None:
    prices = replace(BY_AREA, rate_per_km2=Decimal(1000))
    candidates = prepare([write_raster(height=24, width=32)], model=small_model(), prices=prices)
    points = trace(candidates).points
    assert points[-1].budget == points[-1].cost == candidates.choose(None).cost
    assert points[0].patches > 0
    assert len(points) > 8


def test_the_curve_is_written_as_table_and_picture(write_raster: WriteRaster, tmp_path: Path) -> None:
    prices = tmp_path / "cheap.toml"
    prices.write_text(CHEAP)
    files = [tmp_path / f"curve.{suffix}" for suffix in ("csv", "json", "png", "svg")]
    arguments = ["curve", str(write_raster()), "--prices", str(prices), "--budget", "5,20,100", "--json"]
    result = CliRunner().invoke(main, [*arguments, *(f"-o{file}" for file in files)])
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told == json.loads(files[1].read_text())
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert [row["budget"] for row in rows] == ["5.00", "20.00", "100.00"]
    assert [row["cost"] for row in rows] == [point["cost"] for point in told["points"]]
    assert "cheap (made for tests, undated)" in result.stderr
    with Image.open(files[2]) as picture:
        assert picture.size == (1040, 650)
    assert "<svg" in files[3].read_text()
    # An offer's two amounts in dollars are no formula.
    prices.write_text(CHEAP.replace("made for tests", "$5 a km2, 5% off above $100"))
    assert CliRunner().invoke(main, [*arguments, f"-o{files[2]}", "--overwrite"]).exit_code == 0
    twice = CliRunner().invoke(main, [*arguments, f"-o{files[0]}", f"-o{files[0]}"])
    assert (twice.exit_code, "is named for two outputs" in twice.stderr) == (2, True)
    again = CliRunner().invoke(main, [*arguments, f"-o{files[0]}"])
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    wrong = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "curve.pdf")])
    assert wrong.exit_code == 1
    assert ".csv, .json, .png, .svg" in wrong.stderr


def test_several_budgets_make_a_plan_each(write_raster: WriteRaster, tmp_path: Path) -> None:
    prices = tmp_path / "cheap.toml"
    prices.write_text(CHEAP)
    arguments = [
        "plan",
        str(write_raster()),
        "--prices",
        str(prices),
        "--budget",
        "20,5.50 usd",
        "-q",
        "--json",
    ]
    result = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "orders.geojson")])
    assert result.exit_code == 0, result.stderr
    less, more = json.loads(result.stdout)
    assert (less["totals"]["budget"], more["totals"]["budget"]) == (5.5, 20)
    for name, summary in (("orders-5.50", less), ("orders-20", more)):
        written = json.loads((tmp_path / f"{name}.geojson").read_text())
        assert written["geozoom"]["totals"] == summary["totals"]
    assert not (tmp_path / "orders.geojson").exists()


def test_a_plan_says_which_solver_it_asked_without_a_budget_too(
    write_raster: WriteRaster, model_file: Path, tmp_path: Path
) -> None:
    arguments = ["plan", str(write_raster()), "--model", str(model_file), "--solver", "exact", "-q", "--json"]
    result = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "orders.geojson")])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["solver"] == "exact"


@pytest.mark.parametrize(
    ("budget", "code", "words"),
    [
        ("5,20", 2, "several budgets make several files"),
        ("5 USD,20 EUR", 2, "amounts in EUR and USD; give one currency"),
        ("5,", 2, "is not a number"),
        ("5 EUR", 1, "the budget is in EUR"),
    ],
)
def test_budgets_that_cannot_be_planned_are_refused(
    write_raster: WriteRaster, budget: str, code: int, words: str
) -> None:
    result = CliRunner().invoke(main, ["plan", str(write_raster()), "--budget", budget])
    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_budgets_that_pay_for_everything_need_no_other_choice(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = prepare([write_raster()], model=small_model(), prices=BY_AREA)
    everything = candidates.choose(None)
    monkeypatch.setattr("geozoom.offer.AtOnce.purchase", None)  # nobody is asked again
    plan = candidates.choose(Budget.of(everything.cost + 1))
    assert plan.orders == everything.orders
    assert plan.bound == pytest.approx(plan.value)
    with pytest.raises(TypeError):
        candidates.choose(Budget.of(everything.cost - 1))

"""What `geozoom prices` says of price lists."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from click.testing import CliRunner, Result

from geozoom.cli import main
from geozoom.pricelists import DEFAULT_PRICE_LIST, shipped_price_lists
from tests.test_pricelists import FULL, GOOD


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["prices", *(str(argument) for argument in arguments)])


def test_list_prints_every_list_and_marks_the_default() -> None:
    result = run("list")
    assert result.exit_code == 0
    for name in shipped_price_lists():
        assert name in result.stdout
    assert "skywatch-archive-50cm (default)  10.00 USD per km², at least 1 km² an order" in result.stdout
    assert result.stderr == ""
    entries = json.loads(run("list", "--json").stdout)
    assert [entry["name"] for entry in entries] == list(shipped_price_lists())
    assert [entry["name"] for entry in entries if entry["default"]] == [DEFAULT_PRICE_LIST]


def test_show_prints_all_of_a_list_and_what_orders_cost(tmp_path: Path) -> None:
    result = run("show", "skywatch-archive-50cm")
    assert result.exit_code == 0
    for words in (
        "vendor              SkyWatch\n",
        "2026-07-04",
        "unverified",
        "max_vertices 199",
        "holes false",
    ):
        assert words in result.stdout
    for words in ("0.1 km² cost        10.00 USD", "10 km² cost         100.00 USD", "1,000.00 USD"):
        assert words in result.stdout
    assert "\neffective_date      undated\n" in run("show", "up42-skysat").stdout
    path = tmp_path / "full.toml"
    path.write_text(FULL)
    result = run("show", path, "--uplift", "cloud")
    assert "tiers               from_km2 0, rate_per_km2 8.50\n" in result.stdout
    assert "uplifts             name cloud, percent 50, applies true\n" in result.stdout
    shown = json.loads(run("show", path, "--json").stdout)
    assert shown["costs"] == {"0.1": "100.00", "1": "100.00", "10": "135.00", "100": "1215.00"}
    assert shown["tiers"][1] == {"from_km2": "10", "rate_per_km2": "7.00"}
    result = run("show", path, "--uplift", "hurry")
    assert result.exit_code == 1
    assert result.stderr == "Error: full: has no uplift 'hurry'; it has 'cloud', 'licence'\n"


def test_show_bills_no_order_that_the_list_does_not_take(tmp_path: Path) -> None:
    path = tmp_path / "scenes.toml"
    path.write_text(
        """
name = "by the scene"
currency = "EUR"
billing = "per-scene"
price_per_scene = "50"
source = "made for tests"
effective_date = "2026-01-31"
trust = "illustrative"

[shape]
max_width_km = "2"
max_height_km = "2"
"""
    )
    shown = run("show", path).stdout
    assert "1 km² cost" in shown
    assert "10 km² cost" not in shown


def test_check_says_all_that_is_wrong_with_all_files(tmp_path: Path) -> None:
    good, bad, worse = (tmp_path / name for name in ("good.toml", "bad.toml", "worse.toml"))
    good.write_text(GOOD)
    bad.write_text(GOOD.replace('"20.00"', '"-20"').replace("currency", "# currency"))
    worse.write_text("name =")
    result = run("check", good, bad, worse, tmp_path / "none.toml")
    assert result.exit_code == 1
    assert result.stdout == f"{good}: OK, test, USD, 2026-01-31\n"
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert [line.split(": ")[1] for line in errors] == [
        *map(str, (bad, bad, worse)),
        str(tmp_path / "none.toml"),
    ]
    assert run("check", good).exit_code == 0


def test_check_warns_of_figures_that_are_old_or_to_come(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    today = datetime.now(tz=UTC).date()
    for days, words in ((-400, "more than a year ago"), (2, "hold only from"), (-2, "")):
        path.write_text(GOOD.replace("2026-01-31", (today + timedelta(days=days)).isoformat()))
        result = run("check", path)
        assert result.exit_code == 0
        assert words in result.stderr
        assert bool(result.stderr) == bool(words)


def test_check_and_show_need_a_file() -> None:
    assert run("check").exit_code == 2
    assert run("show").exit_code == 2

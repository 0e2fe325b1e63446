from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from geozoom.cli import main
from geozoom.model import DEFAULT_MODEL, load_model
from tests.conftest import EXAMPLES


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from geozoom.cli import main;"
        "helps = [['--help'], ['prices', '--help'], ['prices', 'show', '--help']];"
        "assert all(CliRunner().invoke(main, each).exit_code == 0 for each in helps);"
        "heavy = {'torch', 'torchvision', 'rasterio', 'geopandas', 'matplotlib', 'numpy', 'rich', 'scipy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "command",
    ["inspect", "plan", "classify", "draw", "prices", "prices list", "prices show", "prices check", "train"],
)
def test_every_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(main, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGTERM to catch")
def test_what_is_ended_by_sigterm_leaves_nothing_half_written(tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
import geozoom.cli as cli
from geozoom.files import written_aside
def main(**_):
    with written_aside(Path(sys.argv[1])) as aside:
        aside.write_text("half")
        print("begun", flush=True)
        time.sleep(60)
cli.main = main
cli.run()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "orders.geojson")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert list(tmp_path.iterdir())
    process.terminate()
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_an_unknown_command_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["buy"]).exit_code == 2


def test_the_default_model_ships_within_its_limit_and_describes_itself() -> None:
    assert DEFAULT_MODEL.stat().st_size <= 20 * 2**20
    card = load_model().card
    assert (card.lr_gsd_m, card.scene_m, card.stage) == (10.0, 80.0, "ft2")
    assert card.hr_gsd_m == pytest.approx(0.556, abs=0.001)
    assert len(card.classes) == 21
    assert "public domain" in card.data_license
    assert "simulated" in card.data
    assert card.metrics["table"]["HR-CNN"]["S"] == 16
    assert card.recipe["sensor"]["psf_fwhm"] > 0


def test_the_readme_plan_of_the_examples_buys_something_and_can_be_drawn(tmp_path: Path) -> None:
    orders, picture = tmp_path / "orders.geojson", tmp_path / "plan.png"
    tiles = str(EXAMPLES / "tiles")
    result = CliRunner().invoke(main, ["plan", tiles, "--budget", "5000", "-o", str(orders)])
    assert result.exit_code == 0, result.output
    assert orders.read_text().count('"Feature"') > 100
    result = CliRunner().invoke(main, ["draw", str(orders), "--lr", tiles, "-o", str(picture)])
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    result = CliRunner().invoke(main, ["draw", str(orders), "--lr", tiles, "-o", str(picture)])
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    text = tmp_path / "text.geojson"
    text.write_text("no features")
    result = CliRunner().invoke(main, ["draw", str(text), "--lr", tiles, "-o", str(tmp_path / "p.png")])
    assert result.exit_code == 1
    assert "text.geojson" in result.stderr


def test_the_delivered_example_can_be_classified_and_lacks_what_ingest_says(tmp_path: Path) -> None:
    folder = EXAMPLES / "berkeley"
    orders, catalog, scenes = (tmp_path / name for name in ("orders.geojson", "c.gpkg", "scenes.geojson"))
    lr, hr = str(folder / "lr_emulated.tif"), str(folder / "hr")
    told = []
    for command in (
        ("plan", lr, "--budget", "10", "-q", "-o", str(orders)),
        ("ingest", hr, "--orders", str(orders), "-q", "-o", str(catalog), "--json"),
        (
            "classify",
            "--orders",
            str(orders),
            "--catalog",
            str(catalog),
            "--lr",
            lr,
            "-q",
            "-o",
            str(scenes),
            "--json",
        ),
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        told.append(result.stdout)
    assert scenes.read_text().count('"Feature"') > 50
    ingested, classified = (json.loads(text)["totals"] for text in told[1:])
    # The rim of a delivery runs through patches: of two less than 95% by area, of one of these more by pixels.
    assert (ingested["patches_missing"], classified["patches_missing"]) == (2, 1)
    assert ingested["patches"] - 1 == classified["patches_delivered"]


def test_the_public_names_are_what_they_say_in_any_order_of_import() -> None:
    code = (
        "import geozoom; geozoom.ClassifiedScenes; assert callable(geozoom.classify);"
        "from geozoom import ClassifiedScenes, classify, plan; assert callable(classify) and callable(plan);"
        "assert all(hasattr(geozoom, name) for name in geozoom.__all__)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

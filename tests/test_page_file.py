"""The page as a file: what a plan puts into it, what it never holds, and when it is refused."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import geozoom
from geozoom.cli import main
from geozoom.errors import OutputError
from geozoom.model import PatchDrop
from geozoom.orders import Plan
from geozoom.page import page_data, write_page
from geozoom.page.from_plan import without_secrets
from geozoom.page.packing import Column, decimal_column, exact_column, packed
from tests.conftest import BY_AREA, WriteRaster
from tests.pages import page_of, page_tile

TODAY = date(2026, 11, 1)


def unpacked(heads: list[dict[str, Any]], text: str) -> list[np.ndarray[Any, Any]]:
    """Read columns as the page's script does."""
    planes = np.frombuffer(gzip.decompress(base64.b64decode(text)), dtype=np.uint8)
    found = []
    for head in heads:
        mine, planes = planes[: 4 * head["length"]], planes[4 * head["length"] :]
        zigzag = np.ascontiguousarray(mine.reshape(4, -1).T).view("<u4")[:, 0].astype(np.int64)
        numbers = (zigzag >> 1) ^ -(zigzag & 1)
        found.append((np.cumsum(numbers) if head["smooth"] else numbers).astype(np.int32))
    assert len(planes) == 0
    return found


int32_columns = hnp.arrays(np.int32, st.integers(0, 40), elements=st.integers(-(2**31), 2**31 - 1))


@given(st.lists(st.tuples(int32_columns, st.booleans()), min_size=1, max_size=4))
def test_packed_columns_come_back_as_they_were(given_columns: list[tuple[Any, bool]]) -> None:
    columns = [
        Column(name=f"c{index}", multiples=multiples, unit=1.0, decimals=0, smooth=smooth)
        for index, (multiples, smooth) in enumerate(given_columns)
    ]
    for column, read in zip(columns, unpacked(*packed(columns)), strict=True):
        assert (read == column.multiples).all()


@given(
    hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1e6, allow_subnormal=False)),
    st.integers(2, 6),
)
@example(np.array([2.22507386e-308]), 2)
def test_a_decimal_column_is_off_by_half_a_unit_at_most_and_keeps_the_largest_numbers_digits(
    numbers: np.ndarray[Any, Any], digits: int
) -> None:
    column = decimal_column("value", numbers, digits=digits)
    error = np.abs(column.multiples * column.unit - numbers)
    assert error.max() <= column.unit * 0.5000001
    if numbers.max() > 0:
        assert error[numbers.argmax()] <= numbers.max() * 10.0 ** (1 - digits)


def test_positions_are_kept_to_the_sixteenth_of_a_pixel() -> None:
    column = exact_column("left", np.array([0.0, 2.0625, 10_980.0]), 1 / 16)
    assert (column.multiples * column.unit).tolist() == [0.0, 2.0625, 10_980.0]


@pytest.fixture
def plan(write_raster: WriteRaster, tmp_path: Path, model: PatchDrop) -> Plan:
    write_raster("north.tif", seed=1)
    write_raster("south.tif", dtype="uint16", scale=1e-4, crs="EPSG:32733", seed=2)
    return geozoom.plan([tmp_path / "tiles"], model=model, budget=25, prices=BY_AREA)


def corners_px(plan: Plan) -> np.ndarray[Any, Any]:
    """Return the corners (N, 4, 2) of a plan's patches in pixels, by their places on the lattice."""
    patches = plan.patches
    rows, cols = patches.scene_row.astype(np.int64), patches.scene_col.astype(np.int64)
    return plan.card.grid.corners_px(rows, cols, plan.card.lr_px, patches.patch.astype(np.int64))


def test_a_plans_patches_lie_on_the_page_where_the_lattice_has_them(plan: Plan) -> None:
    data = page_data(plan, curve=None, today=TODAY)
    corners = corners_px(plan)
    wanted = np.hstack([corners.min(axis=1), corners.max(axis=1)])
    assert len(plan) > 100
    assert np.abs(data.patches.box - wanted).max() < 1e-3
    assert (data.patches.value == plan.patches.value).all()


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32601", Affine(10, 0, 180_000, 0, -10, 8_110_000)),
        ("EPSG:4326", Affine(9e-5, 0, 179.9975, 0, -9e-5, 0.001)),  # its longitudes go on beyond 180°
        ("EPSG:32633", Affine(8, 6, 400_000, 6, -8, 5_800_000)),  # turned
    ],
)
def test_patches_are_placed_on_tiles_that_are_turned_or_cross_the_antimeridian(
    write_raster: WriteRaster, tmp_path: Path, model: PatchDrop, crs: str, transform: Affine
) -> None:
    write_raster(crs=crs, transform=transform)
    plan = geozoom.plan([tmp_path / "tiles"], model=model, prices=BY_AREA)
    corners = corners_px(plan)
    wanted = np.hstack([corners.min(axis=1), corners.max(axis=1)])
    data = page_data(plan, curve=None, today=TODAY)
    assert np.abs(data.patches.box - wanted).max() < 1e-3
    outlines = np.concatenate([ring for order in data.orders for _, ring in order.rings])
    # Corners of orders are corners of cells.
    assert np.abs(outlines / 2 - (outlines / 2).round()).max() < 1e-3
    assert outlines.min() >= -1e-3
    assert outlines[:, 0].max() <= data.tiles[0].width + 1e-3


def test_a_plans_orders_are_on_the_page_with_outlines_that_hold_their_patches(plan: Plan) -> None:
    data = page_data(plan, curve=None, today=TODAY)
    assert [(order.id, order.cost, order.patches) for order in data.orders] == [
        (order.id, order.cost, order.patches) for order in plan.orders
    ]
    assert {data.tiles[tile].name for order in data.orders for tile, _ in order.rings} == {
        "north.tif",
        "south.tif",
    }
    for order in data.orders:
        for tile, ring in order.rings:
            assert (ring[0] == ring[-1]).all()
            mine = data.patches.box[(data.patches.order == order.id) & (data.patches.tile == tile)]
            assert (mine[:, :2] >= ring.min(axis=0) - 1e-3).all()
            assert (mine[:, 2:] <= ring.max(axis=0) + 1e-3).all()


def test_a_plans_page_warns_of_prices_that_are_no_offer(plan: Plan) -> None:
    data = page_data(plan, curve=None, today=date(2028, 1, 1))
    assert data.warnings == (
        "Price list by area: its figures are of 2026-01-31, more than a year ago.",
        "The prices are illustrative: ask the vendor for an offer before you sign.",
    )


def test_missing_pixels_are_clear_in_the_picture_and_its_corners_are_the_tiles(
    write_raster: WriteRaster, tmp_path: Path, model: PatchDrop
) -> None:
    pixels = np.full((3, 40, 48), 200, dtype=np.uint8)
    pixels[:, :8, :8] = 0
    write_raster(pixels=pixels, nodata=0)
    plan = geozoom.plan([tmp_path / "tiles"], model=model, prices=BY_AREA)
    (tile,) = page_data(plan, curve=None, today=TODAY).tiles
    assert tile.picture.shape == (40, 48, 4)
    assert (tile.picture[:8, :8, 3] == 0).all()
    assert (tile.picture[8:, 8:] == (200, 200, 200, 255)).all()
    to_west_east = tile.corners[:, 0].round(6), tile.corners[:, 1].round(6)
    assert to_west_east[0][0] < to_west_east[0][1]  # upper left, upper right
    assert to_west_east[1][0] > to_west_east[1][3]  # upper left, lower left
    assert tile.corners[0] == pytest.approx([13.52, 52.34], abs=0.02)


@pytest.mark.parametrize(
    ("given_line", "wanted"),
    [
        ("geozoom plan tiles --budget 5", "geozoom plan tiles --budget 5"),
        ("geozoom plan 'https://a.b/t.tif?sig=s3cret&x=1' -q", "geozoom plan 'https://a.b/t.tif?…' -q"),
        ("geozoom plan /vsicurl/https://a.b/t.tif?sig=s3cret", "geozoom plan /vsicurl/https://a.b/t.tif?…"),
        ("geozoom plan https://me:s3cret@a.b/t.tif", "geozoom plan https://…@a.b/t.tif"),
    ],
)
def test_the_command_line_on_a_page_has_no_secrets(given_line: str, wanted: str) -> None:
    assert without_secrets(given_line) == wanted


def test_a_page_is_one_file_with_its_policy_before_anything_else_and_no_address_outside(
    tmp_path: Path,
) -> None:
    path = tmp_path / "plan.html"
    write_page(path, page_of())
    text = path.read_text()
    head = text[: text.index("<title>")]
    assert "default-src 'none'" in head
    assert "unsafe" not in head
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:|#)""", text)
    addresses = set(re.findall(r"https?://[^\s'\"<)]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a namespace, which nobody asks for
    assert [entry.name for entry in tmp_path.iterdir()] == ["plan.html"]


def test_the_same_plan_gives_the_same_page(tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        write_page(tmp_path / name, page_of())
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_block_of_data_holds_nothing_that_looks_like_markup(tmp_path: Path) -> None:
    evil = "</script><!--<script>"
    write_page(tmp_path / "plan.html", page_of(tiles=(page_tile(evil), page_tile("south.tif"))))
    text = (tmp_path / "plan.html").read_text()
    block = text.split('id="contents">')[1].split("</script>")[0]
    assert "<" not in block
    assert json.loads(block)["tiles"][0]["name"] == evil


@pytest.mark.parametrize("name", ["plan.pdf", "plan", "nowhere/plan.html"])
def test_a_page_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"plan|nowhere"):
        write_page(tmp_path / name, page_of())
    assert list(tmp_path.iterdir()) == []


def test_contents_that_do_not_fit_together_are_refused() -> None:
    data = page_of()
    with pytest.raises(ValueError, match="differ in length"):
        replace(data, patches=replace(data.patches, value=data.patches.value[:3]))
    with pytest.raises(ValueError, match="a tile that the page does not have"):
        replace(data, tiles=data.tiles[:1])
    with pytest.raises(ValueError, match="an order that the page does not have"):
        replace(data, orders=data.orders[:2])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_plan_writes_a_page_for_every_budget_and_overwrites_none(
    write_raster: WriteRaster, model_file: Path, tmp_path: Path
) -> None:
    write_raster()
    outputs = ("-o", tmp_path / "orders.geojson", "--report", tmp_path / "page.html")
    arguments = ("plan", tmp_path / "tiles", "--model", model_file, "--budget", "11,12", "-q", *outputs)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    for amount in (11, 12):
        text = (tmp_path / f"page-{amount}.html").read_text()
        assert f"of {amount}.00 budget" in text
        assert "budget-curve" in text
        assert "skywatch-archive-50cm" in text
    before = sorted(tmp_path.iterdir())
    (tmp_path / "orders-11.geojson").unlink()
    (tmp_path / "orders-12.geojson").unlink()
    again = run(*arguments)
    assert again.exit_code == 1
    assert "page-11.html: exists already; give --overwrite" in again.stderr
    assert not (tmp_path / "orders-11.geojson").exists()
    assert run(*arguments, "--overwrite").exit_code == 0
    assert sorted(tmp_path.iterdir()) == before


def test_plan_refuses_a_report_that_is_no_page_before_any_work(
    write_raster: WriteRaster, model_file: Path, tmp_path: Path
) -> None:
    write_raster()
    result = run("plan", tmp_path / "tiles", "--model", model_file, "--report", tmp_path / "page.pdf")
    assert result.exit_code == 1
    assert "the format of .pdf is not known; end the name in one of .html, .htm" in result.stderr
    assert result.stdout == ""

"""Mosaics too large for memory, made small: candidates in a file, and orders chosen on the richest ground."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geozoom.bands import ReadOptions
from geozoom.bitmask import BitMask
from geozoom.budget import Budget
from geozoom.curve import default_budgets, trace
from geozoom.errors import OutputError, SolverError
from geozoom.offer import AtOnce
from geozoom.patches import Patches
from geozoom.pieces import Pieces
from geozoom.planner import Candidates, prepare
from geozoom.rules import ShapeRules
from geozoom.spilled import Spilled
from geozoom.tiles import Tile, open_tiles
from geozoom.windows import Field, Window, rectangles, richest
from tests.conftest import BY_AREA, ORIGIN, UTM33, WriteRaster, small_card, small_model, smooth_noise
from tests.test_orders import check_written

VENDORS = (
    BY_AREA,
    replace(BY_AREA, minimum_km2=Decimal("0.02"), shape=ShapeRules(max_vertices=40)),
    replace(
        BY_AREA, minimum_value=Decimal(3), shape=ShapeRules(min_km2=Decimal("0.03"), max_km2=Decimal("0.2"))
    ),
    replace(BY_AREA, billing="union", minimum_km2=Decimal("0.02")),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three tiles that overlap: two of one zone, one of another size and turned."""
    import rasterio

    folder = tmp_path_factory.mktemp("tiles")
    placed = (
        ("a.tif", 72, 112, Affine.translation(*ORIGIN) @ Affine.scale(10, -10)),
        ("b.tif", 112, 60, Affine.translation(ORIGIN[0] + 1040, ORIGIN[1] + 60) @ Affine.scale(10, -10)),
        (
            "c.tif",
            40,
            50,
            Affine.translation(ORIGIN[0], ORIGIN[1] - 1150) @ Affine.rotation(20) @ Affine.scale(10, -10),
        ),
    )
    for seed, (name, height, width, transform) in enumerate(placed):
        pixels = (smooth_noise(3, height, width, seed) * 254 + 1).astype(np.uint8)
        profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": height, "width": width}
        with rasterio.open(
            folder / name, "w", crs=UTM33, transform=transform, photometric="RGB", **profile
        ) as out:
            out.write(pixels)
    return [folder / name for name, *_ in placed]


@pytest.fixture
def in_pieces() -> Iterator[pytest.MonkeyPatch]:
    """Let every mosaic be too large, and squares small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geozoom.planner.MOST_CELLS", 0)
        patch.setattr("geozoom.spilled._SQUARE_CELLS", 32)
        patch.setattr("geozoom.spilled._BUFFERED", 1000)
        patch.setattr("geozoom.pieces.MOST_CELLS", 2000)
        patch.setattr("geozoom.pieces._LOOKED_AT", 2500)
        yield patch


def found(files: list[Path], vendor: int) -> Candidates:
    return prepare(files, model=small_model(), prices=VENDORS[vendor])


@pytest.mark.parametrize("vendor", range(len(VENDORS)))
def test_the_vendor_takes_what_pieces_buy_nearly_as_well_as_all_ground_at_once(
    files: list[Path], in_pieces: pytest.MonkeyPatch, tmp_path: Path, vendor: int
) -> None:
    pieces = found(files, vendor)
    assert isinstance(pieces.offer, Pieces)
    plans = {cents: pieces.choose(None if cents is None else Budget(cents)) for cents in (None, 600)}
    for cents, plan in plans.items():
        assert len(plan) > 0
        check_written(plan, tmp_path / f"{cents}.geojson", VENDORS[vendor].shape, cents)
    in_pieces.undo()
    at_once = found(files, vendor)
    assert isinstance(at_once.offer, AtOnce)
    assert len(pieces.scored.candidates) == len(at_once.scored.candidates)
    plan, best = plans[600], at_once.choose(Budget(600))
    assert plan.value >= 0.9 * best.value
    assert plan.bound >= max(plan.value, best.value)
    # Borders are charged nothing, so that the bound of pieces is somewhat wider.
    assert plan.bound <= 1.3 * best.bound


def test_without_a_budget_pieces_buy_all_that_is_wanted(
    files: list[Path], in_pieces: pytest.MonkeyPatch
) -> None:
    plan = found(files, 0).choose(None)
    in_pieces.undo()
    whole = found(files, 0).choose(None)
    assert len(plan) == plan.candidates == len(whole)
    order = np.lexsort([getattr(whole.patches, name) for name in ("patch", "scene_col", "scene_row", "tile")])
    for name in Patches.__dataclass_fields__:
        assert (getattr(plan.patches, name) == getattr(whole.patches, name)[order]).all(), name
    assert plan.value == pytest.approx(whole.value)
    assert plan.bound == pytest.approx(plan.value)


def test_a_plan_in_pieces_depends_on_neither_strips_nor_buffers_nor_the_order_of_tiles(
    files: list[Path], in_pieces: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def written(inputs: list[Path], name: str) -> str:
        path = tmp_path / name
        prepare(inputs, model=small_model(), prices=VENDORS[2]).choose(Budget(900)).write(path)
        return path.read_text()

    expected = written(files, "one.geojson")
    assert written(files[::-1], "two.geojson") == expected
    in_pieces.setattr("geozoom.scenes.ROWS_AT_ONCE_PX", 8)
    in_pieces.setattr("geozoom.spilled._BUFFERED", 77)
    assert written(files, "three.geojson") == expected


@pytest.mark.usefixtures("in_pieces")
def test_what_is_owned_is_not_bought_in_pieces_either(files: list[Path], tmp_path: Path) -> None:
    first = found(files, 1).choose(Budget(600))
    first.write(tmp_path / "first.geojson")
    owned = [tmp_path / "first.geojson"]
    again = prepare(files, model=small_model(), prices=VENDORS[1], owned=owned).choose(Budget(600))
    assert len(again) > 0
    bought = first.layer("orders").union_all()
    for ring in again.layer("orders").geometry:
        assert ring.intersection(bought).area < 2e-7 * ring.length


@pytest.mark.usefixtures("in_pieces")
def test_a_curve_is_drawn_of_pieces(files: list[Path]) -> None:
    candidates = found(files, 0)
    curve = trace(candidates, default_budgets(candidates, 3))
    assert len(curve.points) == 3
    assert all(point.cost <= point.budget for point in curve.points)


@pytest.mark.usefixtures("in_pieces")
def test_the_exact_solver_refuses_pieces(files: list[Path]) -> None:
    with pytest.raises(SolverError, match="exact"):
        found(files, 1).choose(Budget(900), solver="exact")


BY_SCENE = replace(
    BY_AREA,
    billing="per-scene",
    rate_per_km2=None,
    price_per_scene=Decimal(2),
    shape=ShapeRules(max_width_km=Decimal("0.2"), max_height_km=Decimal("0.2")),
)


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (8, 2), (1, 16)])
def test_little_more_is_laid_out_than_a_budget_pays_for(
    files: list[Path], in_pieces: pytest.MonkeyPatch, rows: int, cols: int
) -> None:
    asked: list[dict[str, float]] = []

    def note(fields: list[Field], **how: float) -> list[Window]:
        asked.append(how | {"cells": sum(each.worth.size * each.cells[0] * each.cells[1] for each in fields)})
        return richest(fields, **how)  # type: ignore[arg-type]

    in_pieces.setattr("geozoom.pieces.richest", note)
    in_pieces.setattr("geozoom.pieces._LOOKED_AT", 1)
    model = small_model(grid_rows=rows, grid_cols=cols)
    plan = prepare(files, model=model, prices=BY_SCENE).choose(Budget(1000))
    assert len(plan.orders) == 5
    (how,) = asked
    assert how["order_km2"] == pytest.approx(0.04)
    assert how["affordable_km2"] == pytest.approx(5 * 0.04)
    # Cells of 6,400 m² a scene, of which there are 16.
    assert how["most_cells"] == pytest.approx(2 * 5 * 0.04e6 / 400, rel=0.02)
    assert how["cells"] == pytest.approx(
        16 * sum(-(-t.height // 8) * -(-t.width // 8) for t in plan.tiles), rel=0.3
    )


@pytest.mark.usefixtures("in_pieces")
def test_a_tile_narrower_than_the_smallest_order_has_room_beside_it(
    write_raster: WriteRaster, tmp_path: Path
) -> None:
    strip = write_raster(height=24, width=700)
    rules = ShapeRules(min_km2=Decimal("0.1"), min_width_km=Decimal("0.4"))
    prices = replace(BY_AREA, shape=rules)
    plan = prepare([strip], model=small_model(), prices=prices).choose(Budget(5000))
    assert len(plan.orders) > 0
    check_written(plan, tmp_path / "orders.geojson", rules, 5000)


def test_the_bound_of_ground_with_few_candidates_is_near(
    write_raster: WriteRaster, in_pieces: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import geopandas
    import shapely

    town = geopandas.GeoSeries([shapely.box(0, 0, 500, 500)], crs=UTM33).translate(
        ORIGIN[0] + 900, ORIGIN[1] - 1400
    )
    town.to_file(tmp_path / "town.gpkg")
    files = [write_raster(height=300, width=300)]
    how = {"model": small_model(), "prices": VENDORS[1], "area": tmp_path / "town.gpkg"}
    pieces = prepare(files, **how).choose(Budget(600))  # type: ignore[arg-type]
    in_pieces.undo()
    at_once = prepare(files, **how).choose(Budget(600))  # type: ignore[arg-type]
    assert at_once.value <= pieces.bound <= 1.3 * at_once.bound
    assert pieces.bound < 0.9 * pieces.candidates * 0.7  # not all that they are worth


@pytest.fixture(scope="module")
def tile(files: list[Path]) -> Tile:
    (tile,), _ = open_tiles([str(files[0])], ReadOptions(), 10.0, 8)
    return tile


def spill(tile: Tile, cells: NDArray[np.int64], seed: int) -> tuple[Spilled, dict[str, NDArray[np.generic]]]:
    """Spill candidates at some places (scene and patch as one number) in parts and in any order."""
    rng = np.random.default_rng(seed)
    scene, patch = np.divmod(cells, 16)
    row, col = np.divmod(scene, -(-tile.width // 8))
    value = rng.random(len(cells), dtype=np.float32)
    spilled = Spilled([tile], small_card())
    for part in np.array_split(rng.permutation(len(cells)), 5):
        spilled.add(0, row[part], col[part], patch[part], value[part], value[part])
    return spilled, {"scene_row": row, "scene_col": col, "patch": patch, "value": value}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(st.integers(0, 9 * 14 * 16 - 1), unique=True, max_size=300).map(sorted),
    buffered=st.integers(1, 400),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_spilled_is_found_again(
    tile: Tile, in_pieces: pytest.MonkeyPatch, cells: list[int], buffered: int, seed: int
) -> None:
    in_pieces.setattr("geozoom.spilled._BUFFERED", buffered)
    spilled, truth = spill(tile, np.array(cells, dtype=np.int64), seed)
    rows, cols = spilled.squares[0]
    windows = [
        Window(tile=0, top=row, left=col, rows=1, cols=1) for row in range(rows) for col in range(cols)
    ]
    loaded, spans = spilled.load(windows)
    assert len(loaded) == len(spilled) == len(cells)
    order = np.lexsort((loaded.patch, loaded.scene_col, loaded.scene_row))
    for name, expected in truth.items():
        assert (getattr(loaded, name)[order] == expected).all()
    for window, span in zip(windows, spans, strict=True):
        top, left, height, width = spilled.cells(window)
        row = loaded.scene_row[span] * 4 + loaded.patch[span] // 4
        col = loaded.scene_col[span] * 4 + loaded.patch[span] % 4
        assert ((row >= top) & (row < top + height) & (col >= left) & (col < left + width)).all()
    assert spilled.total == pytest.approx(float(truth["value"].astype(float).sum()))
    covered = sum(height * width for *_, height, width in map(spilled.cells, windows))
    assert covered == 9 * 4 * 14 * 4


def test_candidates_go_where_the_user_has_room(
    tile: Tile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(*, prefix: str, dir: str) -> None:  # noqa: A002, ARG001 tempfile's own names
        asked.append(dir)
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("geozoom.spilled.tempfile.TemporaryFile", refuse)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with pytest.raises(OutputError, match=r"no room .* \(Permission denied\); set TMPDIR"):
        Spilled([tile], small_card())
    assert asked == [str(tmp_path)]


def test_no_room_for_candidates_is_said(tile: Tile, in_pieces: pytest.MonkeyPatch) -> None:
    class Full:
        def seek(self, *_: int) -> None: ...
        def write(self, _: bytes) -> None:
            raise OSError(28, "No space left on device")

        def close(self) -> None: ...

    in_pieces.setattr("geozoom.spilled.tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(OutputError, match=r"no room .* \(No space left on device\); set TMPDIR to a folder"):
        spill(tile, np.arange(2000), 0)
    spilled, _ = spill(tile, np.arange(100), 0)  # of so few nothing is written yet
    with pytest.raises(OutputError, match="No space left on device"):
        spilled.load([Window(tile=0, top=0, left=0, rows=1, cols=1)])


@given(mask=st.integers(0, 2**30 - 1))
def test_rectangles_cover_a_mask_once(mask: int) -> None:
    squares = np.array([mask >> bit & 1 for bit in range(30)], dtype=bool).reshape(5, 6)
    counts = np.zeros((5, 6), dtype=int)
    for block in rectangles(0, squares):
        counts[block.top : block.top + block.rows, block.left : block.left + block.cols] += 1
    assert (counts == squares).all()


@settings(max_examples=30, deadline=None)
@given(
    sides=st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3),
    order_km2=st.floats(0.01, 400),
    affordable_km2=st.floats(0.01, 4000),
    most=st.integers(1, 20),
    seed=st.integers(0, 1000),
)
def test_the_richest_ground_is_looked_at(
    sides: list[tuple[int, int]], order_km2: float, affordable_km2: float, most: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    fields = [
        Field(
            worth=rng.random(side) * (rng.random(side) < 0.2),
            part_km=(0.6, 0.7),
            squares=(max(1, round(side[0] / 8)), max(1, round(side[1] / 8))),
            parts=8,
            cells=(32, 16),
        )
        for side in sides
    ]
    fields[-1].worth[:8, :8] = 10.0
    blocks = richest(
        fields, order_km2=order_km2, affordable_km2=affordable_km2, most_cells=most * 8 * 32 * 8 * 16
    )
    assert blocks
    counts = [np.zeros(field.squares, dtype=int) for field in fields]
    for block in blocks:
        counts[block.tile][block.top : block.top + block.rows, block.left : block.left + block.cols] += 1
    assert all((each <= 1).all() for each in counts)
    if order_km2 < 0.04:  # a square is a unit of its own
        assert sum(int(each.sum()) for each in counts) <= most
        assert counts[-1][0, 0]


@given(
    rows=st.integers(1, 20),
    cols=st.integers(1, 40),
    window=st.tuples(st.integers(-9, 25), st.integers(-9, 45), st.integers(1, 30), st.integers(1, 50)),
    seed=st.integers(0, 100),
)
def test_a_mask_of_bits_is_the_mask(
    rows: int, cols: int, window: tuple[int, int, int, int], seed: int
) -> None:
    mask = np.random.default_rng(seed).random((rows, cols)) < 0.5
    bits = BitMask(mask)
    row, col = np.indices(mask.shape)
    assert (bits.at(np.asarray(row), np.asarray(col)) == mask).all()
    top, left, height, width = window
    far = 100  # beyond any window
    padded = np.pad(mask, far)[far + top : far + top + height, far + left : far + left + width]
    assert (bits.window(*window) == padded).all()


def test_a_tile_that_no_other_touches_claims_nothing(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from geozoom.overlaps import settle

    paths = [
        write_raster(f"{at}.tif", transform=Affine(10, 0, ORIGIN[0] + at, 0, -10, ORIGIN[1]))
        for at in (0, 5000, 5100)
    ]
    tiles, _ = open_tiles([str(path) for path in paths], ReadOptions(), 10.0, 8)
    claims, _ = settle(tiles, [0, 1, 2], small_card().grid, 8)
    monkeypatch.setattr(claims, "taken", None)  # nobody is asked
    row, present = np.zeros(1, dtype=np.int64), np.ones((1, 16), dtype=bool)
    kept, free = claims.leave(0, row, row, present)
    assert kept.tolist() == [0]
    assert free.all()
    with pytest.raises(TypeError):
        claims.leave(1, row, row, present)
    assert claims.refused == {}

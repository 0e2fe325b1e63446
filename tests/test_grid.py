from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from geozoom.grid import PatchGrid, to_map

grids = st.builds(PatchGrid, rows=st.integers(1, 7), cols=st.integers(1, 7))


@given(grids, st.integers(1, 5), st.integers(1, 5))
def test_windows_cover_every_pixel_of_a_scene_once(grid: PatchGrid, tall: int, wide: int) -> None:
    covered = np.zeros((grid.rows * tall, grid.cols * wide), dtype=int)
    for patch in range(grid.patches):
        covered[grid.window(patch, *covered.shape)] += 1
    assert (covered == 1).all()


@given(grids)
def test_ids_run_row_major(grid: PatchGrid) -> None:
    row, col = grid.row_col(np.arange(grid.patches))
    assert (row * grid.cols + col == np.arange(grid.patches)).all()


@given(
    grids,
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.floats(1, 64),
    st.tuples(*[st.floats(-20, 20).filter(lambda x: abs(x) > 0.1)] * 2),
    st.tuples(*[st.floats(-5, 5)] * 2),
)
def test_footprints_tile_their_scene_on_any_affine(
    grid: PatchGrid,
    scene_row: int,
    scene_col: int,
    scene_px: float,
    scale: tuple[float, float],
    shear: tuple[float, float],
) -> None:
    transform = Affine(scale[0], shear[0], 500_000, shear[1], scale[1], 5_000_000)
    ids = np.arange(grid.patches)
    here = np.full(grid.patches, scene_row), np.full(grid.patches, scene_col)
    px = grid.corners_px(*here, scene_px, ids)
    mapped = to_map(px, (transform.a, transform.b, transform.c, transform.d, transform.e, transform.f))
    expected = [[transform @ tuple(corner) for corner in ring] for ring in px.tolist()]
    np.testing.assert_allclose(mapped, expected, rtol=1e-12)
    x, y = (mapped - mapped.mean(axis=(0, 1))).transpose(2, 0, 1)
    areas = 0.5 * np.abs((x * np.roll(y, -1, 1) - np.roll(x, -1, 1) * y).sum(axis=1))
    scene = scene_px**2 * abs(transform.determinant)
    np.testing.assert_allclose(areas, scene / grid.patches, rtol=1e-6, atol=1e-6)
    first = transform @ (scene_col * scene_px, scene_row * scene_px)
    last = transform @ ((scene_col + 1) * scene_px, (scene_row + 1) * scene_px)
    np.testing.assert_allclose(mapped[0, 3], first, rtol=1e-12)
    np.testing.assert_allclose(mapped[-1, 1], last, rtol=1e-12)


def test_centre_order_of_the_papers_grid_starts_with_the_four_inner_patches() -> None:
    order = PatchGrid(rows=4, cols=4).centre_order().tolist()
    assert order[:4] == [5, 6, 9, 10]
    assert order[-4:] == [0, 3, 12, 15]
    assert sorted(order) == list(range(16))


def test_impossible_grids_and_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        PatchGrid(rows=0, cols=4)
    grid = PatchGrid(rows=4, cols=4)
    with pytest.raises(ValueError, match="not on a grid"):
        grid.window(16, 8, 8)
    with pytest.raises(ValueError, match="cannot be cut"):
        grid.window(0, 9, 8)

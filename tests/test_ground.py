"""Distances and longitudes on the ground."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geozoom.ground import turned


@given(lon=st.floats(-720, 720), middle=st.floats(-540, 540))
def test_longitudes_are_turned_by_whole_turns_and_only_where_they_must_be(lon: float, middle: float) -> None:
    (found,) = turned(np.array([lon]), middle).tolist()
    assert abs(found - middle) <= 180 + 1e-9
    turns = (found - lon) / 360
    assert turns == pytest.approx(round(turns), abs=1e-12)
    assert found == lon or abs(lon - middle) > 180 - 1e-9


def test_what_lies_outside_its_crs_stays_no_longitude() -> None:
    assert not np.isfinite(turned(np.array([np.inf, np.nan]), 0.0)).any()

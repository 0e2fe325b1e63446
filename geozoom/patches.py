"""Candidate patches in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geozoom.grid import PatchGrid


@dataclass(frozen=True, kw_only=True)
class Patches:
    """The patches that the policy would buy, in columns of one length N: 21 bytes each."""

    tile: NDArray[np.int32]
    """Index of the tile."""
    scene_row: NDArray[np.int32]
    """Row of the scene on its tile's lattice."""
    scene_col: NDArray[np.int32]
    """Column of the scene on its tile's lattice."""
    patch: NDArray[np.uint8]
    """Patch id in the scene."""
    probability: NDArray[np.float32]
    """s_p, the policy's probability."""
    value: NDArray[np.float32]
    """What the patch adds to its scene after the better ones, in the unit of the model's benefit."""

    def __len__(self) -> int:
        return len(self.patch)

    @classmethod
    def empty(cls, count: int) -> Patches:
        """Return columns to be filled."""
        kinds = (np.int32, np.int32, np.int32, np.uint8, np.float32, np.float32)
        return cls(
            **{
                name: np.zeros(count, kind)
                for name, kind in zip(cls.__dataclass_fields__, kinds, strict=True)
            }
        )

    @classmethod
    def joined(cls, parts: Sequence[Patches]) -> Patches:
        """Return the patches of all parts, one part after the other."""
        every = (cls.empty(0), *parts)
        return cls(
            **{
                name: np.concatenate([getattr(part, name) for part in every])
                for name in cls.__dataclass_fields__
            }
        )

    def places(
        self, rows: NDArray[np.integer[Any]], grid: PatchGrid
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Return the rows and the columns (n,) of some candidates on their tile's lattice of patches."""
        row = self.scene_row[rows] * np.int32(grid.rows) + (self.patch[rows] // grid.cols)
        col = self.scene_col[rows] * np.int32(grid.cols) + (self.patch[rows] % grid.cols)
        return row, col

    def __getitem__(self, rows: NDArray[np.int64]) -> Patches:
        return Patches(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})

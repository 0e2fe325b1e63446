"""A function that changes slowly over a raster, measured at a few nodes and interpolated between them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates


class Mesh:
    """Nodes at equal distances over pixel rows and columns; between them values are bilinear."""

    def __init__(self, rows: tuple[float, float], cols: tuple[float, float], most_nodes: int) -> None:
        """Lay the nodes.

        Args:
            rows: First and last pixel row of the mesh.
            cols: First and last pixel column.
            most_nodes: Spaces between nodes along each axis; a pixel is the smallest.
        """
        self._ends = (rows, cols)
        self._spaces = tuple(max(1, min(most_nodes, int(last - first))) for first, last in self._ends)

    def nodes(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the pixel rows and columns of all nodes, (H, W) each."""
        along = [
            np.linspace(*ends, spaces + 1) for ends, spaces in zip(self._ends, self._spaces, strict=True)
        ]
        row, col = np.meshgrid(*along, indexing="ij")
        return row, col

    def at(
        self, values: NDArray[np.float64], row: NDArray[np.float64], col: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return values (H, W) of the nodes at points of any shape; beyond the mesh, those of its edge."""
        places = [
            (point - first) * (spaces / (last - first))
            for point, (first, last), spaces in zip((row, col), self._ends, self._spaces, strict=True)
        ]
        found: NDArray[np.float64] = map_coordinates(values, places, order=1, mode="nearest")
        return found

    def on_lattice(
        self, values: NDArray[np.float64], rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return `at` every pair of pixel rows (N,) and columns (M,) as (N, M): two products instead of N · M looks."""
        down, across = (
            _weights((along - first) * (spaces / (last - first)), spaces)
            for along, (first, last), spaces in zip((rows, cols), self._ends, self._spaces, strict=True)
        )
        return np.asarray(down @ values @ across.T, dtype=np.float64)


def _weights(places: NDArray[np.float64], spaces: int) -> NDArray[np.float64]:
    """Return how much each of spaces + 1 nodes counts at each place (N,) between them, (N, spaces + 1)."""
    distance = np.abs(np.clip(places, 0, spaces)[:, None] - np.arange(spaces + 1))
    return np.asarray(np.maximum(0.0, 1 - distance), dtype=np.float64)

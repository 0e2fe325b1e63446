"""All deliveries as one image: which of them a pixel is taken from, and reading no more of them than was bought."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from shapely import STRtree, points

from geozoom.calibration import Display, to_rgb
from geozoom.deliveries import Delivery, boxes
from geozoom.errors import DeliveryError
from geozoom.rasters import open_raster, read_numbers
from geozoom.receiving.usable import UNUSABLE, unusable_pixels
from geozoom.scenes import lattice_shape
from geozoom.tiles import Tile
from geozoom.warping import in_blocks, on_grid, with_one_nodata

LARGEST_OPEN = 64
"""Rasters held open at a time."""
_OWN_BLOCK = 512
"""Rows and columns of the blocks in which a delivery's missing pixels get one number."""
_BESIDE_DEG = 1e-3
"""About 100 m: places are corners of patches."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """HR pixels to which deliveries are brought."""

    name: str
    """Tells frames of one run apart."""
    crs: str
    """CRS, as WKT."""
    transform: Affine
    """Pixels to the CRS."""
    height: int
    width: int


def lattice_frame(tile: Tile, scene_px: int, hr_px: int) -> Frame:
    """Return the HR pixels of all scenes of a tile's lattice."""
    rows, cols = lattice_shape(tile, scene_px)
    return Frame(
        name=tile.path,
        crs=tile.crs.to_wkt(),
        transform=tile.transform @ Affine.scale(scene_px / hr_px),
        height=rows * hr_px,
        width=cols * hr_px,
    )


def window_frame(tile: Tile, window: NDArray[np.float64], hr_px: int) -> Frame:
    """Return the HR pixels of one scene: a window (4,) of left, top, width and height on a tile, made square."""
    left, top, width, height = window.tolist()
    return Frame(
        name=f"{tile.path} {left} {top} {width} {height}",
        crs=tile.crs.to_wkt(),
        transform=tile.transform
        @ Affine.translation(left, top)
        @ Affine.scale(width / hr_px, height / hr_px),
        height=hr_px,
        width=hr_px,
    )


class Shown(NamedTuple):
    """What a delivery shows of a window."""

    rgb: NDArray[np.float32]
    """(3, H, W) in 0..1."""
    valid: NDArray[np.bool_]
    """(H, W) False where data is missing."""


@dataclass(kw_only=True)
class DeliveryIndex:
    """All deliveries, found by place; a context manager that holds the rasters it opens.

    Where deliveries overlap, a pixel is that of the first one that holds data: those that are not too coarse come
    before those that are, among them the latest, undated ones last, then the finest, then the first by name. What
    Planet's UDM2 calls unusable is taken only where no other delivery holds data.
    """

    deliveries: Sequence[Delivery]
    coarse_m: float | None = None
    """GSD above which a delivery is too coarse for the model, in metres; None if that is not known."""
    _tree: STRtree = field(init=False)
    _owner: list[int] = field(init=False)
    _open: dict[tuple[int, str, tuple[int, int], bool], Any] = field(default_factory=dict, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)

    def __post_init__(self) -> None:
        self.deliveries = sorted(self.deliveries, key=self._rank)
        found = [boxes(*each.bounds) for each in self.deliveries]
        self._tree = STRtree([each for several in found for each in several])
        self._owner = [number for number, several in enumerate(found) for _ in several]

    def _rank(self, each: Delivery) -> tuple[bool, float, float, str]:
        coarse = self.coarse_m is not None and each.gsd_m > self.coarse_m
        age = math.inf if each.acquired is None else -each.acquired.timestamp()
        return coarse, age, each.gsd_m, each.path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()

    def read(
        self,
        frame: Frame,
        top: int,
        left: int,
        *,
        hr_px: int,
        wanted: NDArray[np.bool_],
        ring: NDArray[np.float64],
        display: Display,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Read patches of one scene from all deliveries that show it, and no pixels besides.

        Args:
            frame: The pixels on which the scene lies.
            top: Its first row there.
            left: Its first column there.
            hr_px: Side of the HR image, a multiple of the grid's rows and columns.
            wanted: (rows, cols) patches to read.
            ring: (4, 2) the scene's corners in WGS84.
            display: Reflectance to display RGB.

        Returns:
            (3, hr_px, hr_px) float32 RGB in 0..1, (hr_px, hr_px) bool, True where read and delivered, and the same,
            True where that can be used.

        Raises:
            DeliveryError: A raster cannot be read.
        """
        rgb = np.zeros((3, hr_px, hr_px), dtype=np.float32)
        delivered, usable = np.zeros((2, hr_px, hr_px), dtype=bool)
        near = self._near(ring)
        tall, wide = (hr_px // side for side in wanted.shape)
        # A scene bought whole is resampled in one go: each block takes its time, whatever its size.
        block = (hr_px, hr_px) if wanted.all() else (tall, wide)
        pieces = [
            (slice(first * tall, last * tall), slice(start * wide, stop * wide))
            for first, last, start, stop in rectangles(wanted)
        ]
        for number in near:
            pieces = [piece for piece in pieces if not usable[piece].all()]
            if not pieces:
                break
            windows = [
                Window(left + cols.start, top + rows.start, cols.stop - cols.start, rows.stop - rows.start)
                for rows, cols in pieces
            ]
            for piece, window, more in zip(
                pieces, windows, self._read(number, frame, block, windows, display), strict=True
            ):
                there, clear = delivered[piece], usable[piece]
                good = self._usable(number, frame, window, (tall, wide), more.valid)
                if number == near[0]:
                    there[...], clear[...] = more.valid, good
                    np.multiply(more.rgb, more.valid, out=rgb[:, *piece])
                    continue
                taken = (good & ~clear) | (more.valid & ~there)
                np.copyto(rgb[:, *piece], more.rgb, where=taken)
                there |= more.valid
                clear |= good
        return rgb, delivered, usable

    def shows_any(self, places: NDArray[np.float64]) -> bool:
        """Tell whether some of the places (N, 2) of longitude and latitude lie on, or next to, a delivery."""
        found = self._tree.query(points(places), predicate="dwithin", distance=_BESIDE_DEG)
        return bool(found.size)

    def _near(self, ring: NDArray[np.float64]) -> list[int]:
        """Return the deliveries whose bounds meet those of a ring, the best first."""
        (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
        if east - west > 180:
            west, east = ring[ring[:, 0] > 0, 0].min(), ring[ring[:, 0] < 0, 0].max()
        found = {
            self._owner[index]
            for part in boxes(west, south, east, north)
            for index in self._tree.query(part).tolist()
        }
        return sorted(found)

    def _read(
        self, number: int, frame: Frame, block: tuple[int, int], windows: Sequence[Window], display: Display
    ) -> Iterator[Shown]:
        """Yield what a delivery shows in each of the windows: their pixels become RGB together, which is quicker."""
        warped, delivery = self._on_frame(number, frame, block), self.deliveries[number]
        found = [
            read_numbers(
                warped,
                delivery.bands,
                window,
                nodata=None,  # the warper knows
                path=delivery.path,
                problem=DeliveryError,
                mask_band=delivery.mask_band,
            )
            for window in windows
        ]
        side_by_side = np.concatenate([numbers.reshape(3, 1, -1) for numbers, _ in found], axis=2)
        rgb = to_rgb(side_by_side, delivery.calibration, display)
        start = 0
        for _, valid in found:
            yield Shown(rgb=rgb[:, 0, start : start + valid.size].reshape(3, *valid.shape), valid=valid)
            start += valid.size

    def _usable(
        self, number: int, frame: Frame, window: Window, patch: tuple[int, int], valid: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Return which of the valid pixels of a window can be used, by the delivery's mask."""
        mask = self.deliveries[number].usable_mask
        if mask is None:
            return valid
        warped = self._on_frame(number, frame, patch, of_mask=True)
        numbers, _ = read_numbers(
            warped, UNUSABLE, window, nodata=None, path=mask, problem=DeliveryError, mask_band=None
        )
        return valid & ~unusable_pixels(numbers)

    def _on_frame(self, number: int, frame: Frame, block: tuple[int, int], *, of_mask: bool = False) -> Any:
        """Return a delivery, or its mask, on the pixels of a frame, in blocks of so many rows and columns."""
        key = (number, frame.name, block, of_mask)
        if key not in self._open:
            if len(self._open) >= LARGEST_OPEN:
                self._close()
            delivery = self.deliveries[number]
            path = (delivery.usable_mask or delivery.path) if of_mask else delivery.path
            nodata = None if of_mask else delivery.nodata
            with ExitStack() as stack:
                dataset = stack.enter_context(open_raster(path, DeliveryError))
                crs = dataset.crs.to_wkt() if of_mask else delivery.crs.to_wkt()
                marked = stack.enter_context(with_one_nodata(dataset, crs, nodata))
                if marked is not dataset:
                    # One virtual raster can be written into another as a file, or as its own XML.
                    own = in_blocks(marked, _OWN_BLOCK, _OWN_BLOCK)
                    marked = stack.enter_context(open_raster(own, DeliveryError, path))
                warped = stack.enter_context(
                    on_grid(
                        marked,
                        crs=crs,
                        to_crs=frame.crs,
                        transform=frame.transform,
                        width=frame.width,
                        height=frame.height,
                        nodata=nodata,
                        nearest=of_mask,
                    )
                )
                xml = in_blocks(warped, *block)
            opened = open_raster(xml, DeliveryError, path)
            self._open[key] = self._stack.enter_context(opened)
        return self._open[key]

    def _close(self) -> None:
        self._stack.close()
        self._open.clear()


def rectangles(wanted: NDArray[np.bool_]) -> tuple[tuple[int, int, int, int], ...]:
    """Return rectangles (top, bottom, left, right) that cover what is wanted of a grid (rows, cols), each cell once.

    Runs of cells in a row, joined with the same run in the rows below it.
    """
    return _rectangles(wanted.tobytes(), wanted.shape[1])


@lru_cache(maxsize=4096)  # plans want the same few patterns of many scenes
def _rectangles(wanted: bytes, cols: int) -> tuple[tuple[int, int, int, int], ...]:
    grid = np.frombuffer(wanted, dtype=bool).reshape(-1, cols)
    found: list[tuple[int, int, int, int]] = []
    growing: dict[tuple[int, int], int] = {}
    for row, cells in enumerate([*grid, np.zeros(cols, dtype=bool)]):
        edges = np.flatnonzero(np.diff(cells, prepend=False, append=False)).tolist()
        runs = set(zip(edges[::2], edges[1::2], strict=True))
        found += [(top, row, *run) for run, top in growing.items() if run not in runs]
        growing = {run: growing.get(run, row) for run in sorted(runs)}
    return tuple(found)

"""The user's own sites: scenes around points, boxes and polygons, the fMoW way, instead of a lattice.

A point becomes a scene of the model's size around it. A box or polygon becomes its bounding box along
the tile's axes with fMoW's share of context, at least the model's size; its longer side may be up to
`MOST_SCENES` of the model's scenes, as the model knows no coarser ground.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geozoom.area import Area
from geozoom.calibration import Display
from geozoom.errors import VectorError, some_of
from geozoom.grid import PatchGrid, span_weights
from geozoom.polygons import Geometries
from geozoom.scenes import SceneBlock, SceneLimits, Skipped, fill_missing, nothing
from geozoom.tiles import Tile
from geozoom.vectors import PixelSpace, read_vectors

SITES_LAYER = "sites"
"""Layer of a GeoPackage that holds the sites of a plan, all of them."""
WINDOW = ("left", "top", "width", "height")
"""Its columns of a site's window on its tile, in pixels."""
LABEL_COLUMN = "label"
"""Column that says what a site shows, unless the user names another."""
ID_COLUMNS = ("site", "id", "name")
"""Columns that name a site, best first; without one that is filled in, sites are numbered from 1."""
MOST_SCENES = 2.5
"""Longest side of a site with its context, in sides of the model's scene."""
CONTEXT = ((0.1, 2.0), (0.2, 1.0), (0.3, 0.5), (0.4, 0.3), (0.5, 0.2), (np.inf, 0.15))
"""fMoW's context, as a share of each side: for a ratio of short to long side below the first number."""
SITES_AT_ONCE = 1024
_WHOLE = 1e-9
"""A site is whole on a tile if at most this share of it is not."""


@dataclass(frozen=True, kw_only=True)
class Sites:
    """Points and polygons in longitude and latitude, in the order of their file."""

    names: tuple[str, ...]
    geometries: Geometries
    labels: tuple[str, ...] = ()
    """What each of them shows, "" where nothing is known; empty if nothing is known of all."""

    def __len__(self) -> int:
        return len(self.names)


def read_sites(path: Path | str, label_column: str | None = None) -> Sites:
    """Read sites from any vector format.

    Args:
        path: The file.
        label_column: Column that says what each site shows; None takes `LABEL_COLUMN` where there is one.

    Raises:
        VectorError: The file cannot be used, two sites have the same name, some have none, or there is no such column.
    """
    frame = read_vectors(path, ("Point", "Polygon", "MultiPolygon"))
    known = {str(column).lower(): column for column in frame.columns}
    columns = [known[name] for name in ID_COLUMNS if name in known]
    # QGIS gives every new layer an id, which few fill in.
    column = next((each for each in columns if any(map(_as_text, frame[each]))), None)
    names = [str(number) for number in range(1, len(frame) + 1)]
    if column is not None:
        names = [_as_text(value) for value in frame[column]]
        if unnamed := names.count(""):
            raise VectorError(
                f"{path}: {unnamed} of {len(names)} sites {'has' if unnamed == 1 else 'have'} no {column}; give each "
                "one, or none of them"
            )
        twice = sorted(name for name, number in Counter(names).items() if number > 1)
        if twice:
            raise VectorError(f"{path}: more than one site has {column} {twice[0]!r}; give each its own")
    labelled = known.get((label_column or LABEL_COLUMN).lower())
    if label_column is not None and labelled is None:
        others = ", ".join(str(name) for name in frame.columns if name != frame.geometry.name)
        raise VectorError(f"{path}: has no column {label_column!r}; it has {others or 'none'}")
    labels = () if labelled is None else tuple(map(_as_text, frame[labelled]))
    return Sites(names=tuple(names), geometries=frame.geometry.to_numpy(), labels=labels)


def _as_text(value: object) -> str:
    """Return a column's value as text, "" for what is missing."""
    import pandas  # type: ignore[import-untyped]

    missing = pandas.isna(value)  # of a list, one for each of its values
    return "" if isinstance(missing, bool | np.bool_) and missing else str(value).strip()


def windows_on(tile: Tile, sites: Sites, scene_px: int, limited: bool) -> NDArray[np.float64]:
    """Return the window of each site on a tile, (K, 4): left, top, width and height in pixels.

    Rows are NaN for sites that lie elsewhere.

    Args:
        tile: The tile.
        sites: The sites.
        scene_px: Side of the model's scene in pixels.
        limited: Refuse sites larger than the model's scenes can be resampled from.

    Raises:
        VectorError: Sites are too large; the first few are named.
    """
    bounds = shapely.bounds(PixelSpace(tile).sites(sites.geometries))
    side = bounds[:, 2:] - bounds[:, :2]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(side.max(axis=1) > 0, side.min(axis=1) / side.max(axis=1), np.inf)
    below, share = np.array(CONTEXT).T
    padded = side * (1 + share[np.searchsorted(below[:-1], ratio, side="right")])[:, None]
    size = np.maximum(padded, scene_px)
    corner = (bounds[:, :2] + bounds[:, 2:]) / 2 - size / 2
    exact = (size == scene_px).all(axis=1)
    corner[exact] = np.round(corner[exact])  # whole pixels need no resampling
    inside = np.isfinite(corner).all(axis=1)
    inside &= ((corner < (tile.width, tile.height)) & (corner + size > 0)).all(axis=1)
    large = np.flatnonzero(inside & (size.max(axis=1) > MOST_SCENES * scene_px) & limited)
    if len(large):
        named = some_of([repr(sites.names[index]) for index in large])
        raise VectorError(
            f"{len(large)} site(s) are larger with their context than {MOST_SCENES:g} scenes of the model: "
            f"{named}; give them to --aoi, which lays a lattice over them"
        )
    return np.where(inside[:, None], np.hstack([corner, size]), np.nan)


def share_on(tile: Tile, windows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of each window (K, 4) that lies on the tile, 0 for those elsewhere."""
    low = np.maximum(windows[:, :2], 0)
    high = np.minimum(windows[:, :2] + windows[:, 2:], (tile.width, tile.height))
    share = np.prod(np.clip(high - low, 0, None), axis=1) / np.prod(windows[:, 2:], axis=1)
    return np.asarray(np.nan_to_num(share), dtype=np.float64)


def read_sites_on(
    tile: Tile,
    index: NDArray[np.int64],
    windows: NDArray[np.float64],
    *,
    scene_px: int,
    grid: PatchGrid,
    display: Display,
    limits: SceneLimits,
) -> Iterator[tuple[SceneBlock, NDArray[np.int64], NDArray[np.int64]]]:
    """Read sites of a tile, resampled to the model's scene by area.

    Args:
        tile: The tile.
        index: (n,) which sites to read.
        windows: (K, 4) windows of all sites on this tile.
        scene_px: Side of the model's scene in pixels.
        grid: The patch grid of a scene.
        display: Reflectance to display RGB.
        limits: Which scenes are left out.

    Yields:
        A block, with the site's index as its row, and the sites left out for missing data and for clouds.

    Raises:
        TileError: The raster or its cloud mask cannot be read to its end.
    """
    # From top to bottom, so that blocks of the raster are decoded once.
    index = index[np.lexsort((windows[index, 0], windows[index, 1]))]
    with ExitStack() as stack:
        dataset = stack.enter_context(tile.open())
        mask = None if tile.clouds is None else stack.enter_context(tile.open_clouds())
        for start in range(0, len(index), SITES_AT_ONCE):
            chosen = index[start : start + SITES_AT_ONCE]
            images = np.zeros((len(chosen), 3, scene_px, scene_px), dtype=np.float32)
            holds = np.zeros((len(chosen), scene_px, scene_px), dtype=bool)
            present = np.zeros((len(chosen), grid.patches), dtype=bool)
            clouded, zeros = np.zeros(len(chosen)), 0
            for at, site in enumerate(chosen.tolist()):
                left, top, width, height = windows[site].tolist()
                cols = slice(max(0, int(left)), min(tile.width, int(np.ceil(left + width))))
                rows = slice(max(0, int(top)), min(tile.height, int(np.ceil(top + height))))
                window = Window(cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start)
                pixels = tile.read(dataset, window, display)
                zeros += pixels.zeros
                weight = pixels.valid.astype(np.float64)
                down = span_weights(scene_px, top, height, rows)
                across = span_weights(scene_px, left, width, cols)
                share = down @ weight @ across.T
                holds[at] = share >= 0.5
                mixed = down @ (pixels.rgb * weight) @ across.T
                images[at] = mixed / np.maximum(share, 1e-9)
                inside = span_weights(grid.rows, top, height, rows) @ weight
                inside = inside @ span_weights(grid.cols, left, width, cols).T
                present[at] = inside.ravel() >= 0.5
                if mask is not None:
                    clouds = tile.read_clouds(mask, window) & pixels.valid
                    clouded[at] = (down @ clouds @ across.T).sum() / max(share.sum(), 1e-9)
            missing = 1 - holds.mean(axis=(1, 2))
            enough = (missing < 1) & (missing <= limits.max_nodata)
            clear = clouded <= limits.max_cloud
            kept = np.flatnonzero(enough & clear)
            block = SceneBlock(
                row=chosen[kept],
                col=np.zeros(len(kept), dtype=np.int64),
                images=fill_missing(np.clip(images[kept], 0, 1), holds[kept]),
                present=present[kept],
                owned=np.zeros((len(kept), grid.patches), dtype=bool),
                skipped=Skipped(),
                zero_pixels=zeros,
            )
            yield block, chosen[~enough], chosen[enough & ~clear]


class SitesOnTiles:
    """Sites and the tiles that show them; where each was planned is known once its scene has been read."""

    def __init__(self, sites: Sites, tiles: Sequence[Tile], scene_px: int, limited: bool) -> None:
        self.sites = sites
        self._tiles = tiles
        self._on = [windows_on(tile, sites, scene_px, limited) for tile in tiles]
        self._shares = [share_on(tile, windows) for tile, windows in zip(tiles, self._on, strict=True)]
        self.windows = np.full((len(sites), 4), np.nan)
        """(K, 4) window of each site on the tile that it was planned on; NaN where it was not."""
        self.on_tile = np.full(len(sites), -1)
        """(K,) index of that tile; -1 where there is none."""
        seen = np.any(np.array(self._shares) > 0, axis=0)
        self.off_tiles = tuple(sites.names[site] for site in np.flatnonzero(~seen))
        """Names of the sites that lie on no tile."""

    def planned(self) -> list[dict[str, object]]:
        """Return where each site was planned, as it is written: tile, window there, and label if any has one."""
        rows = np.flatnonzero(self.on_tile >= 0).tolist()
        found: list[dict[str, object]] = [
            {
                "site": self.sites.names[row],
                "scene_row": row,
                "tile": self._tiles[self.on_tile[row]].name,
                "window": self.windows[row].round(6).tolist(),
            }
            for row in rows
        ]
        if self.sites.labels:
            for row, site in zip(rows, found, strict=True):
                site["label"] = self.sites.labels[row]
        return found

    def blocks(
        self,
        order: Sequence[int],
        *,
        scene_px: int,
        grid: PatchGrid,
        display: Display,
        limits: SceneLimits,
        owned: Area | None = None,
    ) -> Iterator[tuple[int, SceneBlock]]:
        """Yield each site once, with its tile: the first of `order` that holds it whole and can be used.

        Sites that no tile holds whole are read from the first that holds a part of them.

        Raises:
            TileError: A raster or its cloud mask cannot be read to its end.
        """
        waiting = np.ones(len(self.sites), dtype=bool)
        cloudy = np.zeros(len(self.sites), dtype=bool)
        for whole in (True, False):
            for number in order:
                share = self._shares[number]
                held = share >= 1 - _WHOLE if whole else (share > 0) & (share < 1 - _WHOLE)
                windows = self._on[number]
                for block, missing, clouds in read_sites_on(
                    self._tiles[number],
                    np.flatnonzero(waiting & held),
                    windows,
                    scene_px=scene_px,
                    grid=grid,
                    display=display,
                    limits=limits,
                ):
                    waiting[block.row] = False
                    cloudy[missing], cloudy[clouds] = False, True
                    self.windows[block.row] = windows[block.row]
                    self.on_tile[block.row] = number
                    if owned is None:
                        yield number, block
                    else:
                        had = owned.patches_in(self._tiles[number], grid, windows[block.row])
                        yield number, block.without(had)
        off = len(self.off_tiles)
        clouded = int(np.count_nonzero(waiting & cloudy))
        skipped = Skipped(nodata=int(waiting.sum()) - clouded - off, cloud=clouded, off_tiles=off)
        yield order[0], nothing(scene_px, grid, skipped)

"""What an orders file says was bought, and whether it belongs to the tiles at hand."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from shapely.errors import ShapelyError

from geozoom.errors import OrdersError
from geozoom.footprints import to_lonlat
from geozoom.grid import lattice_windows
from geozoom.orderfile import NO_PLAN
from geozoom.scenes import lattice_shape
from geozoom.sites import SITES_LAYER, WINDOW
from geozoom.tiles import Tile

if TYPE_CHECKING:
    import geopandas

    from geozoom.card import ModelCard  # which loads torch, and `ingest` needs none


@dataclass(frozen=True, kw_only=True)
class PlannedSites:
    """The scenes of a plan of sites, whether or not something of them was bought."""

    names: tuple[str, ...]
    tile: NDArray[np.str_]
    """(K,) name of each site's LR tile."""
    windows: NDArray[np.float64]
    """(K, 4) left, top, width and height in that tile's pixels."""
    labels: tuple[str, ...]
    """What each shows, "" where nothing says so; empty if nothing says so of all."""


@dataclass(frozen=True, kw_only=True)
class Bought:
    """What an orders file says was bought."""

    tile: NDArray[np.str_]
    """(N,) name of each patch's LR tile."""
    scene_row: NDArray[np.int64]
    scene_col: NDArray[np.int64]
    patch: NDArray[np.int64]
    place: NDArray[np.float64]
    """(N, 2) longitude and latitude of a point on each patch."""
    sites: PlannedSites | None = None
    """The scenes, if they do not lie on a lattice; `scene_row` is a site's place in it."""


def read_orders(path: Path, card: ModelCard) -> Bought:
    """Read which patches a plan bought.

    Raises:
        OrdersError: The file is missing, not written by `plan`, or made with another patch grid.
    """
    _require_file(path)
    planned_by = cut = sites = None
    try:
        if path.suffix.lower() in (".geojson", ".json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            held = content["geozoom"]["model"]
            planned_by, cut = held["name"], (held["grid"], held["lr_px"])
            if content["geozoom"].get("scenes") == "sites":
                sites = content["geozoom"]["sites"]
            rows = [feature["properties"] for feature in content["features"]]
            places = [_first_point(feature["geometry"]) for feature in content["features"]]
        else:
            frame = read_frame(path)
            rows = frame.drop(columns="geometry").to_dict("records")
            sites = _sites_layer(path)
            if sites is None:
                _refuse_bare_sites(path, rows)
            places = [_first_point(geometry.__geo_interface__) for geometry in frame.geometry]
        bought = Bought(
            tile=np.array([row["tile"] for row in rows], dtype=np.str_),
            scene_row=_indices(rows, "scene_row"),
            scene_col=_indices(rows, "scene_col"),
            patch=_indices(rows, "patch"),
            place=np.array(places, dtype=np.float64).reshape(-1, 2),
        )
        if sites is not None:
            bought = _on_sites(bought, sites)
    except OrdersError:
        raise
    except NO_PLAN as error:
        raise OrdersError(
            f"{path}: not orders that `geozoom plan` wrote ({type(error).__name__}: {error}); plan again"
        ) from error
    if cut is not None and cut != ([card.grid_rows, card.grid_cols], card.lr_px):
        raise OrdersError(
            f"{path}: was planned with model {planned_by!r}, whose scenes are cut otherwise than those of "
            f"{card.name!r}; classify with the model that planned"
        )
    return bought


def bought_on(paths: Sequence[Path], tiles: Sequence[Tile], card: ModelCard) -> Bought:
    """Read what orders files bought on tiles: several are plans of the same scenes, one after the other.

    Raises:
        OrdersError: One cannot be read, belongs to other tiles or another model, or to other scenes than the first.
    """
    found = [read_orders(path, card) for path in paths]
    for path, each in zip(paths, found, strict=True):
        check_place(path, each, tiles, card)
        if not _same_scenes(found[0].sites, each.sites):
            raise OrdersError(
                f"{path}: was planned for other scenes than {paths[0]}; give plans of the same ones, or classify "
                "them one by one"
            )
    return Bought(
        tile=np.concatenate([each.tile for each in found]),
        scene_row=np.concatenate([each.scene_row for each in found]),
        scene_col=np.concatenate([each.scene_col for each in found]),
        patch=np.concatenate([each.patch for each in found]),
        place=np.concatenate([each.place for each in found]),
        sites=found[0].sites,
    )


def _same_scenes(one: PlannedSites | None, other: PlannedSites | None) -> bool:
    """Tell whether two plans are of the same scenes."""
    if one is None or other is None:
        return one is other
    return (
        (one.names, one.labels) == (other.names, other.labels)
        and np.array_equal(one.tile, other.tile)
        and np.allclose(one.windows, other.windows, atol=1e-3)
    )


def _sites_layer(path: Path) -> list[dict[str, Any]] | None:
    """Return the sites that a GeoPackage holds, or None without any."""
    import geopandas

    if path.suffix.lower() != ".gpkg" or SITES_LAYER not in set(geopandas.list_layers(path)["name"]):
        return None
    frame = geopandas.read_file(path, layer=SITES_LAYER, ignore_geometry=True)
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return [row | {"window": [row[name] for name in WINDOW]} for row in rows]


def _refuse_bare_sites(path: Path, rows: list[dict[str, Any]]) -> None:
    """Refuse patches of sites in a file that holds only patches."""
    if any(row["scene"] != f"{row['scene_row']},{row['scene_col']}" for row in rows):
        raise OrdersError(
            f"{path}: was planned with --sites, and a file of this kind does not hold where they lie; plan again with "
            "-o to .geojson or .gpkg"
        )


def _on_sites(bought: Bought, sites: list[dict[str, Any]]) -> Bought:
    """Return what was bought with its sites, which are numbered by their places in the list."""
    place = {int(site["scene_row"]): number for number, site in enumerate(sites)}
    windows = np.array([site["window"] for site in sites], dtype=np.float64).reshape(-1, 4)
    if not (np.isfinite(windows).all() and (windows[:, 2:] > 0).all()):
        raise ValueError("a site's window is no part of a tile")
    return replace(
        bought,
        scene_row=np.array([place[row] for row in bought.scene_row.tolist()], dtype=np.int64),
        sites=PlannedSites(
            names=tuple(str(site["site"]) for site in sites),
            tile=np.array([site["tile"] for site in sites], dtype=np.str_),
            windows=windows,
            labels=tuple(str(site["label"]) for site in sites) if "label" in (sites or [{}])[0] else (),
        ),
    )


def read_frame(path: Path) -> geopandas.GeoDataFrame:
    """Read an orders file of any format as a GeoDataFrame.

    Raises:
        OrdersError: The file is missing or holds no features.
    """
    import geopandas

    _require_file(path)
    try:
        if path.suffix.lower() == ".parquet":
            return geopandas.read_parquet(path)
        # A plan of format 2 holds its orders beside the patches.
        several = path.suffix.lower() == ".gpkg" and "patches" in set(geopandas.list_layers(path)["name"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # remarks on what `plan` does not write
            return geopandas.read_file(path, layer="patches" if several else None)
    except (RuntimeError, ValueError, OSError, ImportError, ShapelyError) as error:
        raise OrdersError(f"{path}: cannot be read as features ({error}); plan again") from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise OrdersError(f"{path}: no such orders file; write one with `geozoom plan`")


def _indices(rows: Sequence[Any], name: str) -> NDArray[np.int64]:
    """Return a column (N,) of whole numbers."""
    given = np.array([row[name] for row in rows], dtype=np.float64)
    if not (np.isfinite(given) & (given == np.trunc(given))).all():
        raise ValueError(f"{name} is no whole number")
    return given.astype(np.int64)


def _first_point(geometry: Any) -> list[float]:
    coordinates = geometry["coordinates"]
    while not isinstance(coordinates[0], int | float):
        coordinates = coordinates[0]
    return [coordinates[0], coordinates[1]]


def check_place(path: Path, bought: Bought, tiles: Sequence[Tile], card: ModelCard) -> None:
    """Refuse orders of other tiles, or of tiles that only have the same name."""
    named = bought.tile if bought.sites is None else np.union1d(bought.tile, bought.sites.tile)
    missing = sorted(set(named.tolist()) - {tile.name for tile in tiles})
    if missing:
        raise OrdersError(
            f"{path}: orders patches on tile {missing[0]}, which is not among the LR tiles; give --lr "
            "the tiles of the plan"
        )
    for tile in tiles:
        mine = np.flatnonzero(bought.tile == tile.name)
        rows, cols = lattice_shape(tile, card.lr_px) if bought.sites is None else (len(bought.sites.names), 1)
        inside = (
            (bought.scene_row[mine] >= 0)
            & (bought.scene_row[mine] < rows)
            & (bought.scene_col[mine] >= 0)
            & (bought.scene_col[mine] < cols)
            & (bought.patch[mine] >= 0)
            & (bought.patch[mine] < card.grid.patches)
        )
        moved = not inside.all()
        if len(mine) and not moved:
            windows = (
                lattice_windows(bought.scene_row[mine], bought.scene_col[mine], card.lr_px)
                if bought.sites is None
                else bought.sites.windows[bought.scene_row[mine]]
            )
            corners = to_lonlat(tile, card.grid.corners_in(windows, bought.patch[mine]))
            # Half a pixel in degrees, whichever way the ring was closed or split.
            apart = np.abs(corners - bought.place[mine][:, None]).max(axis=2).min(axis=1)
            size = np.ptp(corners, axis=1).max()
            moved = bool(((apart > size / 4) & (apart < 180)).any())
        if moved:
            raise OrdersError(
                f"{path}: its patches do not lie on the scenes of {tile.path}; give --lr the tiles of the plan"
            )


def scene_masks(bought: Bought, tile: Tile, card: ModelCard) -> NDArray[np.bool_]:
    """Return the bought patches of every scene of a tile, (rows, cols, P); of sites, (K, 1, P)."""
    shape = lattice_shape(tile, card.lr_px) if bought.sites is None else (len(bought.sites.names), 1)
    masks = np.zeros((*shape, card.grid.patches), dtype=bool)
    mine = bought.tile == tile.name
    masks[bought.scene_row[mine], bought.scene_col[mine], bought.patch[mine]] = True
    return masks

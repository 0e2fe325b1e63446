"""What an orders file says was bought, and whether it belongs to the tiles at hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geozoom.errors import OrdersError
from geozoom.footprints import to_lonlat
from geozoom.scenes import lattice_shape
from geozoom.tiles import Tile

if TYPE_CHECKING:
    import geopandas

    from geozoom.card import ModelCard  # which loads torch, and `ingest` needs none


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


def read_orders(path: Path, card: ModelCard) -> Bought:
    """Read which patches a plan bought.

    Raises:
        OrdersError: The file is missing, not written by `plan`, or made with another patch grid.
    """
    _require_file(path)
    planned_by = cut = None
    on_sites = False
    try:
        if path.suffix.lower() in (".geojson", ".json"):
            content = json.loads(path.read_text(encoding="utf-8"))
            held = content["geozoom"]["model"]
            planned_by, cut = held["name"], (held["grid"], held["lr_px"])
            on_sites = content["geozoom"].get("scenes") == "sites"
            rows = [feature["properties"] for feature in content["features"]]
            places = [_first_point(feature["geometry"]) for feature in content["features"]]
        else:
            frame = read_frame(path)
            rows = frame.drop(columns="geometry").to_dict("records")
            places = [_first_point(geometry.__geo_interface__) for geometry in frame.geometry]
        bought = Bought(
            tile=np.array([row["tile"] for row in rows], dtype=np.str_),
            scene_row=np.array([row["scene_row"] for row in rows], dtype=np.int64),
            scene_col=np.array([row["scene_col"] for row in rows], dtype=np.int64),
            patch=np.array([row["patch"] for row in rows], dtype=np.int64),
            place=np.array(places, dtype=np.float64).reshape(-1, 2),
        )
    except OrdersError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, OSError) as error:
        raise OrdersError(
            f"{path}: not orders that `geozoom plan` wrote ({type(error).__name__}: {error}); plan again"
        ) from error
    if on_sites:
        raise OrdersError(
            f"{path}: was planned with --sites, whose scenes lie on no lattice, and classify reads lattices only; plan "
            "the places with --aoi to classify them"
        )
    if cut is not None and cut != ([card.grid_rows, card.grid_cols], card.lr_px):
        raise OrdersError(
            f"{path}: was planned with model {planned_by!r}, whose scenes are cut otherwise than those of "
            f"{card.name!r}; classify with the model that planned"
        )
    return bought


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
        return geopandas.read_file(path, layer="patches" if several else None)
    except (RuntimeError, ValueError, OSError, ImportError) as error:
        raise OrdersError(f"{path}: cannot be read as features ({error}); plan again") from error


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise OrdersError(f"{path}: no such orders file; write one with `geozoom plan`")


def _first_point(geometry: Any) -> list[float]:
    coordinates = geometry["coordinates"]
    while not isinstance(coordinates[0], int | float):
        coordinates = coordinates[0]
    return [coordinates[0], coordinates[1]]


def check_place(path: Path, bought: Bought, tiles: Sequence[Tile], card: ModelCard) -> None:
    """Refuse orders of other tiles, or of tiles that only have the same name."""
    missing = sorted(set(bought.tile.tolist()) - {tile.name for tile in tiles})
    if missing:
        raise OrdersError(
            f"{path}: orders patches on tile {missing[0]}, which is not among the LR tiles; give --lr "
            "the tiles of the plan"
        )
    for tile in tiles:
        mine = np.flatnonzero(bought.tile == tile.name)
        rows, cols = lattice_shape(tile, card.lr_px)
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
            corners = to_lonlat(
                tile,
                card.grid.corners_px(
                    bought.scene_row[mine],
                    bought.scene_col[mine],
                    card.lr_px,
                    bought.patch[mine],
                ),
            )
            # Half a pixel in degrees, whichever way the ring was closed or split.
            apart = np.abs(corners - bought.place[mine][:, None]).max(axis=2).min(axis=1)
            size = np.ptp(corners, axis=1).max()
            moved = bool(((apart > size / 4) & (apart < 180)).any())
        if moved:
            raise OrdersError(
                f"{path}: its patches do not lie on the lattice of {tile.path}; give --lr the tiles of the plan"
            )


def scene_masks(bought: Bought, tile: Tile, card: ModelCard) -> NDArray[np.bool_]:
    """Return the bought patches of every scene of a tile, (rows, cols, P)."""
    masks = np.zeros((*lattice_shape(tile, card.lr_px), card.grid.patches), dtype=bool)
    mine = bought.tile == tile.name
    masks[bought.scene_row[mine], bought.scene_col[mine], bought.patch[mine]] = True
    return masks

"""The user's own vectors (areas, sites), and where they lie on a tile's pixels."""

from __future__ import annotations

import math
import sqlite3
import warnings
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from geozoom.errors import TileError, VectorError, first_line, some_of
from geozoom.grid import to_map
from geozoom.ground import lonlat, turned
from geozoom.polygons import Geometries, polygons_of
from geozoom.tiles import Tile
from geozoom.wgs84 import in_wgs84

if TYPE_CHECKING:
    import geopandas

SEGMENT_DEG = 0.01
"""Edges are cut into pieces of this length before they are carried to a tile's CRS, where they bend."""
_AROUND_DEG = 0.1
"""How far beyond a tile's outline an area is still looked at, if it is not asked about places farther out."""
_KM_PER_DEG = 111.0
_OUTLINE_POINTS = 33
_TABLES = (".csv", ".tsv")
_WKT = {"GEOM_POSSIBLE_NAMES": "wkt,geometry,geom", "KEEP_GEOM_COLUMNS": "NO", "HEADERS": "YES"}
_LONLAT = {
    "X_POSSIBLE_NAMES": "lon,long,lng,longitude",
    "Y_POSSIBLE_NAMES": "lat,latitude",
    "KEEP_GEOM_COLUMNS": "NO",
    "HEADERS": "YES",
}
"""Columns of a table that say where, in any case."""


def read_vectors(path: Path | str, kinds: tuple[str, ...]) -> geopandas.GeoDataFrame:
    """Read a vector file of any format that GDAL knows, in WGS84.

    Edges are straight in the file's own CRS; polygons of a projected one are cut at the antimeridian.

    Args:
        path: The file.
        kinds: Geometry types that make sense here.

    Raises:
        VectorError: It cannot be read, has no features or no CRS, or one has no geometry of these kinds.
    """
    import geopandas

    try:
        if not str(path).startswith("/vsi") and "://" not in str(path) and not Path(path).exists():
            raise VectorError(f"{path}: no such file; check the path")
        _take_back(Path(f"{path}-journal"), path)
        suffix = Path(path).suffix.lower()
        read = (
            geopandas.read_parquet if suffix == ".parquet" else _table if suffix in _TABLES else _all_layers
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # GDAL's remarks on what is refused below
            frame = read(path)
    except UnicodeDecodeError as error:
        raise VectorError(f"{path}: is not written in UTF-8; save it so") from error
    except (RuntimeError, ValueError, OSError, ImportError, KeyError, shapely.errors.ShapelyError) as error:
        raise VectorError(
            f"{path}: cannot be read as vectors ({first_line(error)}); give a format that GDAL reads, "
            "such as GeoJSON or GeoPackage"
        ) from error
    if not isinstance(frame, geopandas.GeoDataFrame) or frame.empty:
        raise VectorError(f"{path}: holds no features with geometries; give points or polygons")
    if frame.crs is None:
        raise VectorError(f"{path}: has no CRS; assign one")
    wrong = [
        f"feature {number} ({kind if isinstance(kind, str) else 'no geometry'})"
        for number, (kind, empty) in enumerate(
            zip(frame.geometry.geom_type, frame.geometry.is_empty, strict=True), start=1
        )
        if kind not in kinds or empty
    ]
    if wrong:
        raise VectorError(
            f"{path}: {some_of(wrong)}: must be of type {' or '.join(kinds)}; correct or drop it"
        )
    try:
        return in_wgs84(path, frame)
    except (RuntimeError, ValueError) as error:
        raise VectorError(f"{path}: cannot be brought to WGS84 ({error}); correct its CRS") from error


def _table(path: Path | str) -> geopandas.GeoDataFrame:
    """Return the rows of a table as features, by a column of WKT if it has one, else by longitude and latitude.

    Raises:
        VectorError: It says neither, or two columns have the same name.
    """
    import geopandas

    frame = geopandas.read_file(path, **_WKT)
    shaped = isinstance(frame, geopandas.GeoDataFrame) and bool(frame.geometry.notna().any())
    if not shaped:
        frame = geopandas.read_file(path, **_LONLAT)
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise VectorError(f"{path}: has no columns lon and lat, nor WKT; name them so")
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise VectorError(f"{path}: has more than one column {twice[0]!r}; rename or drop one")
    if shaped and frame.crs is not None:  # from a .prj beside it
        return frame
    return frame.set_crs("EPSG:4326", allow_override=True)


def _all_layers(path: Path | str) -> geopandas.GeoDataFrame:
    """Return the features of all layers that have geometries, as folders of a KML file are."""
    import geopandas
    import pandas  # type: ignore[import-untyped]

    layers = geopandas.list_layers(path)
    names = layers["name"][layers["geometry_type"].notna()]
    if len(names) < 2:
        return geopandas.read_file(path, **({"layer": names.iloc[0]} if len(names) else {}))
    frames = [geopandas.read_file(path, layer=name) for name in names]
    for frame in frames:
        if frame.crs is None:
            return frame  # the file is refused for it
    return pandas.concat([in_wgs84(path, frame) for frame in frames], ignore_index=True)


def _take_back(journal: Path, path: Path | str) -> None:
    """Let SQLite undo what a process that was killed had half written: GDAL, which only reads, refuses to."""
    if journal.is_file():
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version")


class PixelSpace:
    """Longitude and latitude → a tile's pixel columns and rows."""

    def __init__(self, tile: Tile, beyond_km: float = 0.0) -> None:
        self._to_crs = Transformer.from_crs("EPSG:4326", tile.crs, always_xy=True)
        a, b, c, d, e, f = (~tile.transform)[:6]
        self._inverse = (a, b, c, d, e, f)
        self._lon0 = _middle_lon(tile)
        self.reach_km = beyond_km
        """How far beyond the tile an area is looked at, at least."""
        self.box = self._around(tile, beyond_km)
        """Where the tile lies, in longitude (beyond 180° where it crosses the antimeridian) and latitude."""

    def _around(self, tile: Tile, beyond_km: float) -> BaseGeometry:
        mesh = _outline(tile)
        lon, lat = self._near(mesh[:, 0]), mesh[:, 1]
        west, south, east, north = lon.min(), lat.min(), lon.max(), lat.max()
        half = np.array([tile.width, tile.height]) / 2
        for pole in (-90.0, 90.0):
            with np.errstate(invalid="ignore"):  # where a CRS has no such pole
                (at,) = self._carry(np.array([[self._lon0, pole]]))
            if (np.abs(at - half) <= half).all():  # around it lies more than the mesh meets
                west, south, east, north = -np.inf, min(south, pole), np.inf, max(north, pole)
        up = _AROUND_DEG + beyond_km / _KM_PER_DEG
        narrowest = math.cos(math.radians(min(90.0, max(abs(south), abs(north)) + up)))
        self.reach_km += _AROUND_DEG * _KM_PER_DEG * max(0.0, narrowest)
        aside = min(360.0, _AROUND_DEG + beyond_km / _KM_PER_DEG / max(narrowest, 1e-9))
        return shapely.box(
            max(west - aside, self._lon0 - 180),
            south - up,
            min(east + aside, self._lon0 + 180),
            north + up,
        )

    def _near(self, lon: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return longitudes within 180° of the tile's middle."""
        return turned(lon, self._lon0)

    def sites(self, geometries: Geometries) -> Geometries:
        """Carry small geometries to pixel space whole; those that lie elsewhere become empty."""
        coordinates = shapely.get_coordinates(geometries)
        coordinates[:, 0] = self._near(coordinates[:, 0])
        near = shapely.set_coordinates(geometries.copy(), coordinates)
        bounds = shapely.bounds(near)
        west, south, east, north = self.box.bounds
        here = (
            (bounds[:, 0] <= east)
            & (bounds[:, 2] >= west)
            & (bounds[:, 1] <= north)
            & (bounds[:, 3] >= south)
        )
        here &= bounds[:, 2] - bounds[:, 0] < 180
        return self._to_pixels(np.where(here, near, shapely.Point()))

    def area(self, geometry: BaseGeometry) -> BaseGeometry:
        """Carry what of an area lies around the tile to pixel space."""
        copies = [translate(geometry, shift) for shift in (-360, 0, 360)]
        near = polygons_of(np.array([shapely.intersection(copy, self.box) for copy in copies], dtype=object))
        (carried,) = self._to_pixels(np.array([shapely.segmentize(near, SEGMENT_DEG)], dtype=object))
        return carried

    def points(self, lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Carry longitudes and latitudes (N, 2) to pixel columns and rows (N, 2)."""
        return self._carry(np.column_stack([self._near(lonlat[:, 0]), lonlat[:, 1]]))

    def _carry(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = self._to_crs.transform(xy[:, 0], xy[:, 1])
        return to_map(np.column_stack([x, y]), self._inverse)

    def _to_pixels(self, geometries: Geometries) -> Geometries:
        return np.asarray(shapely.transform(geometries, self._carry), dtype=np.object_)


def _middle_lon(tile: Tile) -> float:
    x, y = tile.transform @ (tile.width / 2, tile.height / 2)
    if tile.crs.is_geographic:
        return float(x)  # may lie beyond 180°, as the tile's own coordinates do
    (lon,), _ = lonlat(tile.path, tile.crs, np.array([x]), np.array([y]), TileError)
    return float(lon)


def _outline(tile: Tile) -> NDArray[np.float64]:
    """Return longitude and latitude (N, 2) of a mesh over the tile: a pole inside it is on no edge."""
    col, row = np.meshgrid(
        np.linspace(0, tile.width, _OUTLINE_POINTS), np.linspace(0, tile.height, _OUTLINE_POINTS)
    )
    a, b, c, d, e, f = tile.transform[:6]
    mapped: Any = to_map(np.column_stack([col.ravel(), row.ravel()]), (a, b, c, d, e, f))
    return np.column_stack(lonlat(tile.path, tile.crs, mapped[:, 0], mapped[:, 1], TileError))

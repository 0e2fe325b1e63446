"""Writing features: RFC 7946 GeoJSON by hand, every other format through GeoPandas.

GeoJSON is written here because GDAL's writer cannot put totals beside the features (a foreign member
of the collection, RFC 7946 §6.1).
"""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

import numpy as np
import orjson
from numpy.typing import NDArray

from geozoom.errors import OutputError, first_line
from geozoom.files import check_output, on_stdout, written_aside

if TYPE_CHECKING:
    import geopandas

COORDINATE_DECIMALS = 7
"""About a centimetre on the ground, as RFC 7946 advises."""
ORDER_DECIMALS = 8
"""About a millimetre, for orders' outlines: written to a centimetre, one of long thin arms is larger or smaller by up
to 0.05%, which is another bill."""
GEOJSON_SUFFIXES = (".geojson", ".json")
TABLE_SUFFIXES = (".gpkg", ".fgb", ".parquet")
FEATURES_AT_ONCE = 8192
"""Features held as plain values while they are written; columns are smaller by far."""

Column = NDArray[Any] | Sequence[Any]
"""The values of one property, an array where there are many."""


class FeatureTable(ABC):
    """Footprints with properties in columns, which know how to write themselves."""

    LAYER: ClassVar[str]
    """Name of the features in formats that hold several layers."""
    corners: NDArray[np.float64]
    """(N, 4, 2) longitude and latitude (WGS84), counter-clockwise."""

    @abstractmethod
    def columns(self) -> dict[str, Column]:
        """Return the properties of all features, column by column, of one length N."""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """Return the totals as plain values."""

    def features(self) -> Iterator[dict[str, Any]]:
        """Yield one GeoJSON feature per footprint (RFC 7946), as it is written."""
        yield from map(orjson.loads, self._encoded_features())

    def _encoded_features(self) -> Iterator[bytes]:
        columns = self.columns()
        names = tuple(columns)
        for start in range(0, len(self.corners), FEATURES_AT_ONCE):
            rows = slice(start, start + FEATURES_AT_ONCE)
            values = zip(*(_plain(column[rows]) for column in columns.values()), strict=True)
            for geometry, properties in zip(ring_geometries(self.corners[rows]), values, strict=True):
                feature = {
                    "type": "Feature",
                    "geometry": geometry,
                    "properties": dict(zip(names, properties, strict=True)),
                }
                yield orjson.dumps(feature, option=orjson.OPT_SERIALIZE_NUMPY)

    def to_geodataframe(self) -> geopandas.GeoDataFrame:
        """Return all features as a GeoDataFrame in EPSG:4326."""
        import geopandas

        return geopandas.GeoDataFrame(self.columns(), geometry=polygons(self.corners), crs="EPSG:4326")

    def write(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write all features; the suffix says how: .geojson, .gpkg, .fgb or .parquet, "-" is stdout.

        Only GeoJSON holds the summary beside the features.

        Raises:
            OutputError: The file exists and `overwrite` is not set, its folder cannot be written, or
                the suffix is not known.
        """
        path = Path(path)
        if str(path) == "-":
            with on_stdout() as stdout:
                self._write_geojson(stdout)
            return
        check_output(path, overwrite=overwrite, suffixes=GEOJSON_SUFFIXES + TABLE_SUFFIXES)
        with written_aside(path) as aside:
            if path.suffix.lower() in GEOJSON_SUFFIXES:
                with aside.open("w", encoding="utf-8") as file:
                    self._write_geojson(file)
            elif path.suffix.lower() == ".parquet":
                self.to_geodataframe().to_parquet(aside)
            else:
                try:
                    self._write_layers(aside)
                except (RuntimeError, sqlite3.Error) as error:  # pyogrio's and SQLite's, of a full disk too
                    raise OutputError(f"{path}: cannot be written ({first_line(error)})") from error

    def _write_layers(self, path: Path) -> None:
        """Write a format of GDAL's."""
        self.to_geodataframe().to_file(path, layer=self.LAYER)

    def _write_geojson(self, file: TextIO) -> None:
        """Write a FeatureCollection with the summary as its member "geozoom", a feature a line."""
        file.write('{"type": "FeatureCollection",\n')
        if len(self.corners):
            file.write(f'"bbox": {json.dumps(bounding_box(self.corners))},\n')
        file.write('"geozoom": ')
        json.dump(self.summary(), file, ensure_ascii=False)
        file.write(',\n"features": [')
        for index, feature in enumerate(self._encoded_features()):
            file.write(",\n" if index else "\n")
            file.write(feature.decode())
        file.write("\n]}\n")


def polygons(corners: NDArray[np.float64]) -> NDArray[np.object_]:
    """Return rings (N, 4, 2) of longitude and latitude as polygons (N,), split at the antimeridian."""
    import shapely

    geometries = shapely.polygons(_closed(corners))
    for index in np.flatnonzero(_crosses_antimeridian(corners)).tolist():
        geometries[index] = shapely.geometry.shape(_split(_closed(corners[index : index + 1])[0]))
    return np.asarray(geometries, dtype=object)


def _plain(column: Column) -> list[Any]:
    """Return a column as plain values."""
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


def ring_geometries(corners: NDArray[np.float64]) -> Iterator[dict[str, Any]]:
    """Yield GeoJSON geometries of counter-clockwise rings (N, 4, 2) of longitude and latitude.

    A ring whose neighbours lie more than 180° apart crosses the antimeridian and is split there.
    """
    closed = _closed(corners)
    for index, crosses in enumerate(_crosses_antimeridian(corners).tolist()):
        # Arrays, not lists: a million small lists keep Python's garbage collector busier than the writing.
        yield (
            _split(closed[index])
            if crosses
            else {"type": "Polygon", "coordinates": closed[index : index + 1]}
        )


def _closed(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rings (N, 5, 2) that end where they began, rounded as they are written."""
    return np.concatenate([corners, corners[:, :1]], axis=1).round(COORDINATE_DECIMALS)


def _crosses_antimeridian(corners: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.ptp(corners[..., 0], axis=1) > 180)


def _split(ring: NDArray[np.float64]) -> dict[str, Any]:
    """Return the parts on both sides of the antimeridian of a closed ring that crosses it."""
    import antimeridian
    from shapely.geometry import Polygon, mapping

    fixed: dict[str, Any] = mapping(antimeridian.fix_polygon(Polygon(ring)))
    return json.loads(json.dumps(fixed), parse_float=_rounded)  # type: ignore[no-any-return]


def _rounded(text: str) -> float:
    return round(float(text), COORDINATE_DECIMALS)


def bounding_box(corners: NDArray[np.float64]) -> list[float]:
    """Return [west, south, east, north] of footprints (N, 4, 2); west > east across the antimeridian."""
    lon, lat = corners[..., 0], corners[..., 1]
    west, east = lon.min(), lon.max()
    if east - west > 180:
        # The widest stretch without any of them may lie elsewhere than across the antimeridian.
        there = np.unique(lon)
        gaps = np.diff(there)
        widest = int(gaps.argmax())
        if gaps[widest] > west + 360 - east:
            west, east = there[widest + 1], there[widest]
    box = np.array([west, lat.min(), east, lat.max()])
    return box.round(COORDINATE_DECIMALS).tolist()  # type: ignore[no-any-return]

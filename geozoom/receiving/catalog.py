"""The catalog of deliveries: a GeoPackage with one layer, written in SQLite transactions of its own.

GDAL reads it like any GeoPackage. It is written without GDAL because each raster has to be in the file or not, at
whatever moment the writer is killed, and because rows are replaced.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from geozoom import __version__
from geozoom.errors import CatalogError, OutputError
from geozoom.files import written_aside
from geozoom.receiving.files import ZIPPED

CATALOG_FORMAT = 2
LAYER = "deliveries"
_MARK = "geozoom_catalog"
_GEOPACKAGE = 0x47504B47
"""SQLite's application id of GeoPackages: "GPKG"."""
_WAIT_S = 30.0
"""How long another process may hold the catalog."""
_WGS84 = 4326
_HEAD = b"GP\x00\x01" + _WGS84.to_bytes(4, "little")
"""GeoPackage binary: version 0, little-endian, no envelope; WKB follows."""
_ENVELOPES = {0: 0, 1: 4, 2: 6, 3: 6, 4: 8}
"""Kind of a geometry's envelope → its length in doubles."""

_SCHEMA = """
PRAGMA application_id = {application};
PRAGMA user_version = 10300;
BEGIN;
CREATE TABLE gpkg_spatial_ref_sys (
  srs_name TEXT NOT NULL, srs_id INTEGER PRIMARY KEY, organization TEXT NOT NULL,
  organization_coordsys_id INTEGER NOT NULL, definition TEXT NOT NULL, description TEXT);
CREATE TABLE gpkg_contents (
  table_name TEXT NOT NULL PRIMARY KEY, data_type TEXT NOT NULL, identifier TEXT UNIQUE, description TEXT DEFAULT '',
  last_change DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now')),
  min_x DOUBLE, min_y DOUBLE, max_x DOUBLE, max_y DOUBLE, srs_id INTEGER REFERENCES gpkg_spatial_ref_sys(srs_id));
CREATE TABLE gpkg_geometry_columns (
  table_name TEXT NOT NULL UNIQUE REFERENCES gpkg_contents(table_name), column_name TEXT NOT NULL,
  geometry_type_name TEXT NOT NULL, srs_id INTEGER NOT NULL REFERENCES gpkg_spatial_ref_sys(srs_id),
  z TINYINT NOT NULL, m TINYINT NOT NULL, PRIMARY KEY (table_name, column_name));
CREATE TABLE deliveries (
  fid INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, geom MULTIPOLYGON NOT NULL,
  path TEXT NOT NULL UNIQUE, name TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL,
  modified_ns INTEGER NOT NULL, driver TEXT NOT NULL, crs TEXT NOT NULL, width MEDIUMINT NOT NULL,
  height MEDIUMINT NOT NULL, bands MEDIUMINT NOT NULL, band_names TEXT NOT NULL, dtype TEXT NOT NULL, rgb TEXT,
  nodata DOUBLE, gsd_m DOUBLE NOT NULL, acquired DATETIME, sensor TEXT, cloud_share DOUBLE,
  valid_share DOUBLE NOT NULL, zero_share DOUBLE NOT NULL, unusable BLOB);
CREATE INDEX deliveries_sha256 ON deliveries (sha256);
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One delivered raster, as the catalog holds it."""

    footprint: BaseGeometry
    """Its valid data in longitude and latitude (WGS84)."""
    path: str
    """What GDAL opens."""
    name: str
    """As the user gave it."""
    sha256: str
    """Of the file's bytes; of a VRT, of its sources' too."""
    bytes: int
    """Size, unpacked, with that of the mask and the JSON beside it."""
    modified_ns: int
    """When the file or one of these, or the zip around them, was last written, in nanoseconds since 1970."""
    driver: str
    """GDAL's name of the format."""
    crs: str
    """WKT."""
    width: int
    height: int
    bands: int
    """Number of bands."""
    band_names: str
    """What the bands are called, with commas between them."""
    dtype: str
    """Types of the bands' numbers."""
    rgb: tuple[int, int, int] | None
    """1-based red, green and blue; None for an image without colours."""
    nodata: float | None
    """Digital number that means no data, where the user said so."""
    gsd_m: float
    """Ground sample distance, the coarser of across and down, in metres."""
    acquired: datetime | None
    """When it was taken, where metadata says it."""
    sensor: str | None
    cloud_share: float | None
    """Share of the image under clouds by Planet's UDM2, else of the vendor's scene, where metadata says it."""
    valid_share: float
    """Share of the pixels that hold data."""
    zero_share: float
    """Share of the pixels that hold data, of which all numbers are 0."""
    unusable: BaseGeometry
    """Ground that Planet's UDM2 calls unusable, in longitude and latitude (WGS84); empty without a mask."""

    @property
    def exists(self) -> bool:
        """Whether its file, or the zip around it, is still there."""
        return self._file.is_file()

    @property
    def rewritten(self) -> bool:
        """Whether its file, or the zip around it, is there and was written again since it was ingested."""
        return self.exists and self._file.stat().st_mtime_ns > self.modified_ns

    @property
    def _file(self) -> Path:
        zipped = ZIPPED.match(self.path)
        return Path(self.path if zipped is None else zipped[2])


_COLUMNS = tuple(each.name for each in fields(Entry) if each.name != "footprint")


class Catalog:
    """A catalog that is open for reading and writing; a context manager."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection

    def entries(self) -> list[Entry]:
        """Return all deliveries, by path."""
        names = ", ".join(_COLUMNS)
        with _as_catalog_error(self.path):
            query = f"SELECT geom, {names} FROM deliveries ORDER BY path"  # noqa: S608 (our own columns)
            rows = self._connection.execute(query).fetchall()
            return [_entry(row) for row in rows]

    def put(self, entry: Entry) -> None:
        """Add a delivery, or replace what was at its path; it is in the file when this returns."""
        values = [_blob(entry.footprint), *(_plain(getattr(entry, name)) for name in _COLUMNS)]
        names, marks = ", ".join(["geom", *_COLUMNS]), ", ".join("?" * len(values))
        with _as_catalog_error(self.path), self._connection as transaction:
            transaction.execute("DELETE FROM deliveries WHERE path = ?", [entry.path])
            insert = f"INSERT INTO deliveries ({names}) VALUES ({marks})"  # noqa: S608 (our own columns)
            transaction.execute(insert, values)
            west, south, east, north = entry.footprint.bounds
            transaction.execute(
                "UPDATE gpkg_contents SET last_change = strftime('%Y-%m-%dT%H:%M:%fZ','now'), "
                "min_x = min(ifnull(min_x, ?1), ?1), min_y = min(ifnull(min_y, ?2), ?2), "
                "max_x = max(ifnull(max_x, ?3), ?3), max_y = max(ifnull(max_y, ?4), ?4)",
                [west, south, east, north],
            )

    def move(self, old: str, path: str, name: str, modified_ns: int) -> None:
        """Say that a delivery lies at another path now."""
        with _as_catalog_error(self.path), self._connection as transaction:
            transaction.execute(
                "UPDATE deliveries SET path = ?, name = ?, modified_ns = ? WHERE path = ?",
                [path, name, modified_ns, old],
            )

    def remove(self, path: str) -> None:
        """Forget what was at a path, if anything was."""
        with _as_catalog_error(self.path), self._connection as transaction:
            transaction.execute("DELETE FROM deliveries WHERE path = ?", [path])


@contextmanager
def open_catalog(path: Path, *, create: bool = False) -> Iterator[Catalog]:
    """Open a catalog.

    Args:
        path: The file.
        create: Make an empty one if there is none.

    Raises:
        CatalogError: It is missing, no catalog, or one that another version of geozoom wrote.
        OutputError: It cannot be created.
    """
    if not path.exists() and create:
        with written_aside(path, replace=False) as aside:
            try:
                with closing(sqlite3.connect(aside)) as connection:
                    _create(connection)
            except sqlite3.Error as error:
                raise OutputError(f"{path}: cannot be created ({error})") from error
    if not path.is_file():
        raise CatalogError(f"{path}: no such catalog; write one with `geozoom ingest`")
    with _as_catalog_error(path):
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_WAIT_S)
    with closing(connection):
        _check(path, connection)
        yield Catalog(path, connection)


def is_catalog(path: Path | str) -> bool:
    """Tell whether a file is a catalog, of this version of geozoom or of another."""
    if Path(path).suffix.lower() != ".gpkg" or not Path(path).is_file():
        return False
    try:
        with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as connection:
            return _MARK in _mark(connection)
    except (sqlite3.Error, ValueError, LookupError, TypeError):
        return False


def usable_ground(path: Path) -> list[BaseGeometry]:
    """Return the ground (WGS84) of each delivery that counts: it is there, in colours, and less what is unusable.

    Raises:
        CatalogError: The catalog cannot be read, or none counts.
    """
    with open_catalog(path) as catalog:
        usable = [entry for entry in catalog.entries() if entry.exists and entry.rgb is not None]
    ground = [entry.footprint.difference(entry.unusable) for entry in usable]
    if not ground:
        raise CatalogError(f"{path}: none of its deliveries is there and in colours; leave it out")
    return ground


def _create(connection: sqlite3.Connection) -> None:
    connection.executescript(_SCHEMA.format(application=_GEOPACKAGE))
    from pyproj import CRS

    undefined = [("Undefined Cartesian SRS", -1), ("Undefined geographic SRS", 0)]
    connection.executemany(
        "INSERT INTO gpkg_spatial_ref_sys VALUES (?, ?, 'NONE', ?, 'undefined', NULL)",
        [(name, number, number) for name, number in undefined],
    )
    connection.execute(
        "INSERT INTO gpkg_spatial_ref_sys VALUES ('WGS 84 geodetic', 4326, 'EPSG', 4326, ?, NULL)",
        [CRS.from_epsg(_WGS84).to_wkt("WKT1_GDAL")],
    )
    # A table of geozoom's own would be one more layer for every reader.
    mark = json.dumps({_MARK: CATALOG_FORMAT, "geozoom": __version__})
    connection.execute(
        "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, srs_id) "
        "VALUES ('deliveries', 'features', 'deliveries', ?, 4326)",
        [mark],
    )
    connection.execute(
        "INSERT INTO gpkg_geometry_columns VALUES ('deliveries', 'geom', 'MULTIPOLYGON', 4326, 0, 0)"
    )
    connection.commit()


def _mark(connection: sqlite3.Connection) -> Any:
    """Return what the layer's description says, which a catalog is known by."""
    query = "SELECT description FROM gpkg_contents WHERE table_name = ?"
    return json.loads(connection.execute(query, [LAYER]).fetchone()[0])


def _check(path: Path, connection: sqlite3.Connection) -> None:
    """Refuse what is no catalog of this format."""
    strange = CatalogError(
        f"{path}: is not a catalog that `geozoom ingest` wrote; name another file, or remove this one"
    )
    try:
        mark = _mark(connection)
        version = mark[_MARK]
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise CatalogError(
                f"{path}: is in use by another process; try again when it has ended"
            ) from error
        raise strange from error
    except (sqlite3.DatabaseError, ValueError, LookupError, TypeError) as error:
        raise strange from error
    if version != CATALOG_FORMAT:
        raise CatalogError(
            f"{path}: is a catalog of format {version}, written by geozoom {mark.get('geozoom', 'unknown')}, and this "
            f"version ({__version__}) reads format {CATALOG_FORMAT}; ingest the deliveries into a new catalog"
        )


@contextmanager
def _as_catalog_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, shapely.errors.ShapelyError, ValueError) as error:
        raise CatalogError(
            f"{path}: cannot be read or written as a catalog ({error}); see that there is room and that no other "
            "process uses it, or ingest into a new one"
        ) from error


def _plain(value: object) -> object:
    if isinstance(value, BaseGeometry):
        return None if value.is_empty else bytes(shapely.to_wkb(value, byte_order=1, flavor="iso"))
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    return value


def _blob(footprint: BaseGeometry) -> bytes:
    parts = shapely.multipolygons(shapely.get_parts(footprint))
    return _HEAD + bytes(shapely.to_wkb(parts, byte_order=1, flavor="iso"))


def _entry(row: tuple[object, ...]) -> Entry:
    values = dict(zip(_COLUMNS, row[1:], strict=True))
    if values["rgb"] is not None:
        red, green, blue = (int(band) for band in str(values["rgb"]).split(","))
        values["rgb"] = (red, green, blue)
    if values["acquired"] is not None:
        values["acquired"] = datetime.fromisoformat(str(values["acquired"]))
    unusable = values["unusable"]
    values["unusable"] = shapely.Polygon() if unusable is None else shapely.from_wkb(unusable)
    return Entry(footprint=_geometry(row[0]), **values)  # type: ignore[arg-type]


def _geometry(blob: object) -> BaseGeometry:
    """Read a geometry as GeoPackages hold it: a program that edits the catalog may add an envelope."""
    if not isinstance(blob, bytes) or len(blob) < len(_HEAD) or blob[:2] != _HEAD[:2]:
        raise ValueError("a footprint is missing")
    doubles = _ENVELOPES.get(blob[3] >> 1 & 7)
    if doubles is None:
        raise ValueError("a footprint has an envelope of an unknown kind")
    return shapely.from_wkb(blob[len(_HEAD) + 8 * doubles :])

"""`ingest`: deliveries → catalog, held against the orders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio
from pyproj.exceptions import ProjError
from shapely import union_all

from geozoom.bands import ReadOptions
from geozoom.deliveries import boxes, wgs84_bounds
from geozoom.errors import CatalogError, DeliveryError
from geozoom.files import check_output
from geozoom.rasters import open_raster
from geozoom.receiving.catalog import Catalog, Entry, open_catalog
from geozoom.receiving.coverage import OrderedGround
from geozoom.receiving.description import describe, with_companions, with_sources
from geozoom.receiving.files import ReceivedFile, find_files, sha256
from geozoom.receiving.globe import km_text
from geozoom.receiving.ordered import read_ordered
from geozoom.receiving.place import compare
from geozoom.receiving.report import Ingested
from geozoom.tiles import Tile, open_tiles

if TYPE_CHECKING:
    from geozoom.scoring import Progress

CLOUDED = 0.2
"""Share of clouds from which an image is named as clouded, where nothing else was said."""
_ANY_SCALE = 1e-5
"""Keeps digital numbers of 16 bits below white."""
_CACHE_BYTES = 2**26
"""GDAL's cache: every block is read once, and its own default is a share of the machine's memory."""


def ingest(
    paths: Sequence[str | Path],
    *,
    orders: Path | str,
    catalog: Path | str,
    options: ReadOptions | None = None,
    ordered_gsd_m: float | None = None,
    max_cloud: float = CLOUDED,
    lr: Sequence[str | Path] = (),
    lr_options: ReadOptions | None = None,
    progress: Progress | None = None,
) -> Ingested:
    """Take deliveries into a catalog, and say what of the orders it holds now.

    Every raster is in the catalog or not, at whatever moment the process ends; what is there already is not read
    again. What cannot be used is named in the result, and the rest is taken all the same.

    Args:
        paths: Rasters, zips, and folders with either in them.
        orders: The file that `plan` wrote.
        catalog: A GeoPackage, made if it is not there.
        options: Bands and missing data of rasters that do not say it themselves.
        ordered_gsd_m: GSD that was ordered, in metres; that of the plan's model if absent.
        max_cloud: Share of clouds in an image's metadata from which it is named as clouded.
        lr: LR tiles of the plan, whose ground all deliveries of the catalog are compared with; none if absent.
        lr_options: What the user says about tiles that do not say it themselves.
        progress: Called after every raster.

    Raises:
        OrdersError: The orders cannot be read.
        CatalogError: The catalog cannot be read, or belongs to other orders.
        OutputError: The catalog cannot be created.
        TileError: LR tiles cannot be used; every one is named.
    """
    ordered = read_ordered(Path(orders))
    ground = OrderedGround(ordered)
    tiles = _lr_tiles(lr, lr_options or ReadOptions()) if lr else []
    path = Path(catalog)
    if not path.exists():
        check_output(path, overwrite=False, suffixes=(".gpkg",))
    found = find_files([str(entry) for entry in paths])
    problems = list(found.problems)
    files, faults = with_sources(found.files)
    files = with_companions(files)
    problems += faults
    with open_catalog(path, create=True) as held, rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
        receiver = _Receiver(held, ground, options or ReadOptions(), files)
        _check_belongs(path, receiver.by_path, files, ground)
        for number, file in enumerate(files, start=1):
            try:
                receiver.take(file)
            except DeliveryError as error:
                held.remove(file.path)
                problems.append(str(error))
            if progress is not None:
                progress(number, len(files))
        receiver.forget_replaced()
        entries = held.entries()
    gone = {each.path for each in entries if not each.exists}
    usable = [each for each in entries if each.path not in gone and each.rgb is not None]
    compared = None
    if tiles:
        compared = compare([each for each in entries if each.path not in gone], tiles)
    gsd = ordered_gsd_m if ordered_gsd_m is not None else ordered.hr_gsd_m
    return Ingested(
        catalog=str(catalog),
        orders_file=str(orders),
        orders=tuple(ground.coverage(usable, gsd)),
        added=tuple(receiver.added),
        known=tuple(receiver.known),
        duplicates=tuple(receiver.duplicates),
        entries=tuple(entries),
        gone=tuple(each.name for each in entries if each.path in gone),
        rewritten=tuple(each.name for each in entries if each.rewritten),
        elsewhere=tuple(each.name for each in entries if not len(ground.met_by(each.footprint))),
        ordered_gsd_m=gsd,
        max_cloud=max_cloud,
        compared=compared,
        ignored=found.ignored,
        problems=tuple(problems),
    )


def _lr_tiles(lr: Sequence[str | Path], options: ReadOptions) -> list[Tile]:
    """Open LR tiles to compare them with deliveries: correlation knows no unit, so any scale does."""
    tiles, _ = open_tiles([str(entry) for entry in lr], replace(options, scale=_ANY_SCALE), None, 1)
    return tiles


_ASIDE = "replaced:"
"""Begins the path, which no file has, of an entry whose own path holds other bytes now."""


class _Receiver:
    """Takes one raster after the other into a catalog."""

    def __init__(
        self,
        catalog: Catalog,
        ground: OrderedGround,
        options: ReadOptions,
        files: Iterable[ReceivedFile],
    ) -> None:
        self.added: list[str] = []
        self.known: list[str] = []
        self.duplicates: list[str] = []
        self.by_path = {entry.path: entry for entry in catalog.entries()}
        self._by_sum = {entry.sha256: entry for entry in self.by_path.values()}
        self._given = {file.path: file for file in files}
        self._catalog = catalog
        self._ground = ground
        self._options = options

    def take(self, file: ReceivedFile) -> None:
        """Take a raster, unless it is there already.

        Raises:
            DeliveryError: It cannot be used, or lies on no order.
        """
        before = self.by_path.get(file.path)
        if before is not None and _is_unchanged(before, file) and self._says_no_more(before):
            self.known.append(file.name)
            return
        checksum = sha256(file)
        if before is not None and before.sha256 != checksum:
            self._set_aside(before)
        same = self._by_sum.get(checksum)
        if same is not None and (same.path == file.path or not self._is_there(same)):
            self._move(same, file.path, file.name, file.modified_ns)
            if same.path == file.path or same.bytes != file.size or not self._says_no_more(same):
                self._describe_again(file, same)
            self.known.append(file.name)
            return
        if same is not None:
            self.duplicates.append(file.name)
            return
        entry = describe(file, checksum, self._options)
        if not len(self._ground.met_by(entry.footprint)):
            km = self._ground.km_away(entry.footprint)
            raise DeliveryError(
                f"{file.name}: lies on no order, {km_text(km)} km from the nearest one; its CRS or georeference is "
                "wrong, or it belongs to other orders"
            )
        self._catalog.put(entry)
        self._by_sum[checksum] = self.by_path[file.path] = entry
        self.added.append(file.name)

    def _says_no_more(self, entry: Entry) -> bool:
        """Tell whether what the user says of bands and missing data now is what the entry goes by."""
        bands = None if entry.rgb is None else self._options.bands  # what shows no colours has none to choose
        return self._options.nodata in (None, entry.nodata) and bands in (None, entry.rgb)

    def _describe_again(self, file: ReceivedFile, before: Entry) -> None:
        """Read a raster that is in the catalog once more: its mask, its metadata or what the user says has changed.

        Raises:
            DeliveryError: It cannot be used.
        """
        nodata = before.nodata if self._options.nodata is None else self._options.nodata
        options = replace(self._options, nodata=nodata, bands=self._options.bands or before.rgb)
        entry = describe(file, before.sha256, options)
        self._catalog.put(entry)
        self._by_sum[entry.sha256] = self.by_path[file.path] = entry

    def forget_replaced(self) -> None:
        """Forget what lay at paths that hold other bytes now, and was found at no other one."""
        for path in [path for path in self.by_path if path.startswith(_ASIDE)]:
            self._catalog.remove(path)

    def _is_there(self, entry: Entry) -> bool:
        """Tell whether an entry's path still holds its bytes, by size and time, and not those of a renamed file."""
        given = self._given.get(entry.path)
        return entry.exists if given is None else _is_unchanged(entry, given)

    def _set_aside(self, entry: Entry) -> None:
        """Make room at a path that holds other bytes now; a file with the entry's own may come yet."""
        self._move(entry, f"{_ASIDE}{entry.sha256}", entry.name, entry.modified_ns)

    def _move(self, entry: Entry, path: str, name: str, modified_ns: int) -> None:
        self._catalog.move(entry.path, path, name, modified_ns)
        moved = replace(entry, path=path, name=name, modified_ns=modified_ns)
        self.by_path.pop(entry.path, None)
        self._by_sum[entry.sha256] = self.by_path[path] = moved


def _is_unchanged(entry: Entry, file: ReceivedFile) -> bool:
    return (entry.bytes, entry.modified_ns) == (file.size, file.modified_ns)


def _check_belongs(
    path: Path, entries: Mapping[str, Entry], files: Sequence[ReceivedFile], ground: OrderedGround
) -> None:
    """Refuse a catalog of which nothing lies on the orders, unless something does of what is to be added.

    Orders of a second round leave out the ground of the first, all that the catalog holds when they are delivered.
    """
    away = []
    for entry in entries.values():
        if len(ground.met_by(entry.footprint)):
            return
        away.append(ground.km_away(entry.footprint))
    if away and not any(_may_lie_on(file, ground) for file in files if file.path not in entries):
        raise CatalogError(
            f"{path}: none of its {len(away)} deliveries lies on an order of {ground.ordered.source}, the nearest is "
            f"{km_text(min(away))} km away; give the orders that they were made for, or another catalog"
        )


def _may_lie_on(file: ReceivedFile, ground: OrderedGround) -> bool:
    """Tell whether a file's bounds meet an order; its pixels are not read."""
    try:
        with open_raster(file.path, DeliveryError) as dataset:
            bounds = None if dataset.crs is None else wgs84_bounds(dataset)
    except (DeliveryError, ProjError):
        return False  # what is wrong with it is said when it is read
    return bounds is not None and bool(len(ground.met_by(union_all(boxes(*bounds)))))

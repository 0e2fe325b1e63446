"""Options that several commands share, and what they are turned into."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geozoom.errors import some_of
from geozoom.files import on_stdout

if TYPE_CHECKING:
    from rich.console import Console

    from geozoom.bands import ReadOptions
    from geozoom.budget import Budget
    from geozoom.deliveries import Received
    from geozoom.scoring import Progress

LARGEST_SEED = 2**31 - 1
"""Generators take 64 bits, and seeds of stages are made of it by a few digits more."""

_GROUPED = r"([A-Za-z]{3}\s*)?\d{1,3}(,\d{3})+(\.\d+)?(\s*[A-Za-z]{3})?"
"""One amount as it is written in English."""
_THOUSANDS = re.compile(rf"\s*({_GROUPED}(\s*,\s*{_GROUPED})*\s*$|[1-9],\d{{3}}(?!\d))")
"""10,500 and 1,500,2,500: amounts with thousands separators, or more amounts without."""
_SEPARATOR = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
"""A comma that may separate thousands."""

_F = TypeVar("_F", bound=Callable[..., Any])


class Budgets(click.ParamType):  # type: ignore[type-arg]
    """One positive amount of money or several, exact, with or without a currency: 5000 or 1000,5000 EUR."""

    name = "amount[,amount...]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Budget, ...]:
        """Return the budgets, lowest first, or fail with what is wrong with one of them."""
        from geozoom.budget import Budget
        from geozoom.errors import BudgetError

        if _THOUSANDS.match(str(value)):
            one, several = _SEPARATOR.sub("", str(value)), str(value).replace(",", ", ")
            self.fail(f"{value!r} may be one amount or several; write {one!r}, or {several!r}", param, ctx)
        try:
            given = [Budget.of(part) for part in str(value).split(",")]
        except BudgetError as error:
            self.fail(str(error), param, ctx)
        currencies = {each.currency for each in given if each.currency is not None}
        if len(currencies) > 1:
            self.fail(f"amounts in {' and '.join(sorted(currencies))}; give one currency", param, ctx)
        # A currency named once holds for the whole list.
        currency = next(iter(currencies), None)
        return tuple(Budget(cents, currency) for cents in sorted({each.cents for each in given}))


class Bands(click.ParamType):  # type: ignore[type-arg]
    """Three band numbers, as in 4,3,2."""

    name = "R,G,B"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int]:
        """Return the three numbers, or fail with what is wrong with them."""
        try:
            red, green, blue = (int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not three band numbers, as in 4,3,2", param, ctx)
        if min(red, green, blue) < 1:
            self.fail("bands are counted from 1", param, ctx)
        return red, green, blue


def model_option(command: _F) -> _F:
    """Add --model."""
    return click.option(
        "--model",
        type=click.Path(path_type=Path),
        help="Checkpoint written by `geozoom train`; the model that ships with geozoom if absent.",
    )(command)


def uplift_option(command: _F) -> _F:
    """Add --uplift."""
    return click.option(
        "--uplift",
        "uplifts",
        metavar="NAME",
        multiple=True,
        help="Bill this uplift of the price list too; repeatable.",
    )(command)


def overwrite_option(command: _F) -> _F:
    """Add --overwrite."""
    return click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")(command)


def output_option(
    formats: str = ".geojson, .gpkg, .fgb or .parquet; - (the default) for GeoJSON on stdout.",
) -> Callable[[_F], _F]:
    """Return a decorator that adds -o and --overwrite."""

    def add(command: _F) -> _F:
        return click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, allow_dash=True),
            default=Path("-"),
            help=f"File to write: {formats}",
        )(overwrite_option(command))

    return add


def human_options(command: _F) -> _F:
    """Add --quiet and --json."""
    command = click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON on stdout.")(
        command
    )
    return click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors on stderr.")(command)


def raster_options(prefix: str, what: str) -> Callable[[_F], _F]:
    """Return a decorator that adds --bands, --scale, --offset and --nodata with a prefix."""
    name = prefix.replace("-", "_")

    def add(command: _F) -> _F:
        for flag, kind, text in (
            ("nodata", float, "digital number that means no data"),
            ("offset", float, "reflectance of the digital number 0"),
            ("scale", float, "reflectance per digital number"),
            ("bands", Bands(), "band numbers of red, green and blue"),
        ):
            command = click.option(
                f"--{prefix}{flag}", f"{name}{flag}", type=kind, help=f"Of {what}: {text}."
            )(command)
        return command

    return add


def cloud_mask_option(command: _F) -> _F:
    """Add --cloud-mask."""
    return click.option(
        "--cloud-mask",
        help="Raster that is not 0 under clouds, for all LR tiles; a product's own classes if absent.",
    )(command)


def scene_options(command: _F) -> _F:
    """Add --max-nodata, --max-cloud and --cloud-mask."""
    command = cloud_mask_option(command)
    command = click.option(
        "--max-cloud",
        type=click.FloatRange(0, 1),
        default=0.2,
        show_default=True,
        help="Skip scenes of which more than this share is clouded, where a mask says so.",
    )(command)
    return click.option(
        "--max-nodata",
        type=click.FloatRange(0, 1),
        default=0.5,
        show_default=True,
        help="Skip scenes of which more than this share is missing.",
    )(command)


def read_options(
    bands: tuple[int, int, int] | None,
    scale: float | None,
    offset: float | None,
    nodata: float | None,
    assume_crs: str | None = None,
    prefix: str = "",
    cloud_mask: str | None = None,
) -> ReadOptions:
    """Return what the flags of `raster_options` say.

    Raises:
        click.UsageError: An offset without a scale.
    """
    from geozoom.bands import ReadOptions
    from geozoom.clouds import CloudMask

    if offset is not None and scale is None:
        raise click.UsageError(f"--{prefix}offset needs --{prefix}scale")
    for flag, value in (("scale", scale), ("offset", offset)):
        if value is not None and not math.isfinite(value):
            raise click.UsageError(f"--{prefix}{flag} must be a finite number")
    if scale is not None and not scale > 0:
        raise click.UsageError(f"--{prefix}scale must be positive")
    return ReadOptions(
        bands=bands,
        scale=scale,
        offset=offset,
        nodata=nodata,
        assume_crs=assume_crs,
        clouds=None if cloud_mask is None else CloudMask(dataset=cloud_mask, kind="mask"),
        prefix=prefix,
    )


def check_json(as_json: bool, output: Path) -> None:
    """Refuse to print two things on stdout.

    Raises:
        click.UsageError: --json without -o FILE.
    """
    if as_json and str(output) == "-":
        raise click.UsageError("--json prints on stdout, so give -o FILE for the features")


def check_features_output(output: Path, *, overwrite: bool) -> None:
    """Refuse an output before any work is done for it.

    Raises:
        OutputError: See `geozoom.files.check_output`.
    """
    from geozoom.features import GEOJSON_SUFFIXES, TABLE_SUFFIXES
    from geozoom.files import check_output

    if str(output) != "-":
        check_output(output, overwrite=overwrite, suffixes=GEOJSON_SUFFIXES + TABLE_SUFFIXES)


def check_apart(files: Sequence[Path]) -> None:
    """Refuse outputs of which one would take another's place.

    Raises:
        click.UsageError: There are such.
    """
    places = [path.resolve() for path in files]
    for number, (file, place) in enumerate(zip(files, places, strict=True)):
        if place in places[:number]:
            raise click.UsageError(f"{file} is named for two outputs: give each a name of its own")


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a value on stdout as JSON.

    Raises:
        OutputError: It cannot be written.
    """
    with on_stdout() as stdout:
        stdout.write(json.dumps(value, ensure_ascii=False, indent=indent) + "\n")


def print_text(text: str) -> None:
    """Print what was asked for on stdout, with a line's end.

    Raises:
        OutputError: It cannot be written.
    """
    with on_stdout() as stdout:
        stdout.write(f"{text}\n")


def stderr_console(quiet: bool = False) -> Console:
    """Return the console for people: stderr, and GDAL's own remarks kept off it."""
    from rich.console import Console

    # Whatever rasterio logs as an error is raised as well, and reaches the user as one sentence.
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    _hush_undecodable_remarks()
    # markup=False: tile names and price lists may hold square brackets.
    return Console(stderr=True, quiet=quiet, highlight=False, markup=False)


def _hush_undecodable_remarks() -> None:
    """Keep off stderr that rasterio could not decode what GDAL quotes from a damaged file: it goes on."""
    report, show = sys.unraisablehook, sys.excepthook

    def unraisable(failed: sys.UnraisableHookArgs) -> None:
        if "rasterio" not in str(failed.object):
            report(failed)

    def shown(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not (kind is UnicodeDecodeError and traceback is None):
            show(kind, error, traceback)

    sys.unraisablehook, sys.excepthook = unraisable, shown


def today() -> date:
    """Return the day that price lists are held against."""
    return datetime.now(tz=UTC).date()


def ignored_remarks(ignored: tuple[str, ...]) -> list[str]:
    """Return a warning that names what was found in the folders and not read, if anything."""
    if not ignored:
        return []
    from geozoom.inputs import RASTER_SUFFIXES

    remark = (
        f"warning: {len(ignored)} other entries were not read: {some_of(ignored)}; from a folder only "
        f"{', '.join(RASTER_SUFFIXES)} are, so name what else is a raster itself"
    )
    return [remark]


def delivery_remarks(
    received: Received, coarse: tuple[str, ...], hr_gsd_m: float | None, then: str = ""
) -> list[str]:
    """Return warnings of deliveries that are coarse for the model's HR GSD, or were not used, and what follows then."""
    remarks = [
        f"warning: {path} is much coarser than the {hr_gsd_m:.2f} m that the model was trained on"
        for path in coarse
    ]
    for names, what in (
        (received.colourless, "show no colours, so they were not used"),
        (received.gone, "are no longer where the catalog has them, so they were not used"),
    ):
        if names:
            remarks.append(f"warning: {len(names)} deliveries {what}{then}: {some_of(names)}")
    if received.rewritten:
        remarks.append(
            f"warning: {len(received.rewritten)} deliveries were written again since they were ingested, so that the "
            f"catalog may be wrong about them; ingest them again: {some_of(received.rewritten)}"
        )
    return remarks + ignored_remarks(received.ignored)


@contextmanager
def progress_bar(console: Console, what: str) -> Iterator[Progress]:
    """Show a bar on a terminal; yield the function that moves it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    with Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

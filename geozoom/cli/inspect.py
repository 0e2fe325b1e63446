"""geozoom inspect."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geozoom.cli import loading, options

if TYPE_CHECKING:
    from geozoom.inspection import Inspection


@click.command("inspect")
@click.argument("tiles", nargs=-1, required=True)
@options.model_option
@options.raster_options("", "TILES")
@click.option("--assume-crs", help="CRS of tiles that have none, for example EPSG:32633.")
@options.cloud_mask_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list instead.")
def command(
    tiles: tuple[str, ...],
    model: Path | None,
    bands: tuple[int, int, int] | None,
    scale: float | None,
    offset: float | None,
    nodata: float | None,
    assume_crs: str | None,
    cloud_mask: str | None,
    as_json: bool,
) -> None:
    """Say what a plan would read of TILES, and why it would refuse any of them.

    Exit code 1 if one is refused.
    """
    with loading.libraries():
        read_options = options.read_options(bands, scale, offset, nodata, assume_crs, cloud_mask=cloud_mask)
        console = options.stderr_console()
        from geozoom.inspection import inspect
        from geozoom.model import load_card

    seen, ignored = inspect(tiles, load_card(model), read_options)
    if as_json:
        entries = [{"tile": each.name, "refused": each.refused, **each.facts} for each in seen]
        options.print_json(entries, indent=1)
    else:
        for each in seen:
            options.print_text(_text(each))
    for line in options.ignored_remarks(ignored):
        console.print(line, soft_wrap=True)
    if any(each.refused for each in seen):
        sys.exit(1)


def _text(seen: Inspection) -> str:
    """Return a few lines on one source."""
    if seen.refused is not None:
        return f"{seen.name}\n  refused  {seen.refused.removeprefix(f'{seen.name}: ')}"
    facts = seen.facts
    across, down = facts["gsd_m"]
    lines = [
        ("sensor", facts["sensor"] + (f", {facts['acquired']}" if facts["acquired"] else "")),
        ("bands", "red {}, green {}, blue {}".format(*facts["bands"])),
        ("scale", _scale(facts)),
        ("ground", f"{facts['crs']}, pixels of {across:g} × {down:g} m"),
        (
            "grid",
            f"{facts['width']:,} × {facts['height']:,} px"
            + (" at the model's GSD, resampled" if facts["resampled"] else ", as it is"),
        ),
        ("missing", _missing(facts)),
        ("scenes", f"{facts['scenes']:,}" + (f" of {facts['scene_m']:g} m" if facts["scene_m"] else "")),
    ]
    return "\n".join([seen.name, *(f"  {label:<8} {text}" for label, text in lines)])


def _scale(facts: dict[str, Any]) -> str:
    if not facts["reflectance"]:
        return str(facts["calibration"])
    terms = sorted(set(zip(facts["scale"], facts["offset"], strict=True)))
    formula = " / ".join(
        f"{scale:g} · DN {'−' if offset < 0 else '+'} {abs(offset):g}" for scale, offset in terms
    )
    return f"reflectance = {formula}, from {facts['calibration']}"


def _missing(facts: dict[str, Any]) -> str:
    text = f"{facts['missing_share']:.1%}"
    if facts["clouded_share"] is not None:
        text += f", clouds {facts['clouded_share']:.1%} of the rest ({facts['clouds']})"
    if facts["unmarked_zeros"]:
        text += (
            "; nothing in the raster marks missing data, so zeros count as data unless --nodata 0 is given"
        )
    return text

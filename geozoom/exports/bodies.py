"""Request bodies as a folder of files, one for each order: all of them or none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geozoom.errors import OutputError
from geozoom.exports.request import Kind
from geozoom.files import folder_written_aside
from geozoom.orderfile import OrderPolygons

_OURS = re.compile(r".*-order-\d+-[a-z0-9]+-(estimate|order)\.json")


def body_names(plan: OrderPolygons, vendor: str, kind: Kind) -> Sequence[str]:
    """Return file names that say plan, order, vendor and kind; they sort as the orders do."""
    digits = len(str(max(order.id for order in plan.orders)))
    return [f"{plan.name}-order-{order.id:0{digits}d}-{vendor}-{kind}.json" for order in plan.orders]


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder before any work is done for it.

    Raises:
        OutputError: It is a file or holds something, which only earlier bodies with `overwrite` may be; or the folder
            around it is missing.
    """
    shown = str(folder)[:200]
    if folder.name in ("", ".."):
        raise OutputError(f"{shown}: is replaced whole by what is written; name a folder in it")
    try:
        if folder.is_file():
            raise OutputError(
                f"{shown}: is a file; name a folder, in which each order gets a file of its own"
            )
        held = sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
        if not folder.parent.is_dir():
            raise OutputError(f"{folder.parent}: is no folder; make it first, or choose another")
    except OSError as error:
        raise OutputError(
            f"{shown}: cannot be looked into ({error.strerror}); choose another folder"
        ) from error
    others = [name for name in held if not _OURS.fullmatch(name)]
    if others:
        raise OutputError(
            f"{shown}: holds other things than request bodies ({others[0]}); choose another folder"
        )
    if held and not overwrite:
        raise OutputError(f"{shown}: holds request bodies already; give --overwrite or another folder")


def write_folder(folder: Path, bodies: Mapping[str, Mapping[str, Any]]) -> None:
    """Write each body to its file, all of them or none; bodies that the folder held are gone.

    Raises:
        OutputError: The folder cannot be written.
    """
    with folder_written_aside(folder) as aside:
        for name, body in bodies.items():
            text = json.dumps(body, ensure_ascii=False, indent=1)
            (aside / name).write_text(f"{text}\n", encoding="utf-8")

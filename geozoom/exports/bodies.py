"""Request bodies as a folder of files, one for each order: all of them or none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geozoom.exports.request import Kind
from geozoom.files import check_folder, folder_written_aside
from geozoom.orderfile import OrderPolygons

_OURS = re.compile(r".*-order-\d+-[a-z0-9]+-(estimate|order)\.json")


def body_names(plan: OrderPolygons, vendor: str, kind: Kind) -> Sequence[str]:
    """Return file names that say plan, order, vendor and kind; they sort as the orders do."""
    digits = len(str(max(order.id for order in plan.orders)))
    return [f"{plan.name}-order-{order.id:0{digits}d}-{vendor}-{kind}.json" for order in plan.orders]


def check_bodies_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder before any work is done for it.

    Raises:
        OutputError: See `geozoom.files.check_folder`.
    """
    check_folder(folder, _OURS, "request bodies", overwrite=overwrite)


def write_folder(folder: Path, bodies: Mapping[str, Mapping[str, Any]]) -> None:
    """Write each body to its file, all of them or none; bodies that the folder held are gone.

    Raises:
        OutputError: The folder cannot be written.
    """
    with folder_written_aside(folder) as aside:
        for name, body in bodies.items():
            text = json.dumps(body, ensure_ascii=False, indent=1)
            (aside / name).write_text(f"{text}\n", encoding="utf-8")

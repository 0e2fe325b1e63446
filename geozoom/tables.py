"""Tables without geometries: CSV, JSON or Parquet by suffix, whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geozoom.features import Column
from geozoom.files import check_output, on_stdout, write_text, written_aside

SUFFIXES = (".csv", ".json", ".parquet")


def write_table(
    path: Path | str,
    columns: Mapping[str, Column],
    *,
    name: str,
    summary: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write columns of one length; the suffix says how, "-" is JSON on stdout.

    Args:
        path: .csv, .json or .parquet.
        columns: The table.
        name: What the rows are called in JSON, the only format that holds the summary beside them.
        summary: Totals as plain values.
        overwrite: Replace an existing file.

    Raises:
        OutputError: The file exists and `overwrite` is not set, its folder cannot be written, or the suffix is not
            known.
    """
    path = Path(path)
    if str(path) == "-":
        with on_stdout() as stdout:
            stdout.write(_json(columns, name, summary))
        return
    check_output(path, overwrite=overwrite, suffixes=SUFFIXES)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        import pyarrow.parquet

        with written_aside(path) as aside:
            pyarrow.parquet.write_table(pyarrow.table(dict(columns)), aside)
    else:
        write_text(path, _csv(columns) if suffix == ".csv" else _json(columns, name, summary))


def _rows(columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    plain = [
        column.tolist() if isinstance(column, np.ndarray) else list(column) for column in columns.values()
    ]
    return [dict(zip(columns, map(_said, row), strict=True)) for row in zip(*plain, strict=True)]


def _said(value: Any) -> Any:
    """Return None for what is not a number: JSON has no word for it."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _csv(columns: Mapping[str, Column]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_rows(columns))
    return text.getvalue()


def _json(columns: Mapping[str, Column], name: str, summary: Mapping[str, Any]) -> str:
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in _rows(columns))
    head = json.dumps(dict(summary), ensure_ascii=False)
    return f'{{"geozoom": {head},\n"{name}": [\n{rows}\n]}}\n'

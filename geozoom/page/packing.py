"""Columns of numbers, small enough to travel in a page: decimal fixed point, gzip, base64.

A million patches are some ten columns. Each is rounded to a unit, turned into 32-bit integers, differenced
where neighbours are alike, and split into byte planes, which gzip (the browser has it) makes short work of.
"""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEVEL = 6
"""Of gzip: 9 takes five times as long for two per cent."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """Numbers as multiples of a unit."""

    name: str
    multiples: NDArray[np.int32]
    """(N,) numbers divided by the unit, rounded."""
    unit: float
    decimals: int
    """As many as the unit has: what is worth showing of a number."""
    smooth: bool
    """Whether neighbours are alike, so that differences are shorter."""


def exact_column(name: str, numbers: NDArray[Any], unit: float = 1.0) -> Column:
    """Return a column of multiples of a unit, such as ids or pixels' sixteenths."""
    multiples = np.rint(np.asarray(numbers) / unit).astype(np.int32)
    return Column(name=name, multiples=multiples, unit=unit, decimals=0, smooth=True)


def decimal_column(name: str, numbers: NDArray[np.float64], *, digits: int, smooth: bool = True) -> Column:
    """Return a column rounded to so many decimals that the largest number keeps `digits` of its digits."""
    largest = float(np.abs(numbers).max(initial=0.0))
    decimals = max(0, digits - 1 - math.floor(math.log10(largest))) if largest > 0 else 0
    unit = 10.0**-decimals
    multiples = np.rint(numbers / unit).astype(np.int32)
    return Column(name=name, multiples=multiples, unit=unit, decimals=decimals, smooth=smooth)


def packed(columns: Sequence[Column]) -> tuple[list[dict[str, Any]], str]:
    """Return what a reader must know of the columns, and all of them as base64 of gzip.

    `template/columns.js` reads it.
    """
    planes = b"".join(_planes(column) for column in columns)
    heads = [
        {
            "name": column.name,
            "length": len(column.multiples),
            "unit": column.unit,
            "decimals": column.decimals,
            "smooth": column.smooth,
        }
        for column in columns
    ]
    return heads, base64.b64encode(gzip.compress(planes, _LEVEL, mtime=0)).decode("ascii")


def _planes(column: Column) -> bytes:
    """Return the four bytes of all numbers, low bytes first; a sign is the lowest bit (zigzag)."""
    numbers = column.multiples
    if column.smooth:
        numbers = np.diff(numbers, prepend=np.int32(0))  # wraps around, and back again in the reader
    zigzag = (numbers << 1) ^ (numbers >> 31)
    return zigzag.astype("<u4", copy=False).view(np.uint8).reshape(-1, 4).T.tobytes()

"""Every error that geozoom raises for a reason the user can act on.

Each message is one sentence that names the file or value, what is wrong with it and what to do.
The command line prints it and exits 1; anything else that escapes is a bug.
"""

from __future__ import annotations

from collections.abc import Sequence


class GeozoomError(Exception):
    """Base class: catch this to catch everything geozoom raises on purpose."""


class TileError(GeozoomError):
    """A low-resolution raster cannot be used."""


class DeliveryError(GeozoomError):
    """A delivered high-resolution raster cannot be used."""


class CatalogError(GeozoomError):
    """A catalog of deliveries is missing, not one, of another version, or of other orders."""


class ModelError(GeozoomError):
    """A checkpoint is missing, cut short, or not one of geozoom's."""


class ModelFormatError(ModelError):
    """A checkpoint whose model card another version of geozoom wrote."""


class PriceListError(GeozoomError):
    """A price list is missing or does not say what it must."""


class BudgetError(GeozoomError):
    """A budget is not a positive amount, or in another currency than the prices."""


class VectorError(GeozoomError):
    """An area of interest or a file of sites cannot be used."""


class ClusterError(GeozoomError):
    """A Dask cluster cannot be reached, or its workers cannot do the work."""


class OrdersError(GeozoomError):
    """An orders file is missing, is not geozoom's, or does not fit the tiles beside it."""


class SolverError(GeozoomError):
    """A choice is too large for the exact solver."""


class ExportError(GeozoomError):
    """An order is none that the vendor takes, or cannot be written as it wants it."""


class DetailsError(GeozoomError):
    """A request body needs what was not said, or cannot hold what was."""


class OutputError(GeozoomError):
    """An output exists already, or its folder cannot be written."""


class DatasetError(GeozoomError):
    """A data set is missing, not laid out as expected, or without the labels that are asked of it."""


class RecipeError(GeozoomError):
    """A training recipe holds an unknown key or an impossible value."""


class RunError(GeozoomError):
    """A training run cannot start, resume or go on."""


def first_line(error: BaseException) -> str:
    """Return what an error of a library says in its first line, or its type if it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Return the first of many names for a sentence, and whether there are more."""
    return ", ".join(names[:most]) + (" and more" if len(names) > most else "")

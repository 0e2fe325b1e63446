"""geozoom decides which high-resolution satellite imagery is worth buying.

    import geozoom

    plan = geozoom.plan(["tiles/"], budget=5000)
    plan.write("orders.geojson")
    geozoom.ingest(["delivered/"], orders="orders.geojson", catalog="catalog.gpkg")
    scenes = geozoom.classify("orders.geojson", hr=["delivered/"], lr=["tiles/"])

Names are imported when they are first used, so that `import geozoom` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geozoom.bands import ReadOptions
    from geozoom.budget import Budget
    from geozoom.card import ModelCard
    from geozoom.classification import classify
    from geozoom.classifiedimages import ClassifiedImages
    from geozoom.classifiedscenes import ClassifiedScenes
    from geozoom.curve import Curve, trace
    from geozoom.errors import GeozoomError
    from geozoom.grid import PatchGrid
    from geozoom.imageclassification import classify_images
    from geozoom.imagescenes import list_fmow, list_folder
    from geozoom.model import PatchDrop, load_model
    from geozoom.orders import Plan
    from geozoom.planner import Candidates, plan, prepare
    from geozoom.pricelists import load_price_list
    from geozoom.prices import PriceList
    from geozoom.purchase import Order
    from geozoom.receiving.ingest import ingest
    from geozoom.receiving.report import Ingested

__version__ = "0.1.0"

_HOME = {
    "Budget": "budget",
    "Candidates": "planner",
    "ClassifiedImages": "classifiedimages",
    "ClassifiedScenes": "classifiedscenes",
    "Curve": "curve",
    "GeozoomError": "errors",
    "Ingested": "receiving.report",
    "ModelCard": "card",
    "Order": "purchase",
    "PatchDrop": "model",
    "PatchGrid": "grid",
    "Plan": "orders",
    "PriceList": "prices",
    "ReadOptions": "bands",
    "classify": "classification",
    "classify_images": "imageclassification",
    "ingest": "receiving.ingest",
    "list_fmow": "imagescenes",
    "list_folder": "imagescenes",
    "load_model": "model",
    "load_price_list": "pricelists",
    "plan": "planner",
    "prepare": "planner",
    "trace": "curve",
}

__all__ = [
    "Budget",
    "Candidates",
    "ClassifiedImages",
    "ClassifiedScenes",
    "Curve",
    "GeozoomError",
    "Ingested",
    "ModelCard",
    "Order",
    "PatchDrop",
    "PatchGrid",
    "Plan",
    "PriceList",
    "ReadOptions",
    "__version__",
    "classify",
    "classify_images",
    "ingest",
    "list_fmow",
    "list_folder",
    "load_model",
    "load_price_list",
    "plan",
    "prepare",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'geozoom' has no attribute {name!r}")
    value = getattr(import_module(f"geozoom.{_HOME[name]}"), name)
    globals()[name] = value
    return value

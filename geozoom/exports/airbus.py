"""Airbus OneAtlas: whether an order could be tasked (feasibility). What an order costs depends on the answer.

Body: https://api.oneatlas.airbus.com/api-catalog-v2/oad-ppo-tasking/tutorials/; Pléiades Neo has one `mission` and
needs the contract, the older satellites are a list of `missions`. Polygons of up to 999 vertices without holes:
https://api.oneatlas.airbus.com/guides/oneatlas-data-pay-per-order/g-odp-pleiade-neo-tasking/.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from geozoom.errors import DetailsError
from geozoom.exports.request import Details, Endpoint, utc
from geozoom.orderfile import OrderPolygon
from geozoom.rules import ShapeRules

NEO = "PLEIADESNEO"
MAX_VERTICES = 999
SWATHS_KM = {
    NEO: (Decimal(13), Decimal(30)),
    "PLEIADES": (Decimal("18.9"), Decimal(40)),
    "SPOT": (Decimal(50), Decimal(120)),
}
"""Largest width and height of what OneDay and OneNow take in one pass."""


def feasibility(order: OrderPolygon, details: Details) -> dict[str, Any]:
    """Return the request for the feasibility of an order.

    Raises:
        DetailsError: Pléiades Neo without a contract, or another satellite with one.
    """
    optical = {
        "acquisitionMode": "MONO",  # a classifier looks at one image
        "maxCloudCover": details.max_cloud_percent,
        "maxIncidenceAngle": details.max_incidence,
    }
    return {
        **_mission(details),
        "progTypeNames": [details.program],
        "acquisitionDate": {"startDate": _millis(utc(details.start)), "endDate": _millis(utc(details.end))},
        "optical": optical,
        "aoi": order.geometry,
    }


def rules(details: Details) -> ShapeRules:
    """Return the polygons that are taken."""
    if details.program == "ONEPLAN" or details.mission not in SWATHS_KM:
        return ShapeRules(max_vertices=MAX_VERTICES)
    width, height = SWATHS_KM[details.mission]
    return ShapeRules(max_vertices=MAX_VERTICES, max_width_km=width, max_height_km=height)


def _mission(details: Details) -> dict[str, Any]:
    if details.mission == NEO:
        if details.contract is None:
            raise DetailsError(f"{NEO} is asked for with the id of your contract; say it")
        return {"mission": NEO, "contractId": details.contract}
    if details.contract is not None:
        raise DetailsError(f"only {NEO} is asked for with a contract; leave it out")
    return {"missions": [details.mission]}


def _millis(moment: str) -> str:
    return f"{moment.removesuffix('Z')}.000Z"


ENDPOINTS = (
    Endpoint(
        vendor="Airbus",
        kind="estimate",
        what="the feasibility of tasking",
        post="the OneAtlas tasking API's /api/v1/feasibility "
        "(Pléiades Neo: https://task.api.oneatlas.airbus.com/api/v1/feasibility)",
        needs=("mission", "program", "start", "end", "max_cloud", "max_incidence"),
        may=("contract",),
        rules=rules,
        body=feasibility,
    ),
)

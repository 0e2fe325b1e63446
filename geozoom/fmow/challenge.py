"""The fMoW challenge's score: a weighted mean of per-class F1."""

from __future__ import annotations

from geozoom.fmow.boxes import FALSE_DETECTION

_LESS = """
wind_farm tunnel_opening solar_farm nuclear_powerplant military_facility crop_field airport flooded_road
debris_or_rubble single-unit_residential
"""
_MORE = """
border_checkpoint construction_site educational_institution factory_or_powerplant fire_station police_station
gas_station smokestack tower road_bridge
"""
WEIGHTS = dict.fromkeys(_LESS.split(), 0.6) | dict.fromkeys(_MORE.split(), 1.4) | {FALSE_DETECTION: 0.0}
"""Weights of the classes whose weight is not 1."""

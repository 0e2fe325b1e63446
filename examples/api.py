"""Plan, look at the orders, and classify with what was delivered, from Python.

Run it from the project's root: python examples/api.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import geozoom

HERE = Path(__file__).parent

model = geozoom.load_model()  # the one that ships with geozoom
card = model.card
print(f"{card.name}: scenes of {card.scene_m:g} m, LR {card.lr_gsd_m:g} m, HR {card.hr_gsd_m:.2f} m")

plan = geozoom.plan([HERE / "berkeley" / "lr_emulated.tif"], budget=10, model=model)
print(f"{len(plan)} of {plan.candidates} patches for {plan.cost} {plan.prices.currency}")
for order in plan.orders:
    print(f"  order {order.id}: {order.area_km2} km² wanted, {order.billed_km2} km² billed, {order.cost}")

patches = plan.to_geodataframe()
print(patches.groupby("scene")["probability"].agg(["size", "mean"]).nlargest(3, "size"))

with tempfile.TemporaryDirectory() as folder:
    orders = Path(folder) / "orders.geojson"
    plan.write(orders)
    scenes = geozoom.classify(
        orders, hr=[HERE / "berkeley" / "hr"], lr=[HERE / "berkeley" / "lr_emulated.tif"], model=model
    )
print(scenes.to_geodataframe()[["class", "probability", "lr_class", "hr_share"]].head())

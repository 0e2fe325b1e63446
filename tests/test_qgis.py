"""QGIS itself opens a plan's GeoPackage coloured, by nothing but the styles that it finds in it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from geozoom.layers import _RAMP
from geozoom.planner import prepare
from tests.conftest import BY_AREA, WriteRaster, small_model

PYTHON = "/usr/bin/python3"
"""QGIS brings its own packages for the system's Python."""
OPENED = """
import json, sys
from qgis.core import *
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor

path, picture = sys.argv[1:]
app = QgsApplication([], False)
app.initQgis()
layers = [QgsVectorLayer(f"{path}|layername={name}", name, "ogr") for name in ("orders", "patches")]
renderers = [layer.renderer() for layer in layers]
found = {
    "valid": [layer.isValid() for layer in layers],
    "counts": [layer.featureCount() for layer in layers],
    "kinds": [renderer.type() for renderer in renderers],
    "by": renderers[1].classAttribute(),
    "colours": [step.symbol().color().name() for step in renderers[1].ranges()],
}
settings = QgsMapSettings()
settings.setLayers(layers)
settings.setOutputSize(QSize(400, 300))
settings.setBackgroundColor(QColor("white"))
settings.setDestinationCrs(layers[0].crs())
settings.setExtent(layers[0].extent())
job = QgsMapRendererParallelJob(settings)
job.start()
job.waitForFinished()
found["errors"] = [error.message for error in job.errors()]
job.renderedImage().save(picture)
print(json.dumps(found))
"""


def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "QT_QPA_PLATFORM": "offscreen"}
    return subprocess.run(
        [PYTHON, *arguments], check=False, capture_output=True, text=True, timeout=120, env=environment
    )


def test_qgis_opens_a_plan_coloured(write_raster: WriteRaster, tmp_path: Path) -> None:
    if not Path(PYTHON).exists() or ran("-c", "import qgis.core").returncode:
        pytest.skip("no QGIS here to open a GeoPackage with (Debian's package is python3-qgis)")
    tile = write_raster(height=64, width=96)
    plan = prepare([tile], model=small_model(), prices=BY_AREA).choose(None)
    path, picture = tmp_path / "orders.gpkg", tmp_path / "qgis.png"
    plan.write(path)
    opened = ran("-c", OPENED, str(path), str(picture))
    assert opened.returncode == 0, opened.stderr
    # GDAL 3.6 knows GeoPackages up to 1.3 and says so; nothing else may be wrong with the file.
    said = [line for line in opened.stderr.splitlines() if "Non-conformant" in line or "rror" in line]
    assert said == []
    found: dict[str, Any] = json.loads(opened.stdout.splitlines()[-1])
    assert found["valid"] == [True, True]
    assert found["counts"] == [len(plan.orders), len(plan)]
    assert found["kinds"] == ["singleSymbol", "graduatedSymbol"]
    assert (found["by"], found["colours"]) == ("value", list(_RAMP))
    assert found["errors"] == []
    shown = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    outlines = (shown == (0xE6, 0x00, 0x7E)).all(axis=1)
    assert outlines.sum() > 100

"""Labels of sites: from the user's file through plan and orders to scores and curve."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from click.testing import CliRunner, Result
from shapely import Point, box

import geozoom
from geozoom.cli import main
from geozoom.errors import DatasetError, OrdersError
from geozoom.model import PatchDrop
from geozoom.money import trace_money
from geozoom.moneycurve import CENTRE, OWN, POLICY
from tests.conftest import BY_AREA, ORIGIN, UTM33, WriteRaster, smooth_noise

HR_GSD = 2.5
"""32 HR pixels on 8 LR pixels of 10 m."""
LABELS = ("water", "built", "water", "volcano", None, "barren")


def at(col: float, row: float) -> tuple[float, float]:
    return ORIGIN[0] + 10 * col, ORIGIN[1] - 10 * row


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


class Survey:
    """Six sites on one tile, three of them on its lattice, one of two scenes a side, with an HR truth."""

    def __init__(self, write_raster: WriteRaster, folder: Path, model: PatchDrop) -> None:
        self.folder, self.model = folder, model
        self.truth = (smooth_noise(3, 160, 192) * 254 + 1).astype(np.uint8)
        lr = self.truth.reshape(3, 40, 4, 48, 4).mean(axis=(2, 4))
        self.tile = write_raster("lr.tif", pixels=lr.round().astype(np.uint8))
        self.write_raster = write_raster
        self.geometries = [
            *(Point(at(4 + 8 * col, 4)) for col in range(3)),
            Point(at(21.3, 18.6)),
            box(*at(30, 36), *at(44, 22)),  # 14 px, 16.1 with its context
            Point(at(12, 28)),
        ]
        self.sites = folder / "sites.gpkg"
        self.write_sites(LABELS)
        self.hr = folder / "hr"
        self.orders = folder / "orders.geojson"

    def write_sites(self, labels: tuple[str | None, ...], column: str = "label") -> None:
        frame = geopandas.GeoDataFrame(
            {"site": list("abcdef"), column: list(labels)}, geometry=self.geometries, crs=UTM33
        )
        frame.to_file(self.sites)

    def plan(self, suffix: str = ".geojson", **how: Any) -> geozoom.Plan:
        plan = geozoom.plan([self.tile], model=self.model, prices=BY_AREA, sites=self.sites, **how)
        self.orders = self.folder / f"orders{suffix}"
        plan.write(self.orders, overwrite=True)
        return plan

    def deliver(self, columns: slice = slice(0, 192)) -> Path:
        transform = Affine(HR_GSD, 0, ORIGIN[0], 0, -HR_GSD, ORIGIN[1]) @ Affine.translation(columns.start, 0)
        pixels = self.truth[:, :, columns]
        return self.write_raster("hr.tif", folder=self.hr, pixels=pixels, transform=transform)

    def classify(self) -> geozoom.ClassifiedScenes:
        return geozoom.classify(self.orders, hr=[self.hr], lr=[self.tile], model=self.model)


@pytest.fixture
def survey(write_raster: WriteRaster, tmp_path: Path, model: PatchDrop) -> Survey:
    return Survey(write_raster, tmp_path, model)


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_sites_are_classified_by_eq_7_where_they_lie(survey: Survey, suffix: str) -> None:
    plan = survey.plan(suffix)
    survey.deliver()
    found = survey.classify()
    assert len(found) == 6
    masks = np.zeros((6, 16), dtype=bool)
    masks[plan.patches.scene_row, plan.patches.patch] = True
    assert 0 < masks.mean() < 1
    order = np.argsort(found.scene_row)
    assert found.bought[order].tolist() == masks.sum(1).tolist()
    assert found.delivered.tolist() == found.bought.tolist()
    assert found.columns()["site"] == [list("abcdef")[row] for row in found.scene_row.tolist()]
    with rasterio.open(survey.tile) as dataset:
        lr = dataset.read().astype(np.float32) / 255
    hr = survey.truth.astype(np.float32) / 255
    for site in range(3):  # on the lattice, so that nothing is resampled
        lr_scene = torch.from_numpy(lr[None, :, :8, 8 * site : 8 * site + 8].copy())
        hr_scene = torch.from_numpy(hr[None, :, :32, 32 * site : 32 * site + 32].copy())
        bought = torch.from_numpy(masks[site][None]).float()
        with torch.inference_mode():
            expected = survey.model.class_log_probabilities(hr_scene, lr_scene, bought).exp()[0]
        row = order[site]
        np.testing.assert_allclose(found.probability[row], expected.numpy()[found.top[row]], atol=1e-4)
    areas = geopandas.GeoSeries(found.to_geodataframe().geometry).to_crs(UTM33).area.to_numpy()[order]
    np.testing.assert_allclose(areas, [6400] * 4 + [161.0**2, 6400], rtol=1e-3)


def test_a_site_that_is_resampled_shows_its_ground(survey: Survey) -> None:
    survey.plan(threshold=0.0)
    survey.deliver()
    found = survey.classify()
    whole, delivered = found._read_whole(np.arange(6))
    assert delivered.all()
    large = int(np.flatnonzero(found.scene_row == 4)[0])
    # The window's middle is 37 × 29 px, its side 16.1: each HR pixel is two of the truth.
    left, top = (round(4 * (middle - 8.05)) for middle in (37, 29))
    shown = survey.truth[:, top : top + 64, left : left + 64].reshape(3, 32, 2, 32, 2).mean(axis=(2, 4)) / 255
    apart = np.abs(whole[large] - shown)
    assert apart[:, 2:-2, 2:-2].mean() < 0.06
    moved = np.abs(whole[large][:, :, 4:] - shown[:, :, :-4])
    assert apart.mean() < moved.mean() / 2


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_labels_reach_scores_and_files(survey: Survey, model_file: Path, suffix: str) -> None:
    orders, out = survey.folder / f"o{suffix}", survey.folder / f"s{suffix}"
    run("plan", survey.tile, "--sites", survey.sites, "--model", model_file, "-o", orders, "-q")
    survey.deliver()
    scores, curve = survey.folder / "scores", survey.folder / "curve.csv"
    asked = ["--orders", orders, "--hr", survey.hr, "--lr", survey.tile, "--model", model_file]
    result = run("classify", *asked, "-o", out, "--scores", scores, "--curve", curve, "--json")
    told = json.loads(result.stdout)
    frame = geopandas.read_file(out)
    assert frame.set_index("site")["label"].fillna("").to_dict() == dict(
        zip("abcdef", ("water", "built", "water", "volcano", "", "barren"), strict=True)
    )
    known = frame[frame["label"].isin(["water", "built", "barren"])]
    assert told["scores"]["scenes"] == len(known) == 4
    assert told["scores"]["accuracy"] == (known["label"] == known["class"]).mean()
    assert told["scores"]["lr_accuracy"] == (known["label"] == known["lr_class"]).mean()
    assert told["unknown_classes"] == {"volcano": 1}
    assert "volcano (1)" in result.stderr
    assert json.loads((scores / "scores.json").read_text())["scores"] == told["scores"]
    points = list(csv.DictReader(curve.read_text().splitlines()))
    own = next(point for point in points if point["way"] == OWN)
    assert float(own["accuracy"]) == pytest.approx(told["scores"]["accuracy"])


def test_the_curve_needs_labelled_sites_that_were_delivered_whole(survey: Survey) -> None:
    survey.plan()
    survey.deliver(slice(0, 70))  # a, b and f whole, and one column of patches of c
    buyable = survey.classify().buyable()
    assert buyable.labels.tolist() == [2, 1, 0]
    assert buyable.area_dm2.sum() == pytest.approx(3 * 640_000, rel=2e-3)
    curve = trace_money(survey.model, buyable, BY_AREA, threshold=0.5)
    assert curve.scenes == 3
    assert curve.of(POLICY)[-1].accuracy == curve.of(CENTRE)[-1].accuracy
    survey.deliver(slice(0, 20))
    with pytest.raises(DatasetError, match="none of 4 labelled sites was delivered whole"):
        survey.classify().buyable()


def test_a_label_column_is_taken_by_name(survey: Survey) -> None:
    survey.write_sites(LABELS, "land_use")
    plan = survey.plan()
    assert all("label" not in site for site in plan.summary()["sites"])
    survey.deliver()
    found = survey.classify()
    assert found.scores is None
    assert "scores" not in found.summary()
    survey.plan(label_column="Land_Use")
    assert survey.classify().labels.given == 5
    arguments = ["plan", survey.tile, "--sites", survey.sites, "--label-column", "crop"]
    assert "has no column 'crop'; it has site, land_use" in run(*arguments, code=1).stderr
    assert "--label-column is of --sites" in run("plan", survey.tile, "--label-column", "x", code=2).stderr


def test_scores_of_a_plan_without_labels_are_refused_before_any_work(
    survey: Survey, model_file: Path
) -> None:
    run("plan", survey.tile, "--model", model_file, "-o", survey.orders, "-q")
    asked = ["--orders", survey.orders, "--hr", survey.folder / "nowhere", "--lr", survey.tile]
    result = run("classify", *asked, "--model", model_file, "--scores", survey.folder / "s", code=1)
    assert "its scenes have no labels, which --scores needs" in result.stderr


def test_files_that_hold_no_sites_are_refused(survey: Survey) -> None:
    survey.deliver()
    for suffix in (".fgb", ".parquet"):
        survey.plan(suffix)
        with pytest.raises(
            OrdersError, match=r"planned with --sites.* plan again with -o to .geojson or .gpkg"
        ):
            survey.classify()


def test_sites_of_other_tiles_or_moved_ones_are_refused(survey: Survey) -> None:
    survey.plan()
    survey.deliver()
    moved = survey.write_raster(
        "lr.tif", folder=survey.folder / "moved", transform=Affine(10, 0, ORIGIN[0] + 70, 0, -10, ORIGIN[1])
    )
    with pytest.raises(OrdersError, match="do not lie on the scenes of"):
        geozoom.classify(survey.orders, hr=[survey.hr], lr=[moved], model=survey.model)
    content = json.loads(survey.orders.read_text())
    content["geozoom"]["sites"][0]["window"] = [0, 0, -8, 8]
    survey.orders.write_text(json.dumps(content))
    with pytest.raises(OrdersError, match="not orders that `geozoom plan` wrote"):
        survey.classify()

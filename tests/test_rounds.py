"""Two rounds of buying: what was delivered is looked at, and the rest is bought where both streams are still unsure."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from affine import Affine
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from rasterio.warp import transform

import geozoom
from geozoom.card import ModelCard
from geozoom.cli import main
from geozoom.delivered import _parts
from geozoom.doubt import log_odds
from geozoom.errors import CatalogError, ModelError, OrdersError
from geozoom.model import PatchDrop
from geozoom.scenes import SceneBlock, Skipped
from tests.conftest import (
    BY_AREA,
    DOUBT,
    DOUBTFUL,
    DOUBTS_WITH_HR,
    ORIGIN,
    WriteRaster,
    small_card,
    small_model,
    smooth_noise,
)
from training.calibrate import Gains, fit_doubts_with_hr
from training.rounds import further_masks

KNOWING: dict[str, Any] = DOUBTFUL | {"doubts_with_hr": DOUBTS_WITH_HR}
"""What a card says of a model that can be asked again."""
ROWS, COLS = 3, 4
"""Scenes of the tile, 80 m of 8 LR and 32 HR pixels each."""


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def test_a_card_keeps_what_doubt_means_with_hr_and_other_numbers_are_refused() -> None:
    card = small_card(**KNOWING)
    assert ModelCard.from_json(card.to_json()) == card
    for wrong in (DOUBTS_WITH_HR[1:], DOUBTS_WITH_HR[::-1], (*DOUBTS_WITH_HR, DOUBT)):
        with pytest.raises(ModelError, match="impossible sizes"):
            ModelCard.from_json(replace(card, doubts_with_hr=wrong).to_json())


def made_gains(scenes: int, seed: int) -> Gains:
    """Answers of scenes of which both streams are as often right as they say, and more so with each patch."""
    rng = np.random.default_rng(seed)
    start = rng.normal(0.5, 1.5, (scenes, 1))
    gained = rng.exponential(0.35, (scenes, 16)).cumsum(axis=1)
    odds = np.hstack([start, start + gained])
    right = (rng.random((scenes, 17)) < 1 / (1 + np.exp(-odds))).astype(float)
    known = np.hstack([odds[:, :1], np.zeros((scenes, 1))])
    return Gains(bought=right, right=right, wanted=np.full(scenes, 3), known=known, sure=odds)


def test_the_fit_tells_how_often_answers_are_right() -> None:
    found = fit_doubts_with_hr(made_gains(20_000, 0))
    assert [each.patches for each in found] == list(range(15, 0, -1))
    held = made_gains(20_000, 1)
    for there in (1, 4, 9, 15):
        doubt = found[there - 1]
        added = np.pad(doubt.added(held.sure[:, there]).cumsum(axis=1), ((0, 0), (1, 0)))
        gain = held.right[:, there:] - held.right[:, there : there + 1]
        for part in np.array_split(np.argsort(held.sure[:, there]), 4):
            np.testing.assert_allclose(added[part].mean(axis=0), gain[part].mean(axis=0), atol=0.04)


@pytest.mark.parametrize("seed", range(4))
def test_numbers_of_patches_that_are_there_learn_from_each_other(seed: int) -> None:
    found = fit_doubts_with_hr(made_gains(170, seed))
    total = [each.added(np.zeros(1)).sum() for each in found]
    # Of scenes in doubt so few are in hand that each number by itself would jump up and down.
    steps = np.diff(total)
    assert (steps < 0.02).all()
    assert (np.abs(steps) < 0.15).all()


def test_a_scene_of_one_patch_has_nothing_to_ask_again() -> None:
    gains = made_gains(50, 0)
    one = replace(gains, bought=gains.bought[:, :2], right=gains.right[:, :2], sure=gains.sure[:, :2])
    assert fit_doubts_with_hr(one) == ()
    two = replace(gains, bought=gains.bought[:, :3], right=gains.right[:, :3], sure=gains.sure[:, :3])
    assert [each.patches for each in fit_doubts_with_hr(two)] == [1]


@given(
    hnp.arrays(np.float32, (5, 16), elements=st.floats(2**-7, 1, width=32), unique=True),
    hnp.arrays(np.bool_, (5, 16)),
    hnp.arrays(np.float64, 5, elements=st.floats(-8, 8)),
    st.integers(0, 80),
)
def test_further_patches_are_those_that_add_most(
    s: NDArray[np.float32], there: NDArray[np.bool_], odds: NDArray[np.float64], total: int
) -> None:
    doubts = (DOUBT, *DOUBTS_WITH_HR)
    masks = further_masks(doubts, torch.from_numpy(s), torch.from_numpy(there).float(), odds, total).numpy()
    assert masks.sum() == max(total, there.sum())
    assert (masks[there] == 1).all()
    worth: list[float] = []
    bought = 0.0
    for scene in range(5):
        had = int(there[scene].sum())
        if had == 16:
            continue
        added = doubts[had].added(odds[scene : scene + 1])[0]
        worth += added.tolist()
        more = int(masks[scene].sum()) - had
        bought += added[:more].sum()
        # Of a scene the more probable ones come first.
        taken = (masks[scene] == 1) & ~there[scene]
        assert s[scene][taken].min(initial=2) > s[scene][masks[scene] == 0].max(initial=0)
    assert bought == pytest.approx(sum(sorted(worth, reverse=True)[: max(0, total - there.sum())]), abs=1e-5)


class World:
    """A tile, all of its HR, and a model that can be asked again."""

    def __init__(self, write_raster: WriteRaster, tmp_path: Path) -> None:
        self.write_raster = write_raster
        self.folder = tmp_path
        self.model: PatchDrop = small_model(**KNOWING)
        self.model_file = tmp_path / "model.safetensors"
        self.model.save(self.model_file)
        self.truth = (smooth_noise(3, ROWS * 32, COLS * 32) * 254 + 1).astype(np.uint8)
        self.lr = self.truth.reshape(3, ROWS * 8, 4, COLS * 8, 4).mean(axis=(2, 4)).round().astype(np.uint8)
        self.tile = write_raster("lr.tif", pixels=self.lr)
        self.catalog = tmp_path / "catalog.gpkg"

    def deliver(self, top: int, left: int, height: int, width: int) -> None:
        """Write HR of patches of 20 m to a file, and take it into the catalog."""
        part = self.truth[:, 8 * top : 8 * (top + height), 8 * left : 8 * (left + width)]
        at = Affine(2.5, 0, ORIGIN[0] + 20 * left, 0, -2.5, ORIGIN[1] - 20 * top)
        sent = self.write_raster(f"{top}-{left}.tif", folder=self.folder / "sent", pixels=part, transform=at)
        orders = self.folder / "any.geojson"
        if not orders.exists():
            geozoom.plan([self.tile], model=self.model, prices=BY_AREA).write(orders)
        geozoom.ingest([sent], orders=orders, catalog=self.catalog)

    def worth(self, there: NDArray[np.bool_], had: NDArray[np.int64] | int = 0) -> NDArray[np.float32]:
        """What each patch adds, (N, P), where HR of some (N, P) is there, by the networks themselves."""
        lr, hr = self.scenes(self.lr, 8), self.scenes(self.truth, 32)
        with torch.inference_mode():
            s = self.model.probabilities(lr).numpy()
            known = self.model.lr_logits(lr).numpy()
            said = self.model.class_log_probabilities(hr, lr, torch.from_numpy(there).float()).numpy()
        doubts = (DOUBT, *DOUBTS_WITH_HR)
        count = there.sum(axis=1)
        odds = np.where(count > 0, log_odds(said), log_odds(known))
        owned = np.broadcast_to(had, len(s))
        left = np.where(there, 0, s)
        each = [
            doubts[min(n, 15)].marginals(left[i : i + 1], odds[i : i + 1], owned[i : i + 1])[0]
            for i, n in enumerate(count)
        ]
        return np.where(there, 0, np.stack(each))

    def scenes(self, pixels: NDArray[np.uint8], side: int) -> torch.Tensor:
        cut = pixels.reshape(3, ROWS, side, COLS, side).transpose(1, 3, 0, 2, 4)
        return torch.from_numpy(cut.reshape(-1, 3, side, side).astype(np.float32) / 255)


@pytest.fixture
def world(write_raster: WriteRaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("geozoom.inference.has_bfloat16", lambda: False)  # digits count here
    return World(write_raster, tmp_path)


def patch_mask(top: int, left: int, height: int, width: int) -> NDArray[np.bool_]:
    """Return which patches of the scenes lie in a rectangle of patches, (N, P)."""
    whole = np.zeros((ROWS * 4, COLS * 4), dtype=bool)
    whole[top : top + height, left : left + width] = True
    return whole.reshape(ROWS, 4, COLS, 4).transpose(0, 2, 1, 3).reshape(-1, 16)


def planned(plan: geozoom.Plan) -> NDArray[np.float32]:
    """Return the value of what a plan buys, (N, P); 0 where it buys nothing."""
    found = np.zeros((ROWS, COLS, 16), dtype=np.float32)
    patches = plan.patches
    found[patches.scene_row, patches.scene_col, patches.patch] = patches.value
    return found.reshape(-1, 16)


def test_patches_are_worth_what_they_add_to_what_is_there(world: World) -> None:
    first = geozoom.plan([world.tile], model=world.model, prices=BY_AREA, when="classifier")
    world.deliver(1, 2, 5, 9)  # parts of six scenes, and all of none
    plan = geozoom.plan(
        [world.tile], model=world.model, prices=BY_AREA, when="classifier", catalog=world.catalog
    )
    there = patch_mask(1, 2, 5, 9)
    worth = world.worth(there)
    expected = np.where(worth > DOUBT.least, worth, 0)
    np.testing.assert_allclose(planned(plan), expected, atol=1e-4)
    untouched = ~there.any(axis=1)
    assert 0 < untouched.sum() < len(there)
    np.testing.assert_allclose(planned(plan)[untouched], planned(first)[untouched], atol=1e-6)
    touched = planned(plan)[~untouched] - np.where(there, 0, planned(first))[~untouched]
    assert np.abs(touched).max() > 0.01
    assert plan.summary()["totals"]["scenes_with_hr"] == plan.scenes_with_hr == (~untouched).sum()
    assert "scenes_with_hr" not in first.summary()["totals"]


def test_the_scout_is_asked_of_the_other_scenes(world: World) -> None:
    world.deliver(0, 0, 3, 3)
    plans = [
        geozoom.plan([world.tile], model=world.model, prices=BY_AREA, when=when, catalog=world.catalog)
        for when in ("scout", "classifier")
    ]
    assert plans[0].when == "scout"
    least = (world.model.card.scout_doubt or DOUBT).least
    by_scout, by_classifier = (planned(plan)[0] for plan in plans)
    # Of the scene with HR both say the same, but for what the card takes for too little.
    assert (np.where(by_scout > DOUBT.least, by_scout, 0) == by_classifier).all()
    assert (by_scout > least).sum() >= (by_classifier > 0).sum() > 0
    assert np.abs(planned(plans[0])[1:] - planned(plans[1])[1:]).max() > 0.01


def test_what_is_ordered_and_not_delivered_yet_comes_before_what_is_planned(
    world: World, tmp_path: Path
) -> None:
    world.deliver(0, 0, 2, 2)
    ordered = tmp_path / "ordered.geojson"
    ring = [(ORIGIN[0] + x, ORIGIN[1] - y) for x, y in ((40, 0), (40, 40), (80, 40), (80, 0), (40, 0))]
    x, y = transform("EPSG:32633", "EPSG:4326", *zip(*ring, strict=True))
    polygon = {"type": "Polygon", "coordinates": [list(zip(x, y, strict=True))]}
    ordered.write_text(
        json.dumps(
            {
                "type": "FeatureCollection",
                "features": [{"type": "Feature", "properties": {}, "geometry": polygon}],
            }
        )
    )
    plan = geozoom.plan(
        [world.tile],
        model=world.model,
        prices=BY_AREA,
        when="classifier",
        threshold=0.0,
        catalog=world.catalog,
        owned=[ordered],
    )
    there, awaited = patch_mask(0, 0, 2, 2), patch_mask(0, 2, 2, 2)
    lr, hr = world.scenes(world.lr, 8), world.scenes(world.truth, 32)
    with torch.inference_mode():
        s = np.where(there | awaited, 0, world.model.probabilities(lr).numpy())[:1]
        said = world.model.class_log_probabilities(hr, lr, torch.from_numpy(there).float()).numpy()[:1]
    expected = DOUBTS_WITH_HR[3].marginals(s, log_odds(said), np.array([4]))
    np.testing.assert_allclose(planned(plan)[:1], np.where(s > 0, expected, 0), atol=1e-4)
    assert planned(plan)[0].sum() > 0


def test_sites_are_looked_at_too(world: World, tmp_path: Path) -> None:
    world.deliver(4, 4, 3, 3)
    corner = ORIGIN[0] + 80 + 40, ORIGIN[1] - 80 - 40
    (x,), (y,) = transform("EPSG:32633", "EPSG:4326", [corner[0]], [corner[1]])
    sites = tmp_path / "sites.geojson"
    point = {
        "type": "Feature",
        "properties": {"site": "one"},
        "geometry": {"type": "Point", "coordinates": [x, y]},
    }
    sites.write_text(json.dumps({"type": "FeatureCollection", "features": [point]}))
    plan = geozoom.plan(
        [world.tile],
        model=world.model,
        prices=BY_AREA,
        when="classifier",
        catalog=world.catalog,
        sites=sites,
    )
    worth = world.worth(patch_mask(4, 4, 3, 3))[5]
    expected = np.where(worth > DOUBT.least, worth, 0)
    found = np.zeros(16)
    found[plan.patches.patch] = plan.patches.value
    assert plan.scenes_with_hr == 1
    # The scene is resampled to where the point lies, which rounds.
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert ((found > 0) == (expected > 0)).mean() > 0.9


def by_area(folder: Path) -> Path:
    """Write a price list of 100 USD per km², 0.04 a patch, and return it."""
    prices = folder / "prices.toml"
    prices.write_text(
        'name = "by area"\nsource = "made"\neffective_date = 2026-01-31\ntrust = "illustrative"\ncurrency = "USD"\n'
        'billing = "per-order"\nrate_per_km2 = "100"\n'
    )
    return prices


def test_two_rounds_by_the_command_line(world: World, tmp_path: Path) -> None:
    first, second, scenes = (tmp_path / f"{name}.geojson" for name in ("first", "second", "scenes"))
    sent = tmp_path / "bought"
    world.write_raster(
        "all.tif", folder=sent, pixels=world.truth, transform=Affine(2.5, 0, ORIGIN[0], 0, -2.5, ORIGIN[1])
    )
    asked = ("--model", world.model_file, "--prices", by_area(tmp_path))
    run("plan", world.tile, *asked, "--budget", 1, "-o", first)
    # The vendor sends the eastern half of it.
    (sent / "all.tif").unlink()
    world.write_raster(
        "east.tif",
        folder=sent,
        pixels=world.truth[:, :, 64:],
        transform=Affine(2.5, 0, ORIGIN[0] + 160, 0, -2.5, ORIGIN[1]),
    )
    catalog = tmp_path / "received.gpkg"
    run("ingest", sent, "--orders", first, "-o", catalog)
    result = run(
        "plan", world.tile, *asked, "--catalog", catalog, "--owned", first, "--budget", 1, "-o", second
    )
    assert "was looked at" in " ".join(result.stderr.split())
    patches = [
        {
            (f["properties"]["scene"], f["properties"]["patch"])
            for f in json.loads(path.read_text())["features"]
        }
        for path in (first, second)
    ]
    assert patches[0]
    assert patches[1]
    assert not patches[0] & patches[1]
    assert all(int(scene.split(",")[1]) < 2 for scene, _ in patches[1])  # the east is there
    both = ("--orders", first, "--orders", second)
    run(
        "classify", *both, "--catalog", catalog, "--lr", world.tile, "--model", world.model_file, "-o", scenes
    )
    counted = [
        sum(f["properties"][name] for f in json.loads(scenes.read_text())["features"])
        for name in ("patches_bought", "patches_delivered")
    ]
    east = {(scene, patch) for scene, patch in patches[0] if int(scene.split(",")[1]) >= 2}
    assert counted == [len(patches[0] | patches[1]), len(east)]
    # What comes for the second plan goes into the same catalog, of which nothing lies on that plan's ground yet.
    later = tmp_path / "later"
    world.write_raster(
        "west.tif",
        folder=later,
        pixels=world.truth[:, :, :64],
        transform=Affine(2.5, 0, ORIGIN[0], 0, -2.5, ORIGIN[1]),
    )
    run("ingest", later, "--orders", second, "-o", catalog, "--require-complete")
    run("classify", *both, "--catalog", catalog, "--lr", world.tile, "--model", world.model_file, "-o", scenes,
        "--overwrite")  # fmt: skip
    classified = [f["properties"] for f in json.loads(scenes.read_text())["features"]]
    assert all(each["patches_delivered"] == each["patches_bought"] for each in classified)
    # A third round: all that was delivered is there.
    third = run(
        "plan", world.tile, *asked, "--catalog", catalog, "--json", "-o", tmp_path / "third.geojson", code=1
    )
    assert (
        "there is nothing left to buy there: plan other ground, or leave out --owned or --catalog"
        in third.stderr
    )


def test_rounds_go_on_beside_all_that_came_before(world: World, tmp_path: Path) -> None:
    asked = ("--model", world.model_file, "--prices", by_area(tmp_path), "--budget", "0.4")
    catalog, scenes = tmp_path / "received.gpkg", tmp_path / "scenes.geojson"
    plans: list[Path] = []
    bought: set[tuple[str, int]] = set()
    for number in range(4):
        orders, sent = tmp_path / f"{number}.geojson", tmp_path / f"sent{number}"
        before = [] if not plans else ["--catalog", catalog]
        for plan in plans:
            before += ["--owned", plan]
        run("plan", world.tile, *asked, *before, "-o", orders)
        found = [each["properties"] for each in json.loads(orders.read_text())["features"]]
        patches = {(each["scene"], each["patch"]) for each in found}
        assert 0 < len(patches) <= 10
        assert not patches & bought
        bought |= patches
        plans.append(orders)
        for scene, patch in patches:
            row, col = (
                4 * int(at) + part for at, part in zip(scene.split(","), divmod(patch, 4), strict=True)
            )
            world.write_raster(
                f"{row}-{col}.tif",
                folder=sent,
                pixels=world.truth[:, 8 * row : 8 * row + 8, 8 * col : 8 * col + 8],
                transform=Affine(2.5, 0, ORIGIN[0] + 20 * col, 0, -2.5, ORIGIN[1] - 20 * row),
            )
        run("ingest", sent, "--orders", orders, "-o", catalog, "--require-complete")
    every = [part for plan in plans for part in ("--orders", plan)]
    told = ("--catalog", catalog, "--lr", world.tile, "--model", world.model_file, "-o", scenes)
    run("classify", *every, *told)
    classified = [each["properties"] for each in json.loads(scenes.read_text())["features"]]
    assert sum(each["patches_bought"] for each in classified) == len(bought)
    assert all(each["patches_delivered"] == each["patches_bought"] for each in classified)


def test_only_what_may_lie_on_the_orders_joins_a_catalog_of_an_earlier_plan(
    world: World, tmp_path: Path
) -> None:
    """Orders of a second round leave out all that the catalog holds; those of elsewhere are another matter."""
    world.deliver(0, 0, 4, 4)
    far = world.write_raster("far.tif", transform=Affine(10, 0, 500_000, 0, -10, 5_700_000))
    orders = tmp_path / "far.geojson"
    geozoom.plan([far], model=world.model, prices=BY_AREA).write(orders)
    near = world.write_raster("near.tif", folder=tmp_path / "sent", pixels=world.truth)
    for sent in (near, tmp_path / "sent" / "0-0.tif"):
        with pytest.raises(CatalogError, match="none of its 1 deliveries lies on an order"):
            geozoom.ingest([sent], orders=orders, catalog=world.catalog)


def test_parts_of_a_block_hold_all_of_its_scenes_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geozoom.delivered.BATCH", 2)
    owned = np.zeros((9, 16), dtype=bool)
    owned[[0, 1, 4, 5, 7], 3] = True
    block = SceneBlock(
        row=np.arange(9),
        col=np.arange(9),
        images=np.zeros((9, 3, 8, 8), dtype=np.float32),
        present=~owned,
        owned=owned,
        skipped=Skipped(cloud=3),
        zero_pixels=7,
    )
    parts = list(_parts(block))
    assert np.concatenate([part.row for part in parts]).tolist() == list(range(9))
    assert [int(part.owned.any(axis=1).sum()) for part in parts] == [2, 2, 1]
    assert (sum(part.zero_pixels for part in parts), parts[0].skipped) == (7, Skipped(cloud=3))
    assert all(part.skipped == Skipped() for part in parts[1:])
    nothing = list(_parts(block.part(slice(0, 0))))
    assert [(len(part.row), part.skipped) for part in nothing] == [(0, Skipped(cloud=3))]


def test_deliveries_that_are_gone_are_said_to_be_bought_again(world: World, tmp_path: Path) -> None:
    world.deliver(0, 0, 3, 3)
    world.deliver(6, 6, 3, 3)
    asked = ("plan", world.tile, "--model", world.model_file, "--catalog", world.catalog, "--overwrite")
    page, output = tmp_path / "page.html", tmp_path / "o.geojson"
    gone = tmp_path / "sent" / "6-6.tif"
    gone.unlink()
    result = run(*asked, "--json", "-o", output, "--report", page)
    said = " ".join(result.stderr.split())
    assert f"were not used, and their ground may be bought again: {gone}" in said
    assert json.loads(result.stdout)["deliveries_gone"] == [str(gone)]
    assert "1 deliveries were not used (gone, or without colours)" in page.read_text()
    curve = run("curve", *asked[1:], "-o", tmp_path / "curve.csv", "--budget", 5)
    assert "were not used, and their ground may be bought again" in " ".join(curve.stderr.split())


def test_deliveries_that_were_written_again_are_named_until_they_are_ingested(
    world: World, tmp_path: Path
) -> None:
    world.deliver(0, 0, 3, 3)
    world.deliver(6, 6, 3, 3)
    sent = [tmp_path / "sent" / name for name in ("0-0.tif", "6-6.tif")]
    shutil.copyfile(sent[0], sent[1])  # it lies elsewhere now
    page = tmp_path / "page.html"
    given = ("--model", world.model_file, "--catalog", world.catalog)
    asked = (world.tile, *given, "--overwrite", "--json", "-o", tmp_path / "o.geojson", "--report", page)
    result = run("plan", *asked)
    said = " ".join(result.stderr.split())
    assert "1 deliveries were written again since they were ingested" in said
    assert said.endswith(f"ingest them again: {sent[1]}")
    assert json.loads(result.stdout)["deliveries_rewritten"] == [str(sent[1])]
    assert "1 deliveries were written again since they were ingested" in page.read_text()
    told = run("ingest", sent[0], "--orders", tmp_path / "any.geojson", "-o", world.catalog)
    assert (
        f"written again since they were ingested; name them here, too, to read them again: {sent[1]}"
        in " ".join(told.stderr.split())
    )
    run("ingest", *sent, "--orders", tmp_path / "any.geojson", "-o", world.catalog)
    assert "written again" not in run("plan", *asked).stderr


def test_orders_of_other_scenes_are_not_classified_together(world: World, tmp_path: Path) -> None:
    (x,), (y,) = transform("EPSG:32633", "EPSG:4326", [ORIGIN[0] + 120], [ORIGIN[1] - 120])
    paths = []
    for name in ("one", "other"):
        sites = tmp_path / f"{name}-sites.geojson"
        point = {
            "type": "Feature",
            "properties": {"site": name},
            "geometry": {"type": "Point", "coordinates": [x, y]},
        }
        sites.write_text(json.dumps({"type": "FeatureCollection", "features": [point]}))
        paths.append(tmp_path / f"{name}.geojson")
        geozoom.plan([world.tile], model=world.model, prices=BY_AREA, sites=sites).write(paths[-1])
    world.deliver(0, 0, 12, 16)
    for pair in ([paths[0], paths[1]], [paths[0], tmp_path / "any.geojson"]):
        with pytest.raises(OrdersError, match="was planned for other scenes than"):
            geozoom.classify(pair, catalog=world.catalog, lr=[world.tile], model=world.model)
    same = geozoom.classify([paths[0], paths[0]], catalog=world.catalog, lr=[world.tile], model=world.model)
    once = geozoom.classify(paths[0], catalog=world.catalog, lr=[world.tile], model=world.model)
    assert same.bought.tolist() == once.bought.tolist()


def test_what_cannot_be_looked_at_is_refused(world: World, tmp_path: Path) -> None:
    world.deliver(0, 0, 3, 3)
    asked = ("plan", world.tile, "--model", world.model_file, "-o", tmp_path / "no.geojson")
    renamed = Path(shutil.copy(world.catalog, tmp_path / "renamed.db"))
    refused = [
        (("--catalog", world.catalog, "--when", "policy"), 2, "give the catalog as --owned"),
        (("--catalog", world.catalog, "--dask", "tcp://127.0.0.1:1"), 2, "in one process"),
        (("--hr-scale", "1e-4"), 2, "--hr-scale is of the deliveries of --catalog"),
        (("--catalog", tmp_path / "none.gpkg"), 1, "none.gpkg"),
        (("--catalog", world.tile), 1, "lr.tif: a catalog is a GeoPackage"),
        (("--catalog", renamed), 1, "renamed.db: a catalog is a GeoPackage"),
    ]
    for more, code, said in refused:
        result = run(*asked, *more, code=code)
        assert said in " ".join(result.stderr.split())
        assert not (tmp_path / "no.geojson").exists()
    how: dict[str, Any] = {"prices": BY_AREA, "catalog": world.catalog}
    for card in (DOUBTFUL, {}):
        with pytest.raises(ModelError, match="does not say what further patches are worth"):
            geozoom.plan([world.tile], model=small_model(**card), **how)
    knowing = small_model(**{name: told for name, told in KNOWING.items() if "scout" not in name})
    with pytest.raises(ModelError, match=r"has no scout to ask.*--when classifier"):
        geozoom.plan([world.tile], model=knowing, **how)
    assert geozoom.plan([world.tile], model=knowing, when="classifier", **how).scenes_with_hr == 1
    far = world.write_raster("far.tif", transform=Affine(10, 0, 500_000, 0, -10, 5_700_000))
    with pytest.raises(CatalogError, match="none of its deliveries lies on these tiles"):
        geozoom.plan([far], model=world.model, **how)
    for beside in ({"when": "policy"}, {"dask": "tcp://127.0.0.1:1"}):
        with pytest.raises(ValueError, match=r"policy alone|one process"):
            geozoom.plan([world.tile], model=world.model, **(how | beside))
    (tmp_path / "sent" / "0-0.tif").unlink()
    with pytest.raises(CatalogError, match="none of its deliveries"):
        geozoom.plan([world.tile], model=world.model, **how)

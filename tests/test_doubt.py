"""When to zoom: what patches add by how sure the LR stream is, its fit, and the plans that ask for it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rasterio.warp import transform
from rich.console import Console
from scipy.special import expit, softmax
from torch.nn import functional as F

import geozoom
from geozoom.card import ModelCard
from geozoom.cli import main
from geozoom.doubt import STEPS, SUREST, WHENS, Doubt, When, log_odds
from geozoom.errors import ModelError
from geozoom.model import PatchDrop, load_model
from geozoom.networks import NetworkSpec
from tests.conftest import BENEFIT, BY_AREA, DOUBT, DOUBTFUL, WriteRaster, small_card, small_model
from tests.datasets import read_scenes
from tests.test_train import small_recipe
from training.calibrate import Gains, fit_doubt
from training.doubting import doubted_masks
from training.engine import Engine
from training.evaluate import view_split
from training.scout import scout_spec, train_scout
from training.stages import Bench

logits = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(2, 9)), elements=st.floats(-30, 30))


def sure_by(odds: np.ndarray) -> np.ndarray:
    """Logits of two classes whose surest has these log-odds."""
    return np.stack([odds, np.zeros_like(odds)], axis=1)


@given(logits)
def test_log_odds_are_those_of_the_class_that_is_named(known: np.ndarray) -> None:
    surest = softmax(known, axis=1).max(axis=1)
    near_one = surest > 1 - 1e-9  # where 1 - p has lost its digits
    found = log_odds(known)
    expected = np.log(surest[~near_one] / (1 - surest[~near_one]))
    np.testing.assert_allclose(found[~near_one], np.minimum(expected, SUREST), atol=1e-5)
    assert (found[near_one] == SUREST).all()
    np.testing.assert_allclose(log_odds(known + 7), found, atol=1e-9)


figure = st.floats(-6, 6)
doubts = st.builds(
    Doubt,
    patches=st.just(16),
    alone=st.tuples(figure, figure),
    helped=st.tuples(figure, figure, figure, figure),
    least=st.just(0.0),
)


def chances(doubt: Doubt, sure: np.ndarray) -> np.ndarray:
    """The chance of a right answer with 0 to all patches, (N, P + 1), by the docstring."""
    level, rise, bend, slope = doubt.helped
    log = np.log2(np.arange(1, doubt.patches + 1))
    with_hr = level + rise * log + bend * log**2 + slope * sure[:, None]
    return np.hstack([expit(doubt.alone[0] + doubt.alone[1] * sure)[:, None], expit(with_hr)])


@given(doubts, hnp.arrays(np.float64, 5, elements=st.floats(-15, 15)))
def test_further_patches_take_nothing_away_and_none_is_worth_more_than_the_one_before(
    doubt: Doubt, sure: np.ndarray
) -> None:
    added = doubt.added(sure)
    assert added.shape == (5, 16)
    assert (added >= 0).all()
    assert (np.diff(added, axis=1) <= 0).all()
    # At what is tabulated it is the least such line over the curves' own gains.
    at = np.round(np.clip(sure, -SUREST, SUREST) * STEPS) / STEPS
    gain = chances(doubt, at) - chances(doubt, at)[:, :1]
    found = np.pad(doubt.added(at).cumsum(axis=1), ((0, 0), (1, 0)))
    for own, line in zip(gain, found, strict=True):
        hull = np.maximum.accumulate([upper(own, n) for n in range(17)])
        np.testing.assert_allclose(line, hull, atol=1e-6)


def upper(gain: np.ndarray, n: int) -> float:
    """The least concave line over gains at 0, 1, …, at one of them: the best mean of two whose mean number it is."""
    pairs = ((low, high) for low in range(n + 1) for high in range(n, len(gain)))
    found = max(
        gain[n] if low == high else gain[low] + (gain[high] - gain[low]) * (n - low) / (high - low)
        for low, high in pairs
    )
    return float(found)


@given(
    hnp.arrays(np.float32, (3, 16), elements=st.floats(0, 1, width=32)),
    hnp.arrays(np.float64, 3, elements=st.floats(-10, 10)),
    st.integers(0, 16),
)
def test_patches_of_a_scene_add_up_to_its_gain_beyond_what_is_owned(
    s: np.ndarray, sure: np.ndarray, had: int
) -> None:
    found = DOUBT.marginals(s, sure, np.full(3, had))
    added = DOUBT.added(sure)
    np.testing.assert_allclose(found.sum(axis=1), added[:, had:].sum(axis=1), atol=1e-5)
    best_first = np.take_along_axis(found, np.argsort(-s, axis=1, kind="stable"), axis=1)
    np.testing.assert_allclose(best_first[:, : 16 - had], added[:, had:], atol=1e-6)
    assert (best_first[:, 16 - had :] == 0).all()


@given(
    hnp.arrays(np.float32, (5, 16), elements=st.floats(0, 1, width=32, allow_subnormal=False)),
    hnp.arrays(np.float32, (5, 3), elements=st.floats(-30, 30, width=32)),
    st.integers(0, 80),
)
def test_training_buys_what_a_plan_that_asks_the_lr_stream_would(
    s: np.ndarray, known: np.ndarray, total: int
) -> None:
    masks = doubted_masks(DOUBT, torch.from_numpy(s), torch.from_numpy(known), torch.tensor(total)).numpy()
    assert masks.sum() == total
    worth = DOUBT.marginals(s, log_odds(known)).astype(np.float64)
    assert (worth * masks).sum() == pytest.approx(np.sort(worth, axis=None)[::-1][:total].sum(), abs=1e-6)
    # Of a scene, and of patches that add nothing, the more probable come first.
    dropped = np.where(masks == 0, s, -1).max(axis=1)
    assert (np.where(masks == 1, s, 2).min(axis=1) >= dropped).all()
    none = worth == 0
    assert s[none & (masks == 1)].min(initial=1) >= s[none & (masks == 0)].max(initial=0)


def gains_of(sure: np.ndarray, right: np.ndarray, wanted: int) -> Gains:
    """Gains of scenes of which the LR stream is so sure (N,), where answers were right (N, P + 1)."""
    # Two classes name one of log-odds 0 at least; a third holds the others.
    known = np.stack([sure, *2 * [np.full(len(sure), -np.log(2))]], axis=1)
    bought = np.tile(np.arange(right.shape[1]) * 0.5, (len(sure), 1))
    return Gains(
        bought=bought,
        right=right,
        wanted=np.full(len(sure), wanted),
        known=known,
        sure=np.tile(sure[:, None], right.shape[1]),
    )


def test_the_fit_finds_the_curves_that_made_the_answers() -> None:
    rng = np.random.default_rng(0)
    sure = rng.uniform(0, 6, 4000)
    at = np.linspace(0, 6, 20)
    right = (rng.random((4000, 17)) < chances(DOUBT, sure)).astype(float)
    found = fit_doubt(gains_of(sure, right, 3))
    assert np.abs(found.added(at).cumsum(axis=1) - DOUBT.added(at).cumsum(axis=1)).max() < 0.03
    # As many patches add more than the least of these scenes as the policy wants of them.
    assert (found.added(sure) > found.least).sum() == pytest.approx(3 * 4000, rel=0.02)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_answers_that_are_all_right_or_all_wrong_give_finite_figures(right: float) -> None:
    found = fit_doubt(gains_of(np.linspace(0, 6, 5), np.full((5, 2), right), 1))
    assert found.patches == 1
    assert np.abs(found.added(np.linspace(0, 6, 5))).max() < 0.01


def test_an_lr_stream_that_is_surer_where_it_is_wrong_is_not_believed() -> None:
    sure = np.repeat([0.5, 5.0], 50)
    found = fit_doubt(gains_of(sure, np.stack([sure < 1, np.ones(100)], axis=1).astype(float), 1))
    assert found.alone[1] == 0
    assert found.added(sure) == pytest.approx(0.5, abs=0.02)


def test_what_is_worth_as_much_at_any_sureness_is_so_to_the_last_digit() -> None:
    same = Doubt(patches=16, alone=(-0.693073, 0.0), helped=(-0.555833, -0.404371, 0.135301, 0.0), least=0.0)
    sure = np.linspace(-SUREST, SUREST, 999)
    assert len(np.unique(same.added(sure), axis=0)) == 1
    s = torch.rand(999, 16, generator=torch.Generator().manual_seed(0))
    bought = doubted_masks(same, s, torch.from_numpy(sure_by(np.abs(sure))), 4000)
    # The best patch of every scene, then the more probable ones.
    further = s < s.max(dim=1, keepdim=True).values
    assert bought[~further].all()
    assert s[further & (bought == 1)].min() >= s[further & (bought == 0)].max()


def test_what_only_helps_together_is_worth_its_mean_each() -> None:
    late = Doubt(
        patches=4, alone=(0.0, 0.0), helped=(-9.0, 0.0, 3.0, 0.0), least=0.0
    )  # nothing before the fourth
    np.testing.assert_allclose(late.added(np.zeros(1)), [[(expit(3.0) - 0.5) / 4] * 4], atol=1e-8)


@pytest.mark.parametrize(
    "wrong",
    [
        {"alone": (float("nan"), 1.0)},
        {"helped": (1.0, 1.0, float("inf"), 1.0)},
        {"helped": (1.0, 1.0, 1.0)},
        {"patches": 0},
        {"least": -0.1},
    ],
)
def test_impossible_figures_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="impossible doubt"):
        Doubt(**asdict(DOUBT) | wrong)


def test_a_card_keeps_its_doubts_and_impossible_ones_are_refused() -> None:
    card = small_card(**DOUBTFUL)
    assert ModelCard.from_json(card.to_json()) == card
    with pytest.raises(ModelError, match="impossible doubt"):
        ModelCard.from_json(card.to_json().replace("[-0.5, 1.2]", "[-0.5]"))
    with pytest.raises(ModelError, match="impossible sizes"):
        ModelCard.from_json(card.to_json().replace('"patches": 16', '"patches": 9'))
    older = json.loads(card.to_json())
    older["doubt"] = {"intercept": 0.5, "slope": -1.2, "benefit": older["benefit"]}
    with pytest.raises(ModelError, match="older geozoom's way"):
        ModelCard.from_json(json.dumps(older))
    with pytest.raises(ModelError, match="impossible"):
        ModelCard.from_json(replace(card, scout=None).to_json())


def test_a_checkpoint_keeps_its_scout(tmp_path: Path) -> None:
    model = small_model(**DOUBTFUL)
    model.save(tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    images = torch.rand(3, 3, 8, 8)
    with torch.inference_mode():
        torch.testing.assert_close(again.scout_logits(images), model.scout_logits(images))
    with pytest.raises(ModelError, match="no scout"):
        small_model().scout_logits(images)


def values_by_hand(model: PatchDrop, path: Path, when: When) -> np.ndarray:
    """What each patch of each scene of a tile of whole scenes is worth, (rows, cols, P)."""
    with rasterio.open(path) as dataset:
        pixels = torch.from_numpy(dataset.read()).float() / 255
    rows, cols = pixels.shape[1] // 8, pixels.shape[2] // 8
    scenes = torch.stack(
        [pixels[:, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] for r in range(rows) for c in range(cols)]
    )
    with torch.inference_mode():
        s = model.probabilities(scenes).numpy()
        known = (model.scout_logits if when == "scout" else model.lr_logits)(scenes).numpy()
    doubt = model.card.doubt_of(when)
    assert doubt is not None
    worth = doubt.marginals(s, log_odds(known))
    return np.where(worth > doubt.least, worth, 0).reshape(rows, cols, -1)


@pytest.mark.parametrize("when", ["scout", "classifier"])
def test_a_plan_counts_what_the_doubt_of_whom_it_asks_leaves_of_each_patch(
    write_raster: WriteRaster, monkeypatch: pytest.MonkeyPatch, when: When
) -> None:
    monkeypatch.setattr("geozoom.inference.has_bfloat16", lambda: False)  # digits count here
    model = small_model(**DOUBTFUL)
    path = write_raster(height=32, width=48)
    plan = geozoom.plan([path], model=model, prices=BY_AREA, when=when)
    expected = values_by_hand(model, path, when)
    found = np.zeros_like(expected)
    patches = plan.patches
    found[patches.scene_row, patches.scene_col, patches.patch] = patches.value
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert plan.value == pytest.approx(expected.sum(), abs=1e-4)
    assert plan.summary()["when"] == when
    assert plan.summary()["model"]["doubt"]["alone"] == ((-0.2, 0.9) if when == "scout" else (-0.5, 1.2))
    assert plan.summary()["threshold"] is None
    alone = geozoom.plan([path], model=model, prices=BY_AREA, when="policy")
    assert alone.summary()["when"] == "policy"
    assert alone.summary()["model"]["doubt"] is None
    assert alone.summary()["threshold"] == 0.5
    assert len(alone) != len(plan)
    # A threshold that is given holds for the policy's probabilities, and nothing else does.
    likely = geozoom.plan([path], model=model, prices=BY_AREA, when=when, threshold=0.5)
    assert (likely.patches.probability > 0.5).all()
    unlikely = geozoom.plan([path], model=model, prices=BY_AREA, when=when, threshold=0.0)
    assert len(unlikely) > len(plan)  # of those that add less than the least, too


BY_PATCHES = {"classifier": NetworkSpec(name="bagnet-resnet8", widths=(4, 8, 8))}


@pytest.mark.parametrize(
    ("extra", "asked"),
    [
        (DOUBTFUL, "scout"),
        ({"benefit": BENEFIT, "doubt": DOUBT}, "policy"),
        ({"benefit": BENEFIT, "doubt": DOUBT, **BY_PATCHES}, "classifier"),
        (BY_PATCHES, "policy"),
    ],
)
def test_who_is_asked_by_default_costs_no_more_than_the_policy(
    write_raster: WriteRaster, extra: dict[str, Any], asked: When
) -> None:
    plan = geozoom.plan([write_raster(height=32, width=48)], model=small_model(**extra), prices=BY_AREA)
    assert plan.summary()["when"] == asked


@pytest.mark.parametrize("when", ["scout", "classifier"])
def test_under_a_budget_it_buys_where_there_is_doubt(write_raster: WriteRaster, when: When) -> None:
    model = small_model(**DOUBTFUL)
    path = write_raster(height=80, width=80)
    candidates = geozoom.prepare([path], model=model, prices=BY_AREA, when=when)
    plan = candidates.choose(geozoom.Budget.of(5))
    expected = values_by_hand(model, path, when)
    assert 0 < len(plan) < plan.candidates
    best = np.sort(expected.ravel())[::-1][: len(plan)].sum()  # patches cost the same but for their latitude
    assert plan.value > 0.97 * best


def test_sites_are_asked_too(write_raster: WriteRaster, tmp_path: Path) -> None:
    model = small_model(**DOUBTFUL)
    path = write_raster(height=40, width=40)
    sites = tmp_path / "sites.geojson"
    with rasterio.open(path) as dataset:
        x, y = dataset.xy(20, 20)
        (longitude,), (latitude,) = transform(dataset.crs, "EPSG:4326", [x], [y])
    point = {"type": "Point", "coordinates": [longitude, latitude]}
    feature = {"type": "Feature", "properties": {}, "geometry": point}
    sites.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    plans = [geozoom.plan([path], model=model, prices=BY_AREA, sites=sites, when=when) for when in WHENS]
    assert all(len(plan) for plan in plans)
    assert len({round(plan.value, 4) for plan in plans}) == 3


@pytest.mark.parametrize(
    ("when", "why"),
    [("scout", "the model has no scout"), ("classifier", "its card does not say how often it is wrong")],
)
def test_a_model_that_cannot_be_asked_is_refused(
    write_raster: WriteRaster, model_file: Path, tmp_path: Path, when: str, why: str
) -> None:
    path, out = write_raster(), tmp_path / "orders.geojson"
    told = ["plan", str(path), "--model", str(model_file), "--when", when, "-o", str(out)]
    result = CliRunner().invoke(main, told)
    assert result.exit_code == 1
    assert f"its LR classifier cannot be asked ({why})" in result.output
    assert not out.exists()


def test_the_scout_learns_to_answer_as_the_lr_stream_does(scene_tree: Path, tmp_path: Path) -> None:
    taught_by = small_model()
    with torch.no_grad():
        taught_by.lr.fc.weight *= 40  # sure of what it says, which fresh weights are not
    extra = ("scout.batch_size=27", "scout.learning_rate=1e-2", "scout.narrowing=2")
    recipe = small_recipe("default", 40, *extra)
    data = read_scenes(scene_tree)
    bench = Bench(model=taught_by, recipe=recipe, val=view_split(data.val, recipe, seed=1))
    engine = Engine(
        folder=tmp_path, device=torch.device("cpu"), precision="fp32", seed=0, console=Console(quiet=True)
    )
    scout = train_scout(engine, bench, data.train)
    assert scout_spec(recipe, taught_by.card).widths == (2, 4, 4)
    assert scout.network.fc.in_features == 4
    test = view_split(data.test, recipe, seed=2)
    with torch.inference_mode():
        ours, theirs = (net.lr_logits(test.lr).log_softmax(dim=1) for net in (scout, taught_by))
    apart = F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    constant = F.kl_div(
        theirs.exp().mean(dim=0).log().expand_as(theirs), theirs, reduction="batchmean", log_target=True
    )
    assert apart < 0.6 * constant  # of what there is to tell

"""Which values of a recipe are possible."""

from __future__ import annotations

import math
from collections.abc import Iterator

from geozoom.errors import RecipeError
from geozoom.fusion import FUSIONS
from geozoom.networks import NETWORK_NAMES, groups_of, is_bagnet
from training import STAGES
from training.baselines.recipe import baseline_rules
from training.gradients import ESTIMATORS
from training.hard_positives import AUGMENTS
from training.recipe import ClassifierRecipe, PolicyRecipe, Recipe

_USERS = {
    "cutmix": ("hr",),
    "small_px": ("hr",),
    "small_share": ("hr",),
    "keep_min": ("robust",),
    "classifier_learning_rate": ("ft1", "ft2"),
    "classifier_masks": ("ft1", "ft2"),
}
"""Keys of a stage that its siblings have too, and by which of them they mean something."""


def check_recipe_values(recipe: Recipe) -> None:
    """Refuse impossible values before any stage runs, not hours later.

    Raises:
        RecipeError: Names the key and what it must be.
    """
    for where, passed, rule in _rules(recipe):
        if not passed:
            raise RecipeError(f"{where} is impossible: it must {rule}")


def _rules(recipe: Recipe) -> Iterator[tuple[str, bool, str]]:
    """Yield each key, whether its value is possible, and what it must be."""
    data, augmentation, sensor = recipe.data, recipe.augmentation, recipe.sensor
    yield "precision", recipe.precision in ("bf16", "fp32"), "be bf16 or fp32"
    modes = ("auto", "off", "default", "reduce-overhead")
    yield "compile", recipe.compile in modes, f"be one of {', '.join(modes)}"
    yield "data.grid_rows", data.grid_rows >= 1, "be at least 1"
    yield "data.grid_cols", data.grid_cols >= 1, "be at least 1"
    divides = data.hr_px > 0 and data.hr_px % data.grid_rows == data.hr_px % data.grid_cols == 0
    yield "data.hr_px", divides, f"be a multiple of the {data.grid_rows} × {data.grid_cols} patches"
    yield "data.lr_px", 0 < data.lr_px <= data.hr_px, "lie in 1..hr_px"
    yield "data.val_share", 0 < data.val_share < 1, "lie between 0 and 1"
    yield from _price_rules(recipe)
    yield from _network_rules(recipe)
    yield "data.margin", 1 <= data.margin <= 4, "lie in 1..4"
    yield "networks.fusion", recipe.networks.fusion in FUSIONS, f"be {' or '.join(FUSIONS)}"
    yield "networks.lr_temperature", 0 < recipe.networks.lr_temperature < math.inf, "be positive"
    yield "judges.folds", recipe.judges.folds == 0 or recipe.judges.folds >= 2, "be 0 or at least 2"
    yield "judges.share", 0 < recipe.judges.share <= 1, "lie in (0, 1]"
    yield "card.scene_m", recipe.card.scene_m is None or 0 < recipe.card.scene_m < math.inf, "be positive"
    for key in ("reflectance_white", "reflectance_gamma"):
        yield f"card.{key}", 0 < getattr(recipe.card, key) < math.inf, "be positive"
    yield "augmentation.crop", augmentation.crop in ("area", "shift"), "be area or shift"
    yield "augmentation.pad_px", 0 <= augmentation.pad_px <= data.hr_px, "lie in 0..hr_px"
    yield "augmentation.min_area", 0 < augmentation.min_area <= 1, "lie in (0, 1]"
    yield "augmentation.jitter", 0 <= augmentation.jitter < 1, "lie in [0, 1)"
    for key in ("psf_fwhm", "gain", "offset", "noise"):
        yield f"sensor.{key}", 0 <= getattr(sensor, key) < math.inf, "be zero or positive"
    yield from _scout_rules(recipe)
    yield from baseline_rules(recipe.baselines)
    yield from _hard_positive_rules(recipe)
    for name in STAGES:
        stage = getattr(recipe, name)
        least = 0 if name == "robust" else 1
        yield f"{name}.epochs", stage.epochs >= least, f"be at least {least}"
        yield f"{name}.batch_size", stage.batch_size >= 2, "be at least 2"
        yield f"{name}.schedule", stage.schedule in ("cosine", "constant"), "be cosine or constant"
        if name in ("robust", "ft1", "ft2"):
            yield f"{name}.distill", 0 <= stage.distill <= 1, "lie in 0..1"
        else:
            yield f"{name}.distill", stage.distill == 0, "be 0: robust, ft1 and ft2 learn from the HR-CNN"
        for key, users in _USERS.items():
            if hasattr(stage, key) and name not in users:
                unused = getattr(stage, key) == getattr(type(stage), key)
                go = "goes" if len(users) == 1 else "go"
                yield f"{name}.{key}", unused, f"be left out: only {' and '.join(users)} {go} by it"
        if isinstance(stage, ClassifierRecipe):
            yield f"{name}.optimizer", stage.optimizer in ("sgd", "adam", "adamw"), "be sgd, adam or adamw"
            yield f"{name}.learning_rate", 0 < stage.learning_rate < math.inf, "be positive"
            yield f"{name}.weight_decay", 0 <= stage.weight_decay < math.inf, "be zero or positive"
            yield f"{name}.small_px", stage.small_px >= 0, "be zero or positive"
            for key in ("label_smoothing", "cutmix", "small_share", "keep_min"):
                yield f"{name}.{key}", 0 <= getattr(stage, key) <= 1, "lie in 0..1"
            continue
        yield from _policy_rules(name, stage, recipe)


def _network_rules(recipe: Recipe) -> Iterator[tuple[str, bool, str]]:
    data, small = recipe.data, recipe.hr.small_px
    for key in ("classifier", "policy"):
        name, widths = getattr(recipe.networks, key), getattr(recipe.networks, f"{key}_widths")
        yield f"networks.{key}", name in NETWORK_NAMES, f"be one of {', '.join(NETWORK_NAMES)}"
        positive = all(width > 0 for width in widths or ())
        yield f"networks.{key}_widths", positive, "hold positive numbers of channels"
        groups = groups_of(name)
        yield (
            f"networks.{key}_widths",
            len(widths or ()) in (0, groups),
            f"hold {groups} numbers, as {name} has groups",
        )
    yield "networks.policy", not is_bagnet(recipe.networks.policy), "see the whole LR image"
    if is_bagnet(recipe.networks.classifier):
        divides = small % data.grid_rows == small % data.grid_cols == 0
        yield "hr.small_px", divides, f"be a multiple of the {data.grid_rows} × {data.grid_cols} patches"


def _scout_rules(recipe: Recipe) -> Iterator[tuple[str, bool, str]]:
    scout = recipe.scout
    yield "scout.epochs", scout.epochs >= 0, "be at least 0"
    yield "scout.narrowing", scout.narrowing >= 1, "be at least 1"
    yield "scout.batch_size", scout.batch_size >= 2, "be at least 2"
    yield "scout.learning_rate", 0 < scout.learning_rate < math.inf, "be positive"
    yield "scout.weight_decay", 0 <= scout.weight_decay < math.inf, "be zero or positive"
    yield "scout.min_area", scout.min_area is None or 0 < scout.min_area <= 1, "lie in (0, 1]"


def _price_rules(recipe: Recipe) -> Iterator[tuple[str, bool, str]]:
    prices, rows, cols = recipe.data.patch_prices, recipe.data.grid_rows, recipe.data.grid_cols
    if prices is None:
        return
    on_grid = len(prices) == rows and all(len(row) == cols for row in prices)
    yield "data.patch_prices", on_grid, f"hold {rows} rows of {cols} prices, as the grid has"
    usable = all(0 <= price < math.inf for row in prices for price in row)
    yield "data.patch_prices", usable, "hold prices of zero or more"
    for stage in ("pt", "ft1", "ft2"):
        priced = getattr(recipe, stage).reward != "paper"
        yield f"{stage}.reward", priced, "be priced or priced_hits where data.patch_prices is given"


def _hard_positive_rules(recipe: Recipe) -> Iterator[tuple[str, bool, str]]:
    chosen, patches = recipe.hard_positives, recipe.data.grid_rows * recipe.data.grid_cols
    chooses = chosen.augment == "patchdrop"
    yield "hard_positives.augment", chosen.augment in AUGMENTS, f"be one of {', '.join(AUGMENTS)}"
    if chooses:
        yield (
            "hard_positives.augment",
            bool(chosen.policy),
            "come with a policy where it is patchdrop (--policy)",
        )
    else:
        elsewhere = "be left out where hard_positives.augment (--augment) is not patchdrop"
        yield "hard_positives.policy (--policy)", chosen.policy is None, elsewhere
    leaves_some = chosen.most_patches >= 1 and (chosen.most_patches < patches or not chooses)
    yield (
        "hard_positives.most_patches",
        leaves_some,
        f"lie in 1..{patches - 1}, to leave one of {patches} patches",
    )
    yield "hard_positives.cutout_px", 0 <= chosen.cutout_px <= recipe.data.hr_px, "lie in 0..hr_px"


def _policy_rules(name: str, stage: PolicyRecipe, recipe: Recipe) -> Iterator[tuple[str, bool, str]]:
    if name == "pt":
        yield "pt.start", stage.start in ("fresh", "lr"), "be fresh or lr"
    else:
        yield f"{name}.start", stage.start == "fresh", "be fresh: it begins as pt left the policy"
    if name == "ft2":
        yield "ft2.together", stage.together in ("mixture", "fusion"), "be mixture or fusion"
    else:
        yield f"{name}.together", stage.together == "mixture", "be mixture: the HR stream answers alone"
    yield f"{name}.min_area", stage.min_area is None or 0 < stage.min_area <= 1, "lie in (0, 1]"
    yield f"{name}.estimator", stage.estimator in ESTIMATORS, f"be one of {', '.join(ESTIMATORS)}"
    one_of_a_kind = stage.estimator == "rloo" or stage.samples == 2
    yield f"{name}.samples", one_of_a_kind, "be 2: rloo alone takes another number"
    yield f"{name}.samples", stage.samples >= 2, "be at least 2"
    if stage.estimator == "straight_through":
        yield (
            f"{name}.reward",
            stage.reward == "priced",
            "be priced: straight_through derives it by the mask",
        )
        apart = recipe.judges.folds == 0
        yield f"{name}.estimator", apart, "have judges.folds = 0, since judges give no derivative"
    known = stage.reward in ("priced", "priced_hits", "paper")
    yield f"{name}.reward", known, "be priced, priced_hits or paper"
    if name == "ft2":
        met = stage.classifier_masks in ("sampled", "likely", "doubted")
        yield "ft2.classifier_masks", met, "be sampled, likely or doubted"
    else:
        met = stage.classifier_masks in ("sampled", "likely")
        yield f"{name}.classifier_masks", met, "be sampled or likely: the LR stream is asked in ft2 alone"
    for key in ("policy_learning_rate", "classifier_learning_rate"):
        yield f"{name}.{key}", 0 < getattr(stage, key) < math.inf, "be positive"
    for key in ("penalty", "price", "entropy"):
        yield f"{name}.{key}", 0 <= getattr(stage, key) < math.inf, "be zero or positive"
    patches = recipe.data.grid_rows * recipe.data.grid_cols
    yield f"{name}.least_patches", 0 <= stage.least_patches < patches, f"lie in 0..{patches}"
    weighed = not stage.least_patches or (stage.reward != "paper" and stage.price > 0)
    yield f"{name}.least_patches", weighed, "come with a priced reward and a price, which it lowers"
    possible = all(0.5 < alpha <= 1 for alpha in stage.alpha)
    yield f"{name}.alpha", possible, "hold two temperatures in (0.5, 1]"

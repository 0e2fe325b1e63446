"""Recipes: every hyper-parameter of a run, in one TOML file that the run keeps a copy of."""

from __future__ import annotations

import dataclasses
import math
import tomllib
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from geozoom.errors import RecipeError
from geozoom.networks import bagnet_name, is_bagnet
from geozoom.sensor import Sensor
from training import STAGES
from training.baselines.recipe import BaselinesRecipe, baseline_rules
from training.gradients import ESTIMATORS
from training.hard_positives import AUGMENTS
from training.views import Augmentation

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Sizes of a scene and where its splits come from."""

    hr_px: int = 144
    """Side of the HR image."""
    lr_px: int = 8
    """Side of the LR image; hr_px / lr_px is the paper's downsampling factor ds."""
    grid_rows: int = 4
    """Patches from top to bottom."""
    grid_cols: int = 4
    """Patches from left to right."""
    val_share: float = 0.1
    """Share of train that becomes val where the tree has no val split."""
    patch_prices: tuple[tuple[float, ...], ...] | None = None
    """What each patch costs beside an ordinary one of price 1, a row of the grid after the other from the
    top; None for 1 everywhere. The priced rewards multiply λ by it."""
    margin: float = 1.25
    """Training scenes are kept at margin × hr_px, so that crops stay sharp."""


@dataclass(frozen=True, kw_only=True)
class CardRecipe:
    """What the model card will say; nothing in it changes training."""

    scene_m: float | None = None
    """Side of a scene on the ground in metres, written into the model card."""
    description: str = ""
    """What the data is, for the model card."""
    license: str = "not stated"
    """Licence of the data, for the model card."""
    notes: str = ""
    """What a user of the model must know, for the model card."""
    reflectance_white: float = 0.3
    """Surface reflectance that a calibrated tile shows as white."""
    reflectance_gamma: float = 1.0
    """Display gamma of a calibrated tile."""


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe:
    """The two networks."""

    classifier: str = "resnet18"
    """Architecture of the HR and LR streams; "bagnet-resnet32" and the like run on each patch, with an LR
    stream of the policy's architecture."""
    classifier_widths: tuple[int, ...] | None = None
    """Channels of its groups; None for the published ones."""
    policy: str = "resnet8"
    """Architecture of the policy."""
    policy_widths: tuple[int, ...] | None = None
    """Channels of its groups; None for the published ones."""
    lr_temperature: float = 1.0
    """What the LR stream's logits are divided by in the mixture of the streams (Eq. 7); 1 in the paper."""


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe:
    """Stages `hr`, `lr` and `robust`: cross-entropy on one stream."""

    epochs: int
    """Passes over the training split; 0 leaves the stage out where that is possible (robust)."""
    batch_size: int = 64
    """Scenes a step."""
    optimizer: str = "sgd"
    """sgd (Nesterov, momentum 0.9), adam or adamw."""
    learning_rate: float = 0.05
    """Peak learning rate."""
    weight_decay: float = 5e-4
    """Weight decay."""
    schedule: str = "cosine"
    """cosine (with a warm-up over the first 5%) or constant."""
    label_smoothing: float = 0.0
    """Share of the target spread over all classes."""
    cutmix: float = 0.0
    """Probability that a step mixes pairs of scenes by CutMix."""
    small_px: int = 0
    """Side of the views in the first part of training (progressive resizing); 0 for the full size."""
    small_share: float = 0.0
    """Share of the epochs at small_px."""
    keep_min: float = 0.15
    """robust: each patch is kept with a probability drawn from U(keep_min, 1)."""
    distill: float = 0.0
    """robust: share of the loss that the HR-CNN's answers on the whole view give, not the labels."""


@dataclass(frozen=True, kw_only=True)
class HardPositivesRecipe:
    """Stage `hr`: what is hidden of its views (paper §7). CutMix, where it is on, mixes views so hidden."""

    augment: str = "none"
    """none, cutout (a square at a random place) or patchdrop (the patches that a policy puts first)."""
    policy: str | None = None
    """patchdrop: a run, a checkpoint of its stage pt, ft1 or ft2, or a model.safetensors, whose policy it is."""
    most_patches: int = 4
    """patchdrop: M, the number of patches that a view loses, is drawn from U{1..most_patches}."""
    cutout_px: int = 0
    """cutout: side of the square in HR pixels; 0 for half of the view's, as published for CIFAR-10."""


@dataclass(frozen=True, kw_only=True)
class PolicyRecipe:
    """Stages `pt`, `ft1` and `ft2`: policy gradient, and cross-entropy where the classifier trains."""

    epochs: int
    """Passes over the training split."""
    batch_size: int = 128
    """Scenes a step."""
    policy_learning_rate: float = 1e-3
    """Adam's learning rate for the policy."""
    classifier_learning_rate: float = 1e-4
    """Adam's learning rate for the HR stream (ft1, ft2)."""
    schedule: str = "cosine"
    """cosine (with a warm-up over the first 5%) or constant."""
    estimator: str = "rloo"
    """self_critical (the paper's), rloo, disarm or straight_through."""
    samples: int = 2
    """rloo: masks for each scene and step, each with a forward of the classifier."""
    reward: str = "priced"
    """priced (by the probability of the right class), priced_hits (right or wrong), or paper (Eq. 3)."""
    penalty: float = 0.5
    """σ of the paper's reward."""
    price: float = 0.2
    """λ of the priced reward."""
    entropy: float = 0.0
    """Weight of the mean entropy per patch; it keeps probabilities graded, which ranking needs."""
    min_area: float | None = None
    """Smallest share of a scene that a view shows, in place of the augmentation's: crops as small as
    classifiers learn from hide where in a scene things usually are."""
    distill: float = 0.0
    """ft1, ft2: share of the classifier's loss that the HR-CNN's answers give, not the labels."""
    alpha: tuple[float, float] = (0.7, 0.95)
    """Exploration temperature at the start and the end of the stage (Eq. 11), linear between."""


@dataclass(frozen=True, kw_only=True)
class JudgesRecipe:
    """Classifiers that reward the policy on the training scenes which they have not learned from."""

    folds: int = 0
    """Parts of the training split, each judged by a classifier of all other parts; 0 rewards the policy
    by the classifier under training, as in the paper."""
    share: float = 0.5
    """Their epochs, as a share of those of `hr`, `lr` and `robust`."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run."""

    hr: ClassifierRecipe
    lr: ClassifierRecipe
    robust: ClassifierRecipe
    pt: PolicyRecipe
    ft1: PolicyRecipe
    ft2: PolicyRecipe
    data: DataRecipe = field(default_factory=DataRecipe)
    card: CardRecipe = field(default_factory=CardRecipe)
    networks: NetworkRecipe = field(default_factory=NetworkRecipe)
    judges: JudgesRecipe = field(default_factory=JudgesRecipe)
    hard_positives: HardPositivesRecipe = field(default_factory=HardPositivesRecipe)
    augmentation: Augmentation = field(default_factory=Augmentation)
    sensor: Sensor = field(default_factory=Sensor)
    baselines: BaselinesRecipe = field(default_factory=BaselinesRecipe)
    precision: str = "bf16"
    """bf16 (autocast) or fp32."""
    compile: str = "auto"
    """off, default or reduce-overhead (torch.compile's modes, the latter with CUDA graphs); auto is
    reduce-overhead on one CUDA device and off elsewhere."""

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as nested plain values."""
        return dataclasses.asdict(self)


def recipe_of(dataset: str, name: str) -> str:
    """Return which recipe `name` means for a dataset: "default" and "paper" are its own, if it has them."""
    own = {"default": dataset, "paper": f"paper-{dataset}"}.get(name, name)
    return own if (RECIPES / f"{own}.toml").is_file() else name


def load_recipe(
    name: str,
    overrides: list[str],
    epochs: int | None = None,
    *,
    stages: Sequence[str] = STAGES,
    bagnet: bool = False,
    held: dict[str, Any] | None = None,
) -> Recipe:
    """Load a recipe and apply `--set` overrides.

    Args:
        name: A recipe that ships with geozoom ("default", "paper", …) or the path of a TOML file.
        overrides: "table.key=value" with a TOML value; a bare word is taken as a string.
        epochs: If given, the epochs of `stages`, and with `lr` those of baselines, as far as the recipe does not
            leave them out.
        stages: What `epochs` is for.
        bagnet: Run the recipe's classifier on each patch; see `with_bagnet`.
        held: The recipe of a run's record, which is then taken instead of the one called `name`.

    Raises:
        RecipeError: The file, a key or a value is not usable.
    """
    content = _read(name) if held is None else recipe_from(held).to_dict()
    for override in overrides:
        _set(content, override)
    if epochs is not None:
        for stage in stages:
            _shorten(content.get(stage), epochs)
        if "lr" in stages:  # baselines learn as `lr` does, but for what they say themselves
            _shorten(content.get("baselines"), epochs)
    recipe = _build(Recipe, content, f"recipe {name}")
    if bagnet:
        return with_bagnet(recipe)
    _check(recipe)
    return recipe


def with_bagnet(recipe: Recipe) -> Recipe:
    """Return a recipe whose classifier, which fits the size of its images, runs on each patch.

    Raises:
        RecipeError: The recipe does not fit a BagNet.
    """
    networks = dataclasses.replace(recipe.networks, classifier=bagnet_name(recipe.networks.classifier))
    recipe = dataclasses.replace(recipe, networks=networks)
    _check(recipe)
    return recipe


def recipe_from(content: dict[str, Any]) -> Recipe:
    """Return the recipe of a run's record; keys that came after the run have their defaults.

    Raises:
        RecipeError: The record is not of a recipe.
    """
    return _build(Recipe, content, "the run's recipe")


def _read(name: str, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """Read a recipe's tables over those of the recipe that it names as its `base`."""
    file = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not file.is_file():
        shipped = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
        raise RecipeError(f"recipe {name!r} was not found; name one of {shipped}, or a .toml file")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: not valid TOML ({error}); correct the file") from error
    base = content.pop("base", None)
    if base is None:
        return content
    if not isinstance(base, str) or name in (*below, base):
        raise RecipeError(f"{file}: base = {base!r} must name another recipe")
    return _over(_read(base, (*below, name)), content)


def _shorten(table: object, epochs: int) -> None:
    """Set the epochs of a table and of those within it, but for stages that are left out."""
    if not isinstance(table, dict):
        return
    if table.get("epochs"):
        table["epochs"] = epochs
    for inner in table.values():
        _shorten(inner, epochs)


def _over(base: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of a recipe's base with its own laid over them, and tables within tables likewise."""
    merged = dict(base)
    for key, value in content.items():
        held = merged.get(key)
        merged[key] = _over(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return merged


def _set(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"--set {override!r}: write it as table.key=value, for example ft2.price=0.3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *tables, last = key.strip().split(".")
    for table in tables:
        content = content.setdefault(table, {})
        if not isinstance(content, dict):
            raise RecipeError(f"--set {override!r}: {table!r} is a value, not a table")
    content[last] = value


_T = TypeVar("_T")


def _build(kind: type[_T], content: dict[str, Any], where: str) -> _T:
    """Turn a table into the dataclass `kind`, refusing keys and types that it does not have."""
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(content) - set(hints))
    if unknown:
        raise RecipeError(
            f"{where}: key {unknown[0]!r} is not known; known keys are {', '.join(sorted(hints))}"
        )
    values = {key: _convert(hints[key], value, f"{where}: {key}") for key, value in content.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise RecipeError(f"{where}: a table or key is missing ({error})") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, dict):
            raise RecipeError(f"{where} must be a table")
        return _build(typing.cast("type[Any]", hint), value, where)
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{where} must be a list, not {value!r}")
        item, *rest = typing.get_args(hint)
        if rest != [...] and len(value) != len(rest) + 1:
            raise RecipeError(f"{where} must hold {len(rest) + 1} values, not {len(value)}")
        return tuple(_convert(item, entry, where) for entry in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise RecipeError(f"{where} must be of type {hint.__name__}, not {value!r}")
    return value


def _check(recipe: Recipe) -> None:
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
    yield "networks.policy", not is_bagnet(recipe.networks.policy), "see the whole LR image"
    if is_bagnet(recipe.networks.classifier):
        divides = small % data.grid_rows == small % data.grid_cols == 0
        yield "hr.small_px", divides, f"be a multiple of the {data.grid_rows} × {data.grid_cols} patches"


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
    for key in ("policy_learning_rate", "classifier_learning_rate"):
        yield f"{name}.{key}", 0 < getattr(stage, key) < math.inf, "be positive"
    for key in ("penalty", "price", "entropy"):
        yield f"{name}.{key}", 0 <= getattr(stage, key) < math.inf, "be zero or positive"
    possible = all(0.5 < alpha <= 1 for alpha in stage.alpha)
    yield f"{name}.alpha", possible, "hold two temperatures in (0.5, 1]"

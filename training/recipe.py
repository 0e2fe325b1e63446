"""Recipes: every hyper-parameter of a run. `training.recipe_files` reads them, and the run keeps a copy."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from geozoom.sensor import Sensor
from training.baselines.recipe import BaselinesRecipe
from training.views import Augmentation


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
    """What the model card will say; nothing in it changes training, but reflectance real LR images (fMoW-Sentinel)."""

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
    """What the LR stream's logits are divided by where both streams answer; 1 in the paper."""
    fusion: str = "mixture"
    """How a finished model makes both streams' answers one: "mixture" is Eq. 7, "product" multiplies their
    probabilities. Ft-2 learns by Eq. 7 unless `ft2.together` says otherwise."""


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
    start: str = "fresh"
    """pt: what the policy begins as: fresh, or lr, which beside a BagNet is the LR stream but for its last layer, so
    that the policy knows what is in an LR image before it learns where to look; else fresh too."""
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
    least_patches: float = 0.0
    """Patches of a scene, on the mean, below which λ falls, so that the policy does not unlearn to buy
    (`PolicyStage.dearness`); 0 leaves λ as it is."""
    entropy: float = 0.0
    """Weight of the mean entropy per patch; it keeps probabilities graded, which ranking needs."""
    min_area: float | None = None
    """Smallest share of a scene that a view shows, in place of the augmentation's: crops as small as
    classifiers learn from hide where in a scene things usually are."""
    distill: float = 0.0
    """ft1, ft2: share of the classifier's loss that the HR-CNN's answers give, not the labels."""
    classifier_masks: str = "sampled"
    """ft1, ft2: what the classifier learns under: masks that were sampled, as published, or those that it will meet:
    the "likely" ones, which the policy alone buys, or, in ft2, for every second scene the "doubted" ones, which a plan
    buys for as much where the LR stream is unsure (`plan --when classifier`, and by its scout `plan`)."""
    together: str = "mixture"
    """ft2: by what the two streams learn together: mixture (Eq. 7, as published), or fusion, by which the finished
    model answers (`networks.fusion`)."""
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
class ScoutRecipe:
    """The small network that learns to answer as the LR stream does, after the last stage (AdamW)."""

    epochs: int = 0
    """Passes over the training split; 0 makes none."""
    narrowing: int = 1
    """It has the policy's architecture, its channels divided by this."""
    batch_size: int = 64
    """Scenes a step; each is shown turned every way."""
    learning_rate: float = 2e-3
    """Peak learning rate, of a cosine with a warm-up over the first 5%."""
    weight_decay: float = 0.02
    """Weight decay."""
    min_area: float | None = 0.5
    """Smallest share of a scene that a view shows, in place of the augmentation's."""


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
    scout: ScoutRecipe = field(default_factory=ScoutRecipe)
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

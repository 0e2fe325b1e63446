"""The model card: all that a checkpoint says of itself, as JSON in its header."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from geozoom.benefit import Benefit
from geozoom.doubt import Doubt, When
from geozoom.errors import ModelError, ModelFormatError
from geozoom.fusion import FUSIONS
from geozoom.grid import PatchGrid
from geozoom.networks import NetworkSpec, is_bagnet

CARD_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """All that a checkpoint says of itself (house rule: self-describing)."""

    name: str
    """Name of the run that made it."""
    classes: tuple[str, ...]
    """Class names in the order of the classifier's outputs."""
    grid_rows: int
    """Patches from top to bottom of a scene."""
    grid_cols: int
    """Patches from left to right of a scene."""
    lr_px: int
    """Side of the LR image of a scene, in pixels."""
    hr_px: int
    """Side of the HR image of a scene, in pixels."""
    scene_m: float | None
    """Side of a scene on the ground in metres; None if the training images had no ground scale."""
    mean: tuple[float, float, float]
    """Mean of RGB in 0..1, which normalisation subtracts; a masked patch shows this colour."""
    std: tuple[float, float, float]
    """Standard deviation of RGB in 0..1, by which normalisation divides."""
    classifier: NetworkSpec
    """Architecture of the HR stream, and of the LR stream but for BagNets."""
    policy: NetworkSpec
    """Architecture of the policy."""
    stage: str
    """Last stage of training: "ft2", "ft1", "pt", …"""
    data: str
    """Data set, its source and what its LR images are."""
    data_license: str
    """Licence of the training data."""
    notes: str = ""
    """What a user has to know before trusting the model."""
    reflectance_white: float = 0.3
    """Surface reflectance shown as white when a calibrated tile is turned into the RGB the model saw."""
    reflectance_gamma: float = 1.0
    """Display gamma applied to reflectance / reflectance_white."""
    lr_temperature: float = 1.0
    """What the LR stream's logits are divided by where both streams answer."""
    fusion: str = "mixture"
    """How the two streams' answers become one, of `geozoom.fusion.FUSIONS`: "mixture" is Eq. 7."""
    benefit: Benefit | None = None
    """What patches are worth, fitted on the validation split; None if nothing says so."""
    doubt: Doubt | None = None
    """What patches are worth where the LR stream was asked how sure it is; None if nothing says so."""
    scout: NetworkSpec | None = None
    """Architecture of the scout, which reads the LR image at its own size; None if there is none."""
    scout_doubt: Doubt | None = None
    """What patches are worth where the scout was asked."""
    doubts_with_hr: tuple[Doubt, ...] | None = None
    """(P - 1,) what further patches are worth by how sure both streams are with the policy's best 1, 2, … P - 1; None
    if nothing says so."""
    answer_temperatures: tuple[float, ...] | None = None
    """(P + 1,) what the log-probabilities of an answer from S = 0, 1, … P patches are divided by, fitted on the
    validation split; None if nothing says how sure the answers are."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """The recipe in full, as it was run."""
    seed: int = 0
    """Seed of every random choice in training."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """The results table of the run."""
    code_version: str = ""
    """geozoom's version at training time."""

    @property
    def grid(self) -> PatchGrid:
        """The patch grid of a scene."""
        return PatchGrid(rows=self.grid_rows, cols=self.grid_cols)

    @property
    def lr_classifier(self) -> NetworkSpec:
        """Architecture of the LR stream.

        Beside a BagNet it is the policy's, which reads the LR image at its own size: a second network at the HR size
        would cost as much as all the patches that were not bought.
        """
        return self.policy if is_bagnet(self.classifier.name) else self.classifier

    @property
    def lr_gsd_m(self) -> float | None:
        """Ground sample distance of the LR image in metres, or None without a ground scale."""
        return None if self.scene_m is None else self.scene_m / self.lr_px

    @property
    def hr_gsd_m(self) -> float | None:
        """Ground sample distance of the HR image in metres, or None without a ground scale."""
        return None if self.scene_m is None else self.scene_m / self.hr_px

    @property
    def asks(self) -> When:
        """Who says when HR is worth buying, unless a user does: the best who costs no more than the policy."""
        if self.scout_doubt is not None:
            return "scout"
        return "classifier" if self.doubt is not None and is_bagnet(self.classifier.name) else "policy"

    def doubt_of(self, when: When) -> Doubt | None:
        """Return what the answers of the network that `when` asks mean; None if it asks none, or nothing says so."""
        return {"policy": None, "scout": self.scout_doubt, "classifier": self.doubt}[when]

    @property
    def doubts_in_rounds(self) -> tuple[Doubt, ...] | None:
        """(P,) what further patches are worth where 0, 1, … P - 1 are there; None if nothing says so."""
        if self.doubt is None or self.doubts_with_hr is None:
            return None
        return (self.doubt, *self.doubts_with_hr)

    def to_json(self) -> str:
        """Return the card as JSON text."""
        return json.dumps({"format": CARD_FORMAT, **asdict(self)}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card back.

        Raises:
            ModelError: The text is not a card of this format.
        """
        try:
            content = json.loads(text)
            if content.pop("format") != CARD_FORMAT:
                raise ModelFormatError(f"its model card is not of format {CARD_FORMAT}; update geozoom")
            for network in ("classifier", "policy"):
                content[network] = _spec(content[network])
            for key in ("classes", "mean", "std"):
                content[key] = tuple(content[key])
            if content.get("answer_temperatures") is not None:
                content["answer_temperatures"] = tuple(content["answer_temperatures"])
            may_be = {"benefit": _benefit, "doubt": _doubt, "scout": _spec, "scout_doubt": _doubt}
            for key, made in may_be.items():
                if content.get(key) is not None:
                    content[key] = made(content[key])
            if content.get("doubts_with_hr") is not None:
                content["doubts_with_hr"] = tuple(_doubt(told) for told in content["doubts_with_hr"])
            card = cls(**content)
            sound = card._is_sound()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"its model card cannot be read ({error})") from error
        if not sound:
            raise ModelError("its model card holds impossible sizes; train the model again")
        return card

    def _is_sound(self) -> bool:
        return (
            self.grid.patches > 0
            and isinstance(self.lr_px, int)
            and isinstance(self.hr_px, int)
            and 0 < self.lr_px <= self.hr_px
            and self.hr_px % self.grid_rows == self.hr_px % self.grid_cols == 0
            and (self.scene_m is None or self.scene_m > 0)
            and len(self.mean) == len(self.std) == 3
            and min(self.std) > 0
            and min(self.reflectance_white, self.reflectance_gamma, self.lr_temperature) > 0
            and len(self.classes) > 1
            and self.fusion in FUSIONS
            and (self.scout is not None or self.scout_doubt is None)
            and all(
                doubt is None or doubt.patches == self.grid.patches
                for doubt in (self.doubt, self.scout_doubt)
            )
            and (
                self.doubts_with_hr is None
                or [doubt.patches for doubt in self.doubts_with_hr]
                == list(range(self.grid.patches - 1, 0, -1))
            )
            and (self.answer_temperatures is None or self._has_sound_temperatures(self.answer_temperatures))
        )

    def _has_sound_temperatures(self, temperatures: tuple[float, ...]) -> bool:
        return len(temperatures) == self.grid.patches + 1 and all(
            0 < each < math.inf for each in temperatures
        )


def _spec(told: dict[str, Any]) -> NetworkSpec:
    return NetworkSpec(name=told["name"], widths=None if told["widths"] is None else tuple(told["widths"]))


def _doubt(told: dict[str, Any]) -> Doubt:
    if "benefit" in told:
        raise ModelError(
            "its model card says in an older geozoom's way what its doubt means; finish its run again "
            "(geozoom train --resume)"
        )
    return Doubt(
        patches=told["patches"], alone=tuple(told["alone"]), helped=tuple(told["helped"]), least=told["least"]
    )


def _benefit(told: dict[str, Any]) -> Benefit:
    return Benefit(knots=tuple(told["knots"]), weights=tuple(told["weights"]), scenes=told["scenes"])

"""PatchDrop: a policy on the LR image and a two-stream classifier, with the card that describes them.

A checkpoint is one safetensors file. Its tensors are the weights; its header holds the model card as
JSON, so that `plan` and `classify` take all geometry from the file itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.bagnet import BagNet, gather_patches
from geozoom.card import ModelCard
from geozoom.errors import ModelError
from geozoom.files import write_tensors
from geozoom.fusion import fuse_streams
from geozoom.grid import PatchGrid
from geozoom.networks import build_network, build_resnet

_HEADER_KEY = "geozoom_model_card"
DEFAULT_MODEL = Path(__file__).parent / "data" / "default-model.safetensors"


class PatchDrop(nn.Module):
    """Policy, HR stream and LR stream (paper §4.1). Images are RGB in 0..1, not yet normalised.

    The LR stream has the HR stream's architecture and reads the LR image upsampled to the HR size; beside a BagNet it
    has the policy's, and reads the LR image as it is. Some models have a scout, which answers nearly as the LR stream
    does, from the LR image as it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        self.card = card
        self.grid = card.grid
        self.policy = build_resnet(card.policy, self.grid.patches)
        self.hr = build_network(card.classifier, len(card.classes), self.grid)
        self.lr = build_resnet(card.lr_classifier, len(card.classes))
        self.scout = None if card.scout is None else build_resnet(card.scout, len(card.classes))
        self.register_buffer("mean", torch.tensor(card.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(card.std).view(1, 3, 1, 1))

    def normalise(self, images: Tensor) -> Tensor:
        """Map RGB in 0..1 (B, 3, H, W) to zero mean and unit deviation, in channels_last."""
        normalised = (images - self.mean) / self.std
        return normalised.contiguous(memory_format=torch.channels_last)

    def policy_logits(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w) to one logit per patch, (B, P) float32 (Eq. 6)."""
        logits: Tensor = self.policy(self.normalise(lr))
        return logits.float()

    def probabilities(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w) to s, the probability of each patch, (B, P) float32 (Eq. 5-6)."""
        return torch.sigmoid(self.policy_logits(lr))

    def mask(self, hr: Tensor, bought: Tensor) -> Tensor:
        """Return normalised HR images (B, 3, H, W) with the patches that were not bought set to zero.

        Args:
            hr: (B, 3, H, W) RGB in 0..1; H and W are multiples of the grid's rows and columns.
            bought: (B, P) 1 for a bought patch, 0 for a masked one.
        """
        return apply_mask(self.normalise(hr), bought, self.grid)

    def hr_logits(self, hr: Tensor, bought: Tensor | None = None) -> Tensor:
        """Map HR images (B, 3, H, W) to logits of the HR stream (B, N) float32, masked if asked.

        A BagNet computes the patches that were bought, and no others.
        """
        if isinstance(self.hr, BagNet) and bought is not None:
            patches, scene = gather_patches(hr, bought, self.grid)
            return self.hr.of_bought(self.normalise(patches), scene, len(hr))
        images = self.normalise(hr) if bought is None else self.mask(hr, bought)
        logits: Tensor = self.hr(images)
        return logits.float()

    def hr_reader(self, hr: Tensor) -> Callable[[Tensor], Tensor]:
        """Return what maps masks (B, P) to logits of the HR stream (B, N) float32, for several masks of one batch.

        A step of training asks a BagNet so: every patch is computed once, in one static shape for which the host need
        not wait, and all masks are answered by it. Batch norms see the same patches whatever was bought, and the
        answers have a derivative by the mask. Another network looks at each masked image.
        """
        if not isinstance(self.hr, BagNet):
            return partial(self.hr_logits, hr)
        return partial(self.hr.add_up, self.hr.evidence(self.normalise(hr)))

    @property
    def lr_side(self) -> int:
        """Side of what the LR stream reads, in pixels."""
        return self.card.lr_px if isinstance(self.hr, BagNet) else self.card.hr_px

    def lr_logits(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w) to logits of the LR stream (B, N) float32."""
        if not isinstance(self.hr, BagNet):
            size = (self.lr_side, self.lr_side)
            lr = F.interpolate(lr, size=size, mode="bilinear", align_corners=False)
        logits: Tensor = self.lr(self.normalise(lr))
        return logits.float()

    def scout_logits(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w) to the scout's logits (B, N) float32.

        Raises:
            ModelError: The model has none.
        """
        if self.scout is None:
            raise ModelError(f"{self.card.name}: the model has no scout; train it again")
        logits: Tensor = self.scout(self.normalise(lr))
        return logits.float()

    def class_log_probabilities(self, hr: Tensor, lr: Tensor, bought: Tensor) -> Tensor:
        """Classify with both streams, by Eq. 7 or as the card says.

        Args:
            hr: (B, 3, H, W) RGB in 0..1; what lies under a masked patch is ignored.
            lr: (B, 3, h, w) RGB in 0..1.
            bought: (B, P) 1 for a bought patch, 0 for a masked one.

        Returns:
            (B, N) float32 log-probabilities.
        """
        return self.fuse(self.hr_logits(hr, bought), self.lr_logits(lr), bought)

    def fuse(self, hr_logits: Tensor, lr_logits: Tensor, bought: Tensor) -> Tensor:
        """Return log-probabilities (B, N) of the streams' logits (B, N) together, in the card's way."""
        card = self.card
        return fuse_streams(card.fusion, hr_logits, lr_logits, bought, card.lr_temperature)

    def mix(self, hr_logits: Tensor, lr_logits: Tensor, bought: Tensor) -> Tensor:
        """Return log-probabilities (B, N) of the streams' logits (B, N) by Eq. 7, with the card's LR temperature."""
        return fuse_streams("mixture", hr_logits, lr_logits, bought, self.card.lr_temperature)

    def calibrate(self, log_probabilities: Tensor, sampled: Tensor) -> Tensor:
        """Return log-probabilities (B, N) that are as sure as they are right, the order of classes unchanged.

        Temperature scaling (Guo et al., 2017), with the card's temperature for the number of patches: the fewer they
        are, the less HR has its say. Without temperatures in the card they come back as they are.

        Args:
            log_probabilities: (B, N) of both streams, or of the LR stream alone.
            sampled: (B,) int64, S of each scene.
        """
        if self.card.answer_temperatures is None:
            return log_probabilities
        temperatures = log_probabilities.new_tensor(self.card.answer_temperatures)
        return F.log_softmax(log_probabilities / temperatures[sampled, None], dim=1)

    def save(self, path: Path, *, half: bool = False) -> None:
        """Write the checkpoint, aside first and then renamed.

        Args:
            path: File to write; an existing one is replaced.
            half: Store the weights of convolutions and linear layers as float16, for shipping.

        Raises:
            OutputError: The file cannot be written; an existing one is still there.
        """
        weights = self.half_weights() if half else self.state_dict()
        write_tensors(path, weights, {_HEADER_KEY: self.card.to_json()})

    def half_weights(self) -> dict[str, Tensor]:
        """Return the state with the weights of convolutions and linear layers as float16."""
        return {
            name: tensor.half() if tensor.ndim > 1 and name.endswith("weight") else tensor
            for name, tensor in self.state_dict().items()
        }


def apply_mask(images: Tensor, bought: Tensor, grid: PatchGrid) -> Tensor:
    """Multiply images (B, C, H, W) by a patch mask (B, P): x_h ⊙ a1 of paper §3."""
    height, width = images.shape[-2:]
    pixels = on_pixels(bought.to(images.dtype), grid, height, width)
    return (images * pixels).contiguous(memory_format=torch.channels_last)


def on_pixels(patches: Tensor, grid: PatchGrid, height: int, width: int) -> Tensor:
    """Spread one value per patch (B, P) over the patch's pixels, (B, 1, height, width), multiples of the grid's.

    By copies: an interpolation takes the nearest patch in float32, at some sizes the wrong one for a line of pixels.
    """
    small = patches.view(-1, 1, grid.rows, 1, grid.cols, 1)
    down, across = height // grid.rows, width // grid.cols
    return small.expand(-1, -1, -1, down, -1, across).reshape(-1, 1, height, width)


def load_model(path: Path | str | None = None) -> PatchDrop:
    """Load a checkpoint in evaluation mode, in float32 on the CPU.

    Args:
        path: A checkpoint written by `geozoom train`; None loads the model that ships with geozoom.

    Raises:
        ModelError: The file is missing, cut short, not safetensors, or not a geozoom checkpoint.
    """
    path = DEFAULT_MODEL if path is None else Path(path)
    with _opened(path) as checkpoint:
        card = _card(path, checkpoint)
        try:
            model = PatchDrop(card)
            weights = {name: checkpoint.get_tensor(name) for name in checkpoint.keys()}
            # load_state_dict copies, which also brings float16 weights back to float32.
            model.load_state_dict(weights)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        except (SafetensorError, RuntimeError) as error:
            raise ModelError(
                f"{path}: the weights do not fit the model card; train the model again"
            ) from error
    return model.eval().to(memory_format=torch.channels_last)


def load_card(path: Path | str | None = None) -> ModelCard:
    """Read what a checkpoint says of itself, and none of its weights.

    Args:
        path: A checkpoint written by `geozoom train`; None takes the model that ships with geozoom.

    Raises:
        ModelError: As `load_model`, but for weights that do not fit the card.
    """
    path = DEFAULT_MODEL if path is None else Path(path)
    with _opened(path) as checkpoint:
        return _card(path, checkpoint)


def _opened(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(f"{path}: no such model; give --model a checkpoint that `geozoom train` wrote")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path}: not a readable safetensors file (cut short, or another format: {error}); "
            "copy it again or train it again"
        ) from error


def _card(path: Path, checkpoint: Any) -> ModelCard:
    text = (checkpoint.metadata() or {}).get(_HEADER_KEY)
    if text is None:
        raise ModelError(
            f"{path}: a safetensors file without geozoom's model card; give a checkpoint that "
            "`geozoom train` wrote"
        )
    try:
        return ModelCard.from_json(text)
    except ModelError as error:
        raise type(error)(f"{path}: {error}") from error

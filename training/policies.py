"""A policy that a run has learned, for another run to look through."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from geozoom.errors import RunError, first_line
from geozoom.grid import PatchGrid
from geozoom.inference import fold_batch_norms
from geozoom.model import PatchDrop, load_model
from training.checkpoints import read_checkpoint, take_weights
from training.record import card_of, read_record

_HAVE_POLICIES = ("pt", "ft1", "ft2")
_GIVE = "give a run of `geozoom train`, a checkpoint of its stage pt, ft1 or ft2, or a model.safetensors"


@dataclass(frozen=True, kw_only=True)
class FrozenPolicy:
    """A policy that answers and learns nothing."""

    network: nn.Module
    """Maps normalised LR images to a logit per patch; its batch norms are folded."""
    mean: Tensor
    """(1, 3, 1, 1) what its own normalisation subtracts."""
    std: Tensor
    """(1, 3, 1, 1) by what it divides."""
    file: Path
    """Where it came from."""
    sha256: str
    """Checksum of the file."""

    @torch.inference_mode()
    def logits(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, lr_px, lr_px) in 0..1 to a logit per patch, (B, P) float32 (Eq. 6)."""
        images = ((lr - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.network(images)
        return logits.float()

    def recorded(self) -> dict[str, str]:
        """Return what a run's record says of it."""
        return {"file": str(self.file), "sha256": self.sha256}


def load_policy(path: Path, *, grid: PatchGrid, lr_px: int, device: torch.device) -> FrozenPolicy:
    """Load the policy of a run, of a stage's checkpoint, or of a shipped model.

    Args:
        path: A run's folder, whose stage ft1 is taken; a checkpoint of pt, ft1 or ft2; or a model.safetensors.
        grid: The patches that it must choose among.
        lr_px: Side of the LR images that it will be shown.
        device: Where it is to work.

    Raises:
        RunError: There is no such policy, it is not trained to its end, or it is of another grid or LR size.
    """
    file, model = _open(path)
    card = model.card
    theirs, ours = f"{card.grid_rows} × {card.grid_cols}", f"{grid.rows} × {grid.cols}"
    if theirs != ours:
        raise RunError(
            f"{file}: is a policy of a grid of {theirs} patches, and the run's is {ours}; give one of that grid"
        )
    if card.lr_px != lr_px:
        raise RunError(
            f"{file}: is a policy of LR images of {card.lr_px} px, and the run's have {lr_px}; "
            "give one of that size, or set data.lr_px"
        )
    network = fold_batch_norms(model.policy).requires_grad_(False)
    return FrozenPolicy(
        network=network.to(device, memory_format=torch.channels_last),  # type: ignore[call-overload]
        mean=model.mean.to(device),
        std=model.std.to(device),
        file=file,
        sha256=checksum(file),
    )


def checksum(file: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _open(path: Path) -> tuple[Path, PatchDrop]:
    """Return the file that `path` means, and its model in evaluation mode."""
    if not path.exists():
        raise RunError(f"{path}: there is no such policy; {_GIVE}")
    file = path
    if path.is_dir():
        file = path / "checkpoints" / "ft1.safetensors"
        read_record(path)
        if not file.is_file():
            raise RunError(f"{path}: has not trained its stage ft1 yet; train it further, or {_GIVE}")
    try:
        with safe_open(file, framework="pt") as opened:
            header: dict[str, str] = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise RunError(f"{file}: the policy cannot be read ({first_line(error)}); {_GIVE}") from error
    if "done" not in header:
        return file, load_model(file)
    return file, _of_checkpoint(file, header)


def _of_checkpoint(file: Path, header: dict[str, str]) -> PatchDrop:
    if header.get("stage") not in _HAVE_POLICIES:
        raise RunError(f"{file}: is of stage {header.get('stage')}, which trains no policy; {_GIVE}")
    if header["done"] != "true":
        raise RunError(f"{file}: its stage is not trained to its end; go on with that run (--resume) first")
    run = file.resolve().parent.parent
    if not (run / "config.json").is_file():
        raise RunError(f"{file}: is a checkpoint outside of its run, whose config.json it needs; {_GIVE}")
    colours = {"mean": (0.0,) * 3, "std": (1.0,) * 3}  # of a run of before records had them; the weights have
    model = PatchDrop(card_of(colours | read_record(run), run.name))
    weights, _, _ = read_checkpoint(file)
    take_weights(model, file, weights, header)
    return model.eval()

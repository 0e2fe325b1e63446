"""The side channel: what the pattern of a mask tells of the class, whatever lies under it (METHOD §8).

The mask is chosen from the LR image, so that the HR classifier of Ft-1 may learn to read the class off its shape.
On the mean colour itself a mask leaves no trace, since masked patches show that colour too: here every bought patch
shows what another scene, drawn at random, has in that place.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from geozoom.model import PatchDrop
from training.evaluate import EVALUATION_BATCH, ViewedSplit
from training.sweep import scenes_of_a_part, sweep

_DECAY = 1e-3


def read_by_hr_stream(model: PatchDrop, views: ViewedSplit, masks: Tensor, seed: int) -> Tensor:
    """Return in which scenes the HR stream answers right with nothing but the mask to go by.

    Every patch is another scene's, whose they are drawn for each place by itself. Scenes that do not fill a last batch
    are left out.

    Args:
        model: The classifier, in evaluation mode.
        views: At least two HR scenes, which lend each other their patches.
        masks: (N, P) of the scenes.
        seed: Of who lends to whom.

    Returns:
        (n,) bool, n at most N.
    """
    asked = _strange(model, views, masks, seed)

    def ask(reader: PatchDrop, part: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        images, own, labels = part
        return reader.hr_logits(images, own).argmax(dim=1) == labels

    pixels = len(views) * model.card.hr_px**2
    return torch.cat(list(sweep(model, "hr", pixels, asked, ask)))


def _strange(
    model: PatchDrop, views: ViewedSplit, masks: Tensor, seed: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield scenes (b, 3, H, H) in 0..1 made of other scenes' patches, with the masks and labels of their own."""
    device = masks.device
    lender = torch.Generator().manual_seed(seed)
    for batch in views.split.batches(EVALUATION_BATCH, torch.Generator().manual_seed(seed)):
        images = batch.images.float() / 255
        rows, cols, size = model.grid.rows, model.grid.cols, len(images)
        tall, wide = images.shape[-2] // rows, images.shape[-1] // cols
        # (B, P, 3, tall, wide), and back with the patches of as many permutations.
        patches = images.reshape(size, 3, rows, tall, cols, wide).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        # Of scenes in no order, so many further on; by none, it would be the scene itself.
        further = torch.randint(1, size, (model.grid.patches,), generator=lender)
        lenders = ((torch.arange(size)[:, None] + further) % size).to(device)
        lent = patches[lenders, torch.arange(model.grid.patches, device=device)]
        strange = (
            lent.reshape(size, rows, cols, 3, tall, wide).permute(0, 3, 1, 4, 2, 5).reshape(images.shape)
        )
        part = scenes_of_a_part(model, images.shape[-1])
        yield from zip(
            *(torch.split(whole, part) for whole in (strange, masks[batch.scenes], batch.labels)), strict=True
        )


def read_linearly(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int) -> Tensor:
    """Return in which test scenes a linear classifier of masks answers right, (N,) bool.

    Multinomial logistic regression, fitted to the masks of the training scenes: a floor for what any reader of masks
    could know.

    Args:
        train: Masks (M, P) and labels (M,) to learn from.
        test: Masks (N, P) and labels (N,).
        classes: Number of classes.
    """
    masks, labels = train[0].float().clone(), train[1].clone()
    weights = torch.zeros(masks.shape[1] + 1, classes, device=masks.device, requires_grad=True)
    fit = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        fit.zero_grad()
        cost = F.cross_entropy(masks @ weights[1:] + weights[0], labels) + _DECAY * weights[1:].square().sum()
        cost.backward()  # type: ignore[no-untyped-call]
        return cost

    with torch.autocast(masks.device.type, enabled=False):
        fit.step(loss)  # type: ignore[no-untyped-call]
        scores = test[0].float() @ weights.detach()[1:] + weights.detach()[0]
    return scores.argmax(dim=1) == test[1]

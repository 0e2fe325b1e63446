"""What every stage works with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.bagnet import BagNet
from geozoom.inference import for_inference
from geozoom.model import PatchDrop
from geozoom.sensor import simulate_lr
from training.datasets import Batch
from training.evaluate import ViewedSplit
from training.judges import Judges
from training.parallel import ALONE, Team, randn
from training.policies import FrozenPolicy
from training.recipe import Recipe
from training.views import Augmentation, augment, cut, draw_crops, jitter


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The model under training, the recipe and the validation split."""

    model: PatchDrop
    recipe: Recipe
    val: ViewedSplit
    teacher: nn.Module | None = None
    """The HR-CNN as stage `hr` left it, frozen, for stages that distil it."""
    judges: Judges | None = None
    """Classifiers that reward the policy on scenes they have not seen; None rewards by the model itself."""
    policy: FrozenPolicy | None = None
    """Whose best patches stage `hr` hides; None if the recipe asks for no hard positives of a policy."""
    team: Team = ALONE
    """The processes that train together."""

    def hr_views(self, images: Tensor, generator: torch.Generator, min_area: float | None = None) -> Tensor:
        """Draw augmented HR views (B, 3, hr_px, hr_px) in 0..1 from uint8 scenes.

        `min_area` takes the place of the recipe's, where a stage has its own.
        """
        return augment(images, self.recipe.data.hr_px, self._augmentation(min_area), generator)

    def views(
        self, batch: Batch, generator: torch.Generator, min_area: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw HR views and the LR view (B, 3, lr_px, lr_px) of each, so that both see one crop.

        The LR view is simulated from the HR view, or cut out of the scene's own LR image where it has one.
        """
        if batch.twins is None:
            hr = self.hr_views(batch.images, generator, min_area)
            return hr, simulate_lr(hr, self.recipe.data.lr_px, self.recipe.sensor, generator, randn)
        augmentation = self._augmentation(min_area)
        hr_px, lr_px = self.recipe.data.hr_px, self.recipe.data.lr_px
        crops = draw_crops(batch.images, hr_px, augmentation, generator)
        hr, lr = cut(batch.images, crops, hr_px, augmentation), cut(batch.twins, crops, lr_px, augmentation)
        # Two sensors at two dates: their radiometry varies apart.
        return jitter(hr, augmentation.jitter, generator), jitter(lr, augmentation.jitter, generator)

    def _augmentation(self, min_area: float | None) -> Augmentation:
        augmentation = self.recipe.augmentation
        return augmentation if min_area is None else replace(augmentation, min_area=min_area)

    def taught(self, loss: Tensor, log_probabilities: Tensor, hr: Tensor, share: float) -> Tensor:
        """Mix a loss with what the HR-CNN, which sees every patch of the same view, would have answered.

        A mask that hides what tells two classes apart should leave both likely; a label cannot say so.

        Args:
            loss: What the labels teach.
            log_probabilities: (B, N) of the student, under its masks.
            hr: (B, 3, hr_px, hr_px) the whole views in 0..1.
            share: Weight of the teacher; at 0 the loss stays as it is.
        """
        if share == 0:
            return loss
        if self.teacher is None:
            raise ValueError("a stage that distils needs a teacher")
        with torch.no_grad():
            answers = F.softmax(self.teacher(self.model.normalise(hr)).float(), dim=1)
        return (1 - share) * loss + share * F.kl_div(log_probabilities, answers, reduction="batchmean")

    def begin_policy(self) -> None:
        """Give a fresh policy what the LR stream beside a BagNet has learned, where the recipe asks for it.

        Both read the same image by the same architecture there; beside a CNN the LR stream reads it upsampled. The last
        layer stays: it says where to look, and the LR stream's what there is.
        """
        model = self.model
        if self.recipe.pt.start != "lr" or not isinstance(model.hr, BagNet):
            return
        last = ("fc.weight", "fc.bias")
        learned = {name: tensor for name, tensor in model.lr.state_dict().items() if name not in last}
        model.policy.load_state_dict(model.policy.state_dict() | learned)

    def folded(self) -> PatchDrop:
        """Return the model to ask what is frozen in it: with folded batch norms, but where a GPU's compiler folds."""
        if self.model.mean.is_cuda:
            return self.model
        return for_inference(self.model).requires_grad_(False)

    def only_training(self, *networks: nn.Module) -> None:
        """Put `networks` into training mode and freeze all others in evaluation mode."""
        self.model.eval().requires_grad_(False)
        for network in networks:
            network.train().requires_grad_(True)

    def take_step(self, loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Backpropagate a loss, the mean over this process's scenes, and take one optimiser step."""
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(loss.device.type, enabled=False):  # backward goes as forward went
            loss.backward()  # type: ignore[no-untyped-call]
        self.team.average_gradients(
            parameter for group in optimizer.param_groups for parameter in group["params"]
        )
        optimizer.step()


def hit_rate(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the share of rows of scores (B, N) whose largest entry is the label's, as a tensor."""
    return (scores.argmax(dim=1) == labels).float().mean()

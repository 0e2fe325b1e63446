"""KD: a student that sees LR learns from the labels and from the HR-CNN's softened answers.

Hinton et al. (2015), as PatchDrop uses it by way of Su and Maji (2017): the teacher sees the HR view of a crop, the
student the LR view of the same crop. The student has the teacher's architecture, starts from its weights and
reads the LR view upsampled to the HR size, so that all that sets it apart from the LR-CNN is its loss:

    L = (1 − w) CE(p_s, y) + w T² KL(p_t^T ‖ p_s^T),   p^T = softmax(z / T)

Su and Maji write CE + λ H(p_t^T, p_s^T); their published code has T = 10 and λ = 200 on birds, 50 on cars. Up to the
learning rate that is w = λ / (λ + T²): 2/3, and 1/3. **Decided:** 2/3, and T² in the loss (Hinton et al. §2), so that T
can be changed without w; the labels are taken as they are, without the recipe's label smoothing, as in both papers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.card import ModelCard
from geozoom.networks import build_network
from training.baselines.reading import Reader, ReaderStage, as_lr, fit_in_turn, placed, seeded
from training.datasets import Batch, Split
from training.engine import Engine
from training.stages import Bench
from training.stages.bench import hit_rate


class Student(Reader):
    """A classifier of the HR-CNN's architecture that reads LR images upsampled to the HR size."""

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        self.network = build_network(card.classifier, len(card.classes), card.grid)

    def lr_logits(self, lr: Tensor) -> Tensor:
        """Map LR images (B, 3, h, w), RGB in 0..1, to logits (B, N) float32."""
        logits: Tensor = self.network(self.normalise(self.upsample(lr)))
        return logits.float()


class KdStage(ReaderStage):
    """The student learns from labels and teacher."""

    def __init__(self, bench: Bench, student: Student, teacher: nn.Module) -> None:
        self.own = bench.recipe.baselines.kd
        self.teacher = teacher
        super().__init__(bench, "kd", student, student, as_lr(bench, self.own))

    def step(self, batch: Batch, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """Classify the LR view of a crop as its label and the teacher, who sees the HR view, say."""
        hr, lr = self.bench.views(batch, generator)
        with torch.no_grad():
            taught = self.teacher(self.reader.normalise(hr)).float()
        logits = self.reader.lr_logits(lr)
        loss = distillation_loss(logits, taught, batch.labels, self.own.temperature, self.own.weight)
        self.bench.take_step(loss, self.optimizer)
        return {"loss": loss, "accuracy": hit_rate(logits, batch.labels)}


def distillation_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, weight: float
) -> Tensor:
    """Return the mean of (1 − w) CE + w T² KL(teacher ‖ student) at temperature T.

    Args:
        student: (B, N) logits.
        teacher: (B, N) logits.
        labels: (B,) class indices.
        temperature: T, by which both logits are divided.
        weight: w, the teacher's share.
    """
    ours, theirs = (F.log_softmax(logits / temperature, dim=1) for logits in (student, teacher))
    soft = temperature**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    return (1 - weight) * F.cross_entropy(student, labels) + weight * soft


def train(engine: Engine, bench: Bench, split: Split) -> Student:
    """Train what is missing of the student and return it in evaluation mode.

    Raises:
        ValueError: The bench has no teacher.
        RunError: As `Engine.fit`.
    """
    if bench.teacher is None:
        raise ValueError("KD needs a teacher")
    with seeded(engine, "kd"):
        student = Student(bench.model.card)
    student.network.load_state_dict(bench.teacher.state_dict())
    student = placed(engine, student)
    fit_in_turn(engine, [(KdStage(bench, student, bench.teacher), student)], split)
    return student.eval().requires_grad_(False)

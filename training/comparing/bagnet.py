"""Table 3 of the paper: a BagNet that computes what was bought, beside the whole BagNet, the CNN and other rules.

The BagNet and the CNN are ordinary runs of `geozoom train`; the baselines' folders lie in the BagNet's. Times are
taken in turns, of the classifiers of Ft-1 on the masks that they are tested on, with the work of choosing them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from geozoom.errors import RunError
from geozoom.inference import for_inference
from geozoom.model import PatchDrop
from geozoom.networks import is_bagnet
from training import STAGES
from training.baselines.masked import Column, MaskedBaseline
from training.baselines.rules import RULES, Rule
from training.baselines.stn import SALIENT
from training.comparing.comparison import Compared, TableRequest
from training.comparing.results_table import ROWS
from training.comparing.runs import open_measured, run_engine, train_run
from training.evaluate import correct, view_split
from training.evaluation import NOISE
from training.parallel import processes
from training.precision import in_half
from training.recalibrate import is_settled, load_as_shipped, settle
from training.recipe_files import with_bagnet
from training.run import with_teacher
from training.stages import Bench
from training.timing import median_ratio, time_in_turns

BAGNET, CNN, PATCHDROP = "BagNet, all patches", "CNN", "PatchDrop"
MASKED = ("fixed-h", "fixed-v", "stochastic", "stn")
_PUBLISHED: Mapping[str, tuple[float, float, float, float, float]] = {
    BAGNET: (85.6, 16, 85.6, 16, 192),
    CNN: (92.3, 16, 92.3, 16, 77),
    "Fixed-H": (67.7, 10, 86.3, 9, 98),
    "Fixed-V": (68.3, 10, 86.2, 9, 98),
    "Stochastic": (49.1, 10, 83.1, 9, 98),
    "STN": (67.5, 10, 86.8, 9, 112),
    PATCHDROP: (77.4, 9.5, 92.7, 8.5, 98),
}
"""Of CIFAR-10: accuracy and S of Pt and of Ft-1, and milliseconds per image on an i7-7700K."""
_TIMED, _AT_ONCE, _ROUNDS = 512, 256, 15
"""Test images that times are taken on, how many are classified at once, and rounds."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How well a classifier does, with how much."""

    accuracy: float
    """In percent."""
    sampled: float
    """S, the mean number of patches that it saw."""


Way = Callable[[], object]
"""Classifies all timed images."""
_Found = tuple[Measured, Measured, Way]
"""Pt, Ft-1 and the way of Ft-1."""


@dataclass(frozen=True, kw_only=True)
class BagNetRow:
    """One row of the table."""

    name: str
    pt: Measured
    """The classifier before it met masks."""
    ft1: Measured
    """The same after fine-tuning on the row's own masks, where there are any."""
    ms: float
    """Milliseconds per image, the median over rounds."""
    of_bagnet: float
    """Their share of what all patches take, the median over rounds."""
    published: tuple[float, float, float, float, float] | None
    """Accuracy and S of Pt and Ft-1, and milliseconds, as the paper has them; None of other data than CIFAR-10."""


@dataclass(frozen=True, kw_only=True)
class BagNetTable(Compared):
    """Table 3."""

    rows: tuple[BagNetRow, ...]

    def headings(self) -> tuple[str, ...]:
        """Return what stands above the cells."""
        return "", "Pt %", "S", "Ft-1 %", "S", "ms per image", "of BagNet", "published"

    def cells(self) -> list[tuple[str, ...]]:
        """Return the rows as text; what is published is in the order of the columns."""
        return [
            (
                row.name,
                *(
                    text
                    for each in (row.pt, row.ft1)
                    for text in (f"{each.accuracy:.1f}", f"{each.sampled:.1f}")
                ),
                f"{row.ms:.3f}",
                f"{row.of_bagnet:.3f}",
                "–" if row.published is None else ", ".join(f"{value:g}" for value in row.published),
            )
            for row in self.rows
        ]

    def plain(self) -> list[dict[str, Any]]:
        """Return the rows as plain values."""
        names = ("pt_accuracy", "pt_sampled", "ft1_accuracy", "ft1_sampled", "ms_per_image")
        return [
            {
                "name": row.name,
                **dict(
                    zip(
                        names,
                        (row.pt.accuracy, row.pt.sampled, row.ft1.accuracy, row.ft1.sampled, row.ms),
                        strict=True,
                    )
                ),
                "of_bagnet": row.of_bagnet,
                **{
                    f"published_{name}": None if row.published is None else row.published[at]
                    for at, name in enumerate(names)
                },
            }
            for row in self.rows
        ]


def compare_bagnets(request: TableRequest, console: Console) -> BagNetTable:
    """Train what is not trained yet, and measure every row side by side.

    Raises:
        RunError: A run cannot be trained or is of another recipe; there are several seeds or processes; or the
            recipe's classifier is no CNN.
        DatasetError: The dataset is not as expected.
    """
    if processes() > 1:
        raise RunError("table bagnet trains and takes times in one process: start it without torchrun")
    if len(request.seeds) > 1:
        raise RunError("table bagnet is of one seed: give --seeds 0, and a folder for each further one")
    if is_bagnet(request.recipe.networks.classifier):
        raise RunError(
            "table bagnet makes a BagNet of the recipe's classifier itself: set networks.classifier to a CNN"
        )
    (seed,) = request.seeds
    bagnet = replace(request, recipe=with_bagnet(request.recipe))
    stages = STAGES[: STAGES.index("ft1") + 1]
    train_run(bagnet, request.out / "bagnet", bagnet.recipe, seed, stages, "BagNet", console)
    train_run(request, request.out / "cnn", request.recipe, seed, ("hr",), "CNN", console)
    measuring = _Measuring(bagnet, seed, console)
    return BagNetTable(
        title=f"BagNets on {measuring.bagnet.data} (Table 3)",
        about=measuring.about(),
        rows=measuring.rows(),
    )


class _Measuring:
    """The two runs, trained, and what their rows are measured with."""

    def __init__(self, request: TableRequest, seed: int, console: Console) -> None:
        self.request, self.seed, self.console = request, seed, console
        self.bagnet, self.cnn = (
            open_measured(request, request.out / kind, console) for kind in ("bagnet", "cnn")
        )
        self.engine, self.model = self.bagnet.results.engine, self.bagnet.results.model
        self.views, self.train = self.bagnet.results.views, self.bagnet.results.train
        val = self.bagnet.scenes.val.to(self.engine.device)
        viewed = view_split(val, request.recipe, seed=seed + NOISE["val"])
        bench = Bench(model=self.model, recipe=request.recipe, val=viewed)
        self.bench = with_teacher(self.engine, bench)
        self.timed = self._timed()

    def about(self) -> tuple[str, ...]:
        """Return what a reader must know."""
        recipe, device = self.request.recipe, self.engine.device
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        threads = "" if device.type == "cuda" else f" (torch's threads: {torch.get_num_threads()})"
        half = "bfloat16" if in_half("bf16", device) else "float32"
        size = len(self.timed[0][0])
        data, networks = recipe.data, recipe.networks
        return (
            (
                f"{len(self.views)} test scenes of {data.hr_px} px, LR of {data.lr_px} px; {networks.classifier} and "
                f"{networks.policy}; recipe {self.request.recipe_name}, seed {self.seed}."
            ),
            (
                f"Times on {where}{threads}, {half}, {size} images at once, medians of {_ROUNDS} rounds in turns, what "
                "chooses patches included."
            ),
            "The rules buy PatchDrop's S of the same column and begin with the classifier that it begins with.",
            "Published: accuracy and S of Pt and of Ft-1, and milliseconds on an i7-7700K.",
            *self.bagnet.scenes.notes,
        )

    def rows(self) -> tuple[BagNetRow, ...]:
        """Train what is missing of the rules, measure accuracy, and take the times in turns."""
        cnn = self.cnn.results
        cnn.engine.load(cnn.model, "hr")
        self.engine.load(self.model, "hr")
        found = {BAGNET: self._all_patches(self.model), CNN: self._all_patches(cnn.model)}
        if not is_settled(self.engine, "ft1"):
            with self.engine.autocast():
                settle(self.engine, self.model, "ft1", self.train, self.bench.val, "hr", self.request.recipe)
        (pt, _), (ft1, way) = self._policy("pt"), self._policy("ft1")
        for name in MASKED:
            self.console.print(ROWS[name], highlight=False)
            found[ROWS[name]] = self._masked(name, {"pt": pt.sampled, "ft1": ft1.sampled})
        found[PATCHDROP] = pt, ft1, way
        images = sum(len(hr) for hr, _ in self.timed)
        ways = {name: way for name, (_, _, way) in found.items()}
        times = time_in_turns(ways, images, _ROUNDS, self.engine.device)
        return tuple(
            BagNetRow(
                name=name,
                pt=before,
                ft1=after,
                ms=median(times[name]),
                of_bagnet=median_ratio(times[name], times[BAGNET]),
                published=_PUBLISHED[name] if self.request.dataset == "cifar10" else None,
            )
            for name, (before, after, _) in found.items()
        )

    def _all_patches(self, model: PatchDrop) -> _Found:
        with self.engine.autocast():
            right = correct(model, self.views, "hr")
        patches = float(model.grid.patches)
        measured = Measured(accuracy=100 * right.float().mean().item(), sampled=patches)
        return measured, measured, self._way(model, None)

    def _policy(self, stage: str) -> tuple[Measured, Way]:
        load_as_shipped(self.engine, self.model, stage)
        with self.engine.autocast():
            masks = self.bagnet.results.masks()
            right = correct(self.model, self.views, "hr", masks)
        measured = Measured(
            accuracy=100 * right.float().mean().item(), sampled=masks.sum(dim=1).mean().item()
        )
        return measured, self._way(self.model, lambda model, lr: model.policy_logits(lr) > 0)

    def _masked(self, name: str, sampled: Mapping[Column, float]) -> _Found:
        folder = self.engine.folder / "baselines" / name
        folder.mkdir(parents=True, exist_ok=True)
        baseline = MaskedBaseline(
            name=name,
            source=self.engine,
            engine=run_engine(self.request, folder, self.seed, self.console),
            bench=self.bench,
            split=self.train,
            test=self.views,
        )
        with self.engine.autocast():
            rows = {
                column: Measured(accuracy=each.accuracy, sampled=each.sampled)
                for column, each in baseline.rows(sampled)
            }
        rule = SALIENT if name == "stn" else RULES[name]
        return rows["pt"], rows["ft1"], self._way(self.model, self._choosing(rule, sampled["ft1"]))

    def _choosing(self, rule: Rule, sampled: float) -> Callable[[PatchDrop, Tensor], Tensor]:
        """Return what maps a model and LR images to a rule's masks of S patches on the mean."""
        generator = torch.Generator(self.engine.device)

        def choose(model: PatchDrop, lr: Tensor) -> Tensor:
            # In every round the same number of patches: kernels are of one shape.
            generator.manual_seed(self.seed)
            counts = (sampled + torch.rand(len(lr), device=lr.device, generator=generator)).floor()
            return rule.choose(
                model, lr, lr.new_empty(0), counts, generator
            )  # none of these asks the LR stream

        return choose

    def _way(self, model: PatchDrop, choose: Callable[[PatchDrop, Tensor], Tensor] | None) -> Way:
        """Return what classifies all timed images by a model as it is now."""
        ready = for_inference(model)

        def work() -> None:
            for hr, lr in self.timed:
                ready.hr_logits(hr, None if choose is None else choose(ready, lr))

        return work

    def _timed(self) -> list[tuple[Tensor, Tensor]]:
        """Return batches of HR and LR images, all of one size."""
        size = min(_AT_ONCE, len(self.views))
        batches = itertools.islice(self.views.split.in_order(size), min(_TIMED, len(self.views)) // size)
        hr = [batch.images.float() / 255 for batch in batches]
        return list(zip(hr, torch.split(self.views.lr, size), strict=False))

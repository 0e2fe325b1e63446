"""Images a second of every stage against a plain loop of the same step: python -m tests.benchmarks.training.

The plain loop is written as published code is: eager float32, a DataLoader whose images are augmented one by one,
a copy to the device for every batch, masks by a loop over patches, figures read from the device at every step.
Both take the paper's recipe. They run in turns, so that other load on the machine falls on both.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from geozoom.card import ModelCard
from geozoom.images import ImageFiles
from geozoom.model import PatchDrop
from geozoom.networks import NetworkSpec
from training.compiling import begin_step, compile_networks
from training.datasets import Batch, HeldSplit, SceneIndex, Split
from training.datasets.streamed import StreamedSplit
from training.evaluate import correct, policy_probabilities, view_split
from training.precision import in_half
from training.recipe import Recipe
from training.recipe_files import load_recipe
from training.stages import Bench, FineTuning, HrStage, LrStage, PreTraining

STAGES = ("hr", "lr", "pt", "ft1", "ft2", "eval")
SHAPES = {"cifar": "paper-cifar10", "224px": "paper"}
MEAN, STD = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
CLASSES = 10
Work = Callable[[], int]
"""Takes some steps and returns how many images they were."""


def new_model(recipe: Recipe, device: torch.device) -> PatchDrop:
    """Return untrained networks of a recipe."""
    networks, data = recipe.networks, recipe.data
    card = ModelCard(
        name="benchmark",
        classes=tuple(map(str, range(CLASSES))),
        grid_rows=data.grid_rows,
        grid_cols=data.grid_cols,
        lr_px=data.lr_px,
        hr_px=data.hr_px,
        scene_m=None,
        mean=MEAN,
        std=STD,
        classifier=NetworkSpec(name=networks.classifier, widths=networks.classifier_widths),
        policy=NetworkSpec(name=networks.policy, widths=networks.policy_widths),
        stage="ft2",
        data="noise",
        data_license="none needed",
    )
    torch.manual_seed(0)
    return PatchDrop(card).to(device)


class OwnLoop:
    """geozoom's stages."""

    def __init__(self, recipe: Recipe, train: Split, test: Split, batch: int, device: torch.device) -> None:
        model = new_model(recipe, device).to(memory_format=torch.channels_last)
        compile_networks(model, recipe, device, Console(stderr=True))
        self.device, self.batch, self.train = device, batch, train.to(device)
        self.recipe = recipe
        self.bench = Bench(model=model, recipe=recipe, val=view_split(test.to(device), recipe, seed=0))
        self.noise = torch.Generator(device).manual_seed(0)

    def work(self, name: str) -> Work:
        """Return what takes one step of a stage, or evaluates once."""
        if name == "eval":
            return self._evaluate
        stages: dict[str, Callable[[], Any]] = {
            "hr": lambda: HrStage(self.bench),
            "lr": lambda: LrStage(self.bench),
            "pt": lambda: PreTraining(self.bench),
            "ft1": lambda: FineTuning(self.bench, "ft1"),
            "ft2": lambda: FineTuning(self.bench, "ft2"),
        }
        stage = stages[name]()
        batches = self._batches()
        stage.train_mode()  # works of other stages come after this one's

        def step() -> int:
            batch = next(batches)
            begin_step(self.device)
            with self._autocast():
                stage.step(batch, 0.5, self.noise)
            return len(batch.labels)

        return step

    def _evaluate(self) -> int:
        val = self.bench.val
        with self._autocast():
            masks = (policy_probabilities(self.bench.model, val) > 0.5).float()
            correct(self.bench.model, val, "both", masks).float().mean().item()
        return len(val)

    def _batches(self) -> Iterator[Batch]:
        shuffle = torch.Generator().manual_seed(0)
        while True:
            yield from self.train.batches(self.batch, shuffle)

    def _autocast(self) -> torch.autocast:
        half = in_half(self.recipe.precision, self.device)
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half, cache_enabled=False)


class Pictures(Dataset[tuple[Tensor, int]]):
    """Pictures from memory or files, augmented one at a time."""

    def __init__(self, pictures: list[Path] | np.ndarray[Any, Any], augmented: Any) -> None:
        self.pictures, self.augmented = pictures, augmented

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        found = self.pictures[number]
        picture = Image.open(found).convert("RGB") if isinstance(found, Path) else Image.fromarray(found)
        return self.augmented(picture), number % CLASSES


class PlainLoop:
    """The published way."""

    def __init__(self, recipe: Recipe, train: Any, test: Any, batch: int, device: torch.device) -> None:
        side = recipe.data.hr_px
        crop = (
            [transforms.RandomCrop(side, padding=4)]
            if side <= 64
            else [transforms.Resize(256), transforms.RandomCrop(side)]
        )
        ending = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        augmented = transforms.Compose([*crop, transforms.RandomHorizontalFlip(), *ending])
        whole = transforms.Compose([transforms.Resize(side), transforms.CenterCrop(side), *ending])
        workers = 2
        self.train = DataLoader(
            Pictures(train, augmented),
            batch,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=True,
        )
        self.test = DataLoader(Pictures(test, whole), batch, num_workers=workers, persistent_workers=True)
        self.device, self.recipe = device, recipe
        model = new_model(recipe, device)
        self.policy, self.hr, self.lr = model.policy, model.hr, model.lr
        self.grid = recipe.data.grid_rows, recipe.data.grid_cols

    def work(self, name: str) -> Work:
        """Return what takes one step of a stage, or evaluates once."""
        if name == "eval":
            return self._evaluate
        trained: dict[str, list[nn.Module]] = {
            "hr": [self.hr],
            "lr": [self.lr],
            "pt": [self.policy],
            "ft1": [self.policy, self.hr],
            "ft2": [self.policy, self.hr],
        }
        parameters = [parameter for network in trained[name] for parameter in network.parameters()]
        optimizer = (
            torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
            if name in ("hr", "lr")
            else torch.optim.Adam(parameters, lr=1e-4)
        )
        batches = self._batches()

        def step() -> int:
            for network in (self.policy, self.hr, self.lr):
                network.train(network in trained[name])
            images, labels = next(batches)
            images, labels = images.to(self.device), labels.to(self.device)
            loss = self._loss(name, images, labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss.item()
            return len(labels)

        return step

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.train

    def _loss(self, name: str, images: Tensor, labels: Tensor) -> Tensor:
        if name == "hr":
            return F.cross_entropy(self.hr(images), labels)
        small = self._small(images)
        if name == "lr":
            return F.cross_entropy(self.lr(self._large(small)), labels)
        probabilities = torch.sigmoid(self.policy(small))
        likely = (probabilities > 0.5).float()
        explored = probabilities * 0.8 + (1 - probabilities) * 0.2
        drawn = torch.bernoulli(explored.detach())
        with torch.no_grad():
            known = self.lr(self._large(small)) if name == "ft2" else None
            baseline = self._scores(images, likely, known)
        with torch.set_grad_enabled(name != "pt"):
            scores = self._scores(images, drawn, known)
        advantage = self._reward(scores, labels, drawn) - self._reward(baseline, labels, likely)
        taken = (explored * drawn + (1 - explored) * (1 - drawn)).clamp(min=1e-8)
        loss = -(advantage * taken.log().sum(1)).mean()
        return loss if name == "pt" else loss + F.nll_loss(scores, labels)

    def _small(self, images: Tensor) -> Tensor:
        side = self.recipe.data.lr_px
        return F.interpolate(images, size=(side, side), mode="bilinear", antialias=True)

    def _large(self, small: Tensor) -> Tensor:
        side = self.recipe.data.hr_px
        return F.interpolate(small, size=(side, side), mode="bilinear")

    def _scores(self, images: Tensor, masks: Tensor, known: Tensor | None) -> Tensor:
        rows, cols = self.grid
        side = images.shape[-1] // rows
        masked = images.clone()
        for patch in range(rows * cols):
            top, left = patch // cols * side, patch % cols * side
            masked[:, :, top : top + side, left : left + side] *= masks[:, patch].view(-1, 1, 1, 1)
        scores = F.softmax(self.hr(masked), dim=1)
        if known is not None:
            share = masks.mean(1, keepdim=True)
            scores = share * scores + (1 - share) * F.softmax(known, dim=1)
        return (scores + 1e-8).log()

    @staticmethod
    def _reward(scores: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
        reward = 1 - masks.mean(1) ** 2
        wrong = scores.argmax(1) != labels
        reward[wrong] = -0.5
        return reward

    @torch.no_grad()
    def _evaluate(self) -> int:
        for network in (self.policy, self.hr, self.lr):
            network.eval()
        right = seen = 0
        for batch in self.test:
            images, labels = (part.to(self.device) for part in batch)
            small = self._small(images)
            masks = (torch.sigmoid(self.policy(small)) > 0.5).float()
            scores = self._scores(images, masks, self.lr(self._large(small)))
            right += int((scores.argmax(1) == labels).sum().item())
            seen += len(labels)
        return seen


def make_loops(
    shape: str, batch: int, compiled: str, device: torch.device, folder: Path
) -> tuple[OwnLoop, PlainLoop]:
    """Return both loops on the same pictures: CIFAR's in memory, larger ones as JPEG files."""
    recipe = load_recipe(SHAPES[shape], [f"compile={compiled}"])
    rng = np.random.default_rng(0)
    if shape == "cifar":
        pixels = rng.integers(0, 256, (max(2048, 4 * batch), 32, 32, 3), dtype=np.uint8)
        held = rng.integers(0, 256, (2 * batch, 32, 32, 3), dtype=np.uint8)
        ours = [
            HeldSplit(
                images=torch.from_numpy(some).permute(0, 3, 1, 2).contiguous(),
                labels=torch.arange(len(some)) % CLASSES,
                files=tuple(map(str, range(len(some)))),
            )
            for some in (pixels, held)
        ]
        return (
            OwnLoop(recipe, ours[0], ours[1], batch, device),
            PlainLoop(recipe, pixels, held, batch, device),
        )
    files = []
    for number in range(10 * batch):
        coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        file = folder / f"{number}.jpg"
        Image.fromarray(coarse).resize((300, 300), Image.Resampling.BICUBIC).save(file, quality=90)
        files.append(file)
    groups = [files[: 8 * batch], files[8 * batch :]]
    splits = []
    for some, side in zip(groups, (256, recipe.data.hr_px), strict=True):
        labels = np.arange(len(some)) % CLASSES
        index = SceneIndex(
            source=ImageFiles(root=folder), files=tuple(file.name for file in some), labels=labels
        )
        splits.append(StreamedSplit(index=index, side=side, twin_side=0, labels=torch.from_numpy(labels)))
    return (
        OwnLoop(recipe, splits[0], splits[1], batch, device),
        PlainLoop(recipe, groups[0], groups[1], batch, device),
    )


def speed(work: Work, steps: int, device: torch.device) -> float:
    """Return images a second over some steps."""
    _wait(device)
    began = time.perf_counter()
    images = sum(work() for _ in range(steps))
    _wait(device)
    return images / (time.perf_counter() - began)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure, print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", choices=SHAPES, nargs="*", default=list(SHAPES))
    parser.add_argument("--stage", choices=STAGES, nargs="*", default=list(STAGES))
    parser.add_argument(
        "--batch", type=int, help="images a step; by default 256 of CIFAR and 16 at 224 px on a CPU"
    )
    parser.add_argument("--steps", type=int, help="steps a turn; by default 2 on a CPU, 50 on a GPU")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", default="auto", help="the recipe's key")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    on_gpu = device.type == "cuda"
    steps = asked.steps or (50 if on_gpu else 2)
    table = Table("shape", "stage", "batch", "plain images/s", "geozoom images/s", "ratio", "of each round")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in asked.shape:
            standard = (1024, 128) if on_gpu else (256, 16)
            batch = asked.batch or standard[shape != "cifar"]
            own, plain = make_loops(shape, batch, asked.compile, device, Path(folder))
            for stage in asked.stage:
                count = max(1, steps // 2) if stage == "eval" else steps
                works = plain.work(stage), own.work(stage)
                for work in works:
                    speed(work, 2, device)  # compilers, caches and workers
                pairs = [[speed(work, count, device) for work in works] for _ in range(asked.rounds)]
                ratios = [ours / theirs for theirs, ours in pairs]
                medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
                ratio = statistics.median(ratios)
                rows.append(
                    {
                        "shape": shape,
                        "stage": stage,
                        "batch": batch,
                        "plain": medians[0],
                        "geozoom": medians[1],
                        "ratio": ratio,
                        "ratios": ratios,
                    }
                )
                spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
                figures = [f"{value:,.0f}" for value in medians]
                table.add_row(shape, stage, str(batch), *figures, f"{ratio:.2f}", spread)
                print(f"{shape} {stage}: {figures[0]} and {figures[1]} images/s, {ratio:.2f}", flush=True)
    Console().print(table)
    if asked.json:
        name = torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} CPU threads"
        content = {"device": name, "torch": torch.__version__, "rows": rows}
        asked.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

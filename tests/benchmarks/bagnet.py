"""Milliseconds per image of BagNets that compute what was bought: python -m tests.benchmarks.bagnet.

A BagNet on all patches, the same on S patches of 16 with the policy's own cost in it, the plain CNN and the policy
alone take the same images in turns, with folded batch norms and in bfloat16 where the device has it. Weights are
random: they do not change the time. Masks hold S patches per image, within 2% another number in every round, as real
ones do.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from geozoom.inference import for_inference
from geozoom.model import PatchDrop
from geozoom.networks import NetworkSpec
from tests.benchmarks.training import new_model
from training.evaluate import random_masks, spread_evenly
from training.recipe_files import load_recipe
from training.timing import median_ratio, time_in_turns

SHAPES = {"cifar": "paper-cifar10", "224px": "paper-imagenet"}
SAMPLED = (2.0, 4.0, 8.5, 12.0, 16.0)
BAG, CNN, POLICY = "BagNet, all patches", "CNN", "policy"


def ways_of(shape: str, images: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """Return what each way does with the same images."""
    recipe = load_recipe(SHAPES[shape], [])
    whole = new_model(recipe, device)
    bag = for_inference(_with_classifier(whole, f"bagnet-{recipe.networks.classifier}", device))
    cnn = for_inference(whole)
    noise = torch.Generator(device).manual_seed(0)
    hr, lr = (
        torch.rand(images, 3, side, side, generator=noise, device=device)
        for side in (recipe.data.hr_px, recipe.data.lr_px)
    )
    rng = np.random.default_rng(0)
    patches = images * bag.grid.patches

    def conditional(sampled: float) -> Callable[[], object]:
        totals = (min(patches, round(sampled * images * share)) for share in np.linspace(0.98, 1.02, 8))
        drawn = [
            random_masks(spread_evenly(t, images, bag.grid.patches, rng), bag, rng).to(device) for t in totals
        ]
        masks = itertools.cycle(drawn)

        def work() -> Tensor:
            bag.policy_logits(lr)  # what it costs; S is set
            return bag.hr_logits(hr, next(masks))

        return work

    return {
        BAG: lambda: bag.hr_logits(hr),
        CNN: lambda: cnn.hr_logits(hr),
        POLICY: lambda: bag.policy_logits(lr),
        **{f"PatchDrop, S = {sampled:g}": conditional(sampled) for sampled in SAMPLED},
    }


def _with_classifier(model: PatchDrop, name: str, device: torch.device) -> PatchDrop:
    """Return a fresh model whose classifier is another network."""
    card = replace(model.card, classifier=NetworkSpec(name=name, widths=model.card.classifier.widths))
    return PatchDrop(card).to(device)


def main() -> None:
    """Measure, print a table, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", choices=SHAPES, nargs="*", default=["cifar"])
    parser.add_argument("--batch", type=int, nargs="*", help="images at once; 256 of CIFAR and 16 at 224 px")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, help="torch's, on a CPU")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    content = []
    for shape in asked.shape:
        for batch in asked.batch or [256 if shape == "cifar" else 16]:
            times = time_in_turns(ways_of(shape, batch, device), batch, asked.rounds, device)
            table = Table("way", "ms per image", "of BagNet", "of CNN", title=f"{shape}, {batch} images")
            for name, found in times.items():
                ratios = [median_ratio(found, times[other]) for other in (BAG, CNN)]
                median = statistics.median(found)
                table.add_row(name, f"{median:.4f}", *(f"{ratio:.3f}" for ratio in ratios))
                content.append(
                    {"shape": shape, "batch": batch, "way": name, "ms": median, "rounds": found}
                    | {"of_bagnet": ratios[0], "of_cnn": ratios[1]}
                )
            Console().print(table)
    print(
        f"{device}, {torch.get_num_threads()} threads, {os.cpu_count()} cores, medians of {asked.rounds} rounds"
    )
    if asked.json:
        asked.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

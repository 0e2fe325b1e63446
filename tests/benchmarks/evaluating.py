"""Seconds of a row and its controls, as `geozoom evaluate` and plainly: python -m tests.benchmarks.evaluating.

Seven masks a scene (the policy's, five random, fixed-centre) on the HR stream of `--recipe aid`, in bf16. The plain
way is a pass over the scenes for each mask, in batches of 128 with batch norms as trained, all of torch's threads on
one batch. Both are measured in turns, so that other load on the machine falls on both, in seconds of the clock and of
processors: where other work wants the cores, threads that share a batch wait for each other, and spin while they wait.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from geozoom.inference import has_bfloat16
from geozoom.model import PatchDrop
from tests.benchmarks.training import CLASSES, new_model
from training.datasets import HeldSplit
from training.evaluate import ViewedSplit, correct_each, view_split
from training.recipe_files import load_recipe

MASKS = 7


@torch.inference_mode()
def plainly(model: PatchDrop, views: ViewedSplit, masks: list[Tensor]) -> list[Tensor]:
    """Return which scenes are right under each mask, a pass for each."""
    found = []
    for mask in masks:
        start, right = 0, []
        for batch in views.split.in_order(128):
            rows = slice(start, start + len(batch.labels))
            start = rows.stop
            scores = model.hr_logits(batch.images.float() / 255, mask[rows])
            right.append(scores.argmax(dim=1) == batch.labels)
        found.append(torch.cat(right))
    return found


def main() -> None:
    """Print both ways' seconds, and how much they differ in what they find."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    recipe = load_recipe("aid", [])
    model = new_model(recipe, torch.device("cpu")).to(memory_format=torch.channels_last).eval()
    drawn = torch.Generator().manual_seed(0)
    side = recipe.data.hr_px
    images = torch.randint(0, 256, (asked.scenes, 3, side, side), dtype=torch.uint8, generator=drawn)
    split = HeldSplit(
        images=images,
        labels=torch.arange(asked.scenes) % CLASSES,
        files=tuple(map(str, range(asked.scenes))),
    )
    views = view_split(split, recipe, seed=0)
    masks = [(torch.rand((asked.scenes, 16), generator=drawn) < 0.5).float() for _ in range(MASKS)]
    ways: dict[str, Callable[[], list[Tensor]]] = {
        "plainly": lambda: plainly(model, views, masks),
        "as geozoom evaluates": lambda: correct_each(model, views, "hr", masks),
    }
    spent: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    found: dict[str, Tensor] = {}
    with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16(), cache_enabled=False):
        for _ in range(asked.rounds):
            for way, work in ways.items():
                clock, processors = time.perf_counter(), time.process_time()
                found[way] = torch.stack(work())
                spent[way].append((time.perf_counter() - clock, time.process_time() - processors))
    for way, rounds in spent.items():
        clock, processors = (statistics.median(values) for values in zip(*rounds, strict=True))
        print(f"{way}: {clock:.1f} s, {processors:.1f} s of processors")
    differ = found["plainly"] != found["as geozoom evaluates"]
    print(
        f"{torch.get_num_threads()} threads; {differ.sum().item()} of {differ.numel()} answers turn by rounding"
    )


if __name__ == "__main__":
    main()

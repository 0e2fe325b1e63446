"""What buying in rounds is worth: `plan --catalog` again and again beside one plan, on labelled images.

As many patches over all scenes, bought with the classifier asked: in one round, or an equal part in each of several,
where both streams, which have seen what is there, are still unsure. Differences are paired over the scenes, with their
standard errors.

    python -m tests.benchmarks.rounds FOLDER    # CLASS/image or {train,val,test}/CLASS/image
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geozoom.doubt import log_odds
from geozoom.imageclassification import classify_images
from geozoom.imagescenes import list_folder
from geozoom.model import DEFAULT_MODEL, load_model
from geozoom.money import _answers
from training.rounds import in_rounds

BOUGHT = (1, 2, 3, 4, 5, 6, 7, 8)
ROUNDS = (1, 2, 4)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="labelled images")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    given = parser.parse_args()
    model = load_model(given.model)
    doubts = model.card.doubts_in_rounds
    if doubts is None:
        raise SystemExit(f"{given.model}: its card does not say what doubt means with HR")
    scenes = classify_images(list_folder(given.folder), model=model).buyable()
    patches = model.grid.patches
    rank = np.argsort(np.argsort(-scenes.s, axis=1, kind="stable"), axis=1)
    masks = np.stack([rank < count for count in range(patches + 1)])
    right = np.zeros((len(scenes), patches + 1), dtype=bool)
    sure = np.zeros((len(scenes), patches + 1))
    for rows, log in _answers(model, scenes, masks, None):
        answered = log.argmax(dim=2).numpy().T
        right[rows] = answered == scenes.labels[rows, None]
        sure[rows] = log_odds(torch.flatten(log, 0, 1).numpy()).reshape(len(masks), -1).T
    every, s = np.arange(len(scenes)), torch.from_numpy(scenes.s)

    def ask(masks: Tensor) -> NDArray[np.float64]:
        """Return the log-odds (N,) with what is bought, which are a scene's most probable patches."""
        odds: NDArray[np.float64] = sure[every, masks.sum(dim=1).long().numpy()]
        return odds

    def found_by(rounds: int, total: int) -> NDArray[np.float64]:
        """Return which scenes (N,) are answered correctly, 1 or 0, with so many patches bought in rounds."""
        masks = in_rounds(ask, sure[:, 0], doubts, s, total, rounds)
        found: NDArray[np.float64] = right[every, masks.sum(dim=1).long().numpy()].astype(float)
        return found

    found = {(rounds, each): found_by(rounds, each * len(scenes)) for rounds in ROUNDS for each in BOUGHT}
    print(f"{len(scenes):,} scenes; all patches: {right[:, -1].mean():.1%}\n")
    print(f"| patches a scene | {' | '.join(map(str, BOUGHT))} |")
    print(f"|---|{'---|' * len(BOUGHT)}")
    for rounds in ROUNDS:
        print(f"| {rounds} | {' | '.join(f'{100 * found[rounds, each].mean():.1f}' for each in BOUGHT)} |")
    for rounds in ROUNDS[1:]:
        changes = [found[rounds, each] - found[1, each] for each in BOUGHT]
        told = (
            f"{100 * change.mean():.1f} ± {100 * change.std(ddof=1) / math.sqrt(len(scenes)):.1f}"
            for change in changes
        )
        print(f"| {rounds} against 1 | {' | '.join(told)} |")


if __name__ == "__main__":
    main()

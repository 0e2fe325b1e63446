"""The baselines that see LR alone, by name."""

from __future__ import annotations

from collections.abc import Callable

from training.baselines import kd, pcn, srgan
from training.baselines.reading import Reader
from training.datasets import Split
from training.engine import Engine
from training.stages import Bench

LOWRES: dict[str, Callable[[Engine, Bench, Split], Reader]] = {
    "srgan": srgan.train,
    "kd": kd.train,
    "pcn": pcn.train,
}
"""Each trains what is missing, goes on with what is not finished, and returns the network in evaluation mode.

`Engine.folder` is the baseline's own; the bench brings the HR-CNN as teacher, from whose weights they begin.
"""

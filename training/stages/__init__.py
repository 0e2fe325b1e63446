"""The stages of training, in the order in which they run."""

from training.stages.bench import Bench
from training.stages.ft import FineTuning
from training.stages.hr import HrStage
from training.stages.lr import LrStage
from training.stages.pt import PreTraining
from training.stages.robust import RobustStage

__all__ = [
    "Bench",
    "FineTuning",
    "HrStage",
    "LrStage",
    "PreTraining",
    "RobustStage",
]

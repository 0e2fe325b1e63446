"""Datasets: every one is read into the same three splits of square uint8 scenes."""

from training.datasets.folder import read_folder
from training.datasets.scenes import Batch, SceneData, Split

__all__ = ["Batch", "SceneData", "Split", "read_folder"]

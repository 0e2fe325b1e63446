"""Datasets: a module lists each one as an index; `read_dataset` makes splits of any index."""

from __future__ import annotations

from pathlib import Path

from geozoom.errors import DatasetError
from training.datasets.index import DatasetIndex, SceneIndex
from training.datasets.loading import Reading, Sizes, load
from training.datasets.scenes import Batch, HeldSplit, SceneData, Split
from training.recipe import CardRecipe, DataRecipe

__all__ = [
    "Batch",
    "DatasetIndex",
    "HeldSplit",
    "Reading",
    "SceneData",
    "SceneIndex",
    "Sizes",
    "Split",
    "index_dataset",
    "load",
    "read_dataset",
]


def index_dataset(
    name: str,
    root: Path,
    *,
    val_share: float,
    seed: int,
    lr_root: Path | None = None,
    card: CardRecipe | None = None,
) -> DatasetIndex:
    """List a dataset.

    Args:
        name: One of `training.DATASETS`.
        root: Its folder.
        val_share: Share of every class of train that becomes val where the dataset has none to spare.
        seed: Seed of that choice.
        lr_root: Folder of fMoW-Sentinel, for fMoW with real LR images.
        card: How their reflectance is shown.

    Raises:
        DatasetError: The folder is not that dataset.
    """
    if lr_root is not None and name != "fmow":
        raise DatasetError(f"--lr-root {lr_root}: only fMoW has real LR images (fMoW-Sentinel); leave it out")
    # Each module is imported when its dataset is used: only fMoW needs rasterio.
    if name in ("cifar10", "cifar100"):
        from training.datasets.cifar import index_cifar

        return index_cifar(root, edition=name, val_share=val_share, seed=seed)
    if name == "imagenet":
        from training.datasets.imagenet import index_imagenet

        return index_imagenet(root, val_share=val_share, seed=seed)
    if name == "fmow":
        from training.datasets.fmow import TwinRecipe, index_fmow

        card = card or CardRecipe()
        white, gamma = card.reflectance_white, card.reflectance_gamma
        twins = None if lr_root is None else TwinRecipe(root=lr_root, white=white, gamma=gamma)
        return index_fmow(root, val_share=val_share, seed=seed, twins=twins)
    if name == "folder":
        from training.datasets.folder import index_folder

        return index_folder(root, val_share=val_share, seed=seed)
    raise ValueError(f"no dataset is called {name!r}")


def read_dataset(
    name: str,
    root: Path,
    recipe: DataRecipe,
    *,
    seed: int,
    reading: Reading | None = None,
    lr_root: Path | None = None,
    card: CardRecipe | None = None,
) -> SceneData:
    """List and read a dataset at a recipe's sizes; see `index_dataset` and `load`."""
    index = index_dataset(name, root, val_share=recipe.val_share, seed=seed, lr_root=lr_root, card=card)
    sizes = Sizes(hr_px=recipe.hr_px, lr_px=recipe.lr_px, margin=recipe.margin)
    return load(index, sizes, reading or Reading())

"""CIFAR-10 and CIFAR-100 as their authors pack them for Python."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from geozoom.errors import DatasetError, first_line
from geozoom.images import Box
from training.datasets.index import (
    DatasetIndex,
    SceneIndex,
    held_out_as,
    hold_out,
    wrong_layout,
)

SIDE = 32


@dataclass(frozen=True, kw_only=True)
class _Edition:
    """How one of the two is packed."""

    name: str
    folder: str
    train: tuple[str, ...]
    test: str
    meta: str
    names: str
    """Key of the class names in `meta`."""
    labels: str
    """Key of the labels in the other files."""
    published: dict[str, str]
    """MD5 of the published files."""

    @property
    def expected(self) -> str:
        files = ", ".join((*self.train, self.test, self.meta))
        return f"{self.folder}/ (or its parent) with the files {files}"


_CIFAR10, _CIFAR100 = torchvision.datasets.CIFAR10, torchvision.datasets.CIFAR100
EDITIONS = {
    "cifar10": _Edition(
        name="CIFAR-10",
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
        meta="batches.meta",
        names="label_names",
        labels="labels",
        published=dict(_CIFAR10.train_list + _CIFAR10.test_list),
    ),
    "cifar100": _Edition(
        name="CIFAR-100",
        folder="cifar-100-python",
        train=("train",),
        test="test",
        meta="meta",
        names="fine_label_names",
        labels="fine_labels",
        published=dict(_CIFAR100.train_list + _CIFAR100.test_list),
    ),
}


@dataclass(frozen=True, kw_only=True)
class _PackedImages:
    """Images of unpickled files, named FILE:ROW."""

    pixels: dict[str, NDArray[np.uint8]]
    """File → (N, 3, 32, 32)."""

    def read(self, file: str, box: Box | None, side: int) -> Tensor:
        """Return one image as (3, side, side) uint8 RGB."""
        name, row = file.split(":")
        image = self.pixels[name][int(row)]
        if side != SIDE:
            picture = Image.fromarray(image.transpose(1, 2, 0))
            image = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        return torch.from_numpy(image.copy())


def index_cifar(root: Path, *, edition: str, val_share: float, seed: int) -> DatasetIndex:
    """List CIFAR-10 or CIFAR-100; the validation split is held out of train.

    Args:
        root: The folder of the pickled files, or its parent.
        edition: "cifar10" or "cifar100".
        val_share: Share of every class of train that becomes val.
        seed: Seed of that choice.

    Raises:
        DatasetError: Files are missing, damaged, or hold labels without a name.
    """
    known = EDITIONS[edition]
    folder = root / known.folder if (root / known.folder).is_dir() else root
    if not all((folder / file).is_file() for file in (*known.train, known.test, known.meta)):
        raise wrong_layout(folder, known.expected)
    digests = {name: _digest(folder / name) for name in (*known.train, known.test)}
    _refuse_copies(folder, digests)
    classes = _class_names(folder / known.meta, known.names)
    train = _read_files(folder, known, known.train, len(classes))
    train, val = hold_out(train, classes, val_share, seed)
    return DatasetIndex(
        name=known.name,
        root=folder,
        classes=classes,
        train=train,
        val=val,
        test=_read_files(folder, known, (known.test,), len(classes)),
        val_from=held_out_as(val_share, seed),
        train_px=SIDE,
        notes=_unpublished(digests, known),
    )


def _read_files(folder: Path, known: _Edition, names: tuple[str, ...], classes: int) -> SceneIndex:
    pixels: dict[str, NDArray[np.uint8]] = {}
    labels: list[NDArray[np.int64]] = []
    for name in names:
        file = folder / name
        content = _unpickle(file)
        data, own = (_array(file, content, key) for key in ("data", known.labels))
        if (
            data.dtype != np.uint8
            or data.ndim != 2
            or data.shape[1] != 3 * SIDE * SIDE
            or own.shape != data.shape[:1]
            or (len(own) > 0 and not np.issubdtype(own.dtype, np.integer))
        ):
            raise DatasetError(
                f"{file}: holds {data.dtype} data of shape {data.shape} and {own.dtype} labels of shape {own.shape}, "
                f"where {3 * SIDE * SIDE} bytes and one number an image were expected; unpack the archive again"
            )
        strange = own[(own < 0) | (own >= classes)]
        if len(strange):
            raise DatasetError(
                f"{file}: holds label {strange[0]}, but {known.meta} names {classes} classes; unpack the archive again"
            )
        pixels[name] = data.reshape(-1, 3, SIDE, SIDE)
        labels.append(own.astype(np.int64))
    return SceneIndex(
        source=_PackedImages(pixels=pixels),
        files=tuple(f"{name}:{row}" for name in names for row in range(len(pixels[name]))),
        labels=np.concatenate(labels),
    )


def _array(file: Path, content: dict[str, Any], key: str) -> NDArray[Any]:
    try:
        return np.asarray(_field(file, content, key))
    except ValueError as error:  # rows of different lengths
        raise DatasetError(
            f"{file}: {key!r} is no array ({first_line(error)}); unpack the archive again"
        ) from error


def _class_names(file: Path, key: str) -> tuple[str, ...]:
    names = _field(file, _unpickle(file), key)
    if not isinstance(names, list | tuple) or len({str(name) for name in names}) < len(names):
        raise DatasetError(f"{file}: {key!r} is no list of different names; unpack the archive again")
    return tuple(map(str, names))


def _digest(file: Path) -> str:
    try:
        return hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    except OSError as error:
        raise DatasetError(f"{file}: cannot be read ({error}); unpack the archive again") from error


def _refuse_copies(folder: Path, digests: dict[str, str]) -> None:
    """Refuse a file in another's place: its scenes would be counted twice, or tested on after training."""
    first: dict[str, str] = {}
    for name, digest in digests.items():
        if first.setdefault(digest, name) != name:
            raise DatasetError(
                f"{folder / name}: is the same file as {first[digest]}; unpack the archive again"
            )


def _unpublished(digests: dict[str, str], known: _Edition) -> tuple[str, ...]:
    """Say which files are not the published ones: figures on a re-coded copy compare with no others."""
    other = [name for name, digest in digests.items() if digest != known.published.get(name)]
    if not other:
        return ()
    count = f"{len(other)} of {len(known.train) + 1} differ"
    return (f"not the published files of {known.name} ({count}): state so with every figure",)


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles lists, strings and arrays; anything else in a file could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_reconstruct" and module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            return np.empty(0).__reduce__()[0]
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds a {module}.{name}, which is no part of CIFAR")


def _unpickle(file: Path) -> dict[str, Any]:
    try:
        # The published files were written by Python 2, whose strings are bytes.
        content = _PlainUnpickler(io.BytesIO(file.read_bytes()), encoding="latin1").load()
    except Exception as error:  # damaged pickles raise whatever their bytes happen to say
        raise DatasetError(
            f"{file}: cannot be read ({first_line(error)}); unpack the archive again"
        ) from error
    if not isinstance(content, dict):
        raise DatasetError(
            f"{file}: holds a {type(content).__name__}, not a dictionary; unpack the archive again"
        )
    return {str(key): value for key, value in content.items()}


def _field(file: Path, content: dict[str, Any], key: str) -> Any:
    if key not in content:
        raise DatasetError(
            f"{file}: has no {key!r}, only {', '.join(sorted(content))}; unpack the archive again"
        )
    return content[key]

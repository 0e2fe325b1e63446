from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from geozoom.images import ImageFiles
from tests.datasets import picture
from training.datasets import nvjpeg
from training.datasets.index import SceneIndex
from training.datasets.streamed import StreamedSplit

CPU = torch.device("cpu")


def write(file: Path, mode: str = "RGB", width: int = 90, height: int = 60) -> Path:
    Image.fromarray(picture(1, 3, width, height).astype(np.uint8)).convert(mode).save(file, quality=95)
    return file


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("box", [None, np.array([10.0, 5.0, 70.0, 55.0])])
def test_decoded_on_a_device_as_pillow_does(
    tmp_path: Path, mode: str, box: NDArray[np.float64] | None
) -> None:
    encoded = nvjpeg.read_encoded(write(tmp_path / "scene.jpg", mode))
    assert encoded is not None
    (ours,) = nvjpeg.decode([encoded], [box], 32, CPU)
    assert ours is not None
    theirs = ImageFiles(root=tmp_path).read("scene.jpg", box, 32)
    assert (ours.float() - theirs.float()).abs().mean() < 1


def test_what_the_decoder_may_not_be_given_is_left_to_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nvjpeg.read_encoded(write(tmp_path / "press.jpg", "CMYK")) is None
    assert nvjpeg.read_encoded(write(tmp_path / "scene.png")) is None
    monkeypatch.setattr(nvjpeg, "LARGEST_PX", 90 * 60 - 1)
    assert nvjpeg.read_encoded(write(tmp_path / "large.jpg")) is None


def test_an_image_that_the_decoder_refuses_is_decoded_by_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tuple(f"{number}.jpg" for number in range(5))
    for file in files:
        write(tmp_path / file)
    index = SceneIndex(source=ImageFiles(root=tmp_path), files=files, labels=np.arange(5))
    split = StreamedSplit(index=index, side=32, twin_side=0, labels=torch.arange(5))

    def damaged(_: StreamedSplit, scene: int) -> torch.Tensor | None:
        encoded = nvjpeg.read_encoded(tmp_path / files[scene])
        return torch.zeros(40, dtype=torch.uint8) if scene == 3 else encoded

    (expected,) = split.in_order(5)
    monkeypatch.setattr(StreamedSplit, "_encoded", damaged)
    (batch,) = split.batches(5, torch.Generator())
    assert sorted(batch.labels.tolist()) == expected.labels.tolist()
    assert torch.equal(batch.images[batch.labels == 3], expected.images[expected.labels == 3])
    assert (batch.images.float() - expected.images[batch.labels].float()).abs().mean() < 1
    monkeypatch.setattr(StreamedSplit, "_decoded_on_gpu", None)  # what is measured on is not given to it
    (again,) = split.in_order(5)
    assert torch.equal(again.images, expected.images)

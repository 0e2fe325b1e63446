from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import ImageReadMode

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


class Stream:
    """What a CUDA stream does of what is asked of it here: it says so."""

    def __init__(self, said: list[str], name: str) -> None:
        self.said, self.name = said, name

    def synchronize(self) -> None:
        self.said.append(f"the host waits for {self.name}")

    def wait_stream(self, other: Stream) -> None:
        self.said.append(f"{self.name} waits for {other.name}")


def test_the_gpu_decodes_into_memory_that_no_kernel_still_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    streams = [Stream(said, "the caller's stream"), Stream(said, "the decoder's stream")]

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        streams.append(stream)
        yield
        streams.pop()

    def decode_jpeg(
        encoded: list[torch.Tensor], mode: ImageReadMode, device: torch.device
    ) -> list[torch.Tensor]:
        assert device.type == "cuda"
        if len(encoded) > 1:
            raise RuntimeError("one of them is damaged")
        said.append("decoded")
        return [torchvision.io.decode_jpeg(image, mode=mode) for image in encoded]

    own = streams.pop()
    monkeypatch.setattr(nvjpeg, "decode_jpeg", decode_jpeg)
    monkeypatch.setattr(nvjpeg, "_own_stream", lambda _: own)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: streams[-1])
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda _, stream: said.append(f"kept for {stream.name}")
    )
    encoded = nvjpeg.read_encoded(write(tmp_path / "scene.jpg"))
    assert encoded is not None
    found = nvjpeg.decode([encoded, encoded], [None, None], 32, torch.device("cuda"))
    assert all(image is not None for image in found)
    assert said == [
        "the host waits for the decoder's stream",  # both at once are refused
        *["the host waits for the decoder's stream", "decoded"] * 2,
        "the caller's stream waits for the decoder's stream",
        *["kept for the caller's stream"] * 2,
    ]


def test_a_scene_that_is_made_too_small_for_the_gpu_is_left_to_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interpolate(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("Too much shared memory required")

    encoded = nvjpeg.read_encoded(write(tmp_path / "scene.jpg"))
    assert encoded is not None
    monkeypatch.setattr(torch.nn.functional, "interpolate", interpolate)
    assert nvjpeg.decode([encoded], [None], 1, CPU) == [None]


def test_a_device_that_decodes_nothing_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(encoded: list[torch.Tensor], *_: object) -> list[torch.Tensor | None]:
        asked.append(len(encoded))
        return [None]

    monkeypatch.setattr(nvjpeg, "decode", refuse)
    nvjpeg.works_on.cache_clear()
    try:
        assert not nvjpeg.works_on(torch.device("cuda"))
        assert not nvjpeg.works_on(torch.device("cuda"))
        assert not nvjpeg.works_on(CPU)
    finally:
        nvjpeg.works_on.cache_clear()
    assert asked == [1]


def test_a_lack_of_memory_is_not_taken_for_a_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode_jpeg(*_: object, **__: object) -> None:
        raise RuntimeError("Error while decoding JPEG images: CUDA out of memory.")

    encoded = nvjpeg.read_encoded(write(tmp_path / "scene.jpg"))
    assert encoded is not None
    monkeypatch.setattr(nvjpeg, "decode_jpeg", decode_jpeg)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        nvjpeg.decode([encoded], [None], 32, CPU)


@given(sizes=st.lists(st.integers(1, 9), min_size=1), largest=st.integers(1, 20))
def test_files_are_decoded_in_parts_that_are_not_too_large(sizes: list[int], largest: int) -> None:
    encoded = [torch.zeros(size, dtype=torch.uint8) for size in sizes]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(nvjpeg, "LARGEST_PART", largest)
        parts = list(nvjpeg._parts(encoded))
    assert [size for part in parts for size in sizes[part]] == sizes
    assert all(sum(sizes[part]) <= largest or len(sizes[part]) == 1 for part in parts)
    assert all(sum(sizes[one]) + sizes[other][0] > largest for one, other in pairwise(parts))

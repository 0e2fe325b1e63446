from __future__ import annotations

import pytest
import torch
import torchvision

from geozoom.errors import ModelError
from geozoom.networks import NetworkSpec, PointwiseConv2d, build_network


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_resnet32_has_the_published_number_of_parameters() -> None:
    assert parameters(build_network(NetworkSpec(name="resnet32"), 10)) == 464_154


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_default_widths_take_torchvisions_weights_and_give_its_outputs(name: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(num_classes=7).eval()
    ours = build_network(NetworkSpec(name=name), 7).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(
    ("name", "size", "layers"),
    [("resnet8", 8, 8), ("resnet10", 56, 10), ("resnet32", 32, 32), ("resnet18", 64, 18)],
)
def test_depth_is_what_the_name_says(name: str, size: int, layers: int) -> None:
    network = build_network(NetworkSpec(name=name), 16)
    weighted = [
        module
        for path, module in network.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear) and "downsample" not in path
    ]
    assert len(weighted) == layers
    assert network(torch.randn(2, 3, size, size)).shape == (2, 16)


def test_cifar_shortcuts_have_no_parameters() -> None:
    names = [name for name, _ in build_network(NetworkSpec(name="resnet32"), 10).named_parameters()]
    assert not [name for name in names if "downsample" in name or "shortcut" in name]


@pytest.mark.parametrize("channels", [(3, 4), (4, 8), (5, 10), (16, 32)])
def test_strided_shortcuts_give_the_convolutions_numbers_and_gradients(channels: tuple[int, int]) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Conv2d(*channels, 1, 2, bias=False, dtype=torch.float64)
    ours = PointwiseConv2d(*channels, 1, 2, bias=False).to(memory_format=torch.channels_last)
    ours.load_state_dict(plain.state_dict())
    images = torch.randn(18, channels[0], 33, 32)
    for _ in range(20):  # what is written beyond memory is found sooner or later
        ours.zero_grad()
        answer = ours(images.to(memory_format=torch.channels_last))
        answer.square().sum().backward()
    plain(images.double()).square().sum().backward()
    torch.testing.assert_close(answer.double(), plain(images.double()), atol=1e-5, rtol=1e-5)
    assert ours.weight.grad is not None
    assert plain.weight.grad is not None
    torch.testing.assert_close(ours.weight.grad.double(), plain.weight.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (NetworkSpec(name="resnet9000"), "choose one of"),
        (NetworkSpec(name="resnet8", widths=(4, 8)), "3 groups"),
    ],
)
def test_an_impossible_network_is_refused_with_the_way_out(spec: NetworkSpec, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        build_network(spec, 10)

from __future__ import annotations

import pytest
import torch
import torchvision

from geozoom.errors import ModelError
from geozoom.networks import NetworkSpec, build_network


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

"""The networks of the paper as plain modules: policies ResNet8/10, classifiers ResNet18/32/34/50 and their BagNets.

One class, `ResNet`, covers them all; a BagNet runs one of them on every patch. With the default widths of
ResNet18/34/50 its parameters carry the names and shapes of torchvision's models, so that their published
weights load unchanged; other widths make the slimmer classifiers that fit into a package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geozoom.bagnet import BagNet
from geozoom.errors import ModelError
from geozoom.grid import PatchGrid

BlockKind = Literal["basic", "bottleneck", "cifar"]
StemKind = Literal["cifar", "imagenet"]


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...]) -> Tensor:
    """Convolve (B, in, H, W) with 1×1 filters, by taking the stride first: the same numbers.

    Left to a CPU with AVX2 and no more, the gradient of fewer than eight float32 channels, channels last, is written
    beyond its memory (oneDNN, torch 2.14).
    """
    if not (torch.is_grad_enabled() and weight.requires_grad):
        return F.conv2d(x, weight, bias, stride)
    down, across = stride
    return F.conv2d(x[:, :, ::down, ::across], weight, bias)


class PointwiseConv2d(nn.Conv2d):
    """A 1×1 convolution without padding, by `pointwise`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H/stride, W/stride)."""
        return pointwise(x, self.weight, self.bias, self.stride)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, as torchvision's: its module would bring half of torch's compiler along."""

    expansion = 1

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inplanes, H, W) to (B, planes, H/stride, W/stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """A 3×3 convolution, which takes the stride, between two 1×1 ones, as torchvision's."""

    expansion = 4

    def __init__(
        self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inplanes, H, W) to (B, 4 · planes, H/stride, W/stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class CifarBlock(nn.Module):
    """The residual block of He et al. §4.2: two 3×3 convolutions and a shortcut without parameters.

    Where the shape changes, the shortcut takes every second pixel and pads the channels with zeros
    (option A).
    """

    expansion = 1

    def __init__(self, inplanes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride = stride
        self.padding = planes - inplanes

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inplanes, H, W) to (B, planes, H/stride, W/stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.padding:
            before = self.padding // 2
            shortcut = F.pad(shortcut, (0, 0, 0, 0, before, self.padding - before))
        return F.relu(out + shortcut)


class ResNet(nn.Module):
    """A residual network: stem, groups of blocks (the stride is 2 from the second group on), linear.

    Args:
        block: "basic" and "bottleneck" as in torchvision, "cifar" is He et al. §4.2.
        depths: Number of blocks in each group.
        widths: Channels of each group, before a bottleneck's expansion.
        num_outputs: Classes of a classifier, patches of a policy.
        stem: "imagenet" is a 7×7 convolution of stride 2 and a max pool, "cifar" a 3×3 convolution.
    """

    def __init__(
        self,
        block: BlockKind,
        depths: Sequence[int],
        widths: Sequence[int],
        num_outputs: int,
        stem: StemKind,
    ) -> None:
        super().__init__()
        channels = widths[0]
        if stem == "imagenet":
            self.conv1 = nn.Conv2d(3, channels, 7, 2, 3, bias=False)
            self.maxpool: nn.Module = nn.MaxPool2d(3, 2, 1)
        else:
            self.conv1 = nn.Conv2d(3, channels, 3, 1, 1, bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(channels)
        self.groups = len(depths)
        for index, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            group, channels = _group(block, channels, width, depth, stride=1 if index == 0 else 2)
            self.add_module(f"layer{index + 1}", group)
        self.fc = nn.Linear(channels, num_outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to what the last group makes of them, (B, C, h, w)."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(x))))
        for index in range(self.groups):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, 3, H, W) to logits (B, num_outputs)."""
        logits: Tensor = self.fc(torch.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1))
        return logits


def _group(
    block: BlockKind, inplanes: int, planes: int, depth: int, stride: int
) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    for index in range(depth):
        step = stride if index == 0 else 1
        if block == "cifar":
            layers.append(CifarBlock(inplanes, planes, step))
            inplanes = planes
            continue
        kind: type[BasicBlock | Bottleneck] = BasicBlock if block == "basic" else Bottleneck
        outplanes = planes * kind.expansion
        downsample = None
        if step != 1 or inplanes != outplanes:
            downsample = nn.Sequential(
                PointwiseConv2d(inplanes, outplanes, 1, step, bias=False), nn.BatchNorm2d(outplanes)
            )
        layers.append(kind(inplanes, planes, step, downsample))
        inplanes = outplanes
    return nn.Sequential(*layers), inplanes


@dataclass(frozen=True, kw_only=True)
class _Architecture:
    block: BlockKind
    depths: tuple[int, ...]
    widths: tuple[int, ...]
    stem: StemKind


_IMAGENET_WIDTHS = (64, 128, 256, 512)
_ARCHITECTURES = {
    "resnet8": _Architecture(block="basic", depths=(1, 1, 1), widths=(16, 32, 64), stem="cifar"),
    "resnet10": _Architecture(block="basic", depths=(1, 1, 1, 1), widths=_IMAGENET_WIDTHS, stem="imagenet"),
    "resnet32": _Architecture(block="cifar", depths=(5, 5, 5), widths=(16, 32, 64), stem="cifar"),
    "resnet18": _Architecture(block="basic", depths=(2, 2, 2, 2), widths=_IMAGENET_WIDTHS, stem="imagenet"),
    "resnet34": _Architecture(block="basic", depths=(3, 4, 6, 3), widths=_IMAGENET_WIDTHS, stem="imagenet"),
    "resnet50": _Architecture(
        block="bottleneck", depths=(3, 4, 6, 3), widths=_IMAGENET_WIDTHS, stem="imagenet"
    ),
}


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """Which network a stream is, as a model card or a recipe writes it down."""

    name: str
    """One of `NETWORK_NAMES`."""
    widths: tuple[int, ...] | None = None
    """Channels of each group; None takes the network's published widths."""


_BAG = "bagnet-"
NETWORK_NAMES = (*_ARCHITECTURES, *(f"{_BAG}{name}" for name in _ARCHITECTURES))


def is_bagnet(name: str) -> bool:
    """Tell whether a network's name is that of a BagNet: "bagnet-" and the network that sees each patch."""
    return name.startswith(_BAG)


def bagnet_name(name: str) -> str:
    """Return the name of the BagNet that runs the network `name` on each patch; a BagNet's own stays."""
    return name if is_bagnet(name) else f"{_BAG}{name}"


def groups_of(name: str) -> int:
    """Return how many groups of blocks, each of one width, a network of NETWORK_NAMES has."""
    return len(_ARCHITECTURES[name.removeprefix(_BAG)].depths)


def build_network(spec: NetworkSpec, num_outputs: int, grid: PatchGrid | None = None) -> ResNet | BagNet:
    """Build the network that `spec` names, with fresh weights and `num_outputs` logits.

    Args:
        spec: Its name and widths.
        num_outputs: Classes of a classifier, patches of a policy.
        grid: What a BagNet cuts images by; None for the paper's 4 × 4.

    Raises:
        ModelError: The name is unknown, or the number of widths is not that of the groups.
    """
    if is_bagnet(spec.name) and spec.name in NETWORK_NAMES:
        inner = build_resnet(replace(spec, name=spec.name.removeprefix(_BAG)), num_outputs)
        return BagNet(inner, num_outputs, grid or PatchGrid())
    return build_resnet(spec, num_outputs)


def narrowed(spec: NetworkSpec, by: int) -> NetworkSpec:
    """Return an architecture with its channels divided by a number, rounded down, one channel at least."""
    widths = spec.widths or _ARCHITECTURES[spec.name].widths
    return replace(spec, widths=tuple(max(1, width // by) for width in widths))


def build_resnet(spec: NetworkSpec, num_outputs: int) -> ResNet:
    """Build the network that `spec` names, which is no BagNet, as `build_network` does.

    Raises:
        ModelError: The name is unknown, or the number of widths is not that of the groups.
    """
    known = _ARCHITECTURES.get(spec.name)
    if known is None:
        raise ModelError(f"network {spec.name!r} is not known; choose one of {', '.join(NETWORK_NAMES)}")
    widths = spec.widths or known.widths
    if len(widths) != len(known.depths):
        raise ModelError(
            f"network {spec.name!r} has {len(known.depths)} groups of blocks, but "
            f"{len(widths)} widths were given; give one width for each group"
        )
    return ResNet(known.block, known.depths, widths, num_outputs, known.stem)

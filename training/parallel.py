"""Several processes that train as one: `torchrun` starts one for each GPU, and the result is that of one alone.

Every process steps the same generators, draws the random numbers of the whole batch and keeps the rows of its
share. Batch norms see the statistics of the whole batch, gradients and metrics are averaged, and the first
process alone validates and writes.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from geozoom.errors import RunError

PATIENCE = timedelta(hours=3)
"""How long processes wait for each other: the first may be reading a dataset, or evaluating."""

_Module = TypeVar("_Module", bound=nn.Module)
_Found = TypeVar("_Found")


@dataclass(frozen=True, kw_only=True)
class Team:
    """The processes of a run, and which of them this is."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes logs and checkpoints."""
        return self.rank == 0

    def share(self, batch_size: int) -> slice:
        """Return the rows of a batch that are this process's.

        Raises:
            RunError: They cannot be shared out evenly.
        """
        rows, rest = divmod(batch_size, self.size)
        if rest:
            raise RunError(
                f"a batch of {batch_size} scenes cannot be shared by {self.size} processes; "
                f"set a batch_size that is a multiple of {self.size}"
            )
        return slice(self.rank * rows, (self.rank + 1) * rows)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Tell whether any process has the flag; on several, all must ask."""
        if self.size == 1:
            return flag
        told = torch.tensor(float(flag), device=device)
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return bool(told)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one device by their means over all processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().float().flatten() for tensor in tensors])
        dist.all_reduce(flat)
        parts = (flat / self.size).split([tensor.numel() for tensor in tensors])  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace gradients by their means over all processes: those of the whole batch's mean loss."""
        self.average([parameter.grad for parameter in parameters if parameter.grad is not None])

    def gather(self, rows: Tensor) -> Tensor:
        """Return the whole batch (B, ...), of which each process has its share of rows; without gradient."""
        if self.size == 1:
            return rows
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(parts, rows.detach().contiguous())
        return torch.cat(parts)

    def of_leader(self, found: _Found) -> _Found:
        """Return what the first process has found, where others may have found it in other last digits."""
        if self.size == 1:
            return found
        told = [found]
        dist.broadcast_object_list(told)
        return told[0]

    def synchronise(self, module: _Module) -> _Module:
        """Let the batch norms of a module see the whole batch; its parameters stay the same objects."""
        if self.size == 1:
            return module
        if next(module.parameters()).is_cuda:
            return nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-any-return, no-untyped-call]
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.__class__ = _SharedBatchNorm  # torch's own needs CUDA
        return module


ALONE = Team()


def processes() -> int:
    """Return how many processes `torchrun` started, of which this is one; 1 without it."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def join(device: torch.device) -> tuple[Team, torch.device]:
    """Return the team that `torchrun` started, or `ALONE`, and this process's own device of that kind."""
    size = processes()
    if size == 1:
        return ALONE, device
    own: torch.device | None = None
    if device.type == "cuda":
        own = device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        if own is not None:
            atexit.register(_abandon)
        dist.init_process_group("gloo" if own is None else "nccl", timeout=PATIENCE, device_id=own)
    return Team(rank=dist.get_rank(), size=size), device


def leave() -> None:
    """Take leave of the other processes, if there are any, when all is done."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _abandon() -> None:
    """End at once if leave was not taken: NCCL, taken apart, would wait for those who wait for this process."""
    if dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


class SharedGenerator(torch.Generator):
    """A generator that every process of a team steps alike, for `rand`, `randn` and `randperm`."""

    team: Team = ALONE


def rand(shape: Sequence[int], device: torch.device, generator: torch.Generator) -> Tensor:
    """Draw uniform numbers, the rows (first axis) that are this process's if the generator is shared."""
    team = _team(generator)
    whole = torch.rand((shape[0] * team.size, *shape[1:]), device=device, generator=generator)
    return whole[team.share(len(whole))]


def randn(shape: Sequence[int], device: torch.device, generator: torch.Generator) -> Tensor:
    """Draw normal numbers, the rows (first axis) that are this process's if the generator is shared."""
    team = _team(generator)
    whole = torch.randn((shape[0] * team.size, *shape[1:]), device=device, generator=generator)
    return whole[team.share(len(whole))]


def partners(views: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw another scene of the whole batch for each scene (B, ...), and return it and its label (B,)."""
    team = _team(generator)
    chosen = torch.randperm(len(views) * team.size, device=views.device, generator=generator)
    chosen = chosen[team.share(len(chosen))]
    return team.gather(views)[chosen], team.gather(labels)[chosen]


def _team(generator: torch.Generator) -> Team:
    return generator.team if isinstance(generator, SharedGenerator) else ALONE


class _Sum(torch.autograd.Function):
    """The sum over all processes; the gradient of a share is the sum of those that all have of it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:  # noqa: ARG004 torch's signature
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004 torch's signature
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _sum(tensor: Tensor) -> Tensor:
    """Return the sum over all processes, which gradients go through."""
    total: Tensor = _Sum.apply(tensor)
    return total


class _SharedBatchNorm(nn.BatchNorm2d):
    """A batch norm over the batches of all processes, by collectives that gradients go through."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape, normalised over the whole batch."""
        if not self.training:
            return super().forward(x)
        processes = dist.get_world_size()
        exact = x.float()
        mean = _sum(exact.mean(dim=(0, 2, 3))) / processes
        centred = exact - mean.view(1, -1, 1, 1)
        variance = _sum(centred.square().mean(dim=(0, 2, 3))) / processes
        self._remember(mean.detach(), variance.detach(), processes * x.numel() // x.shape[1])
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normalised: Tensor = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            raise ValueError("a shared batch norm keeps running statistics with a momentum")
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / max(1, count - 1), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)

"""A CUDA device without a GPU: tensors that say they are on cuda:0 and are kept, and computed with, on the CPU.

It shows what goes wrong on a GPU whatever its kernels do: tensors or generators of two devices in one operation, and
steps in which the host waits for the device. What compilers, half precision and kernels do there it does not show.

    python -m tests.emulated_cuda WAITS.json train --root … --device cuda

runs that command of geozoom on the emulated device, and writes where a step of training waited.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import torch
import torchvision
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

DEVICE = torch.device("cuda", 0)
WAITS: Counter[str] = Counter()
"""What made a step of training wait for the device, and where."""
_torch: Any = torch
_correct_aliasing: Any = return_and_correct_aliasing
_aten = torch.ops.aten
_READS = {
    _aten._local_scalar_dense.default,
    _aten.equal.default,
    _aten.masked_select.default,
    _aten.nonzero.default,
    _aten._unique2.default,
}
"""What needs values, or a number of them, on the host."""
_INDEXED = {_aten.index.Tensor, _aten.index_put_.default, _aten._index_put_impl_.default}
_MAY_MIX = {_aten.copy_.default, _aten._to_copy.default, *_INDEXED}
_claimed: dict[int, str] = {}
"""The device that each generator was made for, by its address in C++."""


class OnDevice(torch.Tensor):
    """A tensor on the emulated device. C++ is told meta, since it would ask a driver for CUDA's streams."""

    kept: torch.Tensor

    @staticmethod
    def __new__(cls: Any, kept: torch.Tensor) -> Any:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            kept.size(),
            strides=kept.stride(),
            storage_offset=kept.storage_offset(),
            dtype=kept.dtype,
            layout=kept.layout,
            device=torch.device("meta"),
        )
        made.kept = kept
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    device = property(lambda _: DEVICE)
    is_cuda = property(lambda _: True)
    is_cpu = is_meta = property(lambda _: False)

    @classmethod
    def __torch_dispatch__(cls, operation: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return _compute(operation, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        if id(self) not in memo:
            copy: torch.Tensor = self.detach().clone()
            wrapped = isinstance(self, torch.nn.Parameter)
            memo[id(self)] = torch.nn.Parameter(copy, self.requires_grad) if wrapped else copy
        found: torch.Tensor = memo[id(self)]
        return found

    def tolist(self) -> Any:
        return self.cpu().tolist()


class _Everywhere(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operations that make tensors of none, which would ask the driver for memory."""

    def __torch_dispatch__(self, operation: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(operation, args, kwargs or {})


class _Generator(torch.Generator):
    """A generator for a device, whose numbers are a CPU's."""

    def __new__(cls, device: Any = "cpu") -> Self:
        made: Any = super().__new__(cls)
        _claimed[made._cdata] = torch.device(device).type
        found: Self = made
        return found

    def __init__(self, device: Any = "cpu") -> None:
        pass

    device = property(lambda self: DEVICE if _claimed[self._cdata] == "cuda" else torch.device("cpu"))


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type in ("cuda", "meta")


def _compute(operation: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute on the CPU what would be computed on the device, and refuse what a GPU would."""
    flat, shape = pytree.tree_flatten((args, kwargs))
    there = [value for value in flat if isinstance(value, OnDevice)]
    here = [value for value in flat if isinstance(value, torch.Tensor) and not isinstance(value, OnDevice)]
    asked = kwargs.get("device")
    to_device = _is_there(asked) if asked is not None else bool(there)
    if there and operation not in _MAY_MIX and any(tensor.dim() for tensor in here):
        raise RuntimeError(f"Expected all tensors to be on the same device: {operation} of cuda:0 and cpu")
    if there and operation in _INDEXED and not isinstance(args[0], OnDevice):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor")
    generators: list[Any] = [value for value in flat if isinstance(value, torch.Generator)]
    for generator in generators:
        if (_claimed.get(generator._cdata) == "cuda") != to_device:
            raise RuntimeError(f"Expected a generator of another device: {operation}")
    if there or to_device:
        _note_wait(operation, args, kwargs, to_device=to_device)
    plain_args, plain_kwargs = pytree.tree_unflatten([_plain(value) for value in flat], shape)
    plain_kwargs.pop("pin_memory", None)
    found = operation(*plain_args, **plain_kwargs)
    known = {id(tensor.kept): tensor for tensor in there} | {id(tensor): tensor for tensor in here}

    def wrapped(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or isinstance(value, OnDevice):
            return value
        if id(value) in known:
            return known[id(value)]
        return OnDevice(value) if to_device else value

    result = pytree.tree_map(wrapped, found)
    aliased = there and to_device and any(each.alias_info for each in operation._schema.returns)
    return _correct_aliasing(operation, args, kwargs, result) if aliased else result


def _plain(value: Any) -> Any:
    if isinstance(value, OnDevice):
        return value.kept
    return torch.device("cpu") if isinstance(value, torch.device) and _is_there(value) else value


def _note_wait(operation: Any, args: Any, kwargs: dict[str, Any], *, to_device: bool) -> None:
    """Count what makes the host wait, if a step of training asked for it."""
    first = args[0] if args and isinstance(args[0], torch.Tensor) else None
    if operation in _READS:
        what = "reads"
    elif operation in _INDEXED:
        indices = [index for index in args[1] if index is not None]
        if not any(not isinstance(index, OnDevice) or index.dtype == torch.bool for index in indices):
            return
        what = "indexes by"
    elif operation is _aten._to_copy.default and isinstance(first, OnDevice) != to_device:
        what = "" if kwargs.get("non_blocking") else "copies"
    elif operation is _aten.copy_.default and isinstance(first, OnDevice) != isinstance(args[1], OnDevice):
        what = "" if kwargs.get("non_blocking") or args[2:3] == (True,) else "copies"
    else:
        return
    place = _in_a_step() if what else None
    if place is not None:
        WAITS[f"{place} {what} ({operation})"] += 1


def _in_a_step() -> str | None:
    """Return the line of ours that was reached from a stage's `step`, if there is one."""
    frame, place = sys._getframe(1), None
    while frame is not None:
        code = frame.f_code
        ours = "/training/" in code.co_filename or "/geozoom/" in code.co_filename
        if ours and place is None:
            place = f"{code.co_filename}:{frame.f_lineno}"
        if ours and code.co_name == "step":
            return place
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _to(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`Tensor.to`, which asks the driver where "cuda" is."""
    copy = kwargs.pop("copy", False)
    like = [value for value in args if isinstance(value, torch.Tensor)]
    device, dtype, non_blocking, layout = (
        (like[0].device, like[0].dtype, False, None)
        if like
        else _torch._C._nn._parse_to(
            *(
                DEVICE if isinstance(value, str | torch.device) and _is_there(value) else value
                for value in args
            ),
            **{
                key: DEVICE if key == "device" and _is_there(value) else value
                for key, value in kwargs.items()
            },
        )
    )
    device = self.device if device is None else device
    if device.type == self.device.type == "cpu":
        plain: torch.Tensor = _PLAIN_TO(self, *args, copy=copy, **kwargs)
        return plain
    same = device.type == self.device.type and dtype in (None, self.dtype)
    if same and not copy and (layout is None or self.is_contiguous(memory_format=layout)):
        return self
    more = {"dtype": dtype, "memory_format": layout}
    copied: torch.Tensor = _aten._to_copy.default(
        self,
        device=DEVICE if device.type == "cuda" else device,
        non_blocking=non_blocking,
        **{key: value for key, value in more.items() if value is not None},
    )
    return copied


_PLAIN_TO: Any = torch.Tensor.to


def _made_here(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Wrap a function that fills memory from Python's values: here first, then copied."""

    def made(*args: Any, device: Any = None, **kwargs: Any) -> torch.Tensor:
        tensor = make(*args, **kwargs)
        return tensor if device is None else tensor.to(device)

    return made


class _Stream:
    """A stream, on which nothing waits, as all is computed at once."""

    def __init__(self, *_: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def wait_stream(self, _: _Stream) -> None:
        pass


def _decode_jpeg(encoded: list[torch.Tensor], mode: Any, device: Any) -> list[torch.Tensor]:
    """Decode as torchvision does on a device, whose pixels are the CPU's here."""
    return [_PLAIN_DECODE(image, mode=mode).to(device) for image in encoded]


_PLAIN_DECODE = torchvision.io.decode_jpeg


def _no_inference_mode(mode: Any = True) -> Any:
    """`torch.inference_mode`, whose tensors cannot be wrapped."""
    if callable(mode):
        return torch.no_grad()(mode)
    return torch.no_grad() if mode else torch.enable_grad()


def emulate() -> None:
    """Let this process have a CUDA device, for good; to be called before anything of geozoom is imported."""
    torch.__future__.set_swap_module_params_on_conversion(True)
    cuda: Any = torch.cuda
    cuda._lazy_init = lambda: None
    cuda.is_available = lambda: True
    cuda.is_bf16_supported = lambda **_: False
    cuda.get_device_name = lambda *_: "emulated"
    cuda.synchronize = lambda *_: None
    cuda.Stream = _Stream
    cuda.current_stream = _Stream
    cuda.stream = lambda _: nullcontext()
    torchvision.io.decode_jpeg = _decode_jpeg
    tensor: Any = torch.Tensor
    tensor.to = _to
    tensor.cpu = lambda self: self.to("cpu")
    tensor.pin_memory = lambda self: self
    tensor.record_stream = lambda *_: None
    tensor.new_tensor = lambda self, data: torch.tensor(data, dtype=self.dtype).to(self.device)
    optimizer: Any = torch.optim.Optimizer
    optimizer._accelerator_graph_capture_health_check = lambda _: None
    optimizer._cuda_graph_capture_health_check = lambda _: None
    _torch.tensor = _made_here(torch.tensor)
    _torch.as_tensor = _made_here(torch.as_tensor)
    _torch.Generator = _Generator
    _torch.inference_mode = _no_inference_mode
    everywhere: Any = _Everywhere
    everywhere().__enter__()


if __name__ == "__main__":
    emulate()
    from geozoom.cli import main

    try:
        main(sys.argv[2:])
    finally:
        Path(sys.argv[1]).write_text(json.dumps(WAITS))

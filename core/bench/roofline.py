"""The roofline of a machine: an upper bound on the rate of a workload.

In the roofline model (Williams et al., CACM 2009), a workload takes at least the time of its floating-point operations
at the machine's highest rate, and at least the time of moving its bytes at the highest bandwidth. A large matrix
product and a large copy measure these two rates. The bytes are counted per operation, as if there were no caches and no
fused operations; a share above 1 is therefore possible, and shows caching or fusion.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from dipddpm.core.methods.budget import clock_of

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
REPEATS = 5


class Machine(msgspec.Struct, frozen=True):
    """The highest measured rates of a device: operations per second by precision, and bytes per second."""

    device: str
    threads: int
    flops: dict[str, float]
    bandwidth: float


class WorkCost(msgspec.Struct, frozen=True):
    """Floating-point operations of a workload (a multiply-add counts two), and bytes read and written."""

    flops: float
    bytes: float

    def seconds_at_least(self, machine: Machine, precision: str) -> float:
        """Return the shortest time in which the machine can finish the workload."""
        return max(self.flops / machine.flops[precision], self.bytes / machine.bandwidth)


def measure(device: torch.device) -> Machine:
    """Measure the rates of a device with torch's current number of threads, in a second or two on a CPU."""
    side, length = (8192, 2**28) if device.type == "cuda" else (1536, 2**25)
    flops = {}
    for name, dtype in PRECISIONS.items():
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        flops[name] = 2 * side**3 / _seconds(partial(torch.matmul, left, right), device)
    source = torch.zeros(length, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / _seconds(lambda: target.copy_(source), device)
    threads = torch.get_num_threads() if device.type == "cpu" else 0
    return Machine(device=str(device), threads=threads, flops=flops, bandwidth=bandwidth)


def cost(work: Callable[[], object]) -> WorkCost:
    """Run the workload once and count its operations and bytes; `work` must not be compiled."""
    traffic = _Traffic()
    with FlopCounterMode(display=False, custom_mapping=_COUNTED) as counter, traffic:
        work()
    return WorkCost(float(counter.get_total_flops()), float(traffic.bytes))


class _Traffic(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counter of the bytes of tensors that operations read and write; views of other tensors move none."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            leaves = tree_leaves((args, kwargs, result))
            self.bytes += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
        return result


def _convolution_backward(
    grad: Sequence[int], x: Sequence[int], weight: Sequence[int], *options: Any, **_: object
) -> int:
    """Count as many operations per gradient as in the forward pass; torch ignores groups in the weights' gradient."""
    _bias, _stride, _padding, _dilation, transposed, _output_padding, _groups, output_mask = options
    positions = (x if transposed else grad)[2:]
    return int(2 * x[0] * math.prod(positions) * math.prod(weight) * (output_mask[0] + output_mask[1]))


_COUNTED = {torch.ops.aten.convolution_backward: _convolution_backward}


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the median seconds of the workload after a warm-up."""
    clock, times = clock_of(device), []
    work()
    for _ in range(REPEATS):
        began = clock()
        work()
        times.append(clock() - began)
    return statistics.median(times)

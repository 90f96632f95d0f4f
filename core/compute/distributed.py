"""Process groups: several processes share one run.

Each process is a rank of torch.distributed. In training, every rank draws the random numbers of the whole batch from
the same seed and uses its own shard of them; DistributedDataParallel averages the gradients. So the losses equal those
of one process with the same batch, up to the order of summation. In restoration, the ranks restore different images and
exchange the results, so that all ranks yield the same items; rank 0 records them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dipddpm.core.compute import checkpoint


@dataclass(frozen=True)
class ProcessGroup:
    """This process's rank and the size of its group; by default a group of one."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def current(cls) -> ProcessGroup:
        """Return the group that this process has joined, or else a group of one."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def shard(self, size: int) -> slice:
        """Return this rank's slice of `size` items; the slices cover all items and differ in length by at most 1."""
        return slice(self.rank * size // self.world_size, (self.rank + 1) * size // self.world_size)

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network with gradients averaged over the ranks.

        The graph is declared static, so weights that are never used (the published network has some) cost nothing.
        """
        if self.world_size == 1:
            return network
        return DistributedDataParallel(network, static_graph=True, broadcast_buffers=False)

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """Sum the tensor over all ranks, in place, and return it."""
        if self.world_size > 1:
            dist.all_reduce(value)
        return value

    def broadcast(self, value: float, device: torch.device) -> float:
        """Return rank 0's value on all ranks, bit for bit, so that all ranks make the same decisions."""
        if self.world_size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return shared.item()

    def any_rank(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """Return for each flag whether it is set on any rank."""
        if self.world_size == 1:
            return list(flags)
        shared = torch.tensor(flags, dtype=torch.int64, device=device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return [bool(flag) for flag in shared.tolist()]

    def gather(self, value: Any, *, to_all: bool) -> list[Any]:
        """Return every rank's value, in the order of the ranks.

        Without `to_all`, only rank 0 gets all values, and every other rank gets its own value; that suits large values
        that are only recorded. A value is any nesting of builtin values and tensors, as in a checkpoint; tensors
        arrive on the CPU.
        """
        if self.world_size == 1:
            return [value]
        payload = torch.frombuffer(bytearray(checkpoint.serialize({"value": value})), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        dist.all_gather(lengths, torch.tensor([len(payload)]))
        longest = max(int(length) for length in lengths)
        padded = F.pad(payload, (0, longest - len(payload)))
        # All ranks must gather the same length.
        parts = [torch.empty_like(padded) for _ in lengths] if to_all or self.rank == 0 else []
        if to_all:
            dist.all_gather(parts, padded)
        else:
            dist.gather(padded, parts or None)
        if not parts:
            return [value]
        whole = [part[: int(length)] for part, length in zip(parts, lengths, strict=True)]
        return [checkpoint.deserialize(part.numpy().tobytes())["value"] for part in whole]


@contextlib.contextmanager
def join_process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the process group of torchrun's environment variables; leave it when the block ends without an error.

    After an error the group isn't left: torchrun ends the other ranks, and this one must not wait for them.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # Tensors in host memory are exchanged with gloo, on GPU machines too.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    yield ProcessGroup.current()
    dist.destroy_process_group()

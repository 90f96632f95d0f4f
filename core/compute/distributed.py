"""Several processes at one run: which part of it is whose, and what they have to agree on.

Each process is a rank of torch.distributed. Those that share a training draw the random numbers of the whole batch, all
from the same seed; each takes its own part of them, and DistributedDataParallel puts the gradients together. So the
losses are those of one process with the same batch, up to the order in which numbers are added. Those that share
images restore different ones and tell each other what came of it, so that all yield the same items; the first one's
are recorded.
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
    """This process among those that share a training; by itself unless told otherwise."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def current(cls) -> ProcessGroup:
        """Where this process stands in the group that it has joined, if any."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def shard(self, size: int) -> slice:
        """This rank's part of so many things: all parts together are all of them, and differ by one at most."""
        return slice(self.rank * size // self.world_size, (self.rank + 1) * size // self.world_size)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients that are the mean over the ranks.

        The graph is the same at each step, which is how weights that are never used (the published network has some)
        cost nothing.
        """
        if self.world_size == 1:
            return network
        return DistributedDataParallel(network, static_graph=True, broadcast_buffers=False)

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """The sum over all ranks."""
        if self.world_size > 1:
            dist.all_reduce(value)
        return value

    def broadcast(self, value: float, device: torch.device) -> float:
        """What the first rank has, for all: what they decide by must be the same to the last bit."""
        if self.world_size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return shared.item()

    def any_rank(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """Whether any rank wishes it, for each of several things."""
        if self.world_size == 1:
            return list(flags)
        shared = torch.tensor(flags, dtype=torch.int64, device=device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return [bool(flag) for flag in shared.tolist()]

    def gather(self, value: Any, *, to_all: bool) -> list[Any]:
        """Return every rank's value, in the order of the ranks.

        Without `to_all`, only rank 0 gets them, and every other rank gets its own value: for what is large and only
        recorded. A value is what a checkpoint can hold: any nesting of plain values and tensors, which arrive on the
        CPU.
        """
        if self.world_size == 1:
            return [value]
        payload = torch.frombuffer(bytearray(checkpoint.serialize({"value": value})), dtype=torch.uint8)
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        dist.all_gather(lengths, torch.tensor([len(payload)]))
        longest = max(int(length) for length in lengths)
        padded = F.pad(payload, (0, longest - len(payload)))
        # A gathering wants parts of one length.
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
    """Join the group that torchrun's variables tell of. It is left when what is done in it is done, and only then:
    where one rank fails, the others are ended by torchrun and must not wait for it.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # What lies in the host's memory goes by gloo, on an accelerator's machine too.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    yield ProcessGroup.current()
    dist.destroy_process_group()

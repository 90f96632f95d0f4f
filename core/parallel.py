"""Several processes at one training: which part of a batch is whose, and what they have to agree on.

Each process is a rank of torch.distributed and draws the random numbers of the whole batch, all from the same seed; it
takes its own part of them, and DistributedDataParallel puts the gradients together. So the losses are those of one
process with the same batch, up to the order in which numbers are added.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Ranks:
    """This process among those that share a training; by itself unless told otherwise."""

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls) -> Ranks:
        """Where this process stands in the group that it has joined, if any."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def part(self, size: int) -> slice:
        """This rank's part of so many things: all parts together are all of them, and differ by one at most."""
        return slice(self.rank * size // self.count, (self.rank + 1) * size // self.count)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients that are the mean over the ranks.

        The graph is the same at each step, which is how weights that are never used (the published network has some)
        cost nothing.
        """
        if self.count == 1:
            return network
        return DistributedDataParallel(network, static_graph=True, broadcast_buffers=False)

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all ranks."""
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def told(self, value: float, device: torch.device) -> float:
        """What the first rank has, for all: what they decide by must be the same to the last bit."""
        if self.count == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=device)
        dist.broadcast(shared, 0)
        return shared.item()

    def any(self, wish: bool, device: torch.device) -> bool:
        """Whether any rank wishes it."""
        if self.count == 1:
            return wish
        shared = torch.tensor(int(wish), device=device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return bool(shared.item())


@contextlib.contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Join the group that torchrun's variables tell of. It is left when what is done in it is done, and only then:
    where one rank fails, the others are ended by torchrun and must not wait for it.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield Ranks.here()
    dist.destroy_process_group()


def local_rank() -> int:
    """This process's number on this machine, as torchrun has it."""
    return int(os.environ["LOCAL_RANK"])

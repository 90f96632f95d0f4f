"""The same random numbers on every device, so that results on a GPU can be compared with those on a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

DRAWS: set[Callable[..., Any]] = {torch.rand, torch.randn, torch.randint, torch.randperm}
FILLING: set[Callable[..., Any]] = {Tensor.exponential_, Tensor.normal_, Tensor.uniform_}


class CpuDraws(TorchFunctionMode):
    """Draws every number of a generator from a twin on the CPU, which begins with the same seed."""

    def __init__(self) -> None:
        super().__init__()
        self.twins: dict[int, tuple[torch.Generator, torch.Generator]] = {}
        self.count = 0

    def twin(self, generator: torch.Generator) -> torch.Generator:
        # The twin's generator is kept, so that its id can't become another one's.
        if id(generator) not in self.twins:
            self.twins[id(generator)] = generator, torch.Generator().manual_seed(generator.initial_seed())
        return self.twins[id(generator)][1]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        generator = given.get("generator")
        if generator is None or (func not in DRAWS and func not in FILLING and func is not torch.poisson):
            return func(*args, **given)
        self.count += 1
        given["generator"] = self.twin(generator)
        if func in DRAWS:
            return func(*args, **{**given, "device": "cpu"}).to(given.get("device", "cpu"))
        if func is torch.poisson:
            return func(args[0].cpu(), *args[1:], **given).to(args[0].device)
        drawn = func(torch.empty_like(args[0], device="cpu"), *args[1:], **given)
        return args[0].copy_(drawn)


@contextmanager
def exact() -> Iterator[CpuDraws]:
    """Draw on the CPU, and compute in full float32 precision (convolutions use TF32 on a GPU by default)."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with CpuDraws() as draws:
            yield draws
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before

"""Compilation of networks with torch.compile, which pays off on a GPU for many inputs of the same sizes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dipddpm.core.config.base import CompileMode


def compile_network(network: nn.Module, mode: CompileMode = "default") -> Callable[..., Tensor]:
    """Return a compiled network, which computes the same up to rounding, and faster after the first call of each size.

    Each size is compiled separately, because there are few sizes and symbolic sizes cost speed. `reduce-overhead` and
    `max-autotune` replay CUDA graphs on a GPU. A replay overwrites the last result, so each call returns a copy.
    """
    fast = torch.compile(network, dynamic=False, mode=mode)

    def call(*inputs: Tensor) -> Tensor:
        return fast(*inputs).clone()  # type: ignore[no-any-return]

    return call

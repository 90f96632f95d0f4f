"""Convolutions of many priors at once: grouped, as in `core.dip.networks`, and as batched matrix products.

For many images a library's grouped convolution may not be the fastest implementation, so both are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.bench.rates import Work
from dipddpm.core.dip.networks import PriorConv2d

INPUTS, OUTPUTS = 36, 32
"""Channels of the most expensive layer of a default fit, which takes all features of a scale and its skip."""
SIDE = 28


def convolving(device: torch.device) -> Iterator[Work]:
    """Yield both implementations of the layer, forward and backward, for several numbers of images at once."""
    gpu = device.type == "cuda"
    for count in (10, 100, 1000) if gpu else (1, 10, 50):
        layer = PriorConv2d(count, INPUTS, OUTPUTS).to(device)
        x = torch.randn(1, count * INPUTS, SIDE, SIDE, device=device, requires_grad=True)
        repeats = 50 if gpu else max(1, 50 // count)
        implementations: dict[str, Callable[[Tensor], Tensor]] = {
            "grouped": layer,
            "batched product": partial(batched, layer),
        }
        for name, convolve in implementations.items():
            run = partial(_forward_backward, convolve, x, repeats)
            yield Work("convolution", f"{name}, {count} image{'s' * (count > 1)}", "images", count * repeats, run)


def batched(layer: PriorConv2d, x: Tensor) -> Tensor:
    """Compute `layer(x)` for x (1, priors * inputs, H, W) by unfolding patches and one matrix product per prior."""
    inputs, kernel = layer.weight.shape[1:3]
    priors, height, width = x.shape[1] // inputs, *x.shape[2:]
    padded = F.pad(x.view(priors, inputs, height, width), [layer.padding] * 4, mode="reflect")
    patches = F.unfold(padded, kernel, stride=layer.stride)
    product = torch.baddbmm(layer.bias.view(priors, -1, 1), layer.weight.view(priors, -1, patches.shape[1]), patches)
    return product.view(1, -1, (height - 1) // layer.stride + 1, (width - 1) // layer.stride + 1)


def _forward_backward(convolve: Callable[[Tensor], Tensor], x: Tensor, repeats: int) -> None:
    for _ in range(repeats):
        convolve(x).square().mean().backward()  # type: ignore[no-untyped-call]

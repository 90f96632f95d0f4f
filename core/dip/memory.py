"""How many images fit into one network."""

from __future__ import annotations

import psutil
import torch
from torch import Tensor

from dipddpm.core import registry
from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.config.dip import DipConfig

MEMORY_FRACTION = 0.5
"""Of the free memory, what a fit may take: convolutions want room to work in, and other runs live here too."""


def images_that_fit(options: DipConfig, shape: tuple[int, int, int], device: torch.device) -> int:
    """Images of shape (C, H, W) that one network can fit at once, at least 1."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = psutil.virtual_memory().available // ProcessGroup.current().world_size
    return max(1, int(MEMORY_FRACTION * free) // bytes_per_image(options, shape))


def bytes_per_image(options: DipConfig, shape: tuple[int, int, int]) -> int:
    """What the fit of one image of shape (C, H, W) takes: counted on a network without data, nothing is computed."""
    saved_bytes = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal saved_bytes
        saved_bytes += tensor.numel() * tensor.element_size()
        return tensor

    with torch.device("meta"):
        network = registry.network(options.network).for_images(shape, options)
        z = torch.empty(1, options.input_channels, *network.input_size(*shape[1:]))
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            output = network(z)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    # Weights, their gradient, two moments, and a good state of three of them; the way back through the activations
    # takes as much again at most; outputs: the window, its sums, and a few more.
    windows = options.window + 4 if options.stop in {"auto", "variance"} else 0
    image = output.numel() * output.element_size()
    return int(7 * weights + 2 * saved_bytes + (windows + 12) * image)

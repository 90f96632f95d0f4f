"""What a fit moves: the weights of many priors in one network, and the optimiser's moments, a row for each prior.

And how many of them fit into the memory of a device.
"""

from __future__ import annotations

from typing import Any

import psutil
import torch
from torch import Tensor, nn

from dipddpm.core import registry
from dipddpm.core.compute.compile import compile_network
from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.events import StateDict

MEMORY_FRACTION = 0.5
"""Of the free memory, what a fit may take: convolutions want room to work in, and other runs live here too."""
MOMENTS = ("exp_avg", "exp_avg_sq")
"""Adam's running means of the gradient and of its square, by the names that torch gives them."""


class Priors:
    """`count` priors with the same starting weights, as one network, and their Adam.

    Some can be left out: the network that goes on is as small as if they had never been there, and moves the others
    as it would have (up to rounding).
    """

    def __init__(
        self, shape: tuple[int, int, int], options: DipConfig, count: int, device: torch.device | str = "cpu"
    ) -> None:
        """For images of shape (C, H, W). The weights are drawn on the CPU, from torch's own generator."""
        self.shape, self.options, self.count = shape, options, count
        network = registry.network(options.network).for_images(shape, options, count)
        self._set_network(network.to(device))
        self.checkpoint_rows: list[Tensor] = []
        """The rows to go back to; empty before the first are noted."""

    def _set_network(self, network: nn.Module) -> None:
        fused = next(network.parameters()).device.type in {"cpu", "cuda"}
        self.network = network
        self._forward = compile_network(network, self.options.compile_mode) if self.options.compile else network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=self.options.lr, fused=fused)

    def forward(self, z: Tensor) -> Tensor:
        """What each prior makes of z (1 or count, input_channels, h, w): (count, C, H, W), as precise as z."""
        half = self.options.precision == "bfloat16"
        with torch.autocast(z.device.type, torch.bfloat16, enabled=half):
            return self._forward(z).to(z.dtype)

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of a loss for each prior, (count,)."""
        self.optimizer.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def rows(self) -> list[Tensor]:
        """All that is fitted, and the moments, as (count, ...) each; before the first step there are no moments."""
        parameters = list(self.network.parameters())
        moments = [self.optimizer.state[p][key] for p in parameters if self.optimizer.state for key in MOMENTS]
        return [tensor.view(self.count, -1) for tensor in (*parameters, *moments)]

    def select(self, indices: Tensor) -> None:
        """Leave out all but the priors at these places, int64 (n,)."""
        rows, steps = self.rows(), [state["step"] for state in self.optimizer.state.values()]
        # Nothing is drawn on the meta device, and every weight has a row to come from.
        with torch.device("meta"):
            network = registry.network(self.options.network).for_images(self.shape, self.options, len(indices))
        self.count = len(indices)
        self._set_network(network.to_empty(device=indices.device))
        for parameter, step in zip(self.network.parameters(), steps, strict=bool(steps)):
            moments = {key: torch.empty_like(parameter) for key in MOMENTS}
            self.optimizer.state[parameter] = {"step": step, **moments}
        with torch.no_grad():
            for new, old in zip(self.rows(), rows, strict=True):
                new.copy_(old[indices])
        self.checkpoint_rows = [good[indices] for good in self.checkpoint_rows]

    def checkpoint_or_rollback(self, diverged: Tensor) -> None:
        """Take the priors of bool (count,) back to where they were noted last, and note where the others are.

        The optimiser's count of steps, which all share, goes on.
        """
        self.checkpoint_rows = self.checkpoint_rows or [current.clone() for current in self.rows()]
        for now, good in zip(self.rows(), self.checkpoint_rows, strict=True):
            now.copy_(torch.where(diverged.view(-1, 1), good, now))
            good.copy_(now)

    def add_langevin_noise(self, std: float, generator: torch.Generator) -> None:
        """Add Gaussian noise to the convolutions, alike for all priors, as everything random is."""
        for weight in self.network.parameters():
            if weight.ndim == 4:
                shape = (len(weight) // self.count, *weight.shape[1:])
                shared_noise = torch.randn(shape, generator=generator, device=weight.device)
                weight.add_(shared_noise.repeat(self.count, 1, 1, 1), alpha=std)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "good": self.checkpoint_rows,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """The inverse of `state_dict`, for as many priors."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.checkpoint_rows = [good.clone() for good in state["good"]]


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

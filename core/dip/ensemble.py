"""The weights and optimiser moments of many priors in one network, and an estimate of how many priors fit in memory."""

from __future__ import annotations

import os
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from dipddpm.core import registry
from dipddpm.core.compute.compile import compile_network
from dipddpm.core.compute.distributed import ProcessGroup
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.errors import UserError
from dipddpm.core.events import StateDict

MEMORY_FRACTION = 0.5
"""Fraction of the free memory that a fit may use; convolutions need workspace, and other runs share the device."""
MOMENTS = ("exp_avg", "exp_avg_sq")
"""torch's names for Adam's running means of the gradient and of its square."""


class Priors:
    """A network of `count` priors with the same starting weights, and its Adam optimiser.

    `select` drops priors: the smaller network updates the remaining ones as the larger one would have (up to rounding).
    """

    def __init__(
        self, shape: tuple[int, int, int], options: DipConfig, count: int, device: torch.device | str = "cpu"
    ) -> None:
        """Build the network for images of shape (C, H, W), with weights from torch's global generator on the CPU."""
        self.shape, self.options, self.count = shape, options, count
        refuse_lines(shape)
        network = registry.network(options.network).for_images(shape, options, count)
        self._set_network(network.to(device))
        self.checkpoint_rows: list[Tensor] = [row.detach().clone() for row in self.rows()]
        """The rows of the last good state; before the first checkpoint the starting weights, without moments."""

    def _set_network(self, network: nn.Module) -> None:
        fused = next(network.parameters()).device.type in {"cpu", "cuda"}
        self.network = network
        self._forward = compile_network(network, self.options.compile_mode) if self.options.compile else network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=self.options.lr, fused=fused)

    def forward(self, z: Tensor) -> Tensor:
        """Map z (1 or count, input_channels, h, w) to the priors' outputs (count, C, H, W), in the dtype of z."""
        half = self.options.precision == "bfloat16"
        with torch.autocast(z.device.type, torch.bfloat16, enabled=half):
            return self._forward(z).to(z.dtype)

    def step(self, loss: Tensor) -> None:
        """Do one optimiser step on the losses of the priors, (count,)."""
        self.optimizer.zero_grad()
        loss.sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def rows(self) -> list[Tensor]:
        """Return all parameters and moments as (count, ...) each; before the first step there are no moments."""
        parameters = list(self.network.parameters())
        moments = [self.optimizer.state[p][key] for p in parameters if self.optimizer.state for key in MOMENTS]
        return [tensor.view(self.count, -1) for tensor in (*parameters, *moments)]

    def select(self, indices: Tensor) -> None:
        """Drop all priors but these, int64 (n,)."""
        rows, steps = self.rows(), [state["step"] for state in self.optimizer.state.values()]
        # The meta device draws no random weights; every weight is copied from a row of the larger network.
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
        """Roll back the priors marked in `diverged`, bool (count,), to the last checkpoint; checkpoint the others.

        The optimiser's step count, which all priors share, is never rolled back.
        """
        rows = self.rows()
        self.checkpoint_rows += [torch.zeros_like(moment) for moment in rows[len(self.checkpoint_rows) :]]
        for current, good in zip(rows, self.checkpoint_rows, strict=True):
            current.copy_(torch.where(diverged.view(-1, 1), good, current))
            good.copy_(current)

    def add_langevin_noise(self, std: float, generator: torch.Generator) -> None:
        """Add Gaussian noise to the convolutions; all priors get the same noise, like every random draw of a batch."""
        for weight in self.network.parameters():
            if weight.ndim == 4:
                shape = (len(weight) // self.count, *weight.shape[1:])
                shared_noise = torch.randn(shape, generator=generator, device=weight.device)
                weight.add_(shared_noise.repeat(self.count, 1, 1, 1), alpha=std)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that an exact resume needs."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "good": self.checkpoint_rows,
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Restore the state that `state_dict` returned for the same number of priors."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.checkpoint_rows = [good.clone() for good in state["good"]] or self.checkpoint_rows


def images_that_fit(options: DipConfig, shape: tuple[int, int, int], device: torch.device) -> int:
    """Return how many images of shape (C, H, W) one network can fit at once in the free memory, at least 1."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        try:
            available = psutil.virtual_memory().available
        except OSError:  # /proc isn't mounted
            available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        free = available // ProcessGroup.current().world_size
    return max(1, int(MEMORY_FRACTION * free) // bytes_per_image(options, shape))


def refuse_lines(shape: tuple[int, int, int]) -> None:
    """Raise UserError for images (C, H, W) with a side of one pixel, on which no network can convolve."""
    if min(shape[1:]) < 2:
        problem = f"The images have {shape[2]}x{shape[1]} pixels, and the networks need at least 2 a side."
        raise UserError(problem, "Leave them out, or enlarge them.")


def bytes_per_image(options: DipConfig, shape: tuple[int, int, int]) -> int:
    """Return the bytes that the fit of one image of shape (C, H, W) uses, counted on a network without data.

    Raises UserError for a side of one pixel.
    """
    refuse_lines(shape)
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
    # 7 copies of the weights: the weights, their gradient, two moments, and a checkpoint of weights and moments.
    # Backpropagation uses at most as much as the saved activations. Images: the window, its sums, and a few more.
    windows = options.window + 4 if options.stop in {"auto", "variance"} else 0
    image = output.numel() * output.element_size()
    return int(7 * weights + 2 * saved_bytes + (windows + 12) * image)

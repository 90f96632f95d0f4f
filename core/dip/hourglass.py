"""Untrained hourglass networks that stand in for a noised image: the published hybrid's readings of DIP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import Substitution
from dipddpm.core.dip.networks import SkipNetwork, max_scales
from dipddpm.core.events import StateDict
from dipddpm.core.images import to_model

INPUT_CHANNELS = 32
"""Channels of the random input z."""

Shape: TypeAlias = tuple[int, int, int]
"""(C, H, W)."""


class FrozenHourglass:
    """Random weights that never change, applied to xt."""

    def __init__(self, options: Substitution, shape: Shape, *, seed: int, device: torch.device | str) -> None:
        self.network = _hourglass(options, shape[0], shape, seed).to(device)

    @torch.no_grad()
    def __call__(self, xt: Tensor) -> Tensor:
        """From xt (N, C, H, W) to what stands in for it, in model space."""
        return to_model(self.network(xt))

    def state_dict(self) -> dict[str, Any]:
        """Empty: the weights follow from the seed."""
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        """Nothing to restore."""


class FittedHourglass:
    """Fitted for k Adam steps to reproduce each batch of xt from a fixed random z, as a Deep Image Prior is.

    One network gives the whole batch, image beside image in its output channels: `batch_size` networks of their own
    would take far longer than the published time for a batch. Each batch starts from new random weights (`fresh`) or
    from the weights and the optimiser that the batch before has left (`warm`). The fit's gradients are its own.
    """

    def __init__(
        self, options: Substitution, shape: Shape, *, batch_size: int, seed: int, device: torch.device | str
    ) -> None:
        channels, height, width = shape
        self.options = options
        self.shape = (channels * batch_size, height, width)
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self.fits = 0
        """Batches fitted. With the seed, it settles the weights that the next fit starts from, unless warm."""
        self._renew()
        generator = torch.Generator().manual_seed(derive(seed, "z"))
        # The classic input: uniform, and small (Ulyanov et al. 2018, supplement).
        self.z = (0.1 * torch.rand(1, INPUT_CHANNELS, height, width, generator=generator)).to(device)

    def __call__(self, xt: Tensor) -> Tensor:
        """From xt (N, C, H, W) to what stands in for it, in model space; larger batches are taken in parts."""
        steps = [self.options.steps]
        return torch.cat([x for part in torch.split(xt, self.batch_size) for x in self.fit_outputs(part, steps)])

    def state_dict(self) -> dict[str, Any]:
        """All that the next fit starts from."""
        if self.options.reading == "fresh":
            return {"fits": self.fits}
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "fits": self.fits}

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called."""
        self.fits = state["fits"]
        if self.options.reading == "warm":
            self.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])

    def _renew(self) -> None:
        """Random weights, and an optimiser that knows nothing yet."""
        seed = derive(self.seed, f"fit {self.fits}")
        self.network = _hourglass(self.options, INPUT_CHANNELS, self.shape, seed).to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.options.lr)

    def fit_outputs(self, xt: Tensor, counts: Iterable[int]) -> Iterator[Tensor]:
        """What stands in for xt after each of these numbers of steps of one fit; they ascend, and 0 is its beginning.

        At most `batch_size` images, which count as fitted once all is taken.
        """
        if self.options.reading == "fresh":
            self._renew()
        steps_done = 0
        for count in counts:
            for _ in range(count - steps_done):
                with torch.enable_grad():
                    loss = F.mse_loss(self._output(xt), xt)
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
            steps_done = count
            with torch.no_grad():
                yield self._output(xt)
        self.fits += 1

    def _output(self, like: Tensor) -> Tensor:
        images = self.network(self.z).reshape(self.batch_size, *like.shape[1:])
        return to_model(images[: len(like)])


def _hourglass(options: Substitution, inputs: int, shape: Shape, seed: int) -> SkipNetwork:
    """An untrained network of its own random weights; torch's global generator is put back as it was."""
    channels, height, width = shape
    scales = min(options.scales, max_scales(height, width))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SkipNetwork(inputs, channels, scales, channels=options.channels, skip_channels=options.skip_channels)

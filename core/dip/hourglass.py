"""Untrained hourglass networks whose output replaces a noised image, as in the published hybrid of DIP and DDPM."""

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
    """A network with fixed random weights that is applied to xt."""

    def __init__(self, options: Substitution, shape: Shape, *, seed: int, device: torch.device | str) -> None:
        self.network = _hourglass(options, shape[0], shape, seed).to(device)

    @torch.no_grad()
    def __call__(self, xt: Tensor) -> Tensor:
        """Return the network's output for xt (N, C, H, W), in model space."""
        return to_model(self.network(xt))

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state, since the weights follow from the seed."""
        return {}

    def load_state_dict(self, state: StateDict) -> None:
        """Do nothing; there is no state."""


class FittedHourglass:
    """A Deep Image Prior that is fitted to each batch of xt for k Adam steps, from a fixed random z.

    One network outputs the whole batch, with the images stacked along its channels: `batch_size` separate networks
    would take far longer than the published time for a batch. Each batch starts from new random weights (`fresh`) or
    from the weights and optimiser state that the previous batch has left (`warm`). No gradient of the fit reaches the
    caller.
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
        """The number of batches fitted. With the seed it determines the next fit's starting weights, unless warm."""
        self._renew()
        generator = torch.Generator().manual_seed(derive(seed, "z"))
        # Small and uniform, as in the original (Ulyanov et al. 2018, supplement).
        self.z = (0.1 * torch.rand(1, INPUT_CHANNELS, height, width, generator=generator)).to(device)

    def __call__(self, xt: Tensor) -> Tensor:
        """Fit xt (N, C, H, W) and return the fitted images in model space; split xt where it exceeds `batch_size`."""
        steps = [self.options.steps]
        return torch.cat([x for part in torch.split(xt, self.batch_size) for x in self.fit_outputs(part, steps)])

    def state_dict(self) -> dict[str, Any]:
        """Return the state that the next fit starts from."""
        if self.options.reading == "fresh":
            return {"fits": self.fits}
        return {**self.fit_state_dict(), "fits": self.fits}

    def load_state_dict(self, state: StateDict) -> None:
        """Restore the state that `state_dict` returned."""
        self.fits = state["fits"]
        if self.options.reading == "warm":
            self.load_fit_state_dict(state)

    def _renew(self) -> None:
        """Draw random weights and reset the optimiser."""
        seed = derive(self.seed, f"fit {self.fits}")
        self.network = _hourglass(self.options, INPUT_CHANNELS, self.shape, seed).to(self.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.options.lr)

    def fit_outputs(self, xt: Tensor, counts: Iterable[int]) -> Iterator[Tensor]:
        """Fit xt once and yield the output after each of these numbers of steps, which must ascend; 0 is the start.

        xt holds at most `batch_size` images. They count as fitted once the last output is taken.
        """
        self.begin_fit()
        steps_done = 0
        for count in counts:
            yield self.continue_fit(xt, count - steps_done)
            steps_done = count
        self.fits += 1

    def begin_fit(self) -> None:
        """Draw new random weights, unless the fits are warm."""
        if self.options.reading == "fresh":
            self._renew()

    def continue_fit(self, xt: Tensor, steps: int) -> Tensor:
        """Take this number of steps toward xt, and return the output."""
        for _ in range(steps):
            with torch.enable_grad():
                loss = F.mse_loss(self._output(xt), xt)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        with torch.no_grad():
            return self._output(xt)

    def fit_state_dict(self) -> dict[str, Any]:
        """Return the state of a fit that goes on."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_fit_state_dict(self, state: StateDict) -> None:
        """Go on with the fit of a `fit_state_dict`."""
        self.begin_fit()
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _output(self, like: Tensor) -> Tensor:
        images = self.network(self.z).reshape(self.batch_size, *like.shape[1:])
        return to_model(images[: len(like)])


def _hourglass(options: Substitution, inputs: int, shape: Shape, seed: int) -> SkipNetwork:
    """Return an untrained network with weights drawn from `seed`, without changing torch's global generator."""
    channels, height, width = shape
    scales = min(options.scales, max_scales(height, width))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SkipNetwork(inputs, channels, scales, channels=options.channels, skip_channels=options.skip_channels)

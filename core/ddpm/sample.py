"""Sampling: from pure noise to images, as something that one iterates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from core.config.ddpm import Variance
from core.ddpm.schedule import Schedule
from core.ddpm.train import READ_EVERY, View
from core.events import State, Step


class AncestralSampling:
    """Draw images by undoing all T timesteps (Ho et al. 2020, algorithm 2), x0 never clipped.

    `variance` is that of the noise added on the way: `beta` (sigma_t^2 = beta_t, as published) or `posterior`
    (that of q(x_{t-1} | xt, x0)), the two choices of section 3.2. All images advance together, `batch_size` of them
    at a time through the network. `xt` is in model space, shape (N, C, H, W), and holds the samples when the
    iteration has ended; `nfe` counts how often the network has seen each image. Steps are counted from `first_step`.

    As with training, iterating on after `load_state_dict` gives the same images as never having stopped.
    """

    def __init__(
        self,
        network: nn.Module,
        schedule: Schedule,
        shape: tuple[int, int, int, int],
        *,
        device: torch.device | str = "cpu",
        seed: int = 0,
        variance: Variance = "beta",
        batch_size: int = 512,
        view: View | None = None,
        first_step: int = 0,
        epoch: int = 0,
    ) -> None:
        self.network = network
        self.schedule = schedule
        self.variance = schedule.beta if variance == "beta" else schedule.posterior_variance
        self.batch_size = batch_size
        self.view = view
        self.first_step = first_step
        self.epoch = epoch
        self.generator = torch.Generator(device).manual_seed(seed)
        self.xt = torch.randn(shape, generator=self.generator, device=device)
        self.t = len(schedule) - 1
        """The timestep of `xt`; -1 when it has none left."""
        self.nfe = 0
        self.read_every = 1 if self.xt.device.type == "cpu" else READ_EVERY

    @property
    def done(self) -> int:
        """Timesteps undone."""
        return len(self.schedule) - 1 - self.t

    def __iter__(self) -> Iterator[Step]:
        self.network.eval()
        while self.t >= 0:
            for _ in range(min(self.read_every, self.t + 1)):
                self._undo()
            yield Step(step=self.first_step + self.done, epoch=self.epoch)

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs but the network's weights; valid between two items."""
        return {"xt": self.xt, "t": self.t, "nfe": self.nfe, "generator": self.generator.get_state()}

    def load_state_dict(self, state: State) -> None:
        """Go on from where `state_dict` was called, with the same network and options."""
        self.xt = state["xt"].to(self.xt.device)
        self.t, self.nfe = state["t"], state["nfe"]
        self.generator.set_state(state["generator"].cpu())

    @torch.no_grad()
    def _undo(self) -> None:
        """One timestep: xt becomes x_{t-1}."""
        eps = torch.cat([self._predict(part) for part in torch.split(self.xt, self.batch_size)])
        self.nfe += 1
        x0 = self.schedule.predict_x0(self.xt, eps, self.t)
        mean = self.schedule.posterior_mean(x0, self.xt, self.t)
        if self.t > 0:
            noise = torch.randn(mean.shape, generator=self.generator, device=mean.device)
            mean += self.variance[self.t].sqrt().item() * noise
        self.xt = mean
        self.t -= 1

    def _predict(self, xt: Tensor) -> Tensor:
        t = torch.full(xt.shape[:1], self.t, device=xt.device)
        eps: Tensor = self.network(xt if self.view is None else self.view(xt, t), t)
        return eps

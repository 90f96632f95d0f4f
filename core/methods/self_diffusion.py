"""Self-diffusion: an untrained network taken down a noise schedule by its own outputs; DIP that knows of timesteps."""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import SelfDiffusion
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.methods.regularized_dip import FedRestorer, Feed, falling_level


class Descent(Feed):
    """x_t + sigma(t) eps_t: at first noise around mid-grey, then the network's last output with less noise.

    Self-diffusion (NeurIPS 2025, arXiv 2510.21417): x_{t-1} = D(x_t + sigma(t) eps_t), eps_t being drawn once for all
    the iterations at t, and the network D going on from one t to the next. Here sigma(t) falls geometrically, and stays
    at its least until the fit stops. The noise is the same for all images, as everything random in a batch is.
    """

    def __init__(self, batch: PriorBatch, options: SelfDiffusion, seed: int) -> None:
        super().__init__(batch, options.every, seed)
        self.options = options

    def renew(self, indices: Tensor) -> Tensor:
        """The next level."""
        x = self.batch.output[indices] if self.step else torch.full_like(self.current_input[indices], 0.5)
        sigma = falling_level(self.options.start, self.options.floor, self.step / self.options.fall) / 255
        return x + sigma * torch.randn(x[:1].shape, generator=self.generator, device=x.device, dtype=x.dtype)


class SelfDiffusionRestorer(FedRestorer):
    """A fit of each image down the schedule. No trained network, and no fresh noise on what the network sees."""

    def __init__(self, case: Case, prior: TrainedModel | None, options: SelfDiffusion, dip: DipConfig) -> None:
        """There is no prior. Raises UserError for a stopping rule that can't work with this noise."""
        del prior
        seed = derive(case.seed, "descent")
        plain = msgspec.structs.replace(dip, input_noise=0.0)
        super().__init__(case, plain, lambda batch: Descent(batch, options, seed), seed=derive(case.seed, "restart 0"))

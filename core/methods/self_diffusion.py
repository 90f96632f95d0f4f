"""Self-diffusion: a DIP whose input is its own last output, with noise that falls along a schedule."""

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
from dipddpm.core.methods.regularized_dip import InputFeed, InputFeedRestorer, falling_level


class Descent(InputFeed):
    """The input x_t + sigma(t) eps_t: at first noise around mid-grey, then the network's last output with less noise.

    Self-diffusion (NeurIPS 2025, arXiv 2510.21417): x_{t-1} = D(x_t + sigma(t) eps_t), where eps_t is drawn once for
    all iterations at t, and the network D keeps its weights from one t to the next. Here sigma(t) falls geometrically,
    then stays at its floor until the fit stops. All images get the same noise, like all other random draws of a batch.
    """

    def __init__(self, batch: PriorBatch, options: SelfDiffusion, seed: int) -> None:
        super().__init__(batch, options.every, seed)
        self.options = options

    def renew(self, indices: Tensor) -> Tensor:
        """Return the networks' last outputs, at first mid-grey, with noise of the current level."""
        x = self.batch.output[indices] if self.step else torch.full_like(self.current_input[indices], 0.5)
        sigma = falling_level(self.options.start, self.options.floor, self.step / self.options.fall) / 255
        return x + sigma * torch.randn(x[:1].shape, generator=self.generator, device=x.device, dtype=x.dtype)


class SelfDiffusionRestorer(InputFeedRestorer):
    """A DIP fit of each image along the noise schedule, without a trained network or DIP's own input noise."""

    def __init__(self, case: Case, prior: TrainedModel | None, options: SelfDiffusion, dip: DipConfig) -> None:
        """Set up the fit; `prior` is ignored. Raises UserError for a stopping rule that can't work with this noise."""
        del prior
        seed = derive(case.seed, "descent")
        dip = msgspec.structs.replace(dip, input_noise=0.0)
        super().__init__(case, dip, lambda batch: Descent(batch, options, seed), seed=derive(case.seed, "restart 0"))

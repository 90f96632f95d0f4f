"""Validation of a denoiser: its error at each noise level, with the same noise every time."""

from __future__ import annotations

import torch
from torch import Tensor

from dipddpm.core.config.ddpm import Objective
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.schedule import Schedule
from dipddpm.core.images import to_model

BANDS = 10
MAX_VALIDATION_IMAGES = 1_000
"""Largest number of images in a validation; 1,000 images cost about 1% of an epoch of 60,000."""


class Validator:
    """The mean of |eps - prediction|^2 on up to 1,000 images, with the same noise and timesteps every time.

    The error is the error of eps whatever the network predicts, so that all trainings on the same images and schedule
    are comparable. With another `objective` it is that objective's error, for networks that are used at high noise.
    Timesteps are spread evenly over the images, in random order; bands are ten equal parts of the timesteps, the least
    noisy first. `images` is uint8 (N, C, H, W).
    """

    def __init__(self, schedule: Schedule, images: Tensor, *, seed: int, objective: Objective = "eps") -> None:
        self.schedule = schedule
        self.objective: Objective = objective
        self.images = images[:MAX_VALIDATION_IMAGES]
        self.seed = seed
        count, device = len(self.images), images.device
        even = torch.arange(count, device=device) * len(schedule) // count
        self.times = even[torch.randperm(count, generator=self._generator(), device=device)]

    @torch.no_grad()
    def measure(self, denoiser: Denoiser) -> tuple[float, list[float]]:
        """Return the mean error of the objective, and the error of eps in each band.

        The list of bands is empty if a band has no image because there are too few images or timesteps.
        """
        x0 = to_model(self.images)
        eps = torch.randn(x0.shape, generator=self._generator(), device=x0.device)
        x0_pred, eps_pred = denoiser(self.schedule.add_noise(x0, eps, self.times), self.times)

        def error(objective: Objective) -> Tensor:
            pair = (self.schedule.target(objective, *both, self.times) for both in ((x0_pred, eps_pred), (x0, eps)))
            return torch.sub(*pair).square().flatten(1).mean(1).double()

        loss = error("eps")
        band = self.times * BANDS // len(self.schedule)
        counts = torch.bincount(band, minlength=BANDS)
        sums = torch.zeros(BANDS, dtype=loss.dtype, device=loss.device).index_add_(0, band, loss)
        return error(self.objective).mean().item(), (sums / counts).tolist() if counts.all() else []

    def _generator(self) -> torch.Generator:
        return torch.Generator(self.images.device).manual_seed(self.seed)

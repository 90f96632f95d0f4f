"""Restoration by the diffusion model alone: with DIP, one of the two baselines for every hybrid."""

from __future__ import annotations

from dataclasses import dataclass

from dipddpm.core.compute.rng import derive
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.posterior import Restoration
from dipddpm.core.degrade import CircularBlur, Degradation, Identity, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level


@dataclass(frozen=True)
class DiffusionChoice:
    """A method of `dipddpm.core.ddpm.posterior.METHODS`, and its number of steps."""

    method: str
    steps: int


def diffusion_for(degradation: Degradation) -> DiffusionChoice:
    """Return the best method and steps for a degradation, by the PSNR of means of eight samples on training images.

    Denoising needs a single step, unless the noise consists of impulses. For the other tasks, DDNM+ and DiffPIR were
    compared on FashionMNIST in 20, 50 and 100 steps: 100 steps of DDNM+ were best at deblurring by 2.8 dB, 100 steps
    of DiffPIR at super-resolution and impulses by 0.2 and 0.1 dB; at inpainting, the two were equal.
    """
    if isinstance(degradation.operator, Identity) and not isinstance(degradation.noise, SaltAndPepper):
        return DiffusionChoice("posterior-mean", 1)
    return DiffusionChoice("ddnm" if isinstance(degradation.operator, CircularBlur) else "diffpir", 100)


class DdpmRestorer(Restoration):
    """The mean of `samples` diffusion restorations, by the best method for the task unless another one is given.

    If the noise level is unknown, it is estimated from the measurements.
    """

    iterations = 0

    def __init__(self, case: Case, prior: TrainedModel, *, method: str = "", steps: int = 0, samples: int = 1) -> None:
        """Set up the samples; `method` "" and `steps` 0 stand for the choice of `diffusion_for`.

        There are never more steps than timesteps. Raises UserError for a method that can't restore the task, and for a
        noise level that can't be estimated.
        """
        degradation = with_noise_level(case.y, case.degradation)
        best = diffusion_for(degradation)
        super().__init__(
            method or best.method,
            prior.denoiser(),
            case.y,
            degradation,
            case.shape,
            steps=min(steps or best.steps, len(prior.schedule)),
            samples=samples,
            seed=derive(case.seed, "diffusion"),
        )

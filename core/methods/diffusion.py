"""Restoration by the diffusion model alone: with DIP, one of the two baselines for every hybrid."""

from __future__ import annotations

from dataclasses import dataclass

from dipddpm.core.compute.rng import derive
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.posterior import Restoration
from dipddpm.core.degrade import CircularBlur, Degradation, GaussianNoise, Identity, Mask, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level

MANY_MISSING = 0.25
"""Share of missing pixels from which on MMPS is the best sampler for means."""


@dataclass(frozen=True)
class DiffusionChoice:
    """A method of `dipddpm.core.ddpm.posterior.METHODS`, and its number of steps."""

    method: str
    steps: int


def diffusion_for(degradation: Degradation) -> DiffusionChoice:
    """Return the best method and steps for a degradation, by the PSNR of means of eight samples on training images.

    Denoising needs a single step, unless the noise consists of impulses. For the other tasks, DDNM+ and DiffPIR were
    compared on FashionMNIST in 20, 50 and 100 steps: 100 steps of DDNM+ were best at deblurring without noise by 2.8
    dB, 100 steps of DiffPIR at super-resolution and impulses by 0.2 and 0.1 dB; at inpainting, the two were equal. At
    deblurring with noise of 0.5 to 10 grey levels, DiffPIR was better by 0.7 to 1.3 dB, for means of two samples of six
    training images and of six patches from number 100,000 on.
    """
    if isinstance(degradation.operator, Identity) and not isinstance(degradation.noise, SaltAndPepper):
        return DiffusionChoice("posterior-mean", 1)
    exact = isinstance(degradation.noise, GaussianNoise) and not degradation.noise.sigma and not degradation.blind
    return DiffusionChoice("ddnm" if exact and isinstance(degradation.operator, CircularBlur) else "diffpir", 100)


def diffusion_for_mean(degradation: Degradation) -> DiffusionChoice:
    """Return the best method and steps for the mean of several samples, for the seconds that they take.

    Denoising needs many steps then, since one step gives the same image each time. Where many pixels are missing, 20
    steps of MMPS are better than 100 of DiffPIR, which last as long. With 30 to 70% of the pixels missing, means of
    four samples were better by 0.2 to 0.5 dB on six training images and by 0.2 to 1.7 dB on six patches from number
    100,000 on; on the next 12 of each, with 70% missing, by 0.0 and 1.6 dB. With 13% missing, in a box, they were worse
    by 0.2 and 0.9 dB. `diffusion_for` keeps DiffPIR, because some of its callers choose fewer steps.
    """
    best, operator = diffusion_for(degradation), degradation.operator
    if best.method == "posterior-mean":
        return DiffusionChoice("ddnm", 100)
    if isinstance(operator, Mask) and not isinstance(degradation.noise, SaltAndPepper):
        return DiffusionChoice("mmps", 20) if operator.mask.mean() <= 1 - MANY_MISSING else best
    return best


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

"""The diffusion model by itself: one of the two that a hybrid has to beat, on the same ground and in the same time."""

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
    """A way of restoring with a trained network: a method of `dipddpm.core.ddpm.posterior.METHODS` and its steps."""

    method: str
    steps: int


def diffusion_for(degradation: Degradation) -> DiffusionChoice:
    """What serves a task best: chosen by the PSNR of the mean of eight samples of training images of FashionMNIST.

    Noise alone, but for impulses, needs a single step. Of DDNM+ and DiffPIR in 20, 50 and 100 steps, the 100 steps of
    DDNM+ were best at deblurring by 2.8 dB, those of DiffPIR at super-resolution and impulses by 0.2 and 0.1 dB; at
    inpainting the two were even.
    """
    if isinstance(degradation.operator, Identity) and not isinstance(degradation.noise, SaltAndPepper):
        return DiffusionChoice("posterior-mean", 1)
    return DiffusionChoice("ddnm" if isinstance(degradation.operator, CircularBlur) else "diffpir", 100)


class DdpmRestorer(Restoration):
    """The mean of `samples` restorations by a trained network, by the method that serves the task unless one is given.

    Where the noise level isn't told, it is estimated from the measurements.
    """

    iterations = 0

    def __init__(self, case: Case, prior: TrainedModel, *, method: str = "", steps: int = 0, samples: int = 1) -> None:
        """`method` "" and `steps` 0 leave the choice to `diffusion_for`.

        Raises UserError for a method that doesn't serve the task, and for more steps than there are timesteps.
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

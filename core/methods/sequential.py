"""DIP and diffusion purification in turn: the DIP's input is its own output, purified by the diffusion network.

This is uDiG-DIP (ICASSP 2025); without purification it is aSeqDIP (NeurIPS 2024).
"""

from __future__ import annotations

from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import Sequential
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import noise, solver
from dipddpm.core.degrade import SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.methods.regularized_dip import InputFeed, InputFeedRestorer, falling_level, noise_floor


class Purified(InputFeed):
    """The input z: at first A+ y, then the network's last output, noised and then denoised by DDIM steps.

    A penalty `pull`, w |f(z) - z|^p, pulls the output towards the input; the data error |A f(z) - y|^p has weight 1. p
    is 1 for salt-and-pepper noise, else 2. The noise level falls geometrically, but not below the level of the
    measurement. The default options come from a few trials that varied several options at a time. On six training
    images they gained 2.1 dB over plain DIP at inpainting 70% and 0.1 dB at sigma 25, in two to three times its
    seconds.
    """

    def __init__(self, batch: PriorBatch, denoiser: Denoiser, options: Sequential, seed: int) -> None:
        super().__init__(batch, options.every, seed)
        self.denoiser: Denoiser = denoiser
        self.options = options
        known_degradation = with_noise_level(batch.y, batch.degradation)
        self.floor = noise_floor(options.floor, known_degradation, batch.y)
        self.power = 1 if isinstance(batch.degradation.noise, SaltAndPepper) else 2

    def renew(self, indices: Tensor) -> Tensor:
        """Return the next input z, (n, C, H, W)."""
        if not self.step:
            return self.batch.degradation.operator.pinv(self.batch.y)[indices]
        output = self.batch.output[indices]
        return self.purify(output) if self.options.steps else output

    def purify(self, images: Tensor) -> Tensor:
        """Add noise of the current level to images (n, C, H, W) in [0, 1], and denoise them by DDIM steps."""
        level = falling_level(max(self.options.start, self.floor), self.floor, self.step / self.options.fall)
        t = self.denoiser.schedule.timestep(level / 255)
        x = to_model(images)
        xt = self.denoiser.schedule.add_noise(x, noise(x, self.generator), t)
        sampling = Sampling(self.denoiser, solver("ddim"), xt, begin=t, steps=min(self.options.steps, t + 1))
        for _ in sampling:
            pass
        return to_unit(sampling.xt)

    def pull(self, outputs: Tensor, indices: Tensor) -> Tensor:
        """Return the penalty (n,) on outputs (n, C, H, W) that differ from the input; 0 while the input is A+ y."""
        weight = self.options.weight if self.step > self.every else 0.0
        return weight * (outputs - self.current_input[indices]).abs().pow(self.power).flatten(1).mean(1)


class SequentialRestorer(InputFeedRestorer):
    """A DIP fit of each image in rounds of `every` iterations, with a purification of the input between rounds."""

    def __init__(self, case: Case, prior: TrainedModel, options: Sequential, dip: DipConfig) -> None:
        """Set up the fit. Raises UserError for a stopping rule that can't work with this noise."""

        def feed(batch: PriorBatch) -> Purified:
            purified = Purified(batch, prior.denoiser(), options, derive(case.seed, "purification"))
            batch.penalty = purified.pull
            return purified

        super().__init__(case, dip, feed, seed=derive(case.seed, "restart 0"))

"""DIP guided by a diffusion prior: a penalty pulls the fit's output towards its own noised and denoised form."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import Guided
from dipddpm.core.ddpm.denoiser import Denoiser
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.solvers import noise
from dipddpm.core.degrade import Degradation, SaltAndPepper
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.dip.batch import PriorBatch
from dipddpm.core.images import to_model
from dipddpm.core.methods.regularized_dip import BatchAttachment, OneFit, falling_level, noise_floor


class Guide(BatchAttachment):
    """The penalty w |f - sg(x0hat(xt))|^2, where xt is the output f of a fit, noised to a falling level.

    This is RED-diff (Mardani et al., ICLR 2024) with the output of an untrained network in place of a free image. Each
    image has its own weight w, `weight` (B,), relative to a data error of weight 1, if both are means over values in
    model space. The noise level falls geometrically, but not below the level of the measurement: closer to 0, x0hat
    would equal f, and the pull would vanish. x0hat is evaluated every few iterations and stays constant in between.
    """

    stored: ClassVar[dict[str, str]] = {"target": "target"}

    def __init__(
        self, denoiser: Denoiser, options: Guided, degradation: Degradation, y: Tensor, *, weight: Tensor, seed: int
    ) -> None:
        super().__init__(y, seed)
        self.denoiser: Denoiser = denoiser
        self.options, self.weight = options, weight
        self.floor = noise_floor(options.floor, degradation, y)
        # A mean square is 4 times as large in model space as in [0, 1], a mean absolute value twice as large. The data
        # error is in [0, 1], and only the ratio of penalty to data error matters.
        self.scale = 2.0 if isinstance(degradation.noise, SaltAndPepper) else 4.0
        self.target: Tensor | None = None
        """x0hat in model space, from the last evaluation of each image; None before the first."""

    def __call__(self, outputs: Tensor, indices: Tensor) -> Tensor:
        """Return the penalty that is added to the loss of each image, (n,)."""
        f = to_model(outputs)
        if self.target is None or self.step % self.options.every == 0:
            self.target = f.new_zeros(len(self.weight), *f.shape[1:]) if self.target is None else self.target
            self.target = self.target.index_copy(0, indices, self._evaluate(f.detach()))
        self.step += 1
        return self.weight[indices] / self.scale * (f - self.target[indices]).square().flatten(1).mean(1)

    @torch.no_grad()
    def _evaluate(self, f: Tensor) -> Tensor:
        level = falling_level(max(self.options.start, self.floor), self.floor, self.step / self.options.fall)
        t = self.denoiser.schedule.timestep(level / 255)
        xt = self.denoiser.schedule.add_noise(f, noise(f, self.generator), t)
        return self.denoiser(xt, t)[0]


class GuidedRestorer(OneFit):
    """A guided DIP fit of each image, stopped by the same rule as plain DIP."""

    def __init__(
        self,
        case: Case,
        prior: TrainedModel,
        options: Guided,
        dip: DipConfig,
        *,
        weights: Tensor | None = None,
        copies: int = 1,
    ) -> None:
        """Set up the fit; `weights` (N,) replace the weight of the options, image by image; for `copies` see `dip_fit`.

        Raises UserError for a stopping rule that can't work with this noise.
        """
        self.prior, self.options = prior, options
        self.weights = case.y.new_full((len(case.y),), options.weight) if weights is None else weights
        # Without a pull, this fit equals the first fit of the DIP baseline bit for bit.
        super().__init__(case, dip, derive(case.seed, "restart 0"), copies)

    def attach(self, batch: PriorBatch, indices: list[int]) -> Guide | None:
        """Attach a guide to the batch and return it; return None if the weights of all images are 0."""
        if not bool(self.weights.any()):
            return None
        known_degradation = with_noise_level(batch.y, batch.degradation)
        seed = derive(self.case.seed, "guide")
        guide = Guide(
            self.prior.denoiser(), self.options, known_degradation, batch.y, weight=self.weights[indices], seed=seed
        )
        batch.penalty = guide
        return guide

"""DIP as the initialisation of a diffusion sampler: the correct form of "accelerating DDPM with an initial prior".

CCDF (Chung et al., CVPR 2022): a good estimate, noised to the right marginal, needs only the last part of the chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import PriorInit
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.events import Item, StateDict
from dipddpm.core.methods.base import shift_step
from dipddpm.core.methods.chains import LEVELS, Chains
from dipddpm.core.methods.dip import DipRestorer


class PriorInitRestorer:
    """The mean of samples of a data-consistent sampler that starts at the mean of a few DIP fits, noised.

    The spread of an image's fits, which estimates their error without the truth, decides how much noise is added: at
    the starting timestep t0, the noise level is `scale` times the standard deviation of the fits.
    """

    def __init__(self, case: Case, prior: TrainedModel, options: PriorInit, dip: DipConfig) -> None:
        self.case, self.prior, self.options = case, prior, options
        self.degradation = with_noise_level(case.y, case.degradation)
        self.fits = [DipRestorer(replace(case, seed=derive(case.seed, f"fit {i}")), dip) for i in range(options.fits)]
        self.chains: Chains | None = None
        """The sampler; None until the fits have ended."""

    def __len__(self) -> int:
        return sum(len(fit) for fit in self.fits) + LEVELS * self.options.steps

    def __iter__(self) -> Iterator[Item]:
        for index, fit in enumerate(self.fits):
            before = sum(earlier.iterations for earlier in self.fits[:index])
            for item in fit:
                yield shift_step(item, before)
        self.chains = self.chains or self._begin()
        for item in self.chains:
            yield shift_step(item, self.iterations)

    @property
    def images(self) -> Tensor:
        """The restoration (N, C, H, W), in [0, 1] but not clipped; before sampling, the images of the first fit."""
        if self.chains is not None:
            return self.chains.images
        return self.fits[0].images

    @property
    def samples(self) -> Tensor | None:
        """The samples whose mean is the restoration, (K, N, C, H, W); None before sampling."""
        return None if self.chains is None else self.chains.samples

    @property
    def spread(self) -> Tensor | None:
        """The standard deviation of the samples, (N, C, H, W), in [0, 1]; None before sampling."""
        return None if self.chains is None else self.chains.spread

    @property
    def nfe(self) -> int:
        """Network evaluations for each image, summed over its samples."""
        return self.chains.nfe if self.chains is not None else 0

    @property
    def iterations(self) -> int:
        """Iterations of all fits together."""
        return sum(fit.iterations for fit in self.fits)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the trained network; valid after a `Step`."""
        chains = None if self.chains is None else self.chains.state_dict()
        return {"fits": [fit.state_dict() for fit in self.fits], "chains": chains}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        for fit, its_state in zip(self.fits, state["fits"], strict=True):
            fit.load_state_dict(its_state)
        if state["chains"] is not None:
            self.chains = self._begin()
            self.chains.load_state_dict(state["chains"])

    def _begin(self) -> Chains:
        results = torch.stack([fit.images for fit in self.fits])
        sigma = self.options.scale * results.var(0).flatten(1).mean(1).sqrt()
        return Chains(
            self.prior,
            self.case.y,
            self.degradation,
            results.mean(0),
            sigma.tolist(),
            steps=self.options.steps,
            samples=self.options.samples,
            seed=derive(self.case.seed, "chains"),
        )

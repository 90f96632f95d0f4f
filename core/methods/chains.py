"""Data-consistent sampling that starts at given images with noise added, instead of at pure noise.

CCDF (Chung et al., CVPR 2022): a good estimate, noised to the right marginal, needs only the last part of the chain.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.posterior import METHODS, Problem
from dipddpm.core.ddpm.sampling import Sampling
from dipddpm.core.ddpm.solvers import noise
from dipddpm.core.degrade import Degradation
from dipddpm.core.degrade.case import Case
from dipddpm.core.events import Item, StateDict, Step
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.methods.diffusion import diffusion_for
from dipddpm.core.methods.starts import noise_levels

LEVELS = 16
"""Number of timesteps, between the cleanest one and pure noise, at which chains can start."""


class Chains:
    """Samples for each image by the best sampler for the task, started from a given image with noise added.

    `start` (N, C, H, W) are these images in [0, 1], and `sigma` is the level of the added noise for each image, on the
    same scale. It is rounded to one of at most `LEVELS` levels, and the images of a level are sampled as one group.
    Yields a `Step` for every step of each group.
    """

    iterations = 0

    def __init__(
        self,
        prior: TrainedModel,
        y: Tensor,
        degradation: Degradation,
        start: Tensor,
        sigma: Sequence[float],
        *,
        steps: int,
        samples: int,
        seed: int,
        method: str = "",
    ) -> None:
        """Set up the samples; `method` is one of `METHODS`, "" the best one for the task."""
        self.count = samples
        """The number of samples of each image."""
        self.start = start
        times = _levels(prior)
        method = method or diffusion_for(degradation).method
        method = "ddnm" if method == "posterior-mean" else method
        groups: dict[int, list[int]] = {}
        for index, level in enumerate(sigma):
            begin = min(times, key=lambda t: abs(_log(prior.schedule.sigma[t].item()) - _log(level)))
            groups.setdefault(begin, []).append(index)
        self.groups = dict(sorted(groups.items()))
        self.samplings: list[Sampling] = []
        for begin, group in self.groups.items():
            indices = [index for index in group for _ in range(samples)]
            first = to_model(start[indices])
            generator = torch.Generator(y.device).manual_seed(derive(seed, f"start at {begin}"))
            noised = prior.schedule.add_noise(first, noise(first, generator), begin)
            problem = Problem(y[indices], degradation.select(indices), tuple(first.shape))
            solver, group_seed = METHODS[method](problem), derive(seed, f"group at {begin}")
            sampling = Sampling(
                prior.denoiser(), solver, noised, begin=begin, steps=min(steps, begin + 1), seed=group_seed
            )
            self.samplings.append(sampling)

    @classmethod
    def at(
        cls, start: Tensor, case: Case, prior: TrainedModel, *, steps: int, samples: int, seed: int, method: str = ""
    ) -> Self:
        """Start at these images of a case with known noise, at the noise levels of `noise_levels`."""
        levels = noise_levels(case, start).tolist()
        return cls(
            prior, case.y, case.degradation, start, levels, steps=steps, samples=samples, seed=seed, method=method
        )

    def __len__(self) -> int:
        return sum(len(sampling) for sampling in self.samplings)

    def __iter__(self) -> Iterator[Item]:
        for index, sampling in enumerate(self.samplings):
            before = sum(len(earlier) for earlier in self.samplings[:index])
            for step in sampling:
                yield Step(step=before + step.step)

    @property
    def images(self) -> Tensor:
        """The means of the samples (N, C, H, W), in [0, 1] but not clipped; `start` where sampling has not begun."""
        images = self.start.clone()
        for group, sampling in zip(self.groups.values(), self.samplings, strict=True):
            if sampling.steps_done:
                images[group] = to_unit(sampling.xt.view(len(group), self.count, *images.shape[1:]).mean(1))
        return images

    @property
    def samples(self) -> Tensor | None:
        """The samples, (K, N, C, H, W), in [0, 1] but not clipped; None until each image has some, and for K = 1."""
        if self.count < 2 or not all(sampling.steps_done for sampling in self.samplings):
            return None
        samples = self.start.expand(self.count, *self.start.shape).clone()
        for group, sampling in zip(self.groups.values(), self.samplings, strict=True):
            samples[:, group] = to_unit(sampling.xt.view(len(group), self.count, *self.start.shape[1:]).movedim(1, 0))
        return samples

    @property
    def spread(self) -> Tensor | None:
        """The standard deviation of the samples, (N, C, H, W), in [0, 1], with the divisor K - 1; None without any."""
        return None if (samples := self.samples) is None else samples.std(0)

    @property
    def nfe(self) -> int:
        """Network evaluations for the image with the most of them, summed over its samples."""
        return self.count * max(sampling.nfe for sampling in self.samplings)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the constructor's arguments; valid after a `Step`."""
        return {"samplings": [sampling.state_dict() for sampling in self.samplings]}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        for sampling, its_state in zip(self.samplings, state["samplings"], strict=True):
            sampling.load_state_dict(its_state)


def _levels(prior: TrainedModel) -> list[int]:
    """Return timesteps whose noise levels are evenly spaced in their logarithm, from 4 grey levels to pure noise."""
    first, last = prior.schedule.timestep(4 / 255), max(prior.schedule.informative, 1) - 1
    logs = torch.linspace(_log(prior.schedule.sigma[first].item()), _log(prior.schedule.sigma[last].item()), LEVELS)
    return sorted({prior.schedule.timestep(math.exp(level)) for level in logs.tolist()})


def _log(sigma: float) -> float:
    return math.log(max(sigma, 1e-6))

"""A restoration in stages, each a restorer of its own that follows from the results of those before it.

Both forms of the calibrated hybrid are made of this: candidates on trial, their weights, and what is made again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import Calibrated, Guided
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.degrade.simplify import equalize_spectrum
from dipddpm.core.events import Item, Message, StateDict, Step
from dipddpm.core.methods.base import Restorer, shift_step
from dipddpm.core.methods.diffusion import DdpmRestorer, diffusion_for
from dipddpm.core.methods.guided import GuidedRestorer
from dipddpm.core.methods.prior_init import LEVELS, Chains

Maker: TypeAlias = Callable[[Case, list[int]], Restorer]
"""Makes a restorer from a case and the indices of its images."""


@dataclass(frozen=True)
class Stage:
    """What one stage does: on trial, from a case with hidden measurements; later, from all of them."""

    make: Maker
    steps: int
    """Steps at most."""
    trial: Case | None = None
    """The case on trial, of all images; None for a stage after the trial."""
    wanted: Callable[[], Tensor] | None = None
    """After the trial: which images need the stage, bool (N,)."""


class StagedRestorer(ABC):
    """Carries out a plan of stages: those on trial, after which candidates are weighed, and the others."""

    kinds: ClassVar[tuple[str, ...]]
    """The candidates, in the order of their weights."""
    plan: dict[str, Stage]
    """The stages by name, those on trial first. A stage's seed follows from its name."""

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """Raises UserError where a noise level is needed and can't be estimated."""
        self.case = replace(case, degradation=with_noise_level(case.y, case.degradation))
        self.prior, self.options = prior, options
        self.dip = msgspec.structs.replace(dip, iterations=min(options.iterations, dip.iterations))
        self.chain_steps = LEVELS * options.steps
        """Steps of diffusion that begins at fits, at most."""
        self.weights: Tensor | None = None
        """The shares of the candidates, (N, K), once they have been tried."""
        self.results: dict[str, Tensor] = {}
        """The images (N, C, H, W) that each stage has come to, in their order."""
        self.work: tuple[Restorer, list[int]] | None = None
        """The stage that is at work, and the indices of its images."""
        self.steps_done = self.nfe_done = self.iterations_done = 0
        """Steps, evaluations and iterations of the stages that have ended."""

    def __len__(self) -> int:
        return sum(stage.steps for stage in self.plan.values())

    def __iter__(self) -> Iterator[Item]:
        for name in self.plan:
            if name in self.results:
                continue
            self.work = self.work or self._begin(name)
            if self.work is not None:
                for item in self.work[0]:
                    if isinstance(item, Step | Message):
                        yield shift_step(item, self.steps_done)
            self._finish(name)

    def _begin(self, name: str) -> tuple[Restorer, list[int]] | None:
        """Start a stage; None where no image needs it."""
        stage, seed = self.plan[name], derive(self.case.seed, name)
        indices = list(range(self.case.shape[0]))
        if stage.wanted is not None:
            indices = stage.wanted().nonzero().flatten().tolist()
        if not indices:
            return None
        case = self.subset_case(indices) if stage.trial is None else stage.trial
        return stage.make(replace(case, seed=seed), indices), indices

    def _finish(self, name: str) -> None:
        """Take what a stage has come to, and weigh the candidates after the last one on trial."""
        result = self.fallback_result(name).clone()
        if self.work is not None:
            restorer, indices = self.work
            result[indices] = restorer.images
            self.nfe_done += restorer.nfe
            self.iterations_done += restorer.iterations
            self.steps_done += len(restorer) if isinstance(restorer, Chains | DdpmRestorer) else restorer.iterations
        self.results[name] = result
        self.work = None
        if name == [name for name, stage in self.plan.items() if stage.trial is not None][-1]:
            self.weights = self.solve_weights()

    @abstractmethod
    def fallback_result(self, name: str) -> Tensor:
        """What stands for a stage's result where the stage does nothing, (N, C, H, W)."""

    @abstractmethod
    def solve_weights(self) -> Tensor:
        """The shares of `kinds`, (N, K), that best predict what was held back."""

    @abstractmethod
    def combined(self) -> Tensor:
        """The candidates in their shares, as far as they are made, (N, C, H, W)."""

    @property
    def images(self) -> Tensor:
        """(N, C, H, W), in [0, 1] but not clipped: until the weights are known, the mean of what there is."""
        if self.weights is not None:
            return self.combined()
        if self.results:
            return torch.stack(list(self.results.values())).mean(0)
        return self.work[0].images if self.work else self.zero_images

    @property
    def zero_images(self) -> Tensor:
        """Images of zeros, (N, C, H, W)."""
        return torch.zeros(self.case.shape, device=self.case.y.device)

    @property
    def nfe(self) -> int:
        """Of all stages, as if each were about every image."""
        return self.nfe_done + (self.work[0].nfe if self.work else 0)

    @property
    def iterations(self) -> int:
        """Of all fits together, as if each were of every image."""
        return self.iterations_done + (self.work[0].iterations if self.work else 0)

    def share(self, *kinds: str) -> Tensor:
        """What these candidates weigh together, for each image, (N,)."""
        assert self.weights is not None
        return self.weights[:, [self.kinds.index(kind) for kind in kinds]].sum(1)

    def worthwhile(self, *kinds: str) -> Tensor:
        """Which images these candidates are made again for, bool (N,)."""
        return self.share(*kinds) > self.options.least

    def subset_case(self, indices: list[int]) -> Case:
        """The case of some of the images, with all measurements."""
        shape = (len(indices), *self.case.shape[1:])
        return Case(self.case.y[indices], self.case.degradation.select(indices), shape)

    def restarts(self) -> list[Tensor]:
        """The results of the fits that were made again."""
        return [result for name, result in self.results.items() if name.startswith("restart")]

    def guided_fit(self, case: Case, pull: Tensor | float) -> GuidedRestorer:
        """A DIP fit that is pulled to what diffusion makes of it: all images alike, or each by its own `pull` (N,)."""
        pulls = case.y.new_ones(len(case.y)) * pull
        options = Guided(weight=self.options.weight)
        return GuidedRestorer(equalize_spectrum(case), self.prior, options, self.dip, weights=pulls)

    def chains(self, case: Case, begin: Tensor, levels: Tensor) -> Chains:
        """Diffusion from images that are noised, each to a level (N,)."""
        steps, samples = self.options.steps, self._samples()
        y, degradation = case.y, case.degradation
        return Chains(self.prior, y, degradation, begin, levels.tolist(), steps=steps, samples=samples, seed=case.seed)

    def full_samples(self, case: Case) -> DdpmRestorer:
        """Diffusion from pure noise."""
        chosen = diffusion_for(case.degradation)
        samples = 1 if chosen.steps == 1 else self._samples()
        return DdpmRestorer(case, self.prior, steps=min(chosen.steps, self.options.full_steps), samples=samples)

    def _samples(self) -> int:
        return self.options.trial_samples if self.weights is None else self.options.samples

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs but the trained network; valid after a `Step`."""
        return {
            "results": dict(self.results),
            "weights": self.weights,
            "work": None if self.work is None else self.work[0].state_dict(),
            "counts": [self.steps_done, self.nfe_done, self.iterations_done],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Go on from where `state_dict` was called: every stage follows from the results of those before it."""
        self.results, self.weights = dict(state["results"]), state["weights"]
        self.steps_done, self.nfe_done, self.iterations_done = state["counts"]
        if state["work"] is not None:
            self.work = self._begin(next(name for name in self.plan if name not in self.results))
            assert self.work is not None
            self.work[0].load_state_dict(state["work"])


def weighted_sum(weights: Tensor, images: Tensor) -> Tensor:
    """Candidates' images (K, N, C, H, W) in their shares (N, K)."""
    return (weights.T[:, :, None, None, None] * images).sum(0)

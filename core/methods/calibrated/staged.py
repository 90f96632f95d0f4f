"""A restoration in stages, each a restorer of its own that follows from the results of those before it: what both forms
of the calibrated hybrid are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, TypeAlias

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import Calibrated
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.events import Item, Message, StateDict, Step
from dipddpm.core.methods.base import Restorer, shift_step
from dipddpm.core.methods.diffusion import DdpmRestorer, diffusion_for
from dipddpm.core.methods.prior_init import Chains

StageWork: TypeAlias = tuple[Restorer, list[int]]
StageStart: TypeAlias = Callable[[str], StageWork | None]
"""From a stage's name to its work: none where no image needs it."""


class StagedRestorer:
    """Carries out a plan of stages, and stands at one of them."""

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """Raises UserError where a noise level is needed and can't be estimated."""
        self.case = replace(case, degradation=with_noise_level(case.y, case.degradation))
        self.prior, self.options = prior, options
        self.dip = msgspec.structs.replace(dip, iterations=min(options.iterations, dip.iterations))
        self.plan: dict[str, StageStart] = {}
        self.weights: Tensor | None = None
        """The shares of the candidates, (N, K), once they have been tried."""
        self.results: dict[str, Tensor] = {}
        """The images (N, C, H, W) that each stage has come to, in their order; `earlier` ones where it had none."""
        self.work: StageWork | None = None
        """The stage that is at work, and the places of the images that it is about."""
        self.steps_done = self.nfe_done = self.iterations_done = 0
        """Steps, evaluations and iterations of the stages that have ended."""

    def __iter__(self) -> Iterator[Item]:
        for name, begin in self.plan.items():
            if name in self.results:
                continue
            self.work = self.work or begin(name)
            if self.work is not None:
                for item in self.work[0]:
                    if isinstance(item, Step | Message):
                        yield shift_step(item, self.steps_done)
            self._finish_stage(name)

    def _finish_stage(self, name: str) -> None:
        """Take what a stage has come to."""
        result = self.fallback_result(name).clone()
        if self.work is not None:
            restorer, indices = self.work
            result[indices] = restorer.images
            self.nfe_done += restorer.nfe
            self.iterations_done += restorer.iterations
            self.steps_done += len(restorer) if isinstance(restorer, Chains | DdpmRestorer) else restorer.iterations
        self.results[name] = result
        self.work = None
        self.on_stage_end(name)

    def fallback_result(self, name: str) -> Tensor:
        """What stands for the result of a stage where it does nothing, (N, C, H, W)."""
        raise NotImplementedError

    def on_stage_end(self, name: str) -> None:
        """Told when a stage has ended."""

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

    def mean_so_far(self) -> Tensor:
        """The mean of what there is, for as long as nothing better is known, (N, C, H, W)."""
        if self.results:
            return torch.stack(list(self.results.values())).mean(0)
        return self.work[0].images if self.work else self.zero_images

    def all_indices(self) -> list[int]:
        """The places of all images."""
        return list(range(self.case.shape[0]))

    def subset_case(self, name: str, indices: list[int]) -> Case:
        """The case of some of the images, with the seed of a stage."""
        shape = (len(indices), *self.case.shape[1:])
        return Case(self.case.y[indices], self.case.degradation.select(indices), shape, derive(self.case.seed, name))

    def chains(self, case: Case, begin: Tensor, levels: Tensor, samples: int) -> Chains:
        """Diffusion from images that are noised, each to a level (N,)."""
        steps = self.options.steps
        y, degradation = case.y, case.degradation
        return Chains(self.prior, y, degradation, begin, levels.tolist(), steps=steps, samples=samples, seed=case.seed)

    def samples(self, case: Case, samples: int) -> DdpmRestorer:
        """Diffusion from pure noise."""
        chosen = diffusion_for(case.degradation)
        samples = 1 if chosen.steps == 1 else samples
        return DdpmRestorer(case, self.prior, steps=min(chosen.steps, self.options.full_steps), samples=samples)

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
            name = next(name for name in self.plan if name not in self.results)
            self.work = self.plan[name](name)
            assert self.work is not None
            self.work[0].load_state_dict(state["work"])

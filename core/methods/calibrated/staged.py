"""A restoration in stages, each of which runs a restorer that depends on the results of earlier stages.

Both forms of the calibrated hybrid are such plans: trial stages make the candidates from a part of the measurements,
stacking weighs them by the held-out part, and final stages remake the candidates that have weight from all
measurements.
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
from dipddpm.core.events import Item, Message, StageStarted, StateDict, Step
from dipddpm.core.methods.base import Restorer, shift_step
from dipddpm.core.methods.diffusion import DdpmRestorer, diffusion_for
from dipddpm.core.methods.guided import GuidedRestorer
from dipddpm.core.methods.prior_init import LEVELS, Chains
from dipddpm.core.metrics.usable import LIMIT, unusable_text

TITLES = {
    "dip": "DIP fit",
    "guided": "DIP fit guided by the prior",
    "near": "diffusion from the fits with little noise",
    "far": "diffusion from the fits with much noise",
    "diffusion": "diffusion from pure noise",
}
"""The titles of stages in messages, by the kind of candidate."""
Maker: TypeAlias = Callable[[Case, list[int]], Restorer]
"""A function that makes a stage's restorer from a case, and from the indices of its images among all images."""


@dataclass(frozen=True)
class Stage:
    """A stage of a plan: a trial stage lacks the held-out measurements, a final stage has all measurements."""

    title: str
    make: Maker
    steps: int
    """The largest number of steps."""
    trial: Case | None = None
    """The case of a trial stage, of all images; None for a final stage."""
    wanted: Callable[[], Tensor] | None = None
    """Returns which images need a final stage, bool (N,); None if all do."""


class StagedRestorer(ABC):
    """A restorer that carries out a plan: the trial stages, then stacking, then the final stages."""

    kinds: ClassVar[tuple[str, ...]]
    """The names of the candidates, in the order of the columns of `weights`."""
    plan: dict[str, Stage]
    """The stages by name, trial stages first. A stage's seed is derived from its name."""

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """Estimate the noise level if needed. Raises UserError where it is needed and can't be estimated."""
        self.case = replace(case, degradation=with_noise_level(case.y, case.degradation))
        self.prior, self.options = prior, options
        self.dip = msgspec.structs.replace(dip, iterations=min(options.iterations, dip.iterations))
        self.chain_steps = LEVELS * options.steps
        """The largest number of steps of a diffusion stage that starts at fits."""
        self.weights: Tensor | None = None
        """The stacking weights of the candidates, (N, K); None until the trial has ended."""
        self.results: dict[str, Tensor] = {}
        """The images (N, C, H, W) that each finished stage has returned, in the order of the plan."""
        self.work: tuple[Restorer, list[int]] | None = None
        """The restorer of the current stage, and the indices of its images; None between two stages."""
        self.steps_done = self.nfe_done = self.iterations_done = 0
        """Steps, network evaluations and DIP iterations of the finished stages."""

    def __len__(self) -> int:
        return sum(stage.steps for stage in self.plan.values())

    def __iter__(self) -> Iterator[Item]:
        last_trial = [name for name, stage in self.plan.items() if stage.trial is not None][-1]
        for number, (name, stage) in enumerate(self.plan.items(), 1):
            if name in self.results:
                continue
            if self.work is None and (work := self._begin(name)):
                title = f"{stage.title} ({'final' if stage.trial is None else 'trial'})"
                yield StageStarted(step=self.steps_done, title=title, stage=number, stages=len(self.plan))
                self.work = work
            if self.work is not None:
                for item in self.work[0]:
                    if isinstance(item, Step | Message):
                        yield shift_step(item, self.steps_done)
            if replaced := self._finish(name):
                text = f"{stage.title}: {replaced}. The mean of the stages before stands for them"
                yield Message(text=text, level="warning")
            if name == last_trial:
                self.weights = self.solve_weights()
                yield Message(text=self._describe_weights(self.weights))

    def _describe_weights(self, weights_by_image: Tensor) -> str:
        """Describe the stacking weights (N, K), averaged over the images."""
        means = zip(self.kinds, weights_by_image.mean(0).tolist(), strict=True)
        weights = ", ".join(f"{kind} {weight:.0%}" for kind, weight in means)
        return f"Stacking weights from the held-out measurements, mean over the images: {weights}"

    def _begin(self, name: str) -> tuple[Restorer, list[int]] | None:
        """Start a stage and return its restorer and image indices; return None if no image needs the stage."""
        stage, seed = self.plan[name], derive(self.case.seed, name)
        indices = list(range(self.case.shape[0]))
        if stage.wanted is not None:
            indices = stage.wanted().nonzero().flatten().tolist()
        if not indices:
            return None
        case = self.subset_case(indices) if stage.trial is None else stage.trial
        return stage.make(replace(case, seed=seed), indices), indices

    def _finish(self, name: str) -> str:
        """Store the result of a stage, and return how many of its images are not finite; "" if all are.

        The mean of the earlier results, or A+ y before there is one, replaces such images, since stacking pools all
        images.
        """
        result = self.fallback_result(name).clone()
        if self.work is not None:
            restorer, indices = self.work
            result[indices] = restorer.images
            self.nfe_done += restorer.nfe
            self.iterations_done += restorer.iterations
            self.steps_done += len(restorer) if isinstance(restorer, Chains | DdpmRestorer) else restorer.iterations
        problem = unusable_text(result, "images")
        if problem:
            earlier = list(self.results.values()) or [self.case.degradation.operator.pinv(self.case.y)]
            usable = (result.abs() < LIMIT).flatten(1).all(1).view(-1, 1, 1, 1)
            result = torch.where(usable, result, torch.stack(earlier).mean(0))
        self.results[name] = result
        self.work = None
        return problem

    @abstractmethod
    def fallback_result(self, name: str) -> Tensor:
        """Return the images (N, C, H, W) to use as a stage's result for the images that the stage leaves out."""

    @abstractmethod
    def solve_weights(self) -> Tensor:
        """Return the weights of `kinds`, (N, K), that best predict the held-out measurements."""

    @abstractmethod
    def combined(self) -> Tensor:
        """Return the weighted sum of the candidates' current results, (N, C, H, W)."""

    @property
    def images(self) -> Tensor:
        """The restoration (N, C, H, W), in [0, 1] but not clipped.

        Before stacking: the images of the current trial stage, or between two stages the mean of the results so far.
        """
        if self.weights is not None:
            return self.combined()
        if self.work:
            return self.work[0].images
        return torch.stack(list(self.results.values())).mean(0) if self.results else self.zero_images

    @property
    def zero_images(self) -> Tensor:
        """Images that are 0 everywhere, (N, C, H, W)."""
        return torch.zeros(self.case.shape, device=self.case.y.device)

    @property
    def nfe(self) -> int:
        """Network evaluations of all stages for one image, counted as if each stage worked on every image."""
        return self.nfe_done + (self.work[0].nfe if self.work else 0)

    @property
    def iterations(self) -> int:
        """DIP iterations of all stages for one image, counted as if each stage worked on every image."""
        return self.iterations_done + (self.work[0].iterations if self.work else 0)

    def share(self, *kinds: str) -> Tensor:
        """Return the sum of these candidates' weights for each image, (N,)."""
        assert self.weights is not None
        return self.weights[:, [self.kinds.index(kind) for kind in kinds]].sum(1)

    def worthwhile(self, *kinds: str) -> Tensor:
        """Return for which images these candidates have enough weight to be made again, bool (N,)."""
        return self.share(*kinds) > self.options.least

    def subset_case(self, indices: list[int]) -> Case:
        """Return the case of the images at `indices`, with all measurements."""
        shape = (len(indices), *self.case.shape[1:])
        return Case(self.case.y[indices], self.case.degradation.select(indices), shape)

    def restarts(self) -> list[Tensor]:
        """Return the results of the DIP fits to all measurements so far, (N, C, H, W) each."""
        return [result for name, result in self.results.items() if name.startswith("restart")]

    def guided_fit(self, case: Case, pull: Tensor | float) -> GuidedRestorer:
        """Build a DIP fit that is pulled towards the denoiser's estimates with weight `pull`, a number or (N,)."""
        pulls = case.y.new_ones(len(case.y)) * pull
        options = Guided(weight=self.options.weight)
        return GuidedRestorer(equalize_spectrum(case), self.prior, options, self.dip, weights=pulls)

    def chains(self, case: Case, begin: Tensor, levels: Tensor) -> Chains:
        """Build diffusion chains that start at the images `begin`, each noised to its level in `levels` (N,)."""
        steps, samples = self.options.steps, self._samples()
        y, degradation = case.y, case.degradation
        return Chains(self.prior, y, degradation, begin, levels.tolist(), steps=steps, samples=samples, seed=case.seed)

    def full_samples(self, case: Case) -> DdpmRestorer:
        """Build diffusion from pure noise, by the method that suits the task."""
        chosen = diffusion_for(case.degradation)
        samples = 1 if chosen.steps == 1 else self._samples()
        return DdpmRestorer(case, self.prior, steps=min(chosen.steps, self.options.full_steps), samples=samples)

    def _samples(self) -> int:
        return self.options.trial_samples if self.weights is None else self.options.samples

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the trained network; valid after a `Step`."""
        return {
            "results": dict(self.results),
            "weights": self.weights,
            "work": None if self.work is None else self.work[0].state_dict(),
            "counts": [self.steps_done, self.nfe_done, self.iterations_done],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state. The current stage is rebuilt from the results of the stages before it."""
        self.results, self.weights = dict(state["results"]), state["weights"]
        self.steps_done, self.nfe_done, self.iterations_done = state["counts"]
        if state["work"] is not None:
            self.work = self._begin(next(name for name in self.plan if name not in self.results))
            assert self.work is not None
            self.work[0].load_state_dict(state["work"])


def weighted_sum(weights: Tensor, images: Tensor) -> Tensor:
    """Return the sum of the candidates' images (K, N, C, H, W), weighted by `weights` (N, K)."""
    return (weights.T[:, :, None, None, None] * images).sum(0)

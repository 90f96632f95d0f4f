"""The calibrated hybrid: DIP, diffusion and classics, weighted image by image by their errors at held-out measurements.

The method knows neither the truth nor which domain the images are from. It has three parts:

1. Trial: in each of a few folds, another part of the measurements is held out, and all candidates are made from the
   rest.
2. Stacking: for each image, the convex combination of the candidates is chosen that best predicts the held-out parts.
3. Final stages: candidates with enough weight are made again from all measurements. The restoration is their mean, by
   these weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import Calibrated, Guided
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade import GaussianNoise, Identity, Mask
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.degrade.simplify import equalize_spectrum, reproduce_exact, without_impulses
from dipddpm.core.errors import UserError
from dipddpm.core.events import Item, Message, StageStarted, StateDict, Step
from dipddpm.core.methods.base import Restorer, shift_step
from dipddpm.core.methods.calibrated.candidates import DIFFUSION, FIT, candidates_for, title_of
from dipddpm.core.methods.calibrated.splitting import hold_out
from dipddpm.core.methods.calibrated.stacking import stack
from dipddpm.core.methods.classical.impulses import detect_impulses
from dipddpm.core.methods.classical.table import CLASSICS
from dipddpm.core.methods.closed_form import ClosedFormRestorer
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.guided import GuidedRestorer
from dipddpm.core.methods.prior_init import LEVELS, Chains
from dipddpm.core.metrics.usable import LIMIT, unusable_text


@dataclass(frozen=True)
class Stage:
    """The making of a candidate: in the trial, for all folds at once, or finally, for the images that need it."""

    candidate: str
    final: bool
    steps: int
    """The largest number of steps."""

    @property
    def name(self) -> str:
        """The key of the stage's result; the stage's seed is derived from it."""
        return f"{self.candidate} again" if self.final else self.candidate

    @property
    def title(self) -> str:
        """The title of the stage in messages."""
        return f"{title_of(self.candidate)} ({'final' if self.final else 'trial'})"


class CalibratedRestorer:
    """The restoration of a case by the weighted mean of candidates, in stages that yield their steps."""

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """Hold out measurements and plan the stages. Raises UserError if a needed noise level can't be estimated."""
        self.given = _with_known_noise(case)
        self.case = detect_impulses(self.given)
        """The case of the trial, in which impulses are missing pixels."""
        self.prior, self.options = prior, options
        self.dip = msgspec.structs.replace(dip, iterations=min(options.iterations, dip.iterations))
        self.split = hold_out(self.case, options.hidden, options.noise, derive(case.seed, "hold out"), options.folds)
        self.candidates = candidates_for(self.case)
        self.kinds = self.candidates.names
        """The names of the candidates, in the order of the columns of `weights`."""
        chain_steps = LEVELS * options.steps if self.candidates.level else 1
        steps = {FIT: self.dip.iterations, DIFFUSION: chain_steps}
        self.stages = [Stage(kind, final, steps.get(kind, 1)) for final in (False, True) for kind in self.kinds]
        self.weights: Tensor | None = None
        """The stacking weights of the candidates, (N, K); None until the trial has ended."""
        self.trial: dict[str, Tensor] = {}
        """The images of each finished stage of the trial, fold by fold, (F N, C, H, W)."""
        self.results: dict[str, Tensor] = {}
        """The mean over the folds, or over the restarts, of each finished stage, (N, C, H, W)."""
        self.spread = torch.zeros(case.shape[0], device=case.y.device)
        """The standard deviation of each image's fits, (N,), which estimates their error."""
        self.work: tuple[Restorer, list[int]] | None = None
        """The restorer of the current stage, and the indices of its images; None between two stages."""
        self.steps_done = self.nfe_done = self.iterations_done = 0
        """Steps, network evaluations and DIP iterations of the finished stages."""

    def __len__(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def __iter__(self) -> Iterator[Item]:
        for number, stage in enumerate(self.stages, 1):
            if stage.name in self.results:
                continue
            if self.work is None and (work := self._begin(stage)):
                yield StageStarted(step=self.steps_done, title=stage.title, stage=number, stages=len(self.stages))
                self.work = work
            if self.work is not None:
                for item in self.work[0]:
                    if isinstance(item, Step | Message):
                        yield shift_step(item, self.steps_done)
            if problem := self._finish(stage):
                text = f"{stage.title}: {problem}. The mean of the stages before stands for them"
                yield Message(text=text, level="warning")
            if self.weights is None and len(self.trial) == len(self.kinds):
                errors = self.split.errors(torch.stack([self.trial[kind] for kind in self.kinds]))
                where, strength = self.split.where.flatten(1), self.split.strength
                self.weights = stack(errors, where, self.options.folds, strength, self.options.least)
                yield Message(text=self._weights_text(self.weights))

    def _weights_text(self, weights: Tensor) -> str:
        means = zip(self.kinds, weights.mean(0).tolist(), strict=True)
        shares = ", ".join(f"{kind} {weight:.0%}" for kind, weight in means)
        return f"Stacking weights from the held-out measurements, mean over the images: {shares}"

    # Stages

    def _begin(self, stage: Stage) -> tuple[Restorer, list[int]] | None:
        """Start a stage; return its restorer and the indices of its images, or None if no image needs it."""
        count = self.case.shape[0]
        if not stage.final:
            case, indices, copies = self.split.case, list(range(count)) * self.options.folds, self.options.folds
            start = self.trial.get(FIT)
        else:
            wanted = self._wanted(stage.candidate).nonzero().flatten().tolist()
            copies = self.options.restarts if stage.candidate == FIT else 1
            if not wanted or not copies:
                return None
            whole, indices = self._whole_case(), wanted * copies
            shape = (len(indices), *whole.shape[1:])
            case = Case(whole.y[indices], whole.degradation.select(indices), shape)
            start = self._result(FIT)[indices]
        case = replace(case, seed=derive(self.given.seed, stage.name))
        if stage.candidate in CLASSICS:
            return ClosedFormRestorer(case, CLASSICS[stage.candidate].restore), indices
        if stage.candidate == FIT:
            guided = Guided(weight=self.options.pull)
            return GuidedRestorer(equalize_spectrum(case), self.prior, guided, self.dip, copies=copies), indices
        if not self.candidates.level:
            return DdpmRestorer(case, self.prior), indices
        assert start is not None
        samples = self.options.samples if stage.final else self.options.trial_samples
        levels = (self.candidates.level * self.spread[indices]).tolist()
        chains = Chains(
            self.prior,
            case.y,
            case.degradation,
            start,
            levels,
            steps=self.options.steps,
            samples=samples,
            seed=case.seed,
        )
        return chains, indices

    def _finish(self, stage: Stage) -> str:
        """Store the result of a stage, and return how many of its images are not finite; "" if all are.

        The mean of the earlier results, or A+ y before there is one, replaces such images, since stacking pools all
        images.
        """
        problem = ""
        result = self.results[stage.candidate] if stage.final else torch.zeros_like(self.zeros)
        if self.work is not None:
            restorer, indices = self.work
            self.nfe_done += restorer.nfe
            self.iterations_done += restorer.iterations
            self.steps_done += restorer.iterations or len(restorer)
            images = restorer.images
            problem = unusable_text(images, "images")
            if problem:
                earlier = list(self.results.values()) or [self.case.degradation.operator.pinv(self.case.y)]
                usable = (images.abs() < LIMIT).flatten(1).all(1).view(-1, 1, 1, 1)
                images = torch.where(usable, images, torch.stack(earlier).mean(0)[indices])
            copies = images.view(indices.count(indices[0]), -1, *images.shape[1:])
            own = indices[: copies.shape[1]]
            result = result.clone()
            result[own] = copies.mean(0)
            if stage.candidate == FIT and len(copies) > 1 and (not stage.final or self.split.is_coarser):
                self.spread[own] = copies.var(0).flatten(1).mean(1).sqrt()
            if not stage.final:
                self.trial[stage.candidate] = images
        self.results[stage.name] = result
        self.work = None
        return problem

    def _wanted(self, kind: str) -> Tensor:
        """Return for which images a candidate is made again from all measurements, bool (N,)."""
        if kind == FIT and self.split.is_coarser:
            return self.share(FIT, DIFFUSION) > 0
        return (self.share(kind) > 0) & (kind != FIT or not self.split.is_complete)

    def share(self, *kinds: str) -> Tensor:
        """Return the sum of these candidates' weights for each image, (N,)."""
        assert self.weights is not None
        return self.weights[:, [self.kinds.index(kind) for kind in kinds]].sum(1)

    # Results

    def _whole_case(self) -> Case:
        """Return the case with all measurements, without the impulses that the trial's restoration reveals."""
        return without_impulses(self.given, self._combine([self.results[kind] for kind in self.kinds]))

    def _combine(self, candidates: list[Tensor]) -> Tensor:
        """Return the sum of the candidates' images by the stacking weights, (N, C, H, W)."""
        assert self.weights is not None
        return (self.weights.T[:, :, None, None, None] * torch.stack(candidates)).sum(0)

    def _result(self, kind: str) -> Tensor:
        """Return the best result of a candidate so far, (N, C, H, W).

        Fits and samples from all measurements are averaged with those of the folds, in proportion to their numbers. The
        result of a formula replaces that of the folds, unless these lack no measurements. Results from coarser
        measurements don't count once there are others.
        """
        mean, again = self.results[kind], self.results.get(f"{kind} again")
        if again is None:
            return mean
        options, before, after = self.options, 1, 1
        if kind == FIT:
            after = options.restarts
        elif kind == DIFFUSION and self.candidates.level:
            before, after = options.trial_samples, options.samples
        elif not self.split.is_complete:
            before = 0
        before *= 0 if self.split.is_coarser else options.folds
        both = (before * mean + after * again) / (before + after)
        return torch.where(self._wanted(kind).view(-1, 1, 1, 1), both, mean)

    @property
    def images(self) -> Tensor:
        """The restoration (N, C, H, W), in [0, 1] but not clipped; measurements without noise are reproduced exactly.

        Before stacking: the mean of the results so far, or of the folds of the current stage.
        """
        if self.weights is None:
            if self.results:
                return torch.stack(list(self.results.values())).mean(0)
            return self.work[0].images.view(self.options.folds, *self.case.shape).mean(0) if self.work else self.zeros
        return reproduce_exact(self._combine([self._result(kind) for kind in self.kinds]), self._whole_case())

    @property
    def zeros(self) -> Tensor:
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

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the trained network; valid after a `Step`."""
        return {
            "trial": dict(self.trial),
            "results": dict(self.results),
            "spread": self.spread,
            "weights": self.weights,
            "work": None if self.work is None else self.work[0].state_dict(),
            "counts": [self.steps_done, self.nfe_done, self.iterations_done],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state. The current stage is rebuilt from the results of the stages before it.

        Raises UserError for a state of an older version, which had other stages.
        """
        if "trial" not in state:
            problem = "The checkpoint is of an older version of calibrated, which had other stages."
            raise UserError(problem, "Start a new run with the same config: dipddpm fork RUN.")
        self.trial, self.results = dict(state["trial"]), dict(state["results"])
        self.spread, self.weights = state["spread"].clone(), state["weights"]
        self.steps_done, self.nfe_done, self.iterations_done = state["counts"]
        if state["work"] is not None:
            self.work = self._begin(next(stage for stage in self.stages if stage.name not in self.results))
            assert self.work is not None
            self.work[0].load_state_dict(state["work"])


def _with_known_noise(case: Case) -> Case:
    """Return the case with a noise level, an estimated one if none is known; pixels without noise become a mask's."""
    known = replace(case, degradation=with_noise_level(case.y, case.degradation))
    exact = known.degradation.expected_residual(case.y) is None and isinstance(known.degradation.noise, GaussianNoise)
    if exact and isinstance(known.degradation.operator, Identity):
        known = replace(known, degradation=replace(known.degradation, operator=Mask(torch.ones_like(case.y[:1, :1]))))
    return known

"""The calibrated hybrid: DIP, diffusion and classics, weighted image by image by their errors at held-out measurements.

The method knows neither the truth nor which domain the images are from. It has three parts:

1. Trial: in each of a few folds, another part of the measurements is held out, and all candidates are made from the
   rest.
2. Stacking: for each image, the convex combination of the candidates is chosen that best predicts the held-out parts.
3. Final stages: candidates that have weight are made again from all measurements. The restoration is their mean, by
   these weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config.dip import DipConfig
from dipddpm.core.config.hybrid import Calibrated, Guided
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade import CircularBlur
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.simplify import equalize_spectrum, reproduce_exact
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.rows import POSTERIOR_MEAN
from dipddpm.core.events import Item, Message, StageStarted, StateDict, Step, TrialErrors
from dipddpm.core.methods.base import HasSamples, Restorer, shift_step
from dipddpm.core.methods.calibrated.candidates import (
    DIFFUSION,
    FIT,
    SECOND,
    candidates_for,
    iterations_for,
    title_of,
    with_known_noise,
)
from dipddpm.core.methods.calibrated.outlook import outlook, trial_errors
from dipddpm.core.methods.calibrated.stacking import STRENGTH, WEAK_STRENGTH, stack
from dipddpm.core.methods.classical.impulses import detect_impulses
from dipddpm.core.methods.classical.table import CLASSICS
from dipddpm.core.methods.closed_form import ClosedFormRestorer
from dipddpm.core.methods.diffusion import DdpmRestorer, DiffusionChoice, diffusion_for, diffusion_for_mean
from dipddpm.core.methods.guided import GuidedRestorer
from dipddpm.core.methods.hold_out import hold_out
from dipddpm.core.metrics.usable import LIMIT, unusable_text

BLURRED = 4.0
"""Factor on the share b of added noise for a blurred image, in which candidates differ only faintly.

Of the values 2, 4 and 5.7, the best on six images each of the training images from number 55,400 on and of glyphs,
patches and leaves from 100,200 on; against 2, patches gained 0.8 dB, and fashionmnist lost 0.1.
"""
COARSE_LEAST = 1.0
"""The least weight, as `Calibrated.least`, for large pixels, whose trial shows candidates more alike than they are.

So only the candidate of the largest weight is left. On twelve images each of the training images from number 55,440 on
and of glyphs, patches and leaves from 100,240 on, weights from 0.3 on cost 0.0, 1.0, 2.9 and 0.05 dB.
"""
AGAIN = " again"
"""The end of the names of final stages; those of the trial are named after the candidates."""


class CalibratedRestorer:
    """The restoration of a case by the weighted mean of candidates, in stages that yield their steps."""

    def __init__(self, case: Case, prior: TrainedModel, options: Calibrated, dip: DipConfig) -> None:
        """Hold out measurements and plan the stages. Raises UserError if a needed noise level can't be estimated."""
        self.case = detect_impulses(with_known_noise(case))
        """The case with its noise level, in which impulses are missing pixels."""
        self.prior, self.options = prior, options
        self.dip = msgspec.structs.replace(
            dip, iterations=min(options.iterations or iterations_for(self.case), dip.iterations)
        )
        noise = options.noise * (BLURRED if isinstance(case.degradation.operator, CircularBlur) else 1)
        self.split = hold_out(self.case, options.hidden, noise, derive(case.seed, "hold out"), options.folds)
        self.least = COARSE_LEAST if self.split.is_coarser else options.least
        """The share of an image's largest weight below which a candidate is left out."""
        self.kinds = (*candidates_for(self.case), *([SECOND] if prior.second else []))
        """The names of the candidates, in the order of the columns of `weights`."""
        self.sampler = self._choose_sampler()
        """The diffusion sampler and its steps."""
        steps = {FIT: self.dip.iterations, DIFFUSION: self.sampler.steps, SECOND: self.sampler.steps}
        self.stages = {kind + end: steps.get(kind, 1) for end in ("", AGAIN) for kind in self.kinds}
        """The largest number of steps of each stage, by its name, from which the stage's seed is derived."""
        self.trial: TrialErrors | None = None
        """The candidates' errors at the held-out values, pooled over the images; None until the trial has ended."""
        self.weights: Tensor | None = None
        """The stacking weights of the candidates, (N, K); None until the trial has ended."""
        self.results: dict[str, Tensor] = {}
        """The images of each finished stage, of all folds, restarts or final samples: (copies, N, C, H, W)."""
        self.work: tuple[Restorer, list[int]] | None = None
        """The restorer of the current stage, and the indices of its images; None between two stages."""
        self.steps_done = self.nfe_done = self.iterations_done = 0
        """Steps, network evaluations and DIP iterations of the finished stages."""

    def __len__(self) -> int:
        return sum(self.stages.values())

    def __iter__(self) -> Iterator[Item]:
        for number, name in enumerate(self.stages, 1):
            if name in self.results:
                continue
            title = f"{title_of(name.removesuffix(AGAIN))} ({'final' if name.endswith(AGAIN) else 'trial'})"
            if self.work is None and (work := self._begin(name)):
                yield StageStarted(step=self.steps_done, title=title, stage=number, stages=len(self.stages))
                self.work = work
            if self.work is not None:
                for item in self.work[0]:
                    if isinstance(item, Step | Message):
                        yield shift_step(item, self.steps_done)
            if problem := self._finish(name):
                text = f"{title}: {problem}. The mean of the stages before stands for them"
                yield Message(text=text, level="warning")
            if self.weights is None and len(self.results) == len(self.kinds):
                errors = self._errors(self.kinds)
                self.weights = self._stack(errors)
                self.trial = trial_errors(self.kinds, errors, self.split, self.case, self.options.folds)
                means = zip(self.kinds, self.weights.mean(0).tolist(), strict=True)
                shares = ", ".join(f"{kind} {weight:.0%}" for kind, weight in means)
                yield Message(text=f"Stacking weights from the held-out measurements, mean over the images: {shares}")
                if expected := outlook(self.trial):
                    yield Message(text=expected.text)

    def _errors(self, kinds: Sequence[str]) -> Tensor:
        """Return the errors of candidates at the held-out values of all folds, (K, F N, M)."""
        return self.split.errors(torch.stack([self.results[kind].flatten(0, 1) for kind in kinds]))

    def _stack(self, errors: Tensor) -> Tensor:
        """Return the weights (N, K) of candidates with these errors (K, F N, M)."""
        where, strength = self.split.where.flatten(1), WEAK_STRENGTH if self.split.is_weak else STRENGTH
        return stack(errors, where, self.options.folds, strength, self.least)

    def _choose_sampler(self) -> DiffusionChoice:
        """Return the posterior mean in one step for denoising, otherwise the best sampler for means of samples."""
        best, steps = diffusion_for(self.case.degradation), self.options.steps
        if best.method == POSTERIOR_MEAN:
            return best
        best = diffusion_for_mean(self.case.degradation)
        return replace(best, steps=min(steps or best.steps, len(self.prior.schedule)))

    def _begin(self, name: str) -> tuple[Restorer, list[int]] | None:
        """Start a stage; return its restorer and the indices of its images, or None if no image needs it."""
        kind, options, final = name.removesuffix(AGAIN), self.options, name.endswith(AGAIN)
        copies = options.folds
        if not final:
            case, indices = self.split.case, list(range(self.case.shape[0])) * copies
        else:
            # Where the folds' fits don't count, as many more final ones take their place.
            restarts = options.restarts + (copies if self.split.is_coarser else 0)
            copies = restarts if kind == FIT else 1
            indices = self._wanted(kind).nonzero().flatten().tolist() * copies
            if not indices:
                return None
            shape = (len(indices), *self.case.shape[1:])
            case = Case(self.case.y[indices], self.case.degradation.select(indices), shape)
        case = replace(case, seed=derive(self.case.seed, name))
        if kind in CLASSICS:
            return ClosedFormRestorer(case, CLASSICS[kind].restore), indices
        if kind == FIT:
            # Blocks hide all detail, so a pull would add that of the prior's domain.
            guided = Guided(weight=0.0 if self.split.is_coarser else options.pull)
            return GuidedRestorer(equalize_spectrum(case), self.prior, guided, self.dip, copies=copies), indices
        samples = options.samples if final else options.trial_samples
        method, steps = self.sampler.method, self.sampler.steps
        prior = self.prior.second if kind == SECOND and self.prior.second else self.prior
        return DdpmRestorer(case, prior, method=method, steps=steps, samples=samples), indices

    def _finish(self, name: str) -> str:
        """Store the result of a stage, and return how many of its images are not finite; "" if all are.

        The mean of the earlier results, or A+ y before there is one, replaces such images, since stacking pools all
        images. A candidate that isn't made again keeps its mean over the folds.
        """
        kind, problem = name.removesuffix(AGAIN), ""
        result = self.results[kind].mean(0, keepdim=True) if name.endswith(AGAIN) else self.zeros[None]
        if self.work is not None:
            restorer, indices = self.work
            self.nfe_done += restorer.nfe
            self.iterations_done += restorer.iterations
            self.steps_done += restorer.iterations or len(restorer)
            images, samples = restorer.images, restorer.samples if isinstance(restorer, HasSamples) else None
            if name.endswith(AGAIN) and samples is not None:
                images, indices = samples.flatten(0, 1), indices * len(samples)
            problem = unusable_text(images, "images")
            if problem:
                earlier = [each.mean(0) for each in self.results.values()]
                earlier = earlier or [self.case.degradation.operator.pinv(self.case.y)]
                usable = (images.abs() < LIMIT).flatten(1).all(1).view(-1, 1, 1, 1)
                images = torch.where(usable, images, torch.stack(earlier).mean(0)[indices])
            copies = indices.count(indices[0])
            result = result.repeat(copies, 1, 1, 1, 1)
            result[:, indices[: len(indices) // copies]] = images.view(copies, -1, *images.shape[1:])
        self.results[name] = result
        self.work = None
        return problem

    def _wanted(self, kind: str) -> Tensor:
        """Return for which images a candidate is made again from all measurements, bool (N,)."""
        assert self.weights is not None
        return self.weights[:, self.kinds.index(kind)] > 0

    def _combine(self, candidates: list[Tensor], weights: Tensor | None = None) -> Tensor:
        """Return the sum of candidates' images by weights (N, K), by default the stacking weights, (N, C, H, W)."""
        weights = self.weights if weights is None else weights
        assert weights is not None
        return (weights.T[:, :, None, None, None] * torch.stack(candidates)).sum(0)

    def _result(self, kind: str) -> Tensor:
        """Return the best result of a candidate so far, (N, C, H, W).

        Fits and samples from all measurements are averaged with those of the folds, in proportion to their numbers. The
        result of a formula replaces that of the folds, unless these lack no measurements. Results from coarser
        or noisier measurements don't count once there are others. With a blur, that is worth 0.0 to 0.1 dB on the
        images that `BLURRED` names.
        """
        mean, again = self.results[kind].mean(0), self.results.get(kind + AGAIN)
        if again is None:
            return mean
        options, before, after = self.options, 1, 1
        if kind == FIT:
            after = len(again)
        elif kind in {DIFFUSION, SECOND} and self.sampler.method != POSTERIOR_MEAN:
            before, after = options.trial_samples, options.samples
        elif not self.split.is_complete:
            before = 0
        before *= 0 if self.split.is_coarser or self.split.is_noisier else options.folds
        both = (before * mean + after * again.mean(0)) / (before + after)
        return torch.where(self._wanted(kind).view(-1, 1, 1, 1), both, mean)

    @property
    def images(self) -> Tensor:
        """The restoration (N, C, H, W), in [0, 1] but not clipped; measurements without noise are reproduced exactly.

        Before stacking: the mean of the results so far, or of the folds of the first stage.
        """
        if self.weights is not None:
            return reproduce_exact(self._combine([self._result(kind) for kind in self.kinds]), self.case)
        if self.results:
            return torch.stack([result.mean(0) for result in self.results.values()]).mean(0)
        return self.work[0].images.view(-1, *self.case.shape).mean(0) if self.work else self.zeros

    @property
    def spread(self) -> Tensor | None:
        """The standard deviation of all results by their weights, (N, C, H, W), in [0, 1]; None before the end.

        The variance is that of the mixture: the mean over the candidates, by their weights, of the variance of a
        candidate's results and of the square of their mean's distance from the restoration. A candidate's results are
        its final fits or samples; one with a single final result is compared with those of the folds.
        """
        if self.weights is None or len(self.results) < len(self.stages):
            return None
        images, variances = self.images, []
        for kind in self.kinds:
            results = self.results[kind + AGAIN]
            if len(results) < 2:
                results = torch.cat([self.results[kind], results])
            results = torch.stack([reproduce_exact(result, self.case) for result in results])
            mean = reproduce_exact(self._result(kind), self.case)
            variances.append(results.var(0) + (mean - images).square())
        return self._combine(variances).sqrt()

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
            "stages": dict(self.results),
            "weights": self.weights,
            "trial": None if self.trial is None else msgspec.to_builtins(self.trial),
            "work": None if self.work is None else self.work[0].state_dict(),
            "counts": [self.steps_done, self.nfe_done, self.iterations_done],
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state; the current stage is rebuilt from the results of the stages before it.

        Raises UserError for a state of an older version, which had other stages.
        """
        if "stages" not in state:
            problem = "The checkpoint is of an older version of calibrated, which had other stages."
            raise UserError(problem, "Start a new run with the same config: dipddpm fork RUN.")
        self.results, self.weights = dict(state["stages"]), state["weights"]
        trial = state.get("trial")
        self.trial = None if trial is None else msgspec.convert(trial, TrialErrors)
        self.steps_done, self.nfe_done, self.iterations_done = state["counts"]
        if state["work"] is not None:
            self.work = self._begin(next(name for name in self.stages if name not in self.results))
            assert self.work is not None
            self.work[0].load_state_dict(state["work"])

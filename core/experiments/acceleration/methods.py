"""The rows of the comparison: starts by samplers by evaluations by samples, wrong uses of a start, and the hybrids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import AccelerationRun, parse_task
from dipddpm.core.data import ImageSet
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.ddpm.posterior import METHODS, Problem, Restoration
from dipddpm.core.ddpm.posterior.consistent import DataConsistent
from dipddpm.core.ddpm.posterior.extrapolation import Extrapolated, learn_extrapolation
from dipddpm.core.ddpm.sampling import AveragedSampling
from dipddpm.core.ddpm.solvers import Ancestral, noise
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.evaluation.acceleration import DIP, LLE, NOISE, RUNGS, Variant
from dipddpm.core.experiments.restore.methods import (
    CONDITIONED_NAMES,
    Methods,
    Models,
    Row,
    knows_level,
    knows_nothing,
    knows_prior,
)
from dipddpm.core.images import to_model, to_unit
from dipddpm.core.methods.base import Restorer
from dipddpm.core.methods.budget import Clock, Stopwatch, TimeBudget
from dipddpm.core.methods.chains import Chains
from dipddpm.core.methods.conditioned import ConditionedModel
from dipddpm.core.methods.starts import Start, StartedRestorer, noise_levels, start_restorer

MIXED = 0.5
"""Share of DIP's result in the start of the rung `mixed`."""


class AccelerationMethods(Methods):
    """All rows of a comparison of starts, by their names on the board."""

    def __init__(
        self,
        config: AccelerationRun,
        prior: TrainedModel,
        training: ImageSet | None,
        conditioned: Sequence[ConditionedModel],
        clock: Clock,
    ) -> None:
        """Set up the rows; `training` are the images that the coefficients of `lle` are learned on, if it takes part.

        Raises UserError for conditioned networks as `Methods` does.
        """
        super().__init__(config.restore, prior, config.dip, conditioned, clock)
        self.config, self.training = config, training
        options, hybrids = config.acceleration, {name: self.rows[name] for name in config.restore.compared}
        alone = [name for name in options.starts if name not in (NOISE, LLE)]
        self.rows = {name: Row(name, _unused, knows_nothing if name == "pinv" else knows_level) for name in alone}
        self.rows |= {variant.label: Row(variant.label, _unused, knows_prior) for variant in variants(config)}
        self.rows |= hybrids
        self._measurement: Tensor | None = None
        self._starts: dict[str, Start] = {}
        """The starts of the measurements that are restored now, by name."""
        self._coefficients: dict[tuple[str, str, int], list[Tensor]] = {}
        """The coefficients of `lle` by task, sampler and steps."""

    def for_task(self, task: str) -> list[str]:
        """Return the rows of a task, in order."""
        parsed = parse_task(task)
        names = [name for name, row in self.rows.items() if row.restores(parsed)]
        return [*names, *(name for name in CONDITIONED_NAMES.values() if self._trained(task, name))]

    def missing_reasons(self, task: str) -> dict[str, str]:
        """Return no reasons: a comparison of starts has no rows that a reader misses."""
        del task
        return {}

    def begin(self, method: str, task: str, case: Case, budgets: Sequence[float]) -> Stopwatch | TimeBudget:
        """Start a row on a case; the start is computed if no earlier row of this case has done so."""
        if self._measurement is None or not torch.equal(self._measurement, case.y):
            self._measurement = case.y
            names = {"pinv", "classic", DIP}
            makers = {name: partial(start_restorer, name, case, self.config.dip) for name in names}
            self._starts = {name: Start(make, self.clock) for name, make in makers.items()}
        variant = Variant.parse(method)
        if variant is None and method in self._starts:
            return Stopwatch(lambda: StartedRestorer(self._starts[method]), self.clock)
        if variant is None:
            return super().begin(method, task, case, budgets)
        known = replace(case, degradation=with_noise_level(case.y, case.degradation))
        if variant.start == LLE:
            self._learn(variant, task)
        make = partial(self._restorer, variant, task, known)
        return Stopwatch(make, self.clock)

    def _restorer(self, variant: Variant, task: str, case: Case) -> Restorer:
        steps = min(variant.nfe, len(self.models.prior.schedule))
        if variant.start in (NOISE, LLE):
            coefficients = self._coefficients[task, variant.sampler, steps] if variant.start == LLE else None
            return PureNoise(case, self.models.prior, variant, coefficients)
        start = self._starts[variant.start]
        if variant.sampler in RUNGS:
            return StartedRestorer(start, lambda images: Unguided(case, self.models.prior, variant, images))

        def chains(images: Tensor) -> Restorer:
            seed, method = derive(case.seed, "diffusion"), variant.sampler
            return Chains.at(
                images, case, self.models.prior, steps=steps, samples=variant.samples, seed=seed, method=method
            )

        return StartedRestorer(start, chains)

    def _learn(self, variant: Variant, task: str) -> None:
        """Learn the coefficients of a row on training images, once for all cases; their time isn't the row's."""
        prior, steps = self.models.prior, min(variant.nfe, len(self.models.prior.schedule))
        key = task, variant.sampler, steps
        if key in self._coefficients:
            return
        assert self.training is not None
        truth = to_unit(self.training.images)
        labels = [f"{self.training.name} train {index}" for index in range(len(truth))]
        case = Case.of(truth, parse_task(task), labels, self.config.seed).to(prior.device)
        self._coefficients[key] = learn_extrapolation(
            partial(_sampler, variant.sampler),
            prior.denoiser(),
            truth.to(prior.device),
            (case.y, with_noise_level(case.y, case.degradation)),
            steps=steps,
            seed=derive(self.config.seed, "lle"),
        )


def _unused(models: Models, case: Case, count: int) -> Restorer:
    raise NotImplementedError("AccelerationMethods.begin makes these rows")


def _sampler(name: str, problem: Problem) -> DataConsistent:
    solver = METHODS[name](problem)
    assert isinstance(solver, DataConsistent)
    return solver


def variants(config: AccelerationRun) -> list[Variant]:
    """Return all rows of starts and samplers of a run, in order; then the wrong uses of DIP's result."""
    options = config.acceleration
    right = [
        Variant(start, sampler, nfe, samples)
        for start in options.starts
        for sampler in options.samplers
        for samples in options.counts()
        for nfe in options.steps()
    ]
    longest = [nfe for nfe in options.steps() if nfe in (10, 100)] or options.steps()[-1:]
    rungs = [Variant(DIP, rung, nfe, options.counts()[0]) for rung in RUNGS for nfe in longest]
    return [*right, *(rungs if config.restore.controls and DIP in options.starts else [])]


class PureNoise(Restoration):
    """The mean of samples from pure noise; with `coefficients`, each step extrapolates (LLE)."""

    iterations = 0

    def __init__(self, case: Case, prior: TrainedModel, variant: Variant, coefficients: list[Tensor] | None) -> None:
        steps = min(variant.nfe, len(prior.schedule))
        super().__init__(
            variant.sampler,
            prior.denoiser(),
            case.y,
            case.degradation,
            case.shape,
            steps=steps,
            samples=variant.samples,
            seed=derive(case.seed, "diffusion"),
        )
        if coefficients is not None:
            assert isinstance(self.solver, DataConsistent)
            self.solver = Extrapolated(self.solver, coefficients)


class Unguided(AveragedSampling):
    """The mean of ancestral samples that begin at a start in a wrong way, and never use the measurement again."""

    iterations = 0

    def __init__(self, case: Case, prior: TrainedModel, variant: Variant, images: Tensor) -> None:
        generator = torch.Generator(images.device).manual_seed(derive(case.seed, "start"))
        first = to_model(images).repeat_interleave(variant.samples, 0)
        last = len(prior.schedule) - 1
        if variant.sampler == "noised":
            level = float(noise_levels(case, images).mean())
            begin = prior.schedule.timestep(level)
            xt = prior.schedule.add_noise(first, noise(first, generator), begin)
        elif variant.sampler == "mixed":
            begin, xt = last, MIXED * first + (1 - MIXED) * noise(first, generator)
        else:
            begin, xt = last, first
        super().__init__(
            prior.denoiser(),
            Ancestral("posterior"),
            xt,
            count=variant.samples,
            begin=begin,
            steps=min(variant.nfe, begin + 1),
            seed=derive(case.seed, "diffusion"),
        )

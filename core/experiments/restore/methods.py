"""The methods of a head-to-head: one table of rows, with what makes each one, its tasks, and what it knows."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from dipddpm.core.config import HYBRIDS, Denoise, DipConfig, RestoreConfig, format_task, parse_task
from dipddpm.core.config.hybrid import NORMALIZED
from dipddpm.core.config.study import CONDITIONED, TRAIN_ONE
from dipddpm.core.config.tasks import TaskOptions
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.degrade.estimate import with_noise_level
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.cell import CONTROLS
from dipddpm.core.evaluation.rows import (
    DDPM_EQUAL,
    DDPM_MEAN,
    DIP_EQUAL,
    DIP_MEAN,
    IMPULSES,
    POSTERIOR_MEAN,
    detects_impulses,
    equalizes_spectrum,
)
from dipddpm.core.methods.base import Restorer, hybrid_restorer
from dipddpm.core.methods.budget import Clock, Stopwatch, TimeBudget, averaged_samples
from dipddpm.core.methods.classical.impulses import detect_impulses
from dipddpm.core.methods.classical.table import CLASSICS, Classic
from dipddpm.core.methods.closed_form import ClosedFormRestorer
from dipddpm.core.methods.conditioned import ConditionedModel
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer
from dipddpm.core.methods.equal_tricks import equal_ddpm, equal_dip
from dipddpm.core.methods.robust_dip import RobustDipRestorer

CONDITIONED_NAMES = {
    ("dip", False): CONDITIONED,
    ("dip", True): CONDITIONED + NORMALIZED,
    ("pinv", False): CONTROLS[CONDITIONED],
    ("pinv", True): CONTROLS[CONDITIONED] + NORMALIZED,
}
"""Names of the conditioned networks, by `hybrid.beside`, the kind of conditioning images, and `hybrid.normalized`."""
NO_NETWORK = f"it needs a network that is trained for the task: {TRAIN_ONE}."
OTHER_TASK = "none of the given networks is trained for this task."
UNFIT = "it can't restore this task."
NOT_ONE_STEP = "a single step removes Gaussian noise only; for other tasks, ddpm-mean is the diffusion baseline."
STEPS = (10, 20, 100)
"""Numbers of steps of the samplers among the controls."""


@dataclass(frozen=True)
class Models:
    """The trained prior and the DIP options, which methods need besides the case."""

    prior: TrainedModel
    dip: DipConfig


Maker: TypeAlias = Callable[[Models, Case, int], Restorer]
"""Builds a restorer from models, a case and a count; its result is the mean of so many runs of the method."""
Knowledge: TypeAlias = Callable[[TaskOptions], tuple[str, ...]]
"""Says in words what a method is given for a task, or finds out, besides y, the operator and the kind of noise."""


@dataclass(frozen=True)
class Row:
    """A method of the board."""

    name: str
    make: Maker
    knows: Knowledge
    restores: Callable[[TaskOptions], bool] = lambda task: True
    """Returns True if the method takes part in a task."""
    in_hybrid_time: bool = False
    """True for a baseline, which is repeated and averaged for as many seconds as the hybrids took."""
    extra: str = ""
    """The optional package that it needs; empty if none."""

    @property
    def absence(self) -> str:
        """Why the method can't run here, though it restores the task; empty if it can."""
        if not self.extra or importlib.util.find_spec(self.extra):
            return ""
        return f"it needs an optional package: pip install dipddpm[{self.extra}]."


def knows_level(task: TaskOptions) -> tuple[str, ...]:
    """Return whether a method that uses the noise level is given it or estimates it; impulses have no level."""
    if task.noise == IMPULSES:
        return ()
    return ("estimates noise level",) if task.blind else ("noise level",)


def knows_prior(task: TaskOptions) -> tuple[str, ...]:
    """Return the knowledge of a diffusion sampler, for which impulses are noise of a variance of half their share."""
    return ("trained prior", *(("impulse share",) if task.noise == IMPULSES else knows_level(task)))


def knows_tricks(task: TaskOptions) -> tuple[str, ...]:
    """Return the tricks that a method with all of them uses for a task."""
    detects = ("detects impulses",) if _detects_impulses(task) else ()
    equalizes = ("equalizes spectrum",) if equalizes_spectrum(_name(task), task.noise) else ()
    return (*knows_level(task), *detects, *equalizes)


def knows_nothing(task: TaskOptions) -> tuple[str, ...]:
    """Return nothing, for a method that uses y, the operator and the kind of noise alone."""
    del task
    return ()


def _has_impulses(task: TaskOptions) -> bool:
    return task.noise == IMPULSES


def _detects_impulses(task: TaskOptions) -> bool:
    return detects_impulses(_name(task), task.noise)


def _has_tricks(task: TaskOptions) -> bool:
    return _detects_impulses(task) or equalizes_spectrum(_name(task), task.noise)


def _is_one_step(task: TaskOptions) -> bool:
    """Return whether the posterior mean in one step can restore a task."""
    return isinstance(task, Denoise) and task.noise != IMPULSES


def _name(task: TaskOptions) -> str:
    return str(task.__struct_config__.tag)


def _dip(models: Models, case: Case, count: int) -> Restorer:
    return DipRestorer(case, models.dip, restarts=count)


def _equal_dip(models: Models, case: Case, count: int) -> Restorer:
    return equal_dip(case, models.dip, count)


def _samples(models: Models, case: Case, count: int) -> Restorer:
    return averaged_samples(case, models.prior, count)


def _equal_samples(models: Models, case: Case, count: int) -> Restorer:
    return equal_ddpm(case, models.prior, count)


def _robust_sample(models: Models, case: Case, count: int) -> Restorer:
    return DdpmRestorer(case, models.prior, method="robust", steps=100, samples=count)


def _sampler(method: str, steps: int) -> Row:
    def make(models: Models, case: Case, count: int) -> Restorer:
        return DdpmRestorer(case, models.prior, method=method, steps=steps, samples=count)

    return Row(f"{method}-{steps}", make, knows_prior)


def _pinv(models: Models, case: Case, count: int) -> Restorer:
    del models, count
    return ClosedFormRestorer(case, lambda c: c.degradation.operator.pinv(c.y))


def _classic(classic: Classic) -> Row:
    def make(models: Models, case: Case, count: int) -> Restorer:
        del models, count
        # The level is estimated from all images together, as for the other methods.
        known = replace(case, degradation=with_noise_level(case.y, case.degradation))
        if classic.name == "median":
            return ClosedFormRestorer(known, classic.restore)
        return ClosedFormRestorer(known, lambda c: classic.restore(detect_impulses(c)))

    def knows(task: TaskOptions) -> tuple[str, ...]:
        if task.noise != IMPULSES:
            return knows_level(task)
        return ("impulse share",) if classic.name == "median" else ("detects impulses",)

    def restores(task: TaskOptions) -> bool:
        return classic.supports(_name(task), task.noise)

    return Row(classic.name, make, knows, restores, extra=classic.extra)


def _hybrid(name: str) -> Row:
    options = HYBRIDS[name]

    def make(models: Models, case: Case, count: int) -> Restorer:
        del count
        return hybrid_restorer(case, models.prior, options(), models.dip)

    def knows(task: TaskOptions) -> tuple[str, ...]:
        level = knows_level(task) if options.uses_noise_level else ()
        found = knows_tricks(task) if name == "calibrated" else level
        return ("trained prior", *found) if options.needs_prior else found

    return Row(name, make, knows, options.supports)


ROWS = (
    Row(DIP_MEAN, _dip, knows_level, in_hybrid_time=True),
    Row(DIP_EQUAL, _equal_dip, knows_tricks, _has_tricks, in_hybrid_time=True),
    Row(DDPM_MEAN, _samples, knows_prior, in_hybrid_time=True),
    Row(
        DDPM_EQUAL,
        _equal_samples,
        lambda task: ("trained prior", "detects impulses"),
        _detects_impulses,
        in_hybrid_time=True,
    ),
    Row(POSTERIOR_MEAN, lambda models, case, _: DdpmRestorer(case, models.prior), knows_prior, _is_one_step),
    Row("pinv", _pinv, knows_nothing),
    *map(_classic, CLASSICS.values()),
    Row("dip", _dip, knows_level),
    Row("dip-robust", lambda models, case, _: RobustDipRestorer(case, models.dip), knows_nothing, _has_impulses),
    *(_sampler(method, steps) for method in ("ddnm", "diffpir") for steps in STEPS),
    _sampler("pigdm", 20),
    _sampler("mmps", 20),
    _sampler("dps", 100),
    Row("ddpm-robust", _robust_sample, lambda task: ("trained prior",), _has_impulses),
)
"""The rows besides the hybrids, in the order of the board: baselines, then controls, which are run once each."""
BASELINE_ROWS = (DIP_MEAN, DIP_EQUAL, DDPM_MEAN, DDPM_EQUAL, POSTERIOR_MEAN)
"""The rows that a board without controls has, too."""


class Methods:
    """All methods of a head-to-head, by their names on the scoreboard."""

    def __init__(
        self,
        options: RestoreConfig,
        prior: TrainedModel,
        dip: DipConfig,
        conditioned: Sequence[ConditionedModel],
        clock: Clock,
    ) -> None:
        """Set up the methods.

        Raises UserError for a conditioned network whose task isn't compared, and for two of a kind for one task.
        """
        self.options, self.clock = options, clock
        self.models = Models(prior, dip)
        chosen = [row for row in ROWS if options.controls or row.name in BASELINE_ROWS]
        self.rows = {row.name: row for row in (*map(_hybrid, options.compared), *chosen)}
        """The rows by name, hybrids first, since baselines get their seconds; without conditioned networks."""
        self._conditioned: dict[tuple[str, str], ConditionedModel] = {}
        tasks = {format_task(parse_task(text)) for text in options.tasks}
        for model in conditioned:
            hybrid = model.options
            task, name = format_task(model.task), CONDITIONED_NAMES[hybrid.conditioning, hybrid.normalized]
            if task not in tasks:
                problem = f"The network of {model.run} is trained for {task}, which is not among the tasks."
                raise UserError(problem, f"Add --task {task}, or leave out --conditioned {model.run}.")
            if other := self._conditioned.get((task, name)):
                problem = f"{other.run} and {model.run} are both {name} for {task}."
                raise UserError(problem, f"Leave out --conditioned {other.run} or --conditioned {model.run}.")
            self._conditioned[task, name] = model

    def for_task(self, task: str) -> list[str]:
        """Return the methods that restore a task, in order: hybrids first, since baselines get their seconds."""
        parsed = parse_task(task)
        names = [name for name, row in self.rows.items() if row.restores(parsed) and not row.absence]
        hybrids = [name for name in names if name in HYBRIDS]
        trained = [name for name in CONDITIONED_NAMES.values() if self._trained(task, name)]
        return [*hybrids, *trained, *(name for name in names if name not in HYBRIDS)]

    def missing_reasons(self, task: str) -> dict[str, str]:
        """Return the methods that a reader might expect but that don't restore the task, with the reason for each."""
        parsed = parse_task(task)
        reasons = {name: row.absence for name, row in self.rows.items() if row.restores(parsed) and row.absence}
        reasons |= {name: UNFIT for name, row in self.rows.items() if name in HYBRIDS and not row.restores(parsed)}
        if self._conditioned:
            names = {name for _, name in self._conditioned}
            reasons |= {
                name: OTHER_TASK
                for name in CONDITIONED_NAMES.values()
                if name in names and not self._trained(task, name)
            }
        elif not self.options.methods:
            reasons[CONDITIONED] = NO_NETWORK
        if self.options.controls and not _is_one_step(parsed):
            reasons[POSTERIOR_MEAN] = NOT_ONE_STEP
        return reasons

    def knows(self, method: str, task: str) -> tuple[str, ...]:
        """Return what a method is given for a task, or finds out, besides y, the operator and the kind of noise."""
        parsed = parse_task(task)
        return (
            ("trained for the task", *knows_level(parsed))
            if self._trained(task, method)
            else self.rows[method].knows(parsed)
        )

    def begin(self, method: str, task: str, case: Case, budgets: Sequence[float]) -> Stopwatch | TimeBudget:
        """Start a method on a case; `budgets` are the seconds that the hybrids took for the same case."""
        if trained := self._trained(task, method):
            return Stopwatch(lambda: trained.restorer(case), self.clock)
        make = partial(self.rows[method].make, self.models)
        if self.rows[method].in_hybrid_time:
            return TimeBudget(
                lambda count, seed: make(replace(case, seed=seed), count),
                budgets or [0.0],
                seed=case.seed,
                clock=self.clock,
            )
        return Stopwatch(lambda: make(case, 1), self.clock)

    def is_baseline(self, method: str, hybrid: str) -> bool:
        """Return whether a method that runs in hybrids' time also gets the time of this one."""
        return method != hybrid

    def _trained(self, task: str, name: str) -> ConditionedModel | None:
        return self._conditioned.get((format_task(parse_task(task)), name))

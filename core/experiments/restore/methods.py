"""The methods of a head-to-head: which tasks each one restores, why not the others, and how to start it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from dipddpm.core.config import HYBRIDS, Denoise, DipConfig, RestoreConfig, format_task, parse_task
from dipddpm.core.config.study import CONDITIONED, TRAIN_ONE
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError
from dipddpm.core.evaluation.scoreboard import CONTROLS, DDPM_MEAN, DIP_MEAN, POSTERIOR_MEAN
from dipddpm.core.methods.base import Restorer, hybrid_restorer
from dipddpm.core.methods.budget import Clock, Stopwatch, TimeBudget, baselines
from dipddpm.core.methods.classical import filters
from dipddpm.core.methods.classical.filters import ClosedFormRestorer
from dipddpm.core.methods.conditioned import ConditionedModel
from dipddpm.core.methods.diffusion import DdpmRestorer
from dipddpm.core.methods.dip import DipRestorer

RestorerFactory: TypeAlias = Callable[[Case], Restorer]

BASELINE_METHODS = (DIP_MEAN, DDPM_MEAN, POSTERIOR_MEAN)
"""The baselines, which get as many seconds as the hybrids took."""
CONDITIONED_NAMES = {"dip": CONDITIONED, "pinv": CONTROLS[CONDITIONED]}
"""Names of the conditioned networks, by `hybrid.beside`, the kind of conditioning images."""
NO_NETWORK = f"it needs a network that is trained for the task: {TRAIN_ONE}."
OTHER_TASK = "none of the given networks is trained for this task."
UNFIT = "it can't restore this task."
NOT_ONE_STEP = "a single step removes Gaussian noise only; for other tasks, ddpm-mean is the diffusion baseline."
STEPS = (10, 20, 100)
"""Numbers of steps of the samplers among the controls."""


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
        self.options, self.prior, self.dip, self.clock = options, prior, dip, clock
        self.controls: dict[str, RestorerFactory] = {
            "pinv": lambda case: ClosedFormRestorer(case, lambda c: c.degradation.operator.pinv(c.y)),
            "classic": lambda case: ClosedFormRestorer(case, filters.restore_classic),
            "dip": partial(DipRestorer, dip=dip),
        }
        """Further methods to compare hybrids with; unlike the baselines, they take as much time as they need."""
        for method in ("ddnm", "diffpir"):
            for steps in STEPS:
                taken = min(steps, len(prior.schedule))
                self.controls[f"{method}-{steps}"] = partial(DdpmRestorer, prior=prior, method=method, steps=taken)
        self._hybrids: dict[str, RestorerFactory] = {
            name: partial(hybrid_restorer, prior=prior, options=HYBRIDS[name](), dip=dip) for name in options.compared
        }
        self._conditioned: dict[tuple[str, str], ConditionedModel] = {}
        tasks = {format_task(parse_task(text)) for text in options.tasks}
        for model in conditioned:
            task, name = format_task(model.task), CONDITIONED_NAMES[model.options.conditioning]
            if task not in tasks:
                problem = f"The network of {model.run} is trained for {task}, which is not among the tasks."
                raise UserError(problem, f"Add --task {task}, or leave out --conditioned {model.run}.")
            if other := self._conditioned.get((task, name)):
                problem = f"{other.run} and {model.run} are both {name} for {task}."
                raise UserError(problem, f"Leave out --conditioned {other.run} or --conditioned {model.run}.")
            self._conditioned[task, name] = model

    def for_task(self, task: str) -> list[str]:
        """Return the methods that restore a task, in order: hybrids first, since baselines get their seconds."""
        hybrids = [name for name in self._hybrids if HYBRIDS[name].supports(parse_task(task))]
        trained = [name for name in CONDITIONED_NAMES.values() if self._trained(task, name)]
        controls = self.controls if self.options.controls else ()
        return [*hybrids, *trained, DIP_MEAN, DDPM_MEAN, *[POSTERIOR_MEAN] * _is_one_step(task), *controls]

    def missing_reasons(self, task: str) -> dict[str, str]:
        """Return the methods that a reader might expect but that don't restore the task, with the reason for each."""
        reasons = {name: UNFIT for name in self._hybrids if not HYBRIDS[name].supports(parse_task(task))}
        if self._conditioned:
            names = {name for _, name in self._conditioned}
            reasons |= {
                name: OTHER_TASK
                for name in CONDITIONED_NAMES.values()
                if name in names and not self._trained(task, name)
            }
        elif not self.options.methods:
            reasons[CONDITIONED] = NO_NETWORK
        if self.options.controls and not _is_one_step(task):
            reasons[POSTERIOR_MEAN] = NOT_ONE_STEP
        return reasons

    def begin(self, method: str, task: str, case: Case, budgets: Sequence[float]) -> Stopwatch | TimeBudget:
        """Start a method on a case; `budgets` are the seconds that the hybrids took for the same case."""
        if method in BASELINE_METHODS:
            return baselines(case, self.prior, self.dip, budgets=budgets or [0.0], clock=self.clock)[method]
        trained = self._trained(task, method)
        make = trained.restorer if trained else self._hybrids.get(method) or self.controls[method]
        return Stopwatch(lambda: make(case), self.clock)

    def _trained(self, task: str, name: str) -> ConditionedModel | None:
        return self._conditioned.get((format_task(parse_task(task)), name))


def _is_one_step(task: str) -> bool:
    """Return whether the posterior mean in one step can restore a task."""
    parsed = parse_task(task)
    return isinstance(parsed, Denoise) and parsed.noise != "salt-and-pepper"

"""Who takes part in a head-to-head: on which tasks, why not on the others, and how each one is begun."""

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
"""The parents' forms, which are given the seconds of the hybrids."""
CONDITIONED_NAMES = {"dip": CONDITIONED, "pinv": CONTROLS[CONDITIONED]}
"""What a conditioned network is called, by what it sees."""
NO_NETWORK = f"it needs a network that is trained for the task: {TRAIN_ONE}."
OTHER_TASK = "no network was given that is trained for this task."
UNFIT = "it isn't made for this task."
NOT_ONE_STEP = "a single step removes Gaussian noise alone; for other tasks ddpm-mean is the diffusion model."
STEPS = (10, 20, 100)
"""Evaluations of the network that the samplers among the controls are given."""


class Methods:
    """Every method, by the name that the board has for it."""

    def __init__(
        self,
        options: RestoreConfig,
        prior: TrainedModel,
        dip: DipConfig,
        conditioned: Sequence[ConditionedModel],
        clock: Clock,
    ) -> None:
        """Raises UserError for a conditioned network whose task isn't asked for, or that has a twin."""
        self.options, self.prior, self.dip, self.clock = options, prior, dip, clock
        self.controls: dict[str, RestorerFactory] = {
            "pinv": lambda case: ClosedFormRestorer(case, lambda c: c.degradation.operator.pinv(c.y)),
            "classic": lambda case: ClosedFormRestorer(case, filters.restore_classic),
            "dip": partial(DipRestorer, dip=dip),
        }
        """Beside the parents at equal time, hybrids are compared with these, which take the time that they take."""
        for method in ("ddnm", "diffpir"):
            for steps in STEPS:
                taken = min(steps, len(prior.schedule))
                self.controls[f"{method}-{steps}"] = partial(DdpmRestorer, prior=prior, method=method, steps=taken)
        self._hybrids: dict[str, RestorerFactory] = {
            name: partial(hybrid_restorer, prior=prior, options=HYBRIDS[name](), dip=dip) for name in options.compared
        }
        self._conditioned: dict[tuple[str, str], ConditionedModel] = {}
        asked = {format_task(parse_task(text)) for text in options.tasks}
        for model in conditioned:
            task, name = format_task(model.task), CONDITIONED_NAMES[model.options.beside]
            if task not in asked:
                problem = f"The network of {model.run} is trained for {task}."
                raise UserError(problem, f"Add --task {task}, or leave it out.")
            if twin := self._conditioned.get((task, name)):
                raise UserError(f"{twin.run} and {model.run} are both {name} for {task}.", "Give one of them.")
            self._conditioned[task, name] = model

    def for_task(self, task: str) -> list[str]:
        """What restores a task, in the order in which it does: the hybrids first, since their time is the parents'."""
        able = [name for name in self._hybrids if HYBRIDS[name].supports(parse_task(task))]
        trained = [name for name in CONDITIONED_NAMES.values() if self._trained(task, name)]
        return [*able, *trained, DIP_MEAN, DDPM_MEAN, *[POSTERIOR_MEAN] * _is_one_step(task), *self.controls]

    def missing_reasons(self, task: str) -> dict[str, str]:
        """What doesn't restore a task though one might look for it, and why."""
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
        return reasons if _is_one_step(task) else reasons | {POSTERIOR_MEAN: NOT_ONE_STEP}

    def begin(self, method: str, task: str, case: Case, budgets: Sequence[float]) -> Stopwatch | TimeBudget:
        """A method at work on a case; `budgets` are the seconds that the hybrids have taken of it."""
        if method in BASELINE_METHODS:
            return baselines(case, self.prior, self.dip, budgets=budgets or [0.0], clock=self.clock)[method]
        trained = self._trained(task, method)
        make = trained.restorer if trained else self._hybrids.get(method) or self.controls[method]
        return Stopwatch(lambda: make(case), self.clock)

    def _trained(self, task: str, name: str) -> ConditionedModel | None:
        return self._conditioned.get((format_task(parse_task(task)), name))


def _is_one_step(task: str) -> bool:
    """Whether the posterior mean in one step serves a task."""
    parsed = parse_task(task)
    return isinstance(parsed, Denoise) and parsed.noise != "salt-and-pepper"

"""Restore one degradation of one set of images by every method in turn, within a single process."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import torch
from torch import Tensor

from dipddpm.core.compute.rng import derive
from dipddpm.core.config import parse_task
from dipddpm.core.config.hybrid import is_hybrid
from dipddpm.core.data import ImageSet
from dipddpm.core.degrade.case import Case
from dipddpm.core.errors import UserError
from dipddpm.core.events import RestorationMissing, RestorationScored, StateDict, Step, TrialErrors
from dipddpm.core.experiments.restore.methods import Methods
from dipddpm.core.images import to_unit
from dipddpm.core.methods.base import HasTrial
from dipddpm.core.methods.budget import Cost, Stopwatch, TimeBudget
from dipddpm.core.metrics.samples.classifier import load_classifier
from dipddpm.core.metrics.usable import refuse_unusable

SHOWN = 8
"""Number of images of each set that pictures show."""
CLASSIFIED = {"fashionmnist", "fashion-mini"}
"""The sets with the classes that the shipped classifier is trained on."""


@dataclass(frozen=True)
class RestoreJob:
    """The restoration of one set of images, degraded by one task with one seed, by one method."""

    task: str
    set: str
    seed: int
    method: str
    first: int = 0
    """The index of the first image in its set."""

    def score_event(
        self,
        cost: Cost,
        images: ImageSet,
        truth: Tensor,
        *,
        budget_of: str,
        knows: tuple[str, ...],
        step: int,
        trial: TrialErrors | None = None,
    ) -> RestorationScored:
        """Score the job's restoration; `truth` are the images in [0, 1], on the device of the restoration."""
        recognised: list[bool] = []
        if self.set in CLASSIFIED:
            recognised = (load_classifier().predict(cost.images) == images.labels.cpu()).tolist()
        fields = {**vars(self), "budget_of": budget_of, "recognised": recognised, "knows": knows, "step": step}
        fields["trial"] = trial
        return cost.scored(truth, **fields)

    def missing_event(self, method: str, why: str, step: int, *, failed: bool = False) -> RestorationMissing:
        """Return the event which reports that a method has no result in the job's cell, and why."""
        return RestorationMissing(**vars(self) | {"method": method}, why=why, failed=failed, step=step)


class RestoreJobResult(msgspec.Struct, frozen=True):
    """The result of a job: its scores or the reason why it has none, and its first restorations, (n, C, H, W)."""

    index: int = msgspec.field(name="place")
    """The job's index among all jobs; its name in a checkpoint is "place"."""
    scored: list[RestorationScored]
    missing: RestorationMissing | None = None
    shown: Any = None

    def to_state(self) -> dict[str, Any]:
        """Return the result in the form that a checkpoint can hold."""
        return {**msgspec.to_builtins(msgspec.structs.replace(self, shown=None)), "shown": self.shown}

    @classmethod
    def from_state(cls, state: StateDict) -> RestoreJobResult:
        """Rebuild a result from the form that `to_state` returned."""
        result = msgspec.convert({**state, "shown": None}, cls)
        return msgspec.structs.replace(result, shown=state["shown"])


@dataclass(eq=False)
class CellRunner:
    """The run of all jobs of one degradation; yields a `RestoreJobResult` for each job, and its `Step`s before it.

    All `jobs` restore the same degradation of `images`; `first_index` is the index of the first one among all jobs.
    They are run in one process and in their order, because the baselines get as many seconds as the hybrids took. If a
    method fails, its result holds the reason in place of a score, and the other methods continue.
    """

    jobs: Sequence[RestoreJob]
    first_index: int
    methods: Methods
    images: ImageSet
    device: torch.device
    jobs_done: int = 0
    _stopwatch: Stopwatch | TimeBudget | None = None
    _seconds: dict[str, float] = field(default_factory=dict)
    """The seconds that each hybrid took."""

    def __iter__(self) -> Iterator[RestoreJobResult | Step]:
        while not self.finished:
            job = self.jobs[self.jobs_done]
            try:
                stopwatch = self._stopwatch = self._stopwatch or self._begin(job)
                for item in stopwatch:
                    if isinstance(item, Step):
                        yield Step(step=self.first_index + self.jobs_done)
                result = self._finish(job, stopwatch)
            except Exception as error:
                if not isinstance(error, UserError):
                    logging.getLogger(__name__).exception("%s failed", job)
                result = self._give_up(job, error)
            self.jobs_done += 1
            self._stopwatch = None
            yield result

    @property
    def finished(self) -> bool:
        """True if all jobs are done."""
        return self.jobs_done == len(self.jobs)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs; valid after a `Step` and after a result."""
        work = self._stopwatch.state_dict() if self._stopwatch else None
        return {"done": self.jobs_done, "seconds": self._seconds, "work": work}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.jobs_done, self._seconds = state["done"], dict(state["seconds"])
        if state["work"]:
            self._stopwatch = self._begin(self.jobs[self.jobs_done])
            self._stopwatch.load_state_dict(state["work"])

    def _begin(self, job: RestoreJob) -> Stopwatch | TimeBudget:
        case, _ = degrade_job(job, self.images, self.device)
        return self.methods.begin(job.method, job.task, case, list(self._budgets(job).values()))

    def _budgets(self, job: RestoreJob) -> dict[str, float]:
        """Return the seconds of the hybrids that a method is a baseline of, by the hybrid's name."""
        return {name: seconds for name, seconds in self._seconds.items() if self.methods.is_baseline(job.method, name)}

    def _finish(self, job: RestoreJob, stopwatch: Stopwatch | TimeBudget) -> RestoreJobResult:
        """Score a finished restoration; a baseline is scored at the seconds of each hybrid.

        Raises UserError if a restored image isn't finite.
        """
        if isinstance(stopwatch, Stopwatch):
            costs = {"": stopwatch.cost()}
            if is_hybrid(job.method):
                self._seconds[job.method] = stopwatch.seconds
        elif budgets := self._budgets(job):
            costs = {name: stopwatch.within(seconds) for name, seconds in budgets.items()}
        else:
            costs = {"": stopwatch.reached[0]}
        for cost in costs.values():
            refuse_unusable(cost.images, "restored images", "Lower dip.lr, or take another prior.")
        _, truth = degrade_job(job, self.images, self.device)
        index = self.first_index + self.jobs_done
        knows = self.methods.knows(job.method, job.task)
        restorer = stopwatch.restorer if isinstance(stopwatch, Stopwatch) else None
        trial = restorer.trial if isinstance(restorer, HasTrial) else None
        scored = [
            job.score_event(cost, self.images, truth, budget_of=name, knows=knows, trial=trial, step=index + 1)
            for name, cost in costs.items()
        ]
        return RestoreJobResult(index, scored, shown=next(iter(costs.values())).images[:SHOWN])

    def _give_up(self, job: RestoreJob, error: Exception) -> RestoreJobResult:
        """Return the result of a method that has failed, with the error's message as the reason."""
        self._seconds.pop(job.method, None)
        index = self.first_index + self.jobs_done
        name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        why = " ".join(f"{name}{error}".split())
        return RestoreJobResult(index, [], job.missing_event(job.method, why, index + 1, failed=True))


def degrade_job(job: RestoreJob, images: ImageSet, device: torch.device) -> tuple[Case, Tensor]:
    """Degrade the images as the job demands; return the case, which is all that methods get, and the truth.

    An image has the same measurement in every slice; methods draw other random numbers in each slice.
    """
    truth = to_unit(images.images)
    labels = [f"{job.set} {index}" for index in range(job.first, job.first + len(truth))]
    case = Case.of(truth, parse_task(job.task), labels, job.seed)
    if job.first:
        case = replace(case, seed=derive(case.seed, f"images from {job.first}"))
    return case.to(device), truth.to(device)

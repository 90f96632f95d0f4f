"""A run that restores given pictures, as an experiment that the worker or a notebook iterates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Self

import torch

from dipddpm.core.config import ImageRun
from dipddpm.core.data.given import given_loaded
from dipddpm.core.data.identity import task_files_loaded
from dipddpm.core.ddpm.model import TrainedModel
from dipddpm.core.errors import UserError
from dipddpm.core.events import Input, Item, Message, RunStarted, StateDict, Step
from dipddpm.core.experiments.image.group import GroupRestoration
from dipddpm.core.experiments.image.loading import Facts, facts_of, group_files, load_case, load_truth
from dipddpm.core.experiments.image.parts import pad_for_blur
from dipddpm.core.experiments.image.plan import make_plan
from dipddpm.core.experiments.image.results import FileOfGroup, closing_items
from dipddpm.core.experiments.priors import load_prior, prior_warnings
from dipddpm.core.methods.base import shift_step
from dipddpm.core.methods.pictures import PictureMethods, unsuitable


class ImageExperiment:
    """A run that restores given pictures: for each group of one size, it tries methods, then restores tile by tile.

    Only one group is in memory at a time. The truth, if there is any, is used for reporting only.
    """

    network = None
    epoch = 0

    def __init__(
        self,
        config: ImageRun,
        facts: Sequence[Facts],
        inputs: Sequence[Input],
        prior: TrainedModel | None,
        device: torch.device,
    ) -> None:
        """Plan the work. Raises UserError for a method that doesn't suit the task or the noise."""
        self.config, self.facts, self.inputs, self.device = config, facts, inputs, device
        self.methods = PictureMethods(prior, config.dip, config.picture.restarts)
        self.groups = group_files(facts, noise_known=config.task.noise != "unknown")
        self.index = 0
        """Index of the current group; the number of groups at the end."""
        self.steps_before = 0
        """Steps of the finished groups."""
        self.phases = [self._phase(number) for number in range(len(self.groups))]

    @classmethod
    def from_config(cls, config: ImageRun, device: torch.device | str) -> Self:
        """Build the experiment. Raises UserError for files, a mask or a prior that are missing or incompatible."""
        prior, loaded = load_prior(config.prior.run, device) if config.needs_prior else (None, None)
        files: list[Input] = [given_loaded(config.images), *task_files_loaded(config.task)]
        inputs = files if loaded is None else [loaded, *files]
        return cls(config, facts_of(config), inputs, prior, torch.device(device))

    @property
    def step(self) -> int:
        """Steps done: hundredths of each method that is tried, and of each tile."""
        return self.steps_before + (self.phases[self.index].step if self.index < len(self.phases) else 0)

    def started(self) -> RunStarted:
        """Return the totals."""
        return RunStarted(
            kind=self.config.kind,
            method=self.config.method,
            device=str(self.device),
            steps=sum(map(len, self.phases)),
            images=sum(each.shape[0] for each in self.facts),
        )

    def __iter__(self) -> Iterator[Item]:
        if self.step == 0:
            yield from self.inputs
            if self.methods.prior is not None:
                yield from prior_warnings(self.methods.prior)
            for each in self.facts:
                yield from each.found
            for phase in self.phases:
                yield Message(text=phase.plan.sentence)
        while self.index < len(self.phases):
            phase, group = self.phases[self.index], self.groups[self.index]
            for item in phase:
                yield shift_step(item, self.steps_before)
            assert phase.result is not None
            truth = load_truth(self.config, group)
            end = self.steps_before + len(phase)
            yield from closing_items(phase.result, self._files(group), truth, self.config, end)
            self.steps_before, self.index, phase.result = end, self.index + 1, None
            yield Step(step=self.step)

    def state_dict(self) -> dict[str, Any]:
        """Return all that an exact resume needs, except the trained network; valid after a `Step`."""
        current = self.phases[self.index].state_dict() if self.index < len(self.phases) else None
        return {"index": self.index, "before": self.steps_before, "phase": current}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.index, self.steps_before = state["index"], state["before"]
        if state["phase"] is not None:
            self.phases[self.index].load_state_dict(state["phase"])

    def _phase(self, number: int) -> GroupRestoration:
        group, options = self.groups[number], self.config.picture
        case, pad = pad_for_blur(load_case(self.config, group, self.device))
        chosen = "" if options.method == "auto" else options.method
        if problem := chosen and unsuitable(chosen, case):
            raise UserError(problem, "Choose another method, or auto.")
        tried: list[str] = [chosen] if chosen else self.methods.candidates(case)
        trial = tried if options.trial or not chosen else []
        plan = make_plan(case, pad, options, label=f"group {number}", candidates=trial, method=chosen)
        load = partial(load_case, self.config, group, self.device)
        error = max(each.noise_error for each in group)
        return GroupRestoration(plan, load, self.methods, self.config, self.device, noise_error=error)

    def _files(self, group: Sequence[Facts]) -> list[FileOfGroup]:
        files, row = [], 0
        for each in group:
            file, count = self.config.images.given[each.index], each.shape[0]
            files.append(FileOfGroup(file, each.name, slice(row, row + count), each.first, self._out(each)))
            row += count
        return files

    def _out(self, facts: Facts) -> str:
        """Return the path to which the result of a file is copied, or "": `picture.out` is a folder for several."""
        out = self.config.picture.out
        return f"{out}/{facts.name}-restored{facts.ending}" if out and len(self.facts) > 1 else out

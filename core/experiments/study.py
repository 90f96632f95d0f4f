"""The study, a run that starts other runs as its stages, follows them, and updates its report after each stage."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from typing import Any, ClassVar, Self

from dipddpm.core.config import StudyRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import Document, Input, Item, Message, Pictures, RunStarted, StateDict, Step
from dipddpm.core.means import PsnrMean, decibels
from dipddpm.core.report import study, study_figures
from dipddpm.core.runs import Run, RunState
from dipddpm.core.study.stages import Launcher, Stage, find_runs, is_own, stages, start_run

PARTS = 1000
"""Number of steps of a study: each is a thousandth of the whole."""
POLL_SECONDS = 1.0


class StudyExperiment:
    """A run that makes the runs of the study that the history lacks, one after the other.

    Each stage is an ordinary run in the same runs folder, and waits for its slot like any other run; the study itself
    uses no device and holds no slot. A stage whose finished run is in the history is not made again, an interrupted one
    is resumed, and one that is already running is waited for. A run whose data have changed since it began is not used,
    and a warning names it. So the study needs no state: after a kill, it resumes from the history. If the iteration is
    closed before its end, the current stage is stopped too, provided that the study started it. Raises UserError if a
    stage ends without finishing: failed, crashed or stopped.
    """

    network: ClassVar[None] = None
    epoch = 0
    inputs: ClassVar[tuple[Input, ...]] = ()
    """Nothing, because the runs of the stages check their own inputs."""

    def __init__(self, config: StudyRun, launcher: Launcher) -> None:
        self.config = config
        self.launcher = launcher
        self.stages = stages(config)
        self.runs_by_stage: dict[str, Run] = {}
        """The runs of the finished stages, by key."""
        self.step = 0

    @classmethod
    def from_config(cls, config: StudyRun, launcher: Launcher) -> Self:
        """Build the study. It takes a launcher in place of a device, because it computes nothing itself."""
        return cls(config, launcher)

    def started(self) -> RunStarted:
        """Return totals."""
        return RunStarted(kind=self.config.kind, method=self.config.method, device="", steps=PARTS)

    def __iter__(self) -> Iterator[Item]:
        for stage in self.stages:
            run = yield from self._usable_run(stage)
            run, how = self._go_on(stage, run)
            yield Message(text=f"{stage.title}: {run.id}, {how}")
            yield from self._follow(stage, run)
            self.runs_by_stage[stage.key] = run
            yield Message(text=f"{stage.title}: {_result(run)}")
            yield from self._report(stage)
            if stage is self.stages[-1]:
                yield Message(text="The report is in this run's folder, as report.html and report.md")
            yield Step(step=self.step)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of steps done; the runs themselves are found in the history."""
        return {"step": self.step}

    def load_state_dict(self, state: StateDict) -> None:
        """Resume from a state that `state_dict` returned."""
        self.step = state["step"]

    def _usable_run(self, stage: Stage) -> Generator[Item, None, Run | None]:
        """Return the stage's existing run, None if there is none; yield a warning about runs with other data."""
        for run in find_runs(self.launcher.runs, stage):
            try:
                self.launcher.refuse_changed(run)
            except UserError as error:
                text = f"{stage.title}: {run.id} is not used, because its data have changed. {error.problem}"
                yield Message(text=text, level="warning")
            else:
                return run
        return None

    def _go_on(self, stage: Stage, run: Run | None) -> tuple[Run, str]:
        """Return the stage's run, started or resumed unless it is live or finished, and a phrase that says which."""
        if run is None:
            return start_run(self.launcher, stage, self.runs_by_stage.get(stage.longer_than)), "started"
        state = run.status().state
        if state is RunState.finished:
            return run, "finished before"
        if state.live:
            return run, f"already {state}"
        self.launcher.resume(run)
        return run, f"was {state}, resumed"

    def _follow(self, stage: Stage, run: Run) -> Iterator[Step]:
        """Wait for the stage's end, and yield a step with its progress every second."""
        try:
            # A resumed stage counts as stopped until its worker has logged that it goes on.
            while (status := run.status()).state.live or self.launcher.find_process(run):
                yield self._progress(stage, status.summary.progress or 0.0)
                time.sleep(POLL_SECONDS)
        except GeneratorExit:
            if is_own(run, stage):
                with contextlib.suppress(UserError):  # the stage has just ended
                    self.launcher.stop(run)
            raise
        if (status := run.status()).state is not RunState.finished:
            why = status.summary.error or f"{run.id} is {status.state}."
            raise UserError(f"{stage.title}: {why}", status.summary.hint or "Resume the study: it resumes this stage.")
        self._progress(stage, 1.0)  # its Step is yielded after the report

    def _progress(self, stage: Stage, progress: float) -> Step:
        shares = {one.key: one.share for one in self.stages}
        done = sum(shares[key] for key in self.runs_by_stage) + shares[stage.key] * progress
        # While a resumed stage repeats some steps, the study's step stays where it is.
        self.step = max(self.step, int(PARTS * done / sum(shares.values())))
        return Step(step=self.step)

    def _report(self, newest: Stage) -> Iterator[Item]:
        """Yield the report on the finished stages, and the figure of its newest chapter."""
        page = study.page(self.config, self.stages, self.runs_by_stage)
        for plot in page.figure_blocks:
            if plot.name != newest.key:
                continue
            yield Pictures(name=plot.name, images=study_figures.pixels(plot.figure), title=plot.title, columns=1)
        yield Document(name="report.md", text=page.markdown())
        yield Document(name="report.html", text=page.html())


def _result(run: Run) -> str:
    """Return a phrase with a stage's result."""
    summary = run.status().summary
    if summary.best_loss is not None:
        return f"finished, best loss {summary.best_loss:.4f}"
    return "finished" if summary.psnr is None else f"finished, {decibels(PsnrMean(summary.exact, summary.psnr))}"

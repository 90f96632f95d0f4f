"""Kill workers at random moments, check the files they leave behind, and resume their runs to the end."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from safetensors import safe_open

from dipddpm.core import events
from dipddpm.core.compute import checkpoint
from dipddpm.core.errors import UserError
from dipddpm.core.events import BestModelStored, Event
from dipddpm.core.io import atomic
from dipddpm.core.launch import local
from dipddpm.core.launch.recorder import BEST_BEFORE
from dipddpm.core.runs import (
    BEST_FILE,
    CHECKPOINT_FILE,
    EVENTS_FILE,
    LOG_FILE,
    EventReader,
    Run,
    RunsFolder,
    RunState,
    heartbeat,
    history,
)
from tests.durability.forks import ForkedWorkers
from tests.durability.tally import Tally, count_lost_epochs

TIMEOUT_SECONDS = 600.0
MOST_KILLS = 6
"""Largest number of kills of one run; further kills hit a new run."""
MOMENTS = {"start-up": 2, "beginning": 3, "first item": 4, "writing": 6, "epoch": 4, "work": 9, "end": 3}
"""The moments of a kill with their relative frequencies: while the interpreter and torch load, before the first line,
at the first line, while a file is being written, at the end of an epoch, at any time, and at the last lines."""
PROCESS_EVENTS = (
    events.RunQueued,
    events.RunResumed,
    events.CheckpointStored,
    events.Step,
    events.RunFinished,
)
"""Events that concern processes or depend on the clock, which no two runs have in common."""
CLOCK_FIELDS = {"time": 0.0, "offset": 0, "seconds": 0.0, "seconds_left": None, "images_per_second": None}
TIME_BUDGET_KINDS = {"hybrid", "restore", "map"}
"""Kinds of runs with baselines whose time budget is the hybrid's seconds, so that their results always differ."""

SCORES = {"scores.json", "scores.txt"}
"""The score tables, which differ for the same reason."""


class Witness:
    """A log follower that stores all events it has read, like a console that shows the run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.reader = EventReader(run.folder)
        self.events_read: list[Event] = []
        self.bytes = b""

    def read_new(self) -> list[Event]:
        """Read and return the new events."""
        new_events = self.reader.read()
        self.events_read += new_events
        return new_events

    def compare(self, tally: Tally) -> None:
        """Check that the log has only grown and still holds all events that were read."""
        content = (self.run.folder / EVENTS_FILE).read_bytes() if (self.run.folder / EVENTS_FILE).exists() else b""
        if not content.startswith(self.bytes):
            tally.add_problem("lost", f"{self.run.id}: the log no longer begins as it did")
        self.bytes = content
        again = EventReader(self.run.folder).read()
        if again[: len(self.events_read)] != self.events_read:
            tally.add_problem("lost", f"{self.run.id}: an event that was read is no longer in the log")


class Killer:
    """Runs of one case whose workers are killed."""

    def __init__(self, case: str, runs: RunsFolder, forked: ForkedWorkers, tally: Tally, random: Random) -> None:
        self.case = case
        self.runs = runs
        self.forked = forked
        self.tally = tally
        self.random = random
        self.work_seconds = 0.0

    def undisturbed(self, config: Any, *, forked: bool) -> Run:
        """Complete a run without kills, with a forked worker or one started as usual, and return the run."""
        run = self.runs.create(config)
        self._start(run, cold=not forked)
        until(lambda: run.status().summary.started or not run.status().state.live)
        began = time.monotonic()
        until(lambda: not run.status().state.live)
        self.work_seconds = max(0.2, time.monotonic() - began)
        assert run.status().state is RunState.finished, (run.folder / LOG_FILE).read_text()
        return run

    def kill(self, config: Any, reference: Run, kills: int) -> None:
        """Kill this many workers, and compare every finished run with the undisturbed one."""
        ends = comparable_events(reference)[-2:]
        while kills > 0:
            self.tally.runs += 1
            run, struck = self.runs.create(config), 0
            witness = Witness(run)
            while kills and struck < MOST_KILLS and run.status().state is not RunState.finished:
                moment = self.random.choices(list(MOMENTS), list(MOMENTS.values()))[0]
                self._start(run, cold=moment == "start-up")
                if not self._strike(run, witness, moment, ends):
                    break
                kills, struck = kills - 1, struck + 1
            self._finish(run)
            count_lost_epochs(run, self.tally, self.case)
            witness.read_new()
            witness.compare(self.tally)
            for text in differences(run, reference):
                self.tally.add_problem("inexact", f"{self.case}, {run.id}: {text}")

    def _start(self, run: Run, *, cold: bool = False) -> None:
        begun = (run.folder / EVENTS_FILE).exists()
        with pytest.MonkeyPatch.context() as patch:
            if not cold:
                makes = SimpleNamespace(Popen=self.forked, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT)
                patch.setattr(local, "subprocess", makes)
            if begun:
                local.resume(run, now=True)
            else:
                local.start(run, now=True)

    def _finish(self, run: Run) -> None:
        """Resume the run if it crashed, and wait for its end; add a problem unless it finishes."""
        if run.status().state is RunState.crashed:
            self._start(run)
        until(lambda: not run.status().state.live)
        if run.status().state is not RunState.finished:
            error = run.status().summary.error
            self.tally.add_problem("inexact", f"{self.case}, {run.id} is {run.status().state}: {error}")

    def _strike(self, run: Run, witness: Witness, moment: str, ends: list[Any]) -> bool:
        """Wait for the moment and kill the worker; return False if the run ended before."""
        before = len(witness.events_read)
        self._wait_for_moment(run, witness, moment, ends)
        if not local.send_signal(run, signal.SIGKILL):
            return False
        worker = heartbeat.read(run.folder)
        assert worker is not None
        until(lambda: not heartbeat.is_alive(worker))
        self.tally.kills[self.case] += 1
        self.tally.moments[moment] += 1
        self.tally.hits[_worker_activity(run, witness, before)] += 1
        self._check_remains(run, witness)
        return True

    def _wait_for_moment(self, run: Run, witness: Witness, moment: str, ends: list[Any]) -> None:
        """Return at the moment of the kill, or when the run has ended."""
        begun = (events.RunStarted, events.RunResumed)
        reached: Callable[[list[Event]], bool]
        match moment:
            case "start-up":
                time.sleep(self.random.uniform(0, self.forked.loading_seconds))
                return
            case "beginning":
                time.sleep(self.random.uniform(0, 0.1))
                return
            case "first item":
                reached, wait = lambda fresh: any(isinstance(event, begun) for event in fresh), 0.05
            case "epoch":
                reached, wait = lambda fresh: any(isinstance(e, events.EpochFinished) for e in fresh), 0.01
            case "writing":
                reached, wait = lambda _: bool(_half_written(run)), 0.003
            case "work":
                reached, wait = lambda fresh: any(isinstance(event, begun) for event in fresh), self.work_seconds
            case _:
                reached, wait = lambda fresh: any(_without_clock(event) in ends for event in fresh), 0.05
        end, checked_at = time.monotonic() + TIMEOUT_SECONDS, time.monotonic()
        while not reached(witness.read_new()) and time.monotonic() < end:
            time.sleep(0.001)
            if time.monotonic() - checked_at > 0.2:
                checked_at = time.monotonic()
                if not run.status().state.live:
                    break
        time.sleep(self.random.uniform(0, wait))

    def _check_remains(self, run: Run, witness: Witness) -> None:
        witness.read_new()
        witness.compare(self.tally)
        try:
            states = {one.id: one.status().state for one in self.runs.runs()}
        except Exception as error:
            self.tally.add_problem("unreadable", f"{self.case}, the list: {error!r}")
            return
        if states.get(run.id) not in {RunState.crashed, RunState.finished}:
            self.tally.add_problem("unreadable", f"{self.case}, {run.id} is {states.get(run.id)}")
        best_events = [event for event in history(EventReader(run.folder).read()) if isinstance(event, BestModelStored)]
        if best_events:
            self._check_best(run, best_events[-1].sha256)

    def _check_best(self, run: Run, logged_digest: str) -> None:
        """Check that the best model loads, and that it is the log's or so new that the log doesn't hold it yet."""
        try:
            checkpoint.load_state(run.folder / BEST_FILE)
        except UserError as error:
            self.tally.add_problem("unreadable", f"{self.case}, {run.id}: {error}")
            return
        digests = [
            checkpoint.digest(run.folder / name) for name in (BEST_FILE, BEST_BEFORE) if (run.folder / name).exists()
        ]
        if digests[0] != logged_digest:
            self.tally.best_ahead += 1
            if logged_digest not in digests and len(digests) < 2:
                self.tally.add_problem("lost", f"{self.case}, {run.id}: the best model is not the one of the log")


def kill_stages(runs: RunsFolder, config: Any, kills: int, tally: Tally, random: Random) -> None:
    """Run a study, and kill its own worker or the worker of its current stage this many times."""
    study = runs.create(config)
    local.start(study)
    tally.runs += 1
    while study.status().state is not RunState.finished:
        time.sleep(random.uniform(0, 20.0) if kills else 1.0)
        live = [run for run in runs.runs() if run.status().state.live]
        if kills and live and local.send_signal(victim := random.choice(live), signal.SIGKILL):
            kills -= 1
            tally.kills["study" if victim == study else "study's stage"] += 1
            until(lambda: not victim.status().state.live)
        if study.status().state in {RunState.crashed, RunState.failed}:
            with contextlib.suppress(UserError):  # a worker that was resumed a moment ago may not have a heartbeat yet
                local.resume(study)


@contextlib.contextmanager
def forking() -> Iterator[ForkedWorkers]:
    """Start a process to fork workers from, and end it after the block."""
    forked = ForkedWorkers()
    try:
        yield forked
    finally:
        forked.close()


def comparable_events(run: Run) -> list[Any]:
    """Return the events of the logical history that two runs have in common, without clock readings."""
    kind = run.config().kind
    history_events = [event for event in run.events() if not isinstance(event, PROCESS_EVENTS)]
    if kind in TIME_BUDGET_KINDS:
        history_events = [
            event for event in history_events if not isinstance(event, events.Message | events.RestorationsCompared)
        ]
        history_events = [event for event in history_events if not getattr(event, "budget_of", "")]
        history_events = [event for event in history_events if getattr(event, "file", "") not in SCORES]
    return [_without_clock(event) for event in history_events]


def differences(run: Run, reference: Run) -> list[str]:
    """Return the differences between two runs that should be equal bit for bit."""
    texts = []
    mine, theirs = comparable_events(run), comparable_events(reference)
    for one, other in zip(mine, theirs, strict=False):
        if one != other:
            texts.append(f"{one} instead of {other}")
            break
    if len(mine) != len(theirs):
        texts.append(f"{len(mine)} events instead of {len(theirs)}")
    losses = [{e.step: e.loss for e in one.events() if isinstance(e, events.Step)} for one in (run, reference)]
    texts += [f"the loss of step {n}" for n in losses[0].keys() & losses[1].keys() if losses[0][n] != losses[1][n]]
    digests = [_file_digests(one) for one in (run, reference)]
    texts += [name for name in digests[0].keys() | digests[1].keys() if digests[0].get(name) != digests[1].get(name)]
    return texts


def _file_digests(run: Run) -> dict[str, str]:
    """Return the digests of the run's files, and of the tensors in its last checkpoint, by name."""
    kind = run.config().kind
    paths = [path for path in run.folder.rglob("*") if path.is_file() and path.name not in SCORES]
    if kind == "restore":  # its pictures show the baselines too
        paths = [path for path in paths if path.suffix != ".png"]
    ours = {EVENTS_FILE, LOG_FILE, "summary.json", "worker.json", "environment.json", Path(CHECKPOINT_FILE).name}
    digests = {
        path.relative_to(run.folder).as_posix(): checkpoint.digest(path) for path in paths if path.name not in ours
    }
    with safe_open(run.folder / CHECKPOINT_FILE, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118
            if not {"budget", "results", "work"} & set(name.split(".")):
                digests[f"last: {name}"] = hashlib.sha256(file.get_tensor(name).numpy(force=True).tobytes()).hexdigest()
    return digests


def _without_clock(event: Event) -> Any:
    fixed = {name: value for name, value in CLOCK_FIELDS.items() if hasattr(event, name)}
    return msgspec.structs.replace(event, **fixed)


def _worker_activity(run: Run, witness: Witness, before: int) -> str:
    """Return what the worker was doing when it was killed."""
    half = _half_written(run)
    if half:
        return f"writing {half[0].split('.')[1]}"
    fresh = EventReader(run.folder).read()[before:]
    return f"after {type(fresh[-1]).__name__}" if fresh else "before its first line"


def _half_written(run: Run) -> list[str]:
    """Return the names of unfinished files."""
    names = []
    for folder_name in ("checkpoints", "images"):
        with contextlib.suppress(OSError):
            names += [path.name for path in (run.folder / folder_name).iterdir() if path.suffix == atomic.TEMPORARY]
    return names


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"the condition was not true within {TIMEOUT_SECONDS:g} s"
        time.sleep(0.03)

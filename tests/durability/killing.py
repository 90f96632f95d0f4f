"""Kill workers again and again, look at what they left behind, and carry their runs to the end all the same."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
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

TIMEOUT_SECONDS = 600.0
MOST_KILLS = 6
"""Of one run, before it is left in peace; its next kills are of a new one."""
MOMENTS = {"start-up": 2, "beginning": 3, "first item": 4, "writing": 6, "work": 9, "end": 3}
"""When to kill, and how often beside the others: while the interpreter and torch are loaded, before the first line, at
the first line, while a file is being written, any time, and at the last lines."""
PROCESS_EVENTS = (
    events.RunQueued,
    events.RunResumed,
    events.CheckpointStored,
    events.Step,
    events.RunFinished,
)
"""What tells of processes, or is thinned out by the clock."""
CLOCK_FIELDS = {"time": 0.0, "offset": 0, "seconds": 0.0, "images_per_second": None}
TIMED_BASELINE_KINDS = {"hybrid", "restore"}
"""Kinds that end by comparing with parents, which are given the seconds that the hybrid took: never the same twice."""

SCORES = {"scores.json", "scores.txt"}
"""And therefore their tables."""


@dataclass
class Tally:
    """What the kills came to."""

    kills: Counter[str] = field(default_factory=Counter)
    """By case."""
    moments: Counter[str] = field(default_factory=Counter)
    """By what was waited for."""
    hits: Counter[str] = field(default_factory=Counter)
    """By what the worker was at, as far as it can be seen from what it left."""
    runs: int = 0
    best_ahead: int = 0
    """Best models on disk of which the log had no time to tell."""
    problems: dict[str, list[str]] = field(default_factory=lambda: {"unreadable": [], "lost": [], "inexact": []})

    def add_problem(self, kind: str, text: str) -> None:
        """Note that a promise was broken."""
        self.problems[kind].append(text)

    def lines(self) -> list[str]:
        """The figures, for people."""
        counted = {"kills of": self.kills, "waited for": self.moments, "hit": self.hits}
        return [
            f"{sum(self.kills.values())} kills of {self.runs} runs",
            *(
                f"  {what}: {', '.join(f'{name} {count}' for name, count in counts.most_common())}"
                for what, counts in counted.items()
                if counts
            ),
            f"  best model newer than its line: {self.best_ahead}",
            "  " + ", ".join(f"{what}: {len(problems)}" for what, problems in self.problems.items()),
        ]


class Witness:
    """A follower that remembers what it saw, as somebody who watches the run has it on the screen."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.reader = EventReader(run.folder)
        self.events_seen: list[Event] = []
        self.bytes = b""

    def read_new(self) -> list[Event]:
        """What is new."""
        new_events = self.reader.read()
        self.events_seen += new_events
        return new_events

    def compare(self, tally: Tally) -> None:
        """What was on the screen must still be in the log, and the log only grow."""
        content = (self.run.folder / EVENTS_FILE).read_bytes() if (self.run.folder / EVENTS_FILE).exists() else b""
        if not content.startswith(self.bytes):
            tally.add_problem("lost", f"{self.run.id}: the log no longer begins as it did")
        self.bytes = content
        again = EventReader(self.run.folder).read()
        if again[: len(self.events_seen)] != self.events_seen:
            tally.add_problem("lost", f"{self.run.id}: what was seen is no longer in the log")


class Killer:
    """Carries out runs of one case, with kills on the way."""

    def __init__(self, case: str, runs: RunsFolder, forked: ForkedWorkers, tally: Tally, random: Random) -> None:
        self.case = case
        self.runs = runs
        self.forked = forked
        self.tally = tally
        self.random = random
        self.work_seconds = 0.0

    def undisturbed(self, config: Any, *, forked: bool) -> Run:
        """A run that nobody disturbs, by a worker that is forked or started as ever."""
        run = self.runs.create(config)
        self._start(run, cold=not forked)
        until(lambda: run.status().summary.started or not run.status().state.live)
        began = time.monotonic()
        until(lambda: not run.status().state.live)
        self.work_seconds = max(0.2, time.monotonic() - began)
        assert run.status().state is RunState.finished, (run.folder / LOG_FILE).read_text()
        return run

    def kill(self, config: Any, reference: Run, kills: int) -> None:
        """Kill so many workers, and compare every run in the end with the undisturbed one."""
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
        """Resume as long as it takes; once, unless something is wrong."""
        if run.status().state is RunState.crashed:
            self._start(run)
        until(lambda: not run.status().state.live)
        if run.status().state is not RunState.finished:
            error = run.status().summary.error
            self.tally.add_problem("inexact", f"{self.case}, {run.id} is {run.status().state}: {error}")

    def _strike(self, run: Run, witness: Witness, moment: str, ends: list[Any]) -> bool:
        """Wait for the moment and kill; False where the run came to its end before."""
        before = len(witness.events_seen)
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
        """Come back when it is time to kill, or the run has ended by itself."""
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
        """The best model loads, and is the one of the log or one so new that there was no time to tell of it."""
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
    """Carry a study out, with so many kills of its own worker or of that of the stage under way."""
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
            with contextlib.suppress(UserError):  # which was resumed a moment ago, and hasn't shown itself yet
                local.resume(study)


@contextlib.contextmanager
def forking() -> Iterator[ForkedWorkers]:
    """A process to fork workers from."""
    forked = ForkedWorkers()
    try:
        yield forked
    finally:
        forked.close()


def comparable_events(run: Run) -> list[Any]:
    """All that the logical history tells of the work, without when and how fast."""
    kind = run.config().kind
    history_events = [event for event in run.events() if not isinstance(event, PROCESS_EVENTS)]
    if kind in TIMED_BASELINE_KINDS:
        history_events = [
            event for event in history_events if not isinstance(event, events.Message | events.RestorationsCompared)
        ]
        history_events = [event for event in history_events if not getattr(event, "budget_of", "")]
        history_events = [event for event in history_events if getattr(event, "file", "") not in SCORES]
    return [_without_clock(event) for event in history_events]


def differences(run: Run, reference: Run) -> list[str]:
    """In what a run is not the same as another one, bit for bit."""
    texts = []
    mine, theirs = comparable_events(run), comparable_events(reference)
    for one, other in zip(mine, theirs, strict=False):
        if one != other:
            texts.append(f"{one} and not {other}")
            break
    if len(mine) != len(theirs):
        texts.append(f"{len(mine)} events and not {len(theirs)}")
    losses = [{e.step: e.loss for e in one.events() if isinstance(e, events.Step)} for one in (run, reference)]
    texts += [f"the loss of step {n}" for n in losses[0].keys() & losses[1].keys() if losses[0][n] != losses[1][n]]
    digests = [_file_digests(one) for one in (run, reference)]
    texts += [name for name in digests[0].keys() | digests[1].keys() if digests[0].get(name) != digests[1].get(name)]
    return texts


def _file_digests(run: Run) -> dict[str, str]:
    """Files, and tensors of the last checkpoint, by name, each as a digest."""
    kind = run.config().kind
    paths = [path for path in run.folder.rglob("*") if path.is_file() and path.name not in SCORES]
    if kind == "restore":  # whose pictures show the parents too
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
    still = {name: value for name, value in CLOCK_FIELDS.items() if hasattr(event, name)}
    return msgspec.structs.replace(event, **still)


def _worker_activity(run: Run, witness: Witness, before: int) -> str:
    """What the worker was at."""
    half = _half_written(run)
    if half:
        return f"writing {half[0].split('.')[1]}"
    fresh = EventReader(run.folder).read()[before:]
    return f"after {type(fresh[-1]).__name__}" if fresh else "before its first line"


def _half_written(run: Run) -> list[str]:
    """Names of files that are being written, or were."""
    names = []
    for folder_name in ("checkpoints", "images"):
        with contextlib.suppress(OSError):
            names += [path.name for path in (run.folder / folder_name).iterdir() if path.suffix == atomic.TEMPORARY]
    return names


def until(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + TIMEOUT_SECONDS
    while not holds():
        assert time.monotonic() < end, f"not within {TIMEOUT_SECONDS:g} s"
        time.sleep(0.03)

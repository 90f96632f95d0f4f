"""Test of ssh connections that are cut at random moments: started runs continue, and no other process is left."""

from __future__ import annotations

import os
import random
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import dipddpm
from dipddpm.core import events
from dipddpm.core.launch import local
from dipddpm.core.runs import Run, RunsFolder, RunState, heartbeat
from tests.durability.ssh import CUTS, SSHD, Server, SshSession, moment

HUNG_SECONDS = 120.0
"""The time after a cut at which a remaining process counts as hung, even on a busy machine."""
EPOCHS = 3
TRAINING = (
    f"run ddpm --epochs {EPOCHS} --dataset fashion-mini --device cpu --seed 3"
    " --set data.train_images=256 --set ddpm.samples=0 --set threads=1"
)
STARTING = ("foreground", "detached", "forked")
WAYS = ("foreground", "console", "watch", "detached", "console", "watch", "forked", "console")
"""A person's action in each session: starting a run in one of three ways, or following the runs."""
STARTED_SHARE = 0.75
"""The share of the sessions that start a run in which the cut comes after the run exists; others are cut any time."""

pytestmark = pytest.mark.skipif(SSHD is None, reason="there is no sshd on this machine")


@pytest.fixture
def server(tmp_path: Path, runs: RunsFolder) -> Iterator[Server]:
    names = ("DIPDDPM_RUNS", "DIPDDPM_SLOTS_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
    given = {name: os.environ[name] for name in (*names, "OMP_NUM_THREADS")}
    given["PYTHONPATH"] = str(Path(dipddpm.__file__).parents[1])
    server = Server(tmp_path / "ssh", given)
    yield server
    server.close()


class Person:
    """A person who logs in, does one thing, and loses the connection."""

    def __init__(self, server: Server, runs: RunsFolder, seed: int) -> None:
        self.server = server
        self.runs = runs
        self.draw = random.Random(seed)
        self.slowest = 0.0
        """The longest time in seconds from a cut to the end of the last process."""
        self.named: list[str] = []
        """The names of the runs started on the command line."""
        self.counts: Counter[str] = Counter()

    def lose(self, way: str, cut: str) -> None:
        """Run one session from its login to its cut."""
        line = self.server.connect(self._command(way))
        try:
            known = len(self.runs.runs())
            if way == "forked":
                self._fork(line)
            if way in STARTING and (not known or self.draw.random() < STARTED_SHARE):
                while len(self.runs.runs()) == known and line.process.poll() is None:
                    line.wait(0.1)
            line.wait(moment(self.draw))
            self.counts[f"{way}, {cut}"] += 1
            line.cut(cut)
            self._wait_until_gone(f"{way}, {cut}")
        finally:
            line.give_up()

    def _command(self, way: str) -> str:
        python = shlex.quote(sys.executable)
        command, console = (
            f"{python} -c 'from dipddpm.tui.cli.main import main; main()'",
            f"{python} -m dipddpm.tui.console.__main__",
        )
        name = f"cut-{len(self.named)}"
        match way:
            case "foreground":
                self.named.append(name)
                return f"exec {command} {TRAINING} --name {name}"
            case "detached":
                self.named.append(name)
                return f"{command} {TRAINING} --name {name} --detach && exec {console} last"
            case "watch":
                return f"exec {command} watch"
            case _:
                return f"exec {console}"

    @staticmethod
    def _fork(line: SshSession) -> None:
        """In the console, start the run under the cursor once more."""
        line.until_seen("Runs  ")
        line.until_seen("cut-")
        line.write(b"f")
        line.until_seen("New run like")
        line.write(b"\x13")  # ctrl+s

    def _wait_until_gone(self, what: str) -> None:
        began = time.monotonic()
        while left := self.server.started():
            took = time.monotonic() - began
            assert took < HUNG_SECONDS, f"{what}: {[_description(process) for process in left]} after {took:.1f} s"
            time.sleep(0.02)
        self.slowest = max(self.slowest, time.monotonic() - began)


def _description(process: psutil.Process) -> str:
    try:
        return f"{process.cmdline()[-4:]} at {process.cpu_percent(0.5):.0f}% CPU"
    except psutil.Error:
        return "a process that has just ended"


def losses(run: Run) -> list[float]:
    return [event.loss for event in run.events() if isinstance(event, events.EpochFinished)]


@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param(int(os.environ.get("DIPDDPM_CUTS", "50")), marks=pytest.mark.durability, id="many"),
        pytest.param(3, id="few"),
    ],
)
def test_runs_survive_cut_ssh_connections_and_no_other_process_is_left(
    server: Server, runs: RunsFolder, cuts: int, until: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    person = Person(server, runs, seed=20261123)
    for number in range(cuts):
        # With few cuts each way is used once; with many, all ways are combined with all cuts.
        way = ("foreground", "console", "watch")[number] if cuts <= 3 else WAYS[number % len(WAYS)]
        person.lose(way, CUTS[number % len(CUTS)] if cuts <= 3 else person.draw.choice(CUTS))
    for run in runs.runs():
        if heartbeat.read(run.folder) is None and not run.status().state.live:
            person.counts["resumed, because the cut came before there was a worker"] += 1
            local.resume(run)
    until(lambda: not any(run.status().state.live for run in runs.runs()), 1800.0)
    started = runs.runs()
    assert [run.status().state for run in started] == [RunState.finished] * len(started)
    assert {len(losses(run)) for run in started} <= {EPOCHS}
    assert len({tuple(losses(run)) for run in started}) <= 1, "equal trainings have equal losses"
    assert not server.started()
    with capsys.disabled():
        print(f"\n{cuts} cuts, {len(started)} runs finished; processes ended within {person.slowest:.2f} s;")
        print(f"{time.monotonic() - began:.0f} s in all; {dict(person.counts)}")

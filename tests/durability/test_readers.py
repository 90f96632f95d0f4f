"""Test of one log read by many readers (the console's and `watch`) while it is written at 1,000 events per second.

The writer is killed in the middle of a line, and a second one resumes from the last checkpoint.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.core.runs import EVENTS_FILE, Run, RunsFolder, heartbeat, history
from tests.durability import reading
from tests.durability.reading import RATE, event

WATCH = [sys.executable, "-c", "from dipddpm.tui.cli.main import main; main()", "watch", "--json"]
PART = [sys.executable, "-P", reading.__file__]


class Readers:
    """Processes that read the log, and the lines that each has read."""

    def __init__(self, run: Run, folder: Path) -> None:
        self.run = run
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str]) -> None:
        """Start a reader."""
        with (self.folder / f"read-{len(self.processes)}").open("wb") as output:
            self.processes.append(subprocess.Popen(command, stdout=output))

    def lines(self) -> list[list[bytes]]:
        """Wait for all readers, and return the lines that each has read."""
        assert [process.wait(120) for process in self.processes] == [0] * len(self.processes)
        return [(self.folder / f"read-{n}").read_bytes().splitlines() for n in range(len(self.processes))]

    def close(self) -> None:
        """Kill the remaining readers."""
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def run(runs: RunsFolder, tiny: Callable[..., Any]) -> Iterator[Run]:
    """Create a run whose worker.json names a process that lives all the time, while the writers come and go."""
    run = runs.create(tiny(name="read"))
    with subprocess.Popen(["sleep", "600"]) as worker:
        identity = heartbeat.process_identity(worker.pid)
        assert identity is not None
        heartbeat.write(run.folder, heartbeat.Worker(identity, alive=time.time(), progressed=time.time()))
        yield run
        worker.kill()


def write(run: Run, start: int, stop: int, writer: int, *, torn: bool) -> float:
    """Write from another process, and return the rate that it reached, in events per second."""
    numbers = map(str, (start, stop, writer, int(torn)))
    done = subprocess.run([*PART, "write", run.folder, *numbers], stdout=subprocess.PIPE, check=False)
    assert done.returncode == (-9 if torn else 0)
    return float(done.stdout)


def content(event: Event) -> tuple[object, ...]:
    """Return the content of an event without its time and offset."""
    return type(event), *(getattr(event, name, None) for name in ("step", "epoch", "loss", "lr", "text", "from_step"))


def made(numbers: range, writer: int) -> list[tuple[object, ...]]:
    return [content(event(number, writer)) for number in numbers]


def difference(actual: list[Any], expected: list[Any]) -> object:
    """Return the first differing index and pair; a failure that shows whole lists of thousands is unreadable."""
    pairs = enumerate(itertools.zip_longest(actual, expected))
    return next(((index, pair) for index, pair in pairs if pair[0] != pair[1]), None)


@pytest.mark.parametrize(
    ("seconds", "readers"),
    [
        pytest.param(float(os.environ.get("DIPDDPM_READ_SECONDS", "20")), 8, marks=pytest.mark.durability, id="many"),
        pytest.param(2.0, 2, id="few"),
    ],
)
def test_log_readers_read_every_event_once_during_writing(
    run: Run, tmp_path: Path, seconds: float, readers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    last = round(seconds * RATE)
    killed = last * 3 // 5 // reading.PER_EPOCH * reading.PER_EPOCH
    checkpointed = killed - killed // 5
    processes = Readers(run, tmp_path)
    try:
        for number in range(readers):
            processes.start([*WATCH, run.id] if number % 2 else [*PART, "follow", str(run.folder)])
        rates = [write(run, 1, killed, 1, torn=True), write(run, checkpointed + 1, last, 2, torn=False)]
        read = processes.lines()
    finally:
        processes.close()

    lines = (run.folder / EVENTS_FILE).read_bytes().splitlines()
    whole = [line for line in lines if line.endswith(b"}")]
    assert len(lines) - len(whole) == 1, "the line in which the writer was killed"
    for read_lines in read:
        assert difference(list(map(json.loads, read_lines)), list(map(json.loads, whole))) is None
    decoded = [one for line in read[0] if (one := events.decode(line))]
    first, second = made(range(1, killed + 1), 1), made(range(checkpointed + 1, last + 1), 2)
    assert difference([content(one) for one in decoded[1 : killed + 1]], first) is None
    assert difference([content(one) for one in decoded[killed + 2 : -1]], second) is None
    started, *logical, finished = history(decoded)
    assert isinstance(started, events.RunStarted)
    assert isinstance(finished, events.RunFinished)
    logical = [one for one in logical if not isinstance(one, events.RunResumed)]
    assert difference([content(one) for one in logical], first[:checkpointed] + second) is None
    with capsys.disabled():
        print(f"\n{readers} readers, {len(whole)} events at {min(rates):.0f} or more per second")

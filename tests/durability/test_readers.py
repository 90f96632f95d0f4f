"""One log, read by many while it is written at 1,000 events a second: by the console's follower, and by `watch`.

Its writer is killed in the middle of a line, and a second one resumes from the last checkpoint.
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
    """Processes that read, and what each of them has read."""

    def __init__(self, run: Run, place: Path) -> None:
        self.run = run
        self.place = place
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, command: list[str]) -> None:
        """Begin to read."""
        with (self.place / f"read-{len(self.processes)}").open("wb") as output:
            self.processes.append(subprocess.Popen(command, stdout=output))

    def lines(self) -> list[list[bytes]]:
        """What each has read, once all are done."""
        assert [process.wait(120) for process in self.processes] == [0] * len(self.processes)
        return [(self.place / f"read-{n}").read_bytes().splitlines() for n in range(len(self.processes))]

    def close(self) -> None:
        """End those that still read."""
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def run(runs: RunsFolder, tiny: Callable[..., Any]) -> Iterator[Run]:
    """A run whose worker, as far as anybody can see, lives all the time: what writes comes and goes."""
    run = runs.create(tiny(name="read"))
    with subprocess.Popen(["sleep", "600"]) as worker:
        who = heartbeat.process_identity(worker.pid)
        assert who is not None
        heartbeat.write(run.folder, heartbeat.Worker(who, alive=time.time(), progressed=time.time()))
        yield run
        worker.kill()


def write(run: Run, start: int, stop: int, writer: int, *, torn: bool) -> float:
    """Write from another process; the events a second that it reached."""
    numbers = map(str, (start, stop, writer, int(torn)))
    done = subprocess.run([*PART, "write", run.folder, *numbers], stdout=subprocess.PIPE, check=False)
    assert done.returncode == (-9 if torn else 0)
    return float(done.stdout)


def told(found: Event) -> tuple[object, ...]:
    """What a writer decided of an event: all but when and where it was written."""
    return type(found), *(getattr(found, name, None) for name in ("step", "epoch", "loss", "lr", "text", "from_step"))


def made(numbers: range, writer: int) -> list[tuple[object, ...]]:
    return [told(event(number, writer)) for number in numbers]


def difference(found: list[Any], expected: list[Any]) -> object:
    """The first place at which they differ; whole lists of thousands would drown whoever reads of a failure."""
    pairs = enumerate(itertools.zip_longest(found, expected))
    return next(((place, pair) for place, pair in pairs if pair[0] != pair[1]), None)


@pytest.mark.parametrize(
    ("seconds", "readers"),
    [
        pytest.param(float(os.environ.get("DIPDDPM_READ_SECONDS", "20")), 8, marks=pytest.mark.durability, id="many"),
        pytest.param(2.0, 2, id="few"),
    ],
)
def test_log_readers_see_every_event_exactly_beside_writer(
    run: Run, tmp_path: Path, seconds: float, readers: int, capsys: pytest.CaptureFixture[str]
) -> None:
    last = round(seconds * RATE)
    killed = last * 3 // 5 // reading.PER_EPOCH * reading.PER_EPOCH
    kept = killed - killed // 5
    reading_it = Readers(run, tmp_path)
    try:
        for number in range(readers):
            reading_it.start([*WATCH, run.id] if number % 2 else [*PART, "follow", str(run.folder)])
        rates = [write(run, 1, killed, 1, torn=True), write(run, kept + 1, last, 2, torn=False)]
        read = reading_it.lines()
    finally:
        reading_it.close()

    lines = (run.folder / EVENTS_FILE).read_bytes().splitlines()
    whole = [line for line in lines if line.endswith(b"}")]
    assert len(lines) - len(whole) == 1, "the line in which the writer was killed"
    for seen in read:
        assert difference(list(map(json.loads, seen)), list(map(json.loads, whole))) is None
    found = [decoded for line in read[0] if (decoded := events.decode(line))]
    first, second = made(range(1, killed + 1), 1), made(range(kept + 1, last + 1), 2)
    assert difference([told(one) for one in found[1 : killed + 1]], first) is None
    assert difference([told(one) for one in found[killed + 2 : -1]], second) is None
    started, *logical, finished = history(found)
    assert isinstance(started, events.RunStarted)
    assert isinstance(finished, events.RunFinished)
    logical = [one for one in logical if not isinstance(one, events.RunResumed)]
    assert difference([told(one) for one in logical], first[:kept] + second) is None
    with capsys.disabled():
        print(f"\n{readers} readers, {len(whole)} events at {min(rates):.0f} a second or more")

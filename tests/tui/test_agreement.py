"""Two consoles and two `watch` commands, as text and as JSON, agree on one resumed run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dipddpm.core import events
from dipddpm.core.runs import EventLog, Run, history
from tests.helpers import PATIENCE_SECONDS
from tests.tui.driving import Maker
from tests.tui.terminal import Terminal

TALL = (110, 60)
WATCH = [sys.executable, "-c", "from dipddpm.tui.cli.main import main; main()", "watch"]
EPOCH = re.compile(r"Loss at epoch (\d+): ([0-9.]+)( --> Best model ever \(stored\))?")


@pytest.fixture
def run(make: Maker) -> Run:
    return make(name="shirts", state="running", losses=[0.5])


@pytest.fixture
def consoles(run: Run) -> Iterator[list[Terminal]]:
    terminals = [Terminal(run.id, size=TALL), Terminal("last", "--fps", "2", size=TALL)]
    yield terminals
    for terminal in terminals:
        terminal.process.kill()
        terminal.process.wait()
        terminal.close()


def log_epoch(log: EventLog, number: int, loss: float, *, best: bool = False) -> None:
    """Log an epoch."""
    log.append(events.EpochFinished(epoch=number, step=10 * number, loss=loss, best=best))
    if best:
        stored = "checkpoints/best.safetensors"
        log.append(events.BestModelStored(epoch=number, step=10 * number, value=loss, file=stored, sha256="0" * 64))


def epochs_in(text: str) -> list[tuple[int, float, bool]]:
    """Return the epochs mentioned in a text."""
    return [(int(number), float(loss), bool(best)) for number, loss, best in EPOCH.findall(text)]


def crash_and_resume(run: Run, consoles: list[Terminal]) -> None:
    """Log what a worker would: some epochs, a crash, two of them again, and the end."""
    log = EventLog(run.folder)
    for number in (2, 3):
        log_epoch(log, number, 0.53 - number / 10, best=True)
    checkpoint = log.size
    for number in (4, 5):
        log_epoch(log, number, 9.0 + number)
    for console in consoles:
        console.until_seen("Loss at epoch 5: 14")
    log.append(events.RunResumed(from_step=30, from_epoch=3, from_offset=checkpoint, device="cpu"))
    for number in (4, 5, 6):
        log_epoch(log, number, 0.53 - number / 20, best=number > 5)
    log.append(events.RunFinished(seconds=2.0, step=60))
    log.close()


def test_consoles_and_watch_agree_on_resumed_run(run: Run, consoles: list[Terminal], until: Callable[..., Any]) -> None:
    for console in consoles:
        console.until_seen("Loss at epoch 1: 0.5")
    watching = [
        subprocess.Popen([*WATCH, run.id, *options], stdout=subprocess.PIPE, text=True) for options in ([], ["--json"])
    ]
    crash_and_resume(run, consoles)
    text_output, json_output = (process.communicate(timeout=PATIENCE_SECONDS)[0] for process in watching)
    assert [process.returncode for process in watching] == [0, 0]
    logical = history(event for line in json_output.splitlines() if (event := events.decode(line.encode())))
    finished = [event for event in logical if isinstance(event, events.EpochFinished)]
    assert [event.loss for event in finished] == [0.5, 0.53 - 0.2, 0.53 - 0.3, 0.53 - 0.2, 0.53 - 0.25, 0.53 - 0.3]
    expected = [(event.epoch, round(event.loss, 4), event.best) for event in finished]

    for console in consoles:
        console.until_seen("Finished in 2s")
        until(lambda console=console: console.read() or epochs_in(console.text) == expected)
        # The list is read separately from the log, and may be shown a moment later.
        console.until_seen("finished")
        console.until_seen("0.2300")
    _, _, after = text_output.partition("esumed")
    assert epochs_in(after) == expected[3:]

"""Parts that do nothing but behave well or badly."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.parts import Settings
from benchmarks.gpu.records import Figure, Note


def good(settings: Settings, until: float) -> Iterator[Figure | Note]:
    path = settings.runs_folder / "starts.txt"
    path.write_text((path.read_text() if path.is_file() else "") + "x")
    yield Figure(name="starts", value=len(path.read_text()), unit="", precision="float32")
    yield Note("The sampler | restart\ndoesn't exist.", "waiting")


def bad(settings: Settings, until: float) -> Iterator[Figure | Note]:
    yield Figure(name="before the fault", value=1, unit="s")
    raise RuntimeError("this card is on fire")


def endless(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Ignore the time; leave a process with a session of its own behind."""
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
    child = subprocess.Popen(sleeping, start_new_session=True)
    Path(settings.output, "child.txt").write_text(str(child.pid))
    yield Figure(name="before the end of its time", value=1, unit="s")
    time.sleep(600)


def half(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Do as much as fits: one step at every start, of two."""
    run = settings.runs_folder / "run"
    (run / "checkpoints").mkdir(parents=True, exist_ok=True)
    done = run / "checkpoints" / "last.safetensors"
    count = int(done.read_text()) + 1 if done.is_file() else 1
    done.write_text(str(count))
    yield Figure(name="steps", value=count, unit="steps")
    if count < 2:
        yield Note("1 of 2 steps.", "unfinished")

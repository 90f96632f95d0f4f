"""The part that opens the console beside a training."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.console import CONSOLE, READY, following
from benchmarks.gpu import runs
from benchmarks.gpu.parts import Settings
from benchmarks.gpu.records import Figure, Note
from dipddpm.core import config as configs
from dipddpm.core.events import Step
from dipddpm.core.launch import local
from dipddpm.core.runs import RunsFolder

START_SECONDS = 30.0


def console(settings: Settings, until: float) -> Iterator[Figure | Note]:
    """Start a training; measure a console that follows it, and print one frame of it as text."""
    folder = Path(settings.runs) / "console"
    changes = {"data.dataset": "fashion-mini", "ddpm.epochs": 100_000, "ddpm.samples": 0, "device": settings.device}
    run = RunsFolder(folder).create(runs.named(configs.build("ddpm", settings=changes), READY.decode()))
    local.start(run, now=True)
    try:
        end = min(until, time.monotonic() + START_SECONDS)
        while not any(isinstance(event, Step) for event in run.events()):
            if time.monotonic() > end or not run.status().state.live:
                raise RuntimeError(f"the training doesn't start: {run.status().state}")
            time.sleep(0.2)
        use = following(CONSOLE, folder, 2.0 if settings.miniature else 5.0)
        yield Figure(name="console following a training, share of a core", value=100 * use.cpu, unit="%")
        yield Figure(name="console following a training, output", value=use.bytes_per_second, unit="B/s")
        yield Figure(name="console following a training, memory", value=use.memory, unit="MiB")
        yield Figure(name="time to exit", value=use.exit_seconds, unit="s")
        size = {"COLUMNS": "120", "LINES": "36"}
        command = [*CONSOLE, "--once", "--runs-dir", str(folder)]
        frame = subprocess.run(
            command, env=dict(os.environ) | size, capture_output=True, text=True, check=True, timeout=30
        )
        yield Note(frame.stdout.rstrip(), "table")
    finally:
        local.stop(run, request=4.0, term=2.0)

"""Runs as parts of the measurement: created once, carried out until a time, and continued on the next start."""

from __future__ import annotations

import contextlib
import os
import time

import msgspec

from benchmarks.gpu.parts import Settings
from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.launch import local
from dipddpm.core.runs import Run, RunsFolder, RunState

POLL_SECONDS = 0.3
STOP_SECONDS = 6.0
"""Time that a run gets to finish its step and store a checkpoint."""
TESTS_DEVICE = "DIPDDPM_GPU_TESTS_DEVICE"


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables of child processes; on a CPU they ask the tests to run there too."""
    return dict(os.environ) | ({TESTS_DEVICE: "cpu"} if settings.device == "cpu" else {})


def find(settings: Settings, name: str) -> Run | None:
    """Return the run of this name that an earlier start has made."""
    folder = RunsFolder(settings.runs_folder)
    return next((run for run in folder.runs() if run.config().name == name), None)


def create(settings: Settings, config: AnyRun) -> Run:
    """Create a run of this config."""
    return RunsFolder(settings.runs_folder).create(config)


def carry_out(run: Run, until: float) -> bool:
    """Start or resume a run, and stop it in time; return whether it is finished. Raises RuntimeError if it fails."""
    state = run.status().state
    if state is RunState.finished:
        return True
    if any(True for _ in run.events()):
        local.resume(run, now=True)
    else:
        local.start(run, now=True)
    # A resumed run counts as stopped until its worker has logged that it goes on.
    while local.find_process(run) and time.monotonic() < until - STOP_SECONDS:
        time.sleep(POLL_SECONDS)
    if run.status().state.live:
        with contextlib.suppress(UserError):  # it has just ended
            local.stop(run, request=STOP_SECONDS, term=2.0)
    status = run.status()
    if status.state in {RunState.failed, RunState.crashed}:
        raise RuntimeError(f"{run.id}: {status.summary.error or status.state}")
    return status.state is RunState.finished


def progress(run: Run) -> str:
    """Return how much of a run is done."""
    summary = run.status().summary
    return f"{summary.step:,} of {summary.steps:,} steps" if summary.steps else f"{summary.step:,} steps"


def named(config: AnyRun, name: str) -> AnyRun:
    """Return the config with this name."""
    return msgspec.structs.replace(config, name=name)

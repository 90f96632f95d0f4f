"""Start, stop and resume workers: each its own process in its own session, which outlives whoever started it.

Loads no torch. Nothing is kept in memory: who runs what stands in the run folders.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from dipddpm.core import events
from dipddpm.core.errors import UserError
from dipddpm.core.launch import queue, submit
from dipddpm.core.runs import CHECKPOINT_FILE, LOG_FILE, STOP_FILE, Run, RunState, heartbeat, slurm
from dipddpm.core.runs.environment import COMMAND_VARIABLE, command_line, python_module

REQUEST_SECONDS = 20.0
"""A worker that hasn't ended this long after the request gets SIGTERM."""
TERM_SECONDS = 20.0
"""And this long after SIGTERM, SIGKILL."""
KILL_SECONDS = 40.0
"""Slurm sends SIGKILL by itself, after its KillWait: 30 seconds, unless a cluster has it otherwise."""
ENDING_SECONDS = 10.0
"""What a process may take to end once its run has."""

_children: list[subprocess.Popen[bytes]] = []


def start(run: Run, *, resume: bool = False, now: bool = False, on: str = "") -> None:
    """Start a worker for a run folder and return at once.

    With `resume` it goes on from the last checkpoint; with `now` it doesn't wait for a slot; `on` is the cluster that
    it is made a job of, as `slurm:partition=gpu`. Raises UserError where the run is already being worked on, or is a
    reference run, or the process can't be started; of a new run that a cluster doesn't take, nothing is left.
    """
    run.refuse_change()
    run.refuse_writing()
    _children[:] = [child for child in _children if child.poll() is None]
    _await_last_process(run)
    if on:
        try:
            submit.refuse(on, run.config())
            (run.folder / STOP_FILE).unlink(missing_ok=True)
            submit.submit(run, on)
        except UserError:
            if not resume:
                shutil.rmtree(run.folder, ignore_errors=True)
            raise
        return
    command = python_module("dipddpm.core.launch.worker", str(run.folder.resolve()))
    # Its place in the queue is that of this moment, not of when its process is ready to wait.
    command += ["--since", str(queue.arrival_time())] + ["--resume"] * resume + ["--now"] * now
    # A run that starts others passes on what was typed to start it.
    environment = os.environ | {"PYTHONUNBUFFERED": "1", COMMAND_VARIABLE: command_line()}
    try:
        for leftover in (STOP_FILE, slurm.JOB_FILE):
            (run.folder / leftover).unlink(missing_ok=True)
        with (run.folder / LOG_FILE).open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
            )
    except OSError as error:
        raise UserError(f"The worker can't be started: {error.strerror}.", "Check the runs folder.") from None
    _children.append(child)
    identity = heartbeat.process_identity(child.pid)
    if identity is not None:
        # Until the worker stamps this itself, readers would take a run that has just started for a crashed one.
        # Where somebody else has started one in this very moment, that one is at work, and ours is about to be refused.
        with contextlib.suppress(OSError):
            if (existing := heartbeat.read(run.folder)) is None or not heartbeat.is_alive(existing):
                heartbeat.write(run.folder, heartbeat.Worker(identity, alive=time.time()))


def _await_last_process(run: Run) -> None:
    """Refuse a run that is being worked on; what has written the run's last event is given time to end."""
    until = time.monotonic() + ENDING_SECONDS
    while process := _find_process(run):
        state = run.status().state
        if state.live:
            raise UserError(f"The run {run.id} is already {state}.", f"Follow it with: dipddpm watch {run.id}")
        if time.monotonic() > until:
            raise UserError(f"{process} of {run.id} has not ended yet.", "Try again in a moment.")
        time.sleep(0.2)


def _find_process(run: Run) -> str:
    """What is still at the run, in words; empty once all has ended."""
    worker = heartbeat.read(run.folder)
    if worker is not None and heartbeat.is_alive(worker):
        return "The last worker"
    status = slurm.query(run.folder, now=True)
    return f"Job {status.job.id}" if status is not None and status.slurm_job.unfinished else ""


def resume(run: Run, *, now: bool = False, on: str = "") -> None:
    """Go on with a run that was stopped, failed or crashed, where it was at work before unless `on` says otherwise.

    `on` is a cluster as `start` takes it, or `here`. Raises UserError for a run that is live, done or broken.
    """
    run.refuse_change()
    status = run.status()
    if status.state is RunState.broken:
        raise UserError(f"The run {run.id} can't be resumed: {status.trouble}", "Start it anew with dipddpm run.")
    if status.state is RunState.finished:
        raise UserError(f"The run {run.id} is finished.", "Start a new one with dipddpm run.")
    if not (run.folder / CHECKPOINT_FILE).is_file() and any(
        isinstance(event, events.CheckpointStored) for event in run.events()
    ):
        raise UserError(f"The run {run.id} no longer has its last checkpoint.", "Fork it, to run it anew.")
    previous_job = slurm.read(run.folder)
    on = on or (previous_job.on if previous_job else "")
    start(run, resume=True, now=now, on="" if on == submit.HERE else on)


def request_stop(run: Run) -> None:
    """Ask the worker to finish its step, write a checkpoint and end. Raises UserError where nothing runs."""
    run.refuse_change()
    run.refuse_writing()
    if not run.status().state.live:
        raise UserError(f"The run {run.id} is not running.", "See its state with dipddpm ls.")
    try:
        (run.folder / STOP_FILE).touch()
    except OSError as error:
        raise UserError(f"The request can't be written: {error.strerror}.", f"Check {run.folder}.") from None
    submit.cancel_pending(run)  # a job that has no worker yet leaves its queue


def send_signal(run: Run, number: signal.Signals) -> bool:
    """Signal the worker, if the very process that the folder names still lives on this host; whether it was sent."""
    worker = heartbeat.read(run.folder)
    if worker is None or not heartbeat.runs_here(worker.identity):
        return False
    try:
        # A descriptor of the process can't come to mean another one between the check and the signal.
        descriptor = os.pidfd_open(worker.identity.pid)
    except (OSError, AttributeError):
        return False
    try:
        if not heartbeat.runs_here(worker.identity):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def stop(run: Run, *, request: float = REQUEST_SECONDS, term: float = TERM_SECONDS) -> RunState:
    """Stop a run and wait for its end: the request, then SIGTERM, then SIGKILL (by scancel); the state it ended in."""
    request_stop(run)
    return _escalate_stop(run, time.monotonic() + request, term)


def stop_all(runs: Iterable[Run]) -> list[Run]:
    """Stop those of the runs that are live, all at once, as `stop` does; these. The ones that wait are asked first."""
    statuses = [status for status in (run.status() for run in runs) if status.state.live]
    asked = []
    for status in sorted(statuses, key=lambda glance: glance.state is not RunState.queued):
        with contextlib.suppress(UserError):  # it has just ended
            request_stop(status.run)
            asked.append(status.run)
    until = time.monotonic() + REQUEST_SECONDS
    for run in asked:
        _escalate_stop(run, until, TERM_SECONDS)
    return asked


def _escalate_stop(run: Run, until: float, term: float) -> RunState:
    """Give a run that was asked to stop its time, then end it."""
    if _wait_for_end(run, until):
        pass
    elif submit.cancel(run):
        _wait_for_end(run, time.monotonic() + KILL_SECONDS)
    elif send_signal(run, signal.SIGTERM) and not _wait_for_end(run, time.monotonic() + term):
        send_signal(run, signal.SIGKILL)
        _wait_for_end(run, time.monotonic() + 5.0)
    return run.status().state


def _wait_for_end(run: Run, until: float) -> bool:
    while run.status().state.live:
        if time.monotonic() >= until:
            return False
        time.sleep(0.1)
    return True


def runs_root(runs_dir: Path | None) -> Path:
    """The runs folder: the one given, else `DIPDDPM_RUNS`, else ./runs. Raises UserError as `working_folder` does."""
    chosen = (runs_dir or Path(os.environ.get("DIPDDPM_RUNS") or "runs")).expanduser()
    return chosen if chosen.is_absolute() else working_folder() / chosen


def working_folder() -> Path:
    """Where this process was started. Raises UserError where that folder is gone."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise UserError("The folder that you are in is gone.", "Go to another one, with cd.") from None

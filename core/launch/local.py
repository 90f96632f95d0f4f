"""Start, stop and resume workers; each is a process in a session of its own and outlives its caller.

Loads no torch. All state is in the run folders, none in memory.
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
from dipddpm.core.errors import UserError, system_error
from dipddpm.core.io import home, output
from dipddpm.core.launch import queue, submit
from dipddpm.core.runs import CHECKPOINT_FILE, LOG_FILE, STOP_FILE, Run, RunState, heartbeat, log, slurm
from dipddpm.core.runs.environment import COMMAND_VARIABLE, command_line, python_module, torch_cache
from dipddpm.core.runs.folder import ENDING_SECONDS, LOCK_SECONDS

REQUEST_SECONDS = 20.0
"""Time from the request to stop until a worker gets SIGTERM."""
TERM_SECONDS = 20.0
"""Time from SIGTERM until a worker gets SIGKILL."""
KILL_SECONDS = 40.0
"""Time to wait for a cancelled Slurm job, which gets SIGKILL after Slurm's KillWait, by default 30 seconds."""


class _WorkerProcess(subprocess.Popen[bytes]):
    """A worker, which may outlive this process, so that Python doesn't warn of it."""

    def __del__(self) -> None:
        pass


_children: list[_WorkerProcess] = []


def start(run: Run, *, resume: bool = False, now: bool = False, on: str = "") -> None:
    """Start a worker for a run folder and return at once.

    With `resume` the worker resumes from the last checkpoint; with `now` it doesn't wait for a slot; with `on`, such as
    `slurm:partition=gpu`, it becomes a job of that cluster. Raises UserError if the run has a worker already or is a
    reference run, or if the process can't be started; a new run that can't be started is deleted.
    """
    run.refuse_change()
    run.refuse_writing()
    config = run.config()
    _children[:] = [child for child in _children if child.poll() is None]
    _await_last_process(run)
    with log.hold(run.folder, LOCK_SECONDS):
        state = run.status().state
        if resume and state.live:  # another process has just resumed it
            raise UserError(*_already(run, state))
        if not on:
            _start_here(run, resume=resume, now=now)
            return
        try:
            submit.refuse(on, config)
            (run.folder / STOP_FILE).unlink(missing_ok=True)
            submit.submit(run, on)
        except UserError:
            if not resume:
                shutil.rmtree(run.folder, ignore_errors=True)
            raise
    submit.log_queued(run)


def _start_here(run: Run, *, resume: bool, now: bool) -> None:
    """Start a worker process on this machine."""
    command = python_module("dipddpm.core.launch.worker", str(run.folder.resolve()))
    # The run arrives in the queue now, not once its process is ready to wait.
    command += ["--since", str(queue.arrival_time())] + ["--resume"] * resume + ["--now"] * now
    # A run that starts others passes on the user's own command line.
    environment = os.environ | {"PYTHONUNBUFFERED": "1", COMMAND_VARIABLE: command_line()}
    try:
        output.probe(run.folder)  # on a full disk the worker couldn't even log why it ends
        environment |= torch_cache(run.folder)
        for leftover in (STOP_FILE, slurm.JOB_FILE):
            (run.folder / leftover).unlink(missing_ok=True)
        with (run.folder / LOG_FILE).open("ab") as worker_log:
            child = _WorkerProcess(
                command,
                stdin=subprocess.DEVNULL,
                stdout=worker_log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=environment,
                cwd=_existing_folder(run),
            )
    except OSError as error:
        if not resume:
            shutil.rmtree(run.folder, ignore_errors=True)
        limit = system_error(error)
        problem = f"The worker of {run.folder} can't be started: {error.strerror}."
        remedy = limit.remedy if limit else "Check that the runs folder can be written."
        raise UserError(problem, remedy) from None
    _children.append(child)
    identity = heartbeat.process_identity(child.pid)
    if identity is not None:
        # Without this file, readers would take the run for crashed until the worker writes the file itself.
        # If another caller has just started a worker, that worker keeps its file, and ours will be refused.
        with contextlib.suppress(OSError):
            if (existing := heartbeat.read(run.folder)) is None or not heartbeat.runs_here(existing.identity):
                heartbeat.write(run.folder, heartbeat.Worker(identity, alive=time.time()))


def _await_last_process(run: Run) -> None:
    """Raise UserError if the run has a live worker; wait for a worker that has logged the run's end."""
    until = time.monotonic() + ENDING_SECONDS
    while process := find_process(run):
        state = run.status().state
        if state.live:
            raise UserError(*_already(run, state))
        if time.monotonic() > until:
            raise UserError(f"{process} of {run.id} has not ended yet.", "Try again in a few seconds.")
        time.sleep(0.2)


def _already(run: Run, state: RunState) -> tuple[str, str]:
    return f"The run {run.id} is already {state}.", f"Follow it with: dipddpm watch {run.id}"


def find_process(run: Run) -> str:
    """Return the name of the process or job that still works on the run; empty if there is none."""
    worker = heartbeat.read(run.folder)
    # A process that can't be looked up from here counts as alive for a minute after its end, but holds no lock.
    if (
        worker is not None
        and heartbeat.is_alive(worker)
        and (heartbeat.runs_here(worker.identity) or run.status().state.live or log.is_held(run.folder))
    ):
        return "The last worker"
    status = slurm.query(run.folder, now=True)
    return f"Job {status.job.id}" if status is not None and status.slurm_job.unfinished else ""


def resume(run: Run, *, now: bool = False, on: str = "") -> None:
    """Resume a run that was stopped, failed or crashed, by default on the machine or cluster that it ran on.

    `on` is a cluster as in `start`, or `here` for this machine. Raises UserError for a live, finished or broken run.
    """
    run.refuse_change()
    run.config()
    if run.status().state is RunState.finished:
        raise UserError(f"The run {run.id} is finished.", "Start a new one with dipddpm run.")
    if not (run.folder / CHECKPOINT_FILE).is_file() and any(
        isinstance(event, events.CheckpointStored) for event in run.events()
    ):
        raise UserError(f"The run {run.id} no longer has its last checkpoint.", "Fork it to start it again.")
    start(run, resume=True, now=now, on=cluster(run, on))


def cluster(run: Run, on: str = "") -> str:
    """Return the cluster on which a run resumes, "" for this machine; without `on` it is the one it ran on."""
    previous_job = slurm.read(run.folder)
    on = on or (previous_job.on if previous_job else "")
    return "" if on == submit.HERE else on


def request_stop(run: Run) -> None:
    """Ask the worker to finish its step, store a checkpoint and end. Raises UserError if the run isn't live."""
    run.refuse_change()
    run.refuse_writing()
    state = run.status().state
    if not state.live and not (state is RunState.crashed and log.is_held(run.folder)):
        raise UserError(f"The run {run.id} is not running.", "See its state with dipddpm ls.")
    try:
        (run.folder / STOP_FILE).touch()
    except OSError as error:
        raise UserError(f"The request can't be written: {error.strerror}.", f"Check {run.folder}.") from None
    submit.cancel_pending(run)  # a job that hasn't started has no worker that could react


def send_signal(run: Run, number: signal.Signals) -> bool:
    """Send a signal to the run's worker if it lives on this host; return whether the signal was sent."""
    worker = heartbeat.read(run.folder)
    if worker is None or not heartbeat.runs_here(worker.identity):
        return False
    try:
        # Unlike a pid, a process descriptor can't refer to another process later.
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
    """Stop a run by request, then SIGTERM, then SIGKILL (a Slurm job by scancel); return the state it ended in."""
    request_stop(run)
    return _escalate_stop(run, time.monotonic() + request, term)


def stop_all(runs: Iterable[Run]) -> list[Run]:
    """Stop all live runs at the same time, as `stop` does, and return them; queued runs get their request first."""
    statuses = [status for status in (run.status() for run in runs) if status.state.live]
    stopping = []
    for status in sorted(statuses, key=lambda status: status.state is not RunState.queued):
        with contextlib.suppress(UserError):  # the run has just ended
            request_stop(status.run)
            stopping.append(status.run)
    until = time.monotonic() + REQUEST_SECONDS
    for run in stopping:
        _escalate_stop(run, until, TERM_SECONDS)
    return stopping


def _escalate_stop(run: Run, until: float, term: float) -> RunState:
    """Wait until `until` for a run that was asked to stop, then end it by force; return its state."""
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
    """Return the runs folder: `runs_dir`, else `DIPDDPM_RUNS`, else ./runs.

    Raises UserError as `working_folder`, for a folder that can't be read (it may be missing), and for a path that isn't
    in UTF-8, which no file of a run could name.
    """
    chosen = home.expand(runs_dir or os.environ.get("DIPDDPM_RUNS") or "runs")
    root = chosen if chosen.is_absolute() else working_folder() / chosen
    try:
        os.fsencode(f"{root}{os.path.realpath(root)}").decode()  # the locale may be another one
    except UnicodeDecodeError:
        problem = f"The name of the runs folder is not in UTF-8: {root}"
        raise UserError(problem, "Rename that folder, or choose another one with --runs-dir or DIPDDPM_RUNS.") from None
    try:
        os.scandir(root).close()
    except OSError as error:
        if error.errno in output.DISK_ERRORS:
            problem = f"The runs folder {root} can't be read: {error.strerror}."
            remedy = "Check its permissions, or choose another one with --runs-dir or DIPDDPM_RUNS."
            raise UserError(problem, remedy) from None
    return root


def working_folder() -> Path:
    """Return the working folder of this process. Raises UserError if the folder no longer exists."""
    try:
        return Path.cwd()
    except OSError:
        raise UserError("The current folder no longer exists.", "Change to another folder with cd.") from None


def _existing_folder(run: Run) -> Path:
    """Return the working folder, or the run's if the working folder has been deleted: torch doesn't load there."""
    try:
        return working_folder()
    except UserError:
        return run.folder

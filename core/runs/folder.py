"""The runs folder: it has one folder per run, which holds everything that is known about the run."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dipddpm.core import config as configs
from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import Event
from dipddpm.core.io import atomic, output
from dipddpm.core.runs import creation, heartbeat, log, reference, slurm, summary
from dipddpm.core.runs.creation import RUN_ID
from dipddpm.core.runs.log import EVENTS_FILE, EventReader, history
from dipddpm.core.runs.summary import CONFIG_FILE, RunState, Summary

ENVIRONMENT_FILE = "environment.json"
LOG_FILE = "worker.log"
STOP_FILE = "stop"
"""A file that asks the worker to stop, which it does within about a second; it works where signals don't reach."""
STOP_REQUEST = "asked to stop"
"""The reason in the `run_stopped` event of a run that stopped on request."""
SCRIPTS_FOLDER = "slurm"
"""The folder of the batch script of a run that is a cluster job."""
CHECKPOINT_FILE = "checkpoints/last.safetensors"
"""The checkpoint that a run resumes from."""
BEST_FILE = "checkpoints/best.safetensors"
"""The best model of a run that trains, or the restored images of a run that restores."""
ENDING_SECONDS = 10.0
"""Time for a process to end after its run has ended."""
LOCK_SECONDS = 2.0
"""Time for a killed process to release the lock of the log."""
_WRITTEN_FILES = {EVENTS_FILE, LOG_FILE, STOP_FILE}
_WRITTEN_FOLDERS = {"checkpoints", "images", SCRIPTS_FOLDER}


@dataclass(frozen=True)
class Run:
    """The folder of one run. No file content makes reading raise an error: unreadable content is omitted or marked."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name: date and time in UTC, kind, and the fraction of the second in four hexadecimal digits."""
        return self.folder.name

    @property
    def created(self) -> float:
        """The time when the run was created, in seconds since 1970; 0.0 if unknown."""
        return creation.created(self.folder)

    @property
    def reference(self) -> bool:
        """True if the run ships with the program; such a run is never changed."""
        return self.folder.parent == reference.FOLDER

    def refuse_change(self) -> None:
        """Raise UserError for a reference run."""
        if self.reference:
            problem = f"{self.id} is a reference run, which ships with the program and can't be changed."
            raise UserError(problem, "Fork it, or start your own run with dipddpm run.")

    def refuse_writing(self) -> None:
        """Raise UserError if a file or folder that the worker writes to is a link or a pipe."""
        try:
            with os.scandir(self.folder) as entries:
                unsafe = [entry.name for entry in entries if _is_unsafe_entry(entry)]
        except OSError:
            return  # the code that writes reports the error better
        if unsafe:
            problem = f"{unsafe[0]} of {self.id} is a link or a pipe, not a regular file or folder."
            raise UserError(problem, "Copy the run's folder and replace links by the files they point to.")

    def refuse_unreadable(self, *names: str) -> None:
        """Raise UserError if the log, or one of these files and folders, can't be read. They may be missing."""
        for name in (EVENTS_FILE, *names):
            path = self.folder / name
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK))
            except OSError as error:
                if error.errno in output.DISK_ERRORS:
                    problem = f"{path} can't be read: {error.strerror}."
                    raise UserError(problem, "Check the permissions and the disk of the run's folder.") from None

    @contextlib.contextmanager
    def hold(self) -> Iterator[RunStatus]:
        """Keep all other processes from working on the run, moving it or deleting it; yield its status.

        Whatever deletes, moves or restarts a run must do so within this context. Raises UserError for a reference run,
        for a live run, for a run that another process works on although it seems to have ended, and if it has gone.
        """
        self.refuse_change()
        while True:
            status = self._await_worker()
            # A worker ends, and releases the lock, a moment after it has logged the end.
            with log.hold(self.folder, LOCK_SECONDS if status.summary.phase.live else ENDING_SECONDS):
                status = self._refuse_live()
                if not self._has_worker_here():
                    yield status
                    return

    def _await_worker(self) -> RunStatus:
        """Wait for a worker that has logged the end, or has just been started and hasn't logged that yet."""
        until = time.monotonic() + ENDING_SECONDS
        while True:
            status = self._refuse_live()
            if not self._has_worker_here():
                return status
            if time.monotonic() > until:
                problem = f"The last worker of {self.id} has not ended yet."
                raise UserError(problem, "Try again in a few seconds.")
            time.sleep(0.05)

    def _has_worker_here(self) -> bool:
        worker = heartbeat.read(self.folder)
        return worker is not None and heartbeat.runs_here(worker.identity) is True

    def _refuse_live(self) -> RunStatus:
        status = self.status()
        if status.state.live:
            raise UserError(f"The run {self.id} is still live.", f"Stop it first: dipddpm stop {self.id}")
        return status

    def files(self, pattern: str) -> list[Path]:
        """Return the files of a pattern such as `images/*.png`, sorted, except links, which may lead outside."""
        root = self.folder.resolve()
        paths = [path for path in sorted(self.folder.glob(pattern)) if atomic.is_file(path)]
        return [path for path in paths if path.resolve() == root / path.relative_to(self.folder)]

    def config(self) -> AnyRun:
        """Load the run's config. Raises UserError if config.toml is missing or damaged."""
        path = self.folder / CONFIG_FILE
        with contextlib.suppress(OSError):  # an unreadable folder has another error
            if path not in self.folder.iterdir():
                raise UserError(f"{path} is missing.", "Copy it back from a backup, or start the run again.")
        return configs.load(path)

    def events(self) -> list[Event]:
        """Return the run's logical history so far."""
        return history(EventReader(self.folder).read())

    def status(self) -> RunStatus:
        """Return the run's current status."""
        folded_summary = summary.read(self.folder)
        worker = heartbeat.read(self.folder) if folded_summary.phase.live else None
        job_status = slurm.query(self.folder) if folded_summary.phase.live else None
        if job_status is None:
            return RunStatus(self, folded_summary, worker, summary.state(folded_summary, worker, self.created))
        state = job_status.state(folded_summary, worker)
        if state is RunState.crashed and not (folded_summary := summary.read(self.folder)).phase.live:
            state = folded_summary.phase  # the end was logged after the log was read and before Slurm was asked
        return RunStatus(self, folded_summary, worker, state, job_status)


@dataclass(frozen=True)
class RunStatus:
    """The status of a run at one moment. The config is parsed on first access, because lists don't need it."""

    run: Run
    summary: Summary
    worker: heartbeat.Worker | None
    """The worker; None once the run has ended."""
    state: RunState
    job: slurm.JobStatus | None = None
    """The run's cluster job; None if it has none and once the run has ended."""
    at: float = field(default_factory=time.time)
    """The moment of this status, in seconds since 1970."""

    @functools.cached_property
    def config(self) -> AnyRun | None:
        """The run's config; None if config.toml can't be read, in which case `trouble` says why."""
        with contextlib.suppress(UserError):
            return self.run.config()
        return None

    @property
    def trouble(self) -> str:
        """The reason why the config can't be read; empty if it can."""
        try:
            self.run.config()
        except UserError as error:
            return error.problem
        return ""

    @property
    def hint(self) -> str:
        """The remedy for a run that failed or whose process is gone; empty for other runs."""
        if self.state is not RunState.crashed:
            return self.summary.hint
        if self.job is not None:
            return self.job.hint
        if self.worker is not None and heartbeat.restarted_since(self.worker):
            return "The machine was restarted during the run: resume it."
        if output.is_full(self.run.folder):
            return "The disk of the run is full: free some space, then resume the run."
        remedy = configs.lower_memory(self.config) if self.config else ""
        again = f" If that happens again, {remedy[0].lower()}{remedy[1:]}" if remedy else ""
        return f"The process was killed, by a user or because memory was full: resume the run.{again}"

    @property
    def stalled(self) -> bool:
        """True if the run's process lives but has made no progress for `STALL_SECONDS`."""
        if self.state is not RunState.running or self.worker is None or not self.worker.progressed:
            return False
        return self.at - self.worker.progressed > heartbeat.STALL_SECONDS


class RunsFolder:
    """The runs in the folder `root`, together with the reference runs that ship with the program.

    The folder need not exist: it is created with the first run.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, config: AnyRun) -> Run:
        """Create the folder of a new run with its config.toml, atomically. Raises UserError if that fails.

        Paths in the config become absolute, so that the run can be resumed from any folder.
        """
        config = configs.with_absolute_paths(config)
        for _ in range(16):
            name = creation.run_id(config.kind, creation.next_time(self.root))
            folder, partial = self.root / name, self.root / f".{name}{atomic.TEMPORARY}"
            try:
                partial.mkdir(parents=True)
                (partial / "checkpoints").mkdir()
                (partial / "images").mkdir()
                atomic.write_atomic(partial / CONFIG_FILE, configs.to_toml(config).encode())
                partial.rename(folder)
            except FileExistsError:
                time.sleep(16**-4)
                if not self.root.is_dir():
                    raise self._unwritable("it is not a folder") from None
            except OSError as error:
                shutil.rmtree(partial, ignore_errors=True)
                if error.errno != errno.ENOTEMPTY:
                    raise self._unwritable(
                        error.strerror or str(error), is_full=error.errno in output.FULL_DISK
                    ) from None
            else:
                return Run(folder)
        raise self._unwritable("it has no free run id")

    def _unwritable(self, why: str, *, is_full: bool = False) -> UserError:
        remedy = "Choose another folder with --runs-dir or DIPDDPM_RUNS" + ", or free some space" * is_full
        return UserError(f"The runs folder {self.root} can't be written: {why}.", f"{remedy}.")

    def runs(self) -> list[Run]:
        """Return every run of this folder, newest first, without links, foreign folders and reference runs."""
        return _newest_first(_runs_in(self.root))

    def references(self) -> list[Run]:
        """Return the reference runs that this folder has no own copy of, newest first."""
        own = _runs_in(reference.FOLDER)
        return _newest_first(run for run in own if not atomic.is_folder(self.root / run.id))

    def run(self, run_id: str) -> Run:
        """Return the run of a complete id: this folder's, which need not exist, unless only a reference run exists."""
        shipped = Run(reference.FOLDER / run_id)
        own = Run(self.root / run_id)
        return shipped if atomic.is_folder(shipped.folder) and not atomic.is_folder(own.folder) else own

    def find(self, wanted: str) -> Run:
        """Find a run by its id, a unique prefix of the id, its last four digits, or a word.

        `last` is the newest run of this folder; `reference` and `leaves` are the priors that ship with the program.
        Runs of this folder take precedence over reference runs. Raises UserError if no run or several runs match.
        """
        if not wanted:  # every id begins so
            raise UserError("The name of the run is empty.", "Write its id, or a part of it; see dipddpm ls.")
        if wanted in reference.RUNS:
            return Run(reference.prior_folder(wanted))
        own = _runs_in(self.root)
        if own and wanted == "last":
            return _newest_first(own)[0]
        for runs in (own, self.references()):
            exact = [run for run in runs if run.id == wanted]
            matches = exact or [run for run in runs if run.id.startswith(wanted) or run.id.endswith(f"-{wanted}")]
            if len(matches) == 1:
                return matches[0]
            if matches:
                sample = ", ".join(run.id for run in _newest_first(matches)[:3])
                raise UserError(f"{len(matches)} runs match {wanted!r}: {sample}.", "Give more digits of the id.")
        if not own:
            raise UserError(f"There are no runs in {self.root}.", "Start one with: dipddpm run hybrid --preset quick")
        latest = _newest_first(own)[0].id
        raise UserError(f"There is no run {wanted!r} in {self.root}.", f"The latest is {latest}; see dipddpm ls.")


def _runs_in(root: Path) -> list[Run]:
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    runs = [Run(root / name) for name in names if not name.startswith(".")]
    marks = (CONFIG_FILE, EVENTS_FILE)
    return [run for run in runs if RUN_ID.fullmatch(run.id) or any(atomic.is_file(run.folder / file) for file in marks)]


def _newest_first(runs: Iterable[Run]) -> list[Run]:
    return sorted(runs, key=lambda run: creation.order(run.created, run.id), reverse=True)


def _is_unsafe_entry(entry: os.DirEntry[str]) -> bool:
    if entry.name in _WRITTEN_FOLDERS:
        return not entry.is_dir(follow_symlinks=False)
    return entry.name in _WRITTEN_FILES and not entry.is_file(follow_symlinks=False)

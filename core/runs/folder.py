"""The runs folder: one folder a run, and the folder is the whole truth about it."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from dipddpm.core import config as configs
from dipddpm.core.config import AnyRun
from dipddpm.core.errors import UserError
from dipddpm.core.events import Event
from dipddpm.core.io import atomic
from dipddpm.core.runs import heartbeat, reference, slurm, summary
from dipddpm.core.runs.log import EVENTS_FILE, EventReader, history
from dipddpm.core.runs.summary import CONFIG_FILE, RunState, Summary

ENVIRONMENT_FILE = "environment.json"
LOG_FILE = "worker.log"
STOP_FILE = "stop"
"""A request to stop, seen by the worker within a second or so; works where signals don't reach."""
STOP_REQUEST = "asked to stop"
"""The reason that a run gives which stopped on such a request."""
SCRIPTS_FOLDER = "slurm"
"""Of a run that is a cluster's job: its batch script."""
CHECKPOINT_FILE = "checkpoints/last.safetensors"
"""What a run goes on from."""
BEST_FILE = "checkpoints/best.safetensors"
"""The best model of a run that trains; a run that restores keeps its images in the same file."""
_WRITTEN_FILES = {EVENTS_FILE, LOG_FILE, STOP_FILE}
_WRITTEN_FOLDERS = {"checkpoints", "images", SCRIPTS_FOLDER}
RUN_ID = re.compile(r"\d{8}-\d{6}-[a-z0-9-]{1,40}-[0-9a-f]{4}")


@dataclass(frozen=True)
class Run:
    """One run's folder. Reading never raises for what the files hold: what can't be read is left out or marked."""

    folder: Path

    @property
    def id(self) -> str:
        """The folder's name: date, time, kind and four random digits."""
        return self.folder.name

    @property
    def created(self) -> float:
        """When the run was asked for, by its id, in seconds since 1970."""
        try:
            return time.mktime(time.strptime(self.id[:15], "%Y%m%d-%H%M%S"))
        except (ValueError, OverflowError):
            return 0.0

    @property
    def reference(self) -> bool:
        """Whether it ships with the program, and therefore stays as it is."""
        return self.folder.parent == reference.FOLDER

    def refuse_change(self) -> None:
        """Raise UserError for a reference run."""
        if self.reference:
            problem = f"{self.id} is a reference run: it ships with the program and stays as it is."
            raise UserError(problem, "Fork it, or start one of your own with dipddpm run.")

    def refuse_writing(self) -> None:
        """Raise UserError where what would be written to isn't the folder's own: a link to elsewhere, or a pipe."""
        try:
            with os.scandir(self.folder) as entries:
                unsafe = [entry.name for entry in entries if _is_unsafe_entry(entry)]
        except OSError:
            return  # whoever writes will say it better
        if unsafe:
            problem = f"{unsafe[0]} of {self.id} is no file or folder of its own, but a link or a pipe."
            raise UserError(problem, "Copy the run's folder, so that links become what they point to.")

    def files(self, pattern: str) -> list[Path]:
        """The files of a pattern, as `images/*.png`, in order. Links are left out: they may lead out of the folder."""
        root = self.folder.resolve()
        paths = [path for path in sorted(self.folder.glob(pattern)) if atomic.is_file(path)]
        return [path for path in paths if path.resolve() == root / path.relative_to(self.folder)]

    def config(self) -> AnyRun:
        """What was asked. Raises UserError where config.toml is missing or damaged."""
        return configs.load(self.folder / CONFIG_FILE)

    def events(self) -> list[Event]:
        """The run's logical history so far."""
        return history(EventReader(self.folder).read())

    def status(self) -> RunStatus:
        """The run as it stands now."""
        folded_summary = summary.read(self.folder)
        worker = heartbeat.read(self.folder) if folded_summary.phase.live else None
        job_status = slurm.query(self.folder) if folded_summary.phase.live else None
        if job_status is None:
            return RunStatus(self, folded_summary, worker, summary.state(folded_summary, worker, self.created))
        state = job_status.state(folded_summary, worker)
        if state is RunState.crashed and not (folded_summary := summary.read(self.folder)).phase.live:
            state = folded_summary.phase  # its last word was written before Slurm was asked, and after the log was read
        return RunStatus(self, folded_summary, worker, state, job_status)


@dataclass(frozen=True)
class RunStatus:
    """A run seen at one moment. Its config is parsed when it is asked for: a list does without."""

    run: Run
    summary: Summary
    worker: heartbeat.Worker | None
    """Who is at it; None for a run that told its end."""
    state: RunState
    job: slurm.JobStatus | None = None
    """Its job, if it is one of a cluster; None for a run that told its end."""
    at: float = field(default_factory=time.time)

    @functools.cached_property
    def config(self) -> AnyRun | None:
        """What was asked; None where config.toml can't be read, which `trouble` then explains."""
        with contextlib.suppress(UserError):
            return self.run.config()
        return None

    @property
    def trouble(self) -> str:
        """Why the config can't be read; empty where it can."""
        try:
            self.run.config()
        except UserError as error:
            return error.problem
        return ""

    @property
    def hint(self) -> str:
        """What to do about a run that failed, or of which the process is gone; empty for others."""
        if self.state is not RunState.crashed:
            return self.summary.hint
        if self.job is not None:
            return self.job.hint
        if self.worker is not None and heartbeat.restarted_since(self.worker.identity):
            return "The machine was restarted meanwhile: resume it."
        lower = f" If that happens again: {configs.lower_memory(self.config)}" if self.config else ""
        return f"Killed, by somebody or because the machine's memory was full: resume it.{lower}"

    @property
    def stalled(self) -> bool:
        """Alive but not advancing."""
        if self.state is not RunState.running or self.worker is None or not self.worker.progressed:
            return False
        return self.at - self.worker.progressed > heartbeat.STALL_SECONDS


class RunsFolder:
    """All runs of one place, and beside them the reference runs."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self, config: AnyRun) -> Run:
        """Make the folder of a new run and its config.toml, both or none. Raises UserError where that can't be."""
        for _ in range(16):
            now = time.time()
            part = int(now % 1 * 16**4)
            name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(now))}-{config.kind}-{part:04x}"
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
                    raise self._unwritable(error.strerror or str(error)) from None
            else:
                return Run(folder)
        raise self._unwritable("no free run id was found")

    def _unwritable(self, why: str) -> UserError:
        return UserError(
            f"The runs folder {self.root} can't be written: {why}.",
            "Free some space, or choose another folder with --runs-dir or DIPDDPM_RUNS.",
        )

    def runs(self) -> list[Run]:
        """Every run of this place, newest first, without links, foreign folders and reference runs."""
        return _runs_in(self.root)

    def references(self) -> list[Run]:
        """The reference runs, newest first, but for one that this place holds itself."""
        return [run for run in _runs_in(reference.FOLDER) if not atomic.is_folder(self.root / run.id)]

    def run(self, run_id: str) -> Run:
        """The run of a whole id, wherever it is; of one that is nowhere, the one that this place would hold."""
        shipped = Run(reference.FOLDER / run_id)
        own = Run(self.root / run_id)
        return shipped if atomic.is_folder(shipped.folder) and not atomic.is_folder(own.folder) else own

    def find(self, wanted: str) -> Run:
        """The run of an id, a unique prefix of one, the digits at its end, `last` or `reference`, the shipped prior.

        A reference run is meant where none of this place is. Raises UserError for none or several.
        """
        if wanted == reference.NAME:
            return Run(reference.FOLDER / reference.PRIOR)
        own = self.runs()
        if own and wanted == "last":
            return own[0]
        for runs in (own, self.references()):
            exact = [run for run in runs if run.id == wanted]
            matches = exact or [run for run in runs if run.id.startswith(wanted) or run.id.endswith(f"-{wanted}")]
            if len(matches) == 1:
                return matches[0]
            if matches:
                sample = ", ".join(run.id for run in matches[:3])
                raise UserError(f"{len(matches)} runs match {wanted!r}: {sample}.", "Give more of the id.")
        if not own:
            raise UserError(f"There are no runs in {self.root}.", "Start one with: dipddpm run hybrid --preset quick")
        raise UserError(f"There is no run {wanted!r} in {self.root}.", f"The latest is {own[0].id}; see dipddpm ls.")


def sort_key(run_id: str) -> tuple[str, str, str]:
    """What runs are ordered by: the second in which they were made, as ids tell, and what part of it had passed."""
    return run_id[:15], run_id[-4:], run_id


def _runs_in(root: Path) -> list[Run]:
    try:
        with os.scandir(root) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    runs = [Run(root / name) for name in sorted(names, key=sort_key, reverse=True) if not name.startswith(".")]
    marks = (CONFIG_FILE, EVENTS_FILE)
    return [run for run in runs if RUN_ID.fullmatch(run.id) or any(atomic.is_file(run.folder / file) for file in marks)]


def _is_unsafe_entry(entry: os.DirEntry[str]) -> bool:
    if entry.name in _WRITTEN_FOLDERS:
        return not entry.is_dir(follow_symlinks=False)
    return entry.name in _WRITTEN_FILES and not entry.is_file(follow_symlinks=False)

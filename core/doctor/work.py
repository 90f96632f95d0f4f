"""Checks of the data sets, the queue, and runs that need attention."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dipddpm.core import data
from dipddpm.core.config import DataConfig
from dipddpm.core.data.catalogue import CATALOGUE, MINI
from dipddpm.core.doctor.finding import Finding, note, ok, problem
from dipddpm.core.errors import UserError
from dipddpm.core.launch import queue as slots
from dipddpm.core.runs import BEST_FILE, RunsFolder, RunState, RunStatus, reference

LOCKS = Path("/proc/locks")
MAX_NAMED = 3
"""Number of runs that a finding names; the others are counted."""


def data_sets() -> Iterator[Finding]:
    """Check which data sets exist; only the shipped data set and the default data set of runs are required."""
    locations = data.locations()
    present = [name for name, folder in locations.items() if folder]
    absent = [name for name in locations if name not in present]
    message = f"available: {', '.join(present)}" + f"; missing: {', '.join(absent)}" * bool(absent)
    for name in (MINI, DataConfig().dataset):
        if name in absent and not data.problems(name):
            yield (problem if name == MINI else note)("data", message, CATALOGUE[name].remedy)
            return
    damaged = {name: found for name in locations if (found := data.problems(name))}
    for name, found in damaged.items():
        kind = problem if name in (MINI, DataConfig().dataset) else note
        again = f"Fetch it again with: dipddpm data fetch {name}"
        yield kind("data", found[0], CATALOGUE[name].remedy if name == MINI else again)
    if not damaged:
        yield ok("data", message, f"To download one: dipddpm data fetch {absent[0]}" if absent else "")
    if not (reference.prior_folder(reference.NAME) / BEST_FILE).is_file():
        message = "the shipped trained prior is missing"
        yield note("prior", message, "Reinstall dipddpm, or choose a prior of your own with --from.")


def queue() -> Iterator[Finding]:
    """Check the waiting runs and the held slots, and find tickets and slots that belong to no worker."""
    try:
        slots.require_locks()
        folder, each = slots.folder(), slots.per_device()
    except UserError as error:
        yield problem("queue", error.problem, error.remedy)
        return
    before = set(folder.glob("*.ticket"))
    waiting = slots.waiting()
    remaining = set(folder.glob("*.ticket"))
    removed = len(before - remaining)
    damaged = sorted((before & remaining) - {path for path, _ in waiting})
    holders = slot_holders(folder)
    foreign = [f"{path.name} by process {pid}" for path, pid in holders.items() if not _is_worker(pid)]
    message = f"{each} run{'s' * (each > 1)} per device; {len(holders)} running, {len(waiting)} waiting, in {folder}"
    message += f"; removed {removed} ticket{'s' * (removed > 1)} of dead workers" * bool(removed)
    if foreign:
        message += f"; a process that is no worker holds a slot: {foreign[0]}"
        yield note("queue", message, "End that process, or start runs with --now.")
    elif damaged:
        unreadable = f"{len(damaged)} unreadable ticket{'s' * (len(damaged) > 1)}"
        yield note("queue", f"{message}; {unreadable}", f"Delete the file {damaged[0]}")
    else:
        yield ok("queue", message)


def slot_holders(folder: Path, locks: Path = LOCKS) -> dict[Path, int]:
    """Return the locked slots and the process that holds each, from the kernel's table of locks."""
    try:
        lines = locks.read_text().splitlines()
    except OSError:
        return {}
    holders = {}
    for line in lines:
        # A line is like `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1835 0 EOF`; waiting processes have an arrow after `1:`.
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK":
            holders[fields[5]] = int(fields[4])
    # The table identifies a file by its device and inode.
    stats = [(path, path.stat()) for path in sorted(folder.glob("*.slot"))]
    keys = {path: f"{os.major(s.st_dev):02x}:{os.minor(s.st_dev):02x}:{s.st_ino}" for path, s in stats}
    return {path: holders[key] for path, key in keys.items() if key in holders}


def _is_worker(pid: int) -> bool:
    """Return whether a process is a run's worker; a process that can't be inspected counts as a worker."""
    try:
        return pid == os.getpid() or b"dipddpm.core.launch.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def runs(root: Path) -> Iterator[Finding]:
    """Count the runs by state, and name the crashed, broken and stalled runs."""
    statuses = [run.status() for run in RunsFolder(root).runs()]
    counts = Counter(str(status.state) for status in statuses)
    message = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none yet"
    yield ok("runs", f"{message}, in {root}")
    crashed = [status for status in statuses if status.state is RunState.crashed]
    broken = [status for status in statuses if status.state is RunState.broken]
    stalled = [status for status in statuses if status.stalled]
    if crashed:
        yield note("runs", f"crashed: {_run_ids(crashed)}", f"Resume one with: dipddpm resume {crashed[0].run.id}")
    if broken:
        yield note("runs", f"unreadable: {_run_ids(broken)}", f"{broken[0].trouble} Repair the file or delete the run.")
    if stalled:
        message = f"alive but without progress: {_run_ids(stalled)}"
        log, run = stalled[0].run.folder / "worker.log", stalled[0].run.id
        yield note("runs", message, f"Look for the cause in {log}, or stop the run: dipddpm stop {run}")


def _run_ids(statuses: list[RunStatus]) -> str:
    ids = ", ".join(status.run.id for status in statuses[:MAX_NAMED])
    return ids + f" and {len(statuses) - MAX_NAMED} more" * (len(statuses) > MAX_NAMED)

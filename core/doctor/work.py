"""What runs need and what they leave: data sets, the queue, and runs that somebody should look at."""

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
"""So many runs are named; the rest is counted."""


def data_sets() -> Iterator[Finding]:
    """Which are here; the one that ships and the one that runs use unasked count."""
    locations = data.locations()
    present = [name for name, folder in locations.items() if folder]
    absent = [name for name in locations if name not in present]
    message = f"here: {', '.join(present)}" + f"; not here: {', '.join(absent)}" * bool(absent)
    for name in (MINI, DataConfig().dataset):
        if name in absent:
            yield (problem if name == MINI else note)("data", message, CATALOGUE[name].remedy)
            return
    yield ok("data", message, f"dipddpm data fetch {absent[0]} gets it" if absent else "")
    if not (reference.prior_folder(reference.NAME) / BEST_FILE).is_file():
        message = "the trained prior that ships with the program is missing"
        yield note("prior", message, "Install dipddpm again, or name a prior of your own with --from.")


def queue() -> Iterator[Finding]:
    """The runs that wait, the slots that are held, and the tickets and slots that no worker owns any more."""
    try:
        folder, each = slots.folder(), slots.per_device()
    except UserError as error:
        yield problem("queue", error.problem, error.remedy)
        return
    except OSError as error:
        message = f"the folder of the queue can't be made: {error}"
        yield problem("queue", message, "Set DIPDDPM_SLOTS_DIR to a folder of your own.")
        return
    before = set(folder.glob("*.ticket"))
    waiting = slots.waiting()
    left = set(folder.glob("*.ticket"))
    cleared = len(before - left)
    damaged = sorted((before & left) - {path for path, _ in waiting})
    holders = slot_holders(folder)
    strangers = [f"{path.name} by process {pid}" for path, pid in holders.items() if not _is_worker(pid)]
    message = f"{each} run{'s' * (each > 1)} a device; {len(holders)} at work, {len(waiting)} waiting, by {folder}"
    message += f"; {cleared} left by workers that ended, cleared" * bool(cleared)
    if strangers:
        message += f"; held by no worker: {strangers[0]}"
        yield note("queue", message, "End that process, or start runs with --now.")
    elif damaged:
        yield note("queue", f"{message}; {len(damaged)} tickets can't be read", f"Remove {damaged[0]}")
    else:
        yield ok("queue", message)


def slot_holders(folder: Path, locks: Path = LOCKS) -> dict[Path, int]:
    """The slots that are taken, with the process that holds each, by the kernel's table of locks."""
    try:
        lines = locks.read_text().splitlines()
    except OSError:
        return {}
    holders = {}
    for line in lines:
        # As `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1835 0 EOF`; who waits for a lock has an arrow in its line.
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK":
            holders[fields[5]] = int(fields[4])
    # The table calls a file by its device and inode.
    stats = [(path, path.stat()) for path in sorted(folder.glob("*.slot"))]
    keys = {path: f"{os.major(s.st_dev):02x}:{os.minor(s.st_dev):02x}:{s.st_ino}" for path, s in stats}
    return {path: holders[key] for path, key in keys.items() if key in holders}


def _is_worker(pid: int) -> bool:
    """Whether a process is a run's; one that can't be looked at counts as one."""
    try:
        return pid == os.getpid() or b"dipddpm.core.launch.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def runs(root: Path) -> Iterator[Finding]:
    """How many there are in which state, and those that somebody should look at."""
    statuses = [run.status() for run in RunsFolder(root).runs()]
    counts = Counter(str(status.state) for status in statuses)
    message = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none yet"
    yield ok("runs", f"{message}, in {root}")
    crashed = [status for status in statuses if status.state is RunState.crashed]
    broken = [status for status in statuses if status.state is RunState.broken]
    stalled = [status for status in statuses if status.stalled]
    if crashed:
        yield note("runs", f"crashed: {_run_ids(crashed)}", f"Go on with one: dipddpm resume {crashed[0].run.id}")
    if broken:
        yield note("runs", f"can't be read: {_run_ids(broken)}", f"{broken[0].trouble} Mend it, or delete the run.")
    if stalled:
        message = f"alive but not advancing: {_run_ids(stalled)}"
        yield note("runs", message, f"See {stalled[0].run.folder / 'worker.log'}, or dipddpm stop {stalled[0].run.id}")


def _run_ids(statuses: list[RunStatus]) -> str:
    ids = ", ".join(status.run.id for status in statuses[:MAX_NAMED])
    return ids + f" and {len(statuses) - MAX_NAMED} more" * (len(statuses) > MAX_NAMED)

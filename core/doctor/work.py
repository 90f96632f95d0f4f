"""What runs need and what they leave: data sets, the queue, and runs that somebody should look at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from core import data, slots
from core.config import DataConfig
from core.data.catalogue import MINI
from core.doctor.finding import Finding, note, ok, problem
from core.errors import UserError
from core.runs import BEST_FILE, Glance, RunsFolder, State, reference

LOCKS = Path("/proc/locks")
NAMED = 3
"""So many runs are named; the rest is counted."""


def data_sets() -> Iterator[Finding]:
    """Which are here; the one that ships and the one that runs use unasked count."""
    found = {status.name: status for status in data.status()}
    here = [name for name, status in found.items() if status.present]
    away = [name for name in found if name not in here]
    told = f"here: {', '.join(here)}" + f"; not here: {', '.join(away)}" * bool(away)
    for name in (MINI, DataConfig().dataset):
        if name in away:
            yield (problem if name == MINI else note)("data", told, found[name].remedy)
            return
    yield ok("data", told, f"dipddpm data fetch {away[0]} gets it" if away else "")
    if not (reference.prior_folder(reference.NAME) / BEST_FILE).is_file():
        told = "the trained prior that ships with the program is missing"
        yield note("prior", told, "Install dipddpm again, or name a prior of your own with --from.")


def queue() -> Iterator[Finding]:
    """Who waits, who holds a slot, and what was left by somebody who no longer does."""
    try:
        folder, each = slots.folder(), slots.per_device()
    except UserError as error:
        yield problem("queue", error.problem, error.remedy)
        return
    except OSError as error:
        told = f"the folder of the queue can't be made: {error}"
        yield problem("queue", told, "Set DIPDDPM_SLOTS_DIR to a folder of your own.")
        return
    before = set(folder.glob("*.ticket"))
    waiting = slots.waiting()
    left = set(folder.glob("*.ticket"))
    cleared = len(before - left)
    damaged = sorted((before & left) - {path for path, _ in waiting})
    holders = held(folder)
    strangers = [f"{path.name} by process {pid}" for path, pid in holders.items() if not _is_worker(pid)]
    told = f"{each} run{'s' * (each > 1)} a device; {len(holders)} at work, {len(waiting)} waiting, by {folder}"
    told += f"; {cleared} left by workers that ended, cleared" * bool(cleared)
    if strangers:
        yield note("queue", f"{told}; held by no worker: {strangers[0]}", "End that process, or start runs with --now.")
    elif damaged:
        yield note("queue", f"{told}; {len(damaged)} tickets can't be read", f"Remove {damaged[0]}")
    else:
        yield ok("queue", told)


def held(folder: Path, locks: Path = LOCKS) -> dict[Path, int]:
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
    return {path: holders[name] for path in sorted(folder.glob("*.slot")) if (name := _as_locked(path)) in holders}


def _as_locked(path: Path) -> str:
    """What the table of locks calls a file: device and inode."""
    about = path.stat()
    return f"{os.major(about.st_dev):02x}:{os.minor(about.st_dev):02x}:{about.st_ino}"


def _is_worker(pid: int) -> bool:
    """Whether a process is a run's; one that can't be looked at counts as one."""
    try:
        return pid == os.getpid() or b"core.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def runs(root: Path) -> Iterator[Finding]:
    """How many there are in which state, and those that somebody should look at."""
    glances = [run.look() for run in RunsFolder(root).runs()]
    counts = Counter(str(glance.state) for glance in glances)
    told = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none yet"
    yield ok("runs", f"{told}, in {root}")
    crashed = [glance for glance in glances if glance.state is State.crashed]
    broken = [glance for glance in glances if glance.state is State.broken]
    stalled = [glance for glance in glances if glance.stalled]
    if crashed:
        yield note("runs", f"crashed: {_named(crashed)}", f"Go on with one: dipddpm resume {crashed[0].run.id}")
    if broken:
        yield note("runs", f"can't be read: {_named(broken)}", f"{broken[0].trouble} Mend it, or delete the run.")
    if stalled:
        told = f"alive but not advancing: {_named(stalled)}"
        yield note("runs", told, f"See {stalled[0].run.folder / 'worker.log'}, or dipddpm stop {stalled[0].run.id}")


def _named(glances: list[Glance]) -> str:
    ids = ", ".join(glance.run.id for glance in glances[:NAMED])
    return ids + f" and {len(glances) - NAMED} more" * (len(glances) > NAMED)

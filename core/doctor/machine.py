"""Python and its optional libraries, the processor, the memory, and what becomes of runs when one logs out."""

from __future__ import annotations

import contextlib
import getpass
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from dipddpm.core.doctor.finding import Finding, note, ok

CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60
"""Control groups of the first version write no limit as a very large one."""
LITTLE_GB = 2.0
"""A worker of a small network takes about 1 GB, most of it torch."""
_EXTRA = re.compile(r"""^(?P<name>[A-Za-z0-9._-]+).*\bextra == ["'](?P<extra>[^"']+)["']""")


def python() -> Iterator[Finding]:
    """Which Python, and whether it is an environment of its own."""
    message = f"{platform.python_version()} at {sys.executable}, dipddpm {metadata.version('dipddpm')}"
    if sys.prefix == sys.base_prefix:
        remedy = "A virtual environment keeps others' updates away: see README."
        yield note("python", f"{message}, the system's own", remedy)
    else:
        yield ok("python", message)


def extras() -> Iterator[Finding]:
    """Which extras are here, and how to get the others."""
    wanted: dict[str, set[str]] = {}
    for requirement in metadata.requires("dipddpm") or []:
        if (match := _EXTRA.match(requirement)) and match["extra"] != "dev":
            wanted.setdefault(match["extra"], set()).add(match["name"])
    missing = sorted(
        extra for extra, names in wanted.items() if not all(any(metadata.distributions(name=name)) for name in names)
    )
    installed = sorted(wanted.keys() - missing)
    message = f"here: {', '.join(installed) or 'none'}" + f"; not here: {', '.join(missing)}" * bool(missing)
    yield ok("extras", message, f"More: pip install 'dipddpm[{','.join(missing)}]'" if missing else "")


def processors() -> Iterator[Finding]:
    """Cores, how many of them are ours, and how busy they are."""
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    yield assess_processors(cores, usable, quota(CGROUPS), os.getloadavg()[0], os.environ.get("OMP_NUM_THREADS", ""))


def assess_processors(cores: int, usable: int, limit: float | None, load: float, threads: str) -> Finding:
    """`usable` of the `cores` may be used, `limit` cores' worth of time; `threads` is OMP_NUM_THREADS."""
    message = f"{cores} core{'s' * (cores != 1)}"
    message += f", {usable} of them for us" * (usable < cores) + f", OMP_NUM_THREADS={threads}" * bool(threads)
    if limit is not None and limit < usable:
        message += f", time for {limit:g}"
        # torch counts cores and knows nothing of the quota; its threads then wait for each other.
        if not threads or not threads.isdecimal() or int(threads) > limit:
            return note("cpu", message, f"Give runs no more threads: --set threads={max(1, math.floor(limit))}")
    if load > usable:
        remedy = "Others are at work: seconds that are measured now mean little."
        return note("cpu", f"{message}, load {load:.1f}", remedy)
    return ok("cpu", message)


def quota(groups: Path) -> float | None:
    """The cores' worth of time that a container has, by its control group; None where there is no limit."""
    allowed, period = _read_limit(groups, ("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
    return None if allowed is None or allowed < 0 or not period else allowed / period


def memory() -> Iterator[Finding]:
    """What is free, and whether a container's limit comes before."""
    import psutil

    virtual = psutil.virtual_memory()
    total, free = virtual.total / 1e9, virtual.available / 1e9
    message = f"{free:.1f} of {total:.1f} GB free"
    if (left := memory_left(CGROUPS)) is not None and left / 1e9 < free:
        free = left / 1e9
        message += f"; this container may have {free:.1f} GB more"
    if free < LITTLE_GB:
        yield note("memory", message, "A worker takes about 1 GB: stop something, or let runs wait for each other.")
    else:
        yield ok("memory", message)


def memory_left(groups: Path) -> int | None:
    """Bytes that the control group may still take; None where it has no limit."""
    old = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
    allowed, taken = _read_limit(groups, ("memory.max", "memory.current"), old)
    return None if allowed is None or allowed > UNLIMITED else max(0, allowed - taken)


def _read_limit(groups: Path, *versions: tuple[str, ...]) -> tuple[int | None, int]:
    """A control group's limit, None where it has none, and the number beside it, by the first version with both."""
    for names in versions:
        with contextlib.suppress(OSError, ValueError):
            limit, number = " ".join((groups / name).read_text() for name in names).split()
            return None if limit == "max" else int(limit), int(number)
    return None, 0


def log_out() -> Iterator[Finding]:
    """Whether a detached run outlives the session that it was started from."""
    if job := os.environ.get("SLURM_JOB_ID"):
        message = f"this is Slurm's job {job}: what is started here ends with the allocation"
        yield note("log-out", message, "Ask for enough --time, or submit runs with --on slurm:...")
        return
    if not Path("/run/systemd/system").exists():
        yield ok("log-out", "no systemd here: runs go on after a log-out")
        return
    group = ""
    with contextlib.suppress(OSError):
        group = Path("/proc/self/cgroup").read_text()
    kills = command_output("loginctl", "show-user", "--property=KillUserProcesses").endswith("=yes")
    lingers = command_output("loginctl", "show-user", getpass.getuser(), "--property=Linger").endswith("=yes")
    yield assess_log_out(kills=kills, lingers=lingers, group=group)


def assess_log_out(*, kills: bool, lingers: bool, group: str) -> Finding:
    """Whether logind `kills` processes at log-out, the account `lingers`; `group` is the text of /proc/self/cgroup."""
    remedy = "Run once: loginctl enable-linger"
    if lingers:
        return ok("log-out", "runs go on after a log-out (this account lingers)")
    if kills:
        return note("log-out", "logging out kills what you started (KillUserProcesses=yes of systemd)", remedy)
    if "/user@" in group:
        message = "this shell belongs to systemd's user manager, which ends with your last session"
        return note("log-out", message, remedy)
    return ok("log-out", "runs go on after a log-out")


def command_output(*command: str) -> str:
    """What a command prints; empty where it fails, isn't installed or takes longer than 3 seconds."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=3, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""

"""Checks of Python and its optional libraries, the processor, the memory, and of what ends runs at log-out."""

from __future__ import annotations

import contextlib
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
from dipddpm.core.io import home
from dipddpm.core.runs.environment import program_version

CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60
"""Limits above this mean no limit; version 1 of control groups writes a very large number in that case."""
LITTLE_GB = 2.0
"""Free memory below which a note warns; a worker with a small network needs about 1 GB, most of it for torch."""
_EXTRA = re.compile(r"""^(?P<name>[A-Za-z0-9._-]+).*\bextra == ["'](?P<extra>[^"']+)["']""")


def python() -> Iterator[Finding]:
    """Check the version of Python, and whether it runs in a virtual environment."""
    message = f"{platform.python_version()} at {sys.executable}, dipddpm {program_version()}"
    if sys.prefix == sys.base_prefix:
        remedy = "Install dipddpm into a virtual environment, which system updates don't change: see README."
        yield note("python", f"{message}, not in a virtual environment", remedy)
    else:
        yield ok("python", message)


def extras() -> Iterator[Finding]:
    """List the installed extras, and how to install the others."""
    requirements: dict[str, set[str]] = {}
    for requirement in _requirements():
        if (match := _EXTRA.match(requirement)) and match["extra"] != "dev":
            requirements.setdefault(match["extra"], set()).add(match["name"])
    missing = sorted(
        extra
        for extra, names in requirements.items()
        if not all(any(metadata.distributions(name=name)) for name in names)
    )
    installed = sorted(requirements.keys() - missing)
    message = f"installed: {', '.join(installed) or 'none'}" + f"; missing: {', '.join(missing)}" * bool(missing)
    yield ok("extras", message, f"To install more: pip install 'dipddpm[{','.join(missing)}]'" if missing else "")


def _requirements() -> list[str]:
    """Return what the installed program requires; nothing for a copy of its files that was never installed."""
    try:
        return metadata.requires("dipddpm") or []
    except metadata.PackageNotFoundError:
        return []


def processors() -> Iterator[Finding]:
    """Check how many cores this process may use, and how busy they are."""
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    yield assess_processors(cores, usable, quota(CGROUPS), os.getloadavg()[0], os.environ.get("OMP_NUM_THREADS", ""))


def assess_processors(cores: int, usable: int, limit: float | None, load: float, threads: str) -> Finding:
    """Assess the CPU: `usable` of `cores`, the control group's `limit` in cores, the load, and OMP_NUM_THREADS."""
    message = f"{cores} core{'s' * (cores != 1)}"
    message += f", {usable} of them usable" * (usable < cores) + f", OMP_NUM_THREADS={threads}" * bool(threads)
    if limit is not None and limit < usable:
        message += f", time limit of {limit:g} core{'s' * (limit != 1)}"
        # torch starts a thread per core regardless of the limit; its threads then wait for each other.
        if not threads or not threads.isdecimal() or int(threads) > limit:
            remedy = f"Limit the threads of runs with: --set threads={max(1, math.floor(limit))}"
            return note("cpu", message, remedy)
    if load > usable:
        remedy = "Other programs are busy: measured seconds are unreliable until they end."
        return note("cpu", f"{message}, load {load:.1f}", remedy)
    return ok("cpu", message)


def quota(groups: Path) -> float | None:
    """Return the control group's limit of CPU time, in cores, or None if there is no limit."""
    allowed, period = _read_limit(groups, ("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
    return None if allowed is None or allowed < 0 or not period else allowed / period


def memory() -> Iterator[Finding]:
    """Check how much memory is free, and whether a container's limit leaves less."""
    import psutil

    try:
        virtual = psutil.virtual_memory()
    except OSError:
        yield ok("memory", "unknown, because /proc can't be read")
        return
    total, free = virtual.total / 1e9, virtual.available / 1e9
    message = f"{free:.1f} of {total:.1f} GB free"
    if (left := memory_left(CGROUPS)) is not None and left / 1e9 < free:
        free = left / 1e9
        message += f"; this container may use {free:.1f} GB more"
    if free < LITTLE_GB:
        remedy = "A worker needs about 1 GB: end other programs, or queue the runs one after the other."
        yield note("memory", message, remedy)
    else:
        yield ok("memory", message)


def memory_left(groups: Path) -> int | None:
    """Return how many more bytes the control group may use, or None if it has no limit."""
    old = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")
    allowed, taken = _read_limit(groups, ("memory.max", "memory.current"), old)
    return None if allowed is None or allowed > UNLIMITED else max(0, allowed - taken)


def _read_limit(groups: Path, *versions: tuple[str, ...]) -> tuple[int | None, int]:
    """Return a control group's limit, or None, and a second number, from the first of `versions` that has both."""
    for names in versions:
        with contextlib.suppress(OSError, ValueError):
            limit, number = " ".join((groups / name).read_text() for name in names).split()
            return None if limit == "max" else int(limit), int(number)
    return None, 0


def log_out() -> Iterator[Finding]:
    """Check whether a detached run continues after the log-out from its session."""
    if job := os.environ.get("SLURM_JOB_ID"):
        message = f"this shell is in Slurm job {job}: its runs end with the job's allocation"
        yield note("log-out", message, "Request enough --time, or submit runs with --on slurm:...")
        return
    if not Path("/run/systemd/system").exists():
        yield ok("log-out", "runs continue after a log-out (no systemd)")
        return
    group = ""
    with contextlib.suppress(OSError):
        group = Path("/proc/self/cgroup").read_text()
    kills = command_output("loginctl", "show-user", "--property=KillUserProcesses").endswith("=yes")
    lingers = command_output("loginctl", "show-user", home.user_name(), "--property=Linger").endswith("=yes")
    yield assess_log_out(kills=kills, lingers=lingers, group=group)


def assess_log_out(*, kills: bool, lingers: bool, group: str) -> Finding:
    """Assess whether runs continue after a log-out.

    `kills`: logind ends processes at log-out; `lingers`: the account is exempt; `group`: the text of /proc/self/cgroup.
    """
    remedy = "Run once: loginctl enable-linger"
    if lingers:
        return ok("log-out", "runs continue after a log-out (lingering is enabled)")
    if kills:
        return note("log-out", "a log-out ends your runs (KillUserProcesses=yes of systemd)", remedy)
    if "/user@" in group:
        message = "this shell belongs to systemd's user manager, which ends with your last session"
        return note("log-out", message, remedy)
    return ok("log-out", "runs continue after a log-out")


def command_output(*command: str) -> str:
    """Return what a command prints; empty if it fails, isn't installed or takes longer than 3 seconds."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=3, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""

"""The processor, the memory, and what becomes of runs when one logs out."""

from __future__ import annotations

import getpass
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dipddpm.core.doctor.finding import Finding, note, ok

CGROUPS = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60
"""Control groups of the first version write no limit as a very large one."""
LITTLE_GB = 2.0
"""A worker of a small network takes about 1 GB, most of it torch."""


def processors() -> Iterator[Finding]:
    """Cores, how many of them are ours, and how busy they are."""
    cores = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    yield assess_processors(cores, usable, quota(CGROUPS), os.getloadavg()[0], os.environ.get("OMP_NUM_THREADS", ""))


def assess_processors(cores: int, usable: int, limit: float | None, load: float, threads: str) -> Finding:
    """`ours` of the `cores` may be used, `limit` cores' worth of time; `threads` is OMP_NUM_THREADS."""
    message = f"{cores} core{'s' * (cores != 1)}"
    message += f", {usable} of them for us" * (usable < cores) + f", OMP_NUM_THREADS={threads}" * bool(threads)
    if limit is not None and limit < usable:
        message += f", time for {limit:g}"
        # torch counts cores and knows nothing of the quota; its threads then wait for each other.
        if not threads or not threads.isdecimal() or int(threads) > limit:
            return note("cpu", message, f"Give runs no more threads: --set threads={max(1, math.floor(limit))}")
    if load > usable:
        return note(
            "cpu", f"{message}, load {load:.1f}", "Others are at work: seconds that are measured now mean little."
        )
    return ok("cpu", message)


def quota(groups: Path) -> float | None:
    """The cores' worth of time that a container has, by its control group; None where there is no limit."""
    try:
        allowed, period = (groups / "cpu.max").read_text().split()
        return None if allowed == "max" else int(allowed) / int(period)
    except (OSError, ValueError):
        pass
    try:
        allowed_us, period_us = (
            int((groups / "cpu" / f"cpu.cfs_{what}_us").read_text()) for what in ("quota", "period")
        )
        return allowed_us / period_us if allowed_us > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


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
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            allowed, taken = ((groups / name).read_text().strip() for name in (limit, used))
            return None if allowed == "max" or int(allowed) > UNLIMITED else max(0, int(allowed) - int(taken))
        except (OSError, ValueError):
            continue
    return None


def log_out() -> Iterator[Finding]:
    """Whether a detached run outlives the session that it was started from."""
    if job := os.environ.get("SLURM_JOB_ID"):
        message = f"this is Slurm's job {job}: what is started here ends with the allocation"
        yield note("log-out", message, "Ask for enough --time, or submit runs with --on slurm:...")
        return
    if not Path("/run/systemd/system").exists():
        yield ok("log-out", "no systemd here: runs go on after a log-out")
        return
    yield assess_log_out(
        kills=_ask("show-user", "--property=KillUserProcesses") == "yes",
        lingers=_ask("show-user", getpass.getuser(), "--property=Linger") == "yes",
        group=_own_group(),
    )


def assess_log_out(*, kills: bool, lingers: bool, group: str) -> Finding:
    """What logind `kills` ends with the last session; what is of the user's own manager ends with that one.

    Unless the account `lingers`. `group` is /proc/self/cgroup.
    """
    remedy = "Run once: loginctl enable-linger"
    if lingers:
        return ok("log-out", "runs go on after a log-out (this account lingers)")
    if kills:
        return note("log-out", "logging out kills what you started (KillUserProcesses=yes of systemd)", remedy)
    if "/user@" in group:
        return note(
            "log-out", "this shell belongs to systemd's user manager, which ends with your last session", remedy
        )
    return ok("log-out", "runs go on after a log-out")


def _ask(*question: str) -> str:
    """The value of a property that loginctl tells."""
    if shutil.which("loginctl") is None:
        return ""
    try:
        done = subprocess.run(["loginctl", *question], capture_output=True, text=True, timeout=3, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().partition("=")[2]


def _own_group() -> str:
    try:
        return Path("/proc/self/cgroup").read_text()
    except OSError:
        return ""

"""The checks of `dipddpm doctor`, which find problems of this machine that affect runs, and their remedies.

Each check is a function that yields findings, and changes nothing. torch is loaded in a process of its own, because
loading it may crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dipddpm.core.doctor import machine, storage, torch, work
from dipddpm.core.doctor.finding import Finding, Severity, note

Check = Callable[[], Iterable[Finding]]

__all__ = ["Check", "Finding", "Severity", "examine"]


def examine(root: Path, extra_checks: dict[str, Check] | None = None) -> Iterator[Finding]:
    """Run all checks of this machine and of the runs folder `root`, with `extra_checks` before the check of torch.

    An exception in a check becomes a finding.
    """
    probe = torch.Probe()
    checks: dict[str, Check] = {
        "python": machine.python,
        "extras": machine.extras,
        "cpu": machine.processors,
        "memory": machine.memory,
        "disk": lambda: storage.disk(root),
        "file system": lambda: storage.file_system(root),
        "log-out": machine.log_out,
        "data": work.data_sets,
        "queue": work.queue,
        "runs": lambda: work.runs(root),
        **(extra_checks or {}),
        "torch": probe.findings,
    }
    try:
        for subject, check in checks.items():
            try:
                yield from check()
            except Exception as error:
                message = f"this check failed: {type(error).__name__}: {error}"
                yield note(subject, message, "Please report this error with this line.")
    finally:
        probe.close()

"""What is wrong with this machine, as far as runs are concerned, and what to do about it: `dipddpm doctor`.

Each check is a function of nothing, or of the runs folder, that yields findings. Nothing is changed, and nothing here
loads torch: that is done in a process of its own, which may well die.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from dipddpm.core.doctor import machine, storage, torch, work
from dipddpm.core.doctor.finding import Finding, Severity, note

Check = Callable[[], Iterable[Finding]]

__all__ = ["Check", "Finding", "Severity", "examine"]


def examine(root: Path, extra_checks: dict[str, Check] | None = None) -> Iterator[Finding]:
    """Check this machine, the runs folder `root`, then `extra_checks`; a check that fails itself is a finding, too."""
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
        for what, check in checks.items():
            try:
                yield from check()
            except Exception as error:
                yield note(what, f"This can't be told: {type(error).__name__}: {error}", "Report it, with this line.")
    finally:
        probe.close()

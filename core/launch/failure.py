"""The problem and the remedy that a run's log names after an error. Loads no torch."""

from __future__ import annotations

import re
from pathlib import Path

from dipddpm.core import config as configs
from dipddpm.core.config import AnyRun
from dipddpm.core.errors import FREE_SPACE, OUT_OF_MEMORY, UserError, system_error

PROCESS_ENDED = (
    "One of the processes of this run has ended.",
    "See worker.log for the cause, then resume the run from its last checkpoint.",
)
"""Problem and remedy of a run if one of its processes ends early."""


def explain(error: BaseException, config: AnyRun) -> tuple[str, str]:
    """Return what went wrong and what to do about it, a sentence each."""
    if isinstance(error, UserError):
        return error.problem, error.remedy
    if limit := system_error(error):
        return _explain_limit(limit, config)
    if isinstance(error, FileNotFoundError) and isinstance(error.filename, str):
        folder = Path(error.filename).parent
        if not folder.exists():
            return f"The folder {folder} no longer exists.", "If it was moved, resume the run from its new place."
    if isinstance(error, OSError):
        problem = f"A file could not be read or written: {error}."
        return problem, "Check the runs folder and its disk, then resume the run."
    if re.search("gloo|nccl", str(error), re.IGNORECASE):
        return PROCESS_ENDED
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line}", "Please report this error with the traceback in worker.log."


def _explain_limit(limit: UserError, config: AnyRun) -> tuple[str, str]:
    if limit.problem == OUT_OF_MEMORY:  # torch raises a plain RuntimeError if the host runs out of memory
        return "The device ran out of memory.", configs.lower_memory(config)
    if limit.remedy == FREE_SPACE:
        return limit.problem, "Free some space, then resume the run; what it has stored is intact."
    return limit.problem, f"{limit.remedy.rstrip('.')}, then resume the run."

"""Errors meant for people: one sentence says what is wrong, one says what to do."""

from __future__ import annotations

import difflib
import errno
import re
import resource
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can put right.

    `problem` says what is wrong and `remedy` says what to do; each is one sentence. The command line prints both and
    exits with code 2; a worker writes them into the event `run_failed` as error and hint. Neither shows a traceback.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return type(self), (self.problem, self.remedy)


def suggest(wrong: str, choices: Iterable[str]) -> str:
    """Return the remedy for a name that doesn't exist: the nearest choice, or a list of all choices."""
    known = sorted(choices)
    near = difflib.get_close_matches(wrong.lower(), known, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]}?"
    return f"Choose one of: {', '.join(known)}."


OUT_OF_MEMORY = "The machine ran out of memory."
FREE_SPACE = "Free some space or delete some files there, or choose another folder."
_FILES = "Raise the limit with: ulimit -n 4096"
_LIMITS = {
    errno.ENOSPC: ("The disk is full.", FREE_SPACE),
    errno.EDQUOT: ("Your quota of the disk is used up.", FREE_SPACE),
    errno.EFBIG: ("A file would become larger than this shell or disk allows.", "Raise the limit with ulimit -f."),
    errno.EMFILE: ("Too many files are open at once.", _FILES),
    errno.ENFILE: ("Too many files are open on this machine.", "End other programs."),
}
"""Problem and remedy for each error number that means a limit of the machine or of the shell."""
_NO_THREAD = re.compile("can't start new thread|thread creation failed|pthread_create|failed to create thread")
_NO_MEMORY = re.compile("out of memory|(can't|cannot|unable to) allocate|bad_alloc|allocation failed", re.IGNORECASE)
_NOT_LOADED = "failed to map segment"
"""What the loader of libraries says, of a memory limit among other causes."""


def system_error(error: BaseException) -> UserError | None:
    """Return which limit of the machine or of the shell has caused an error; None if none has."""
    number = error.errno if isinstance(error, OSError) else None
    if number in _LIMITS:
        return UserError(*_LIMITS[number])
    text = str(error)
    if number == errno.EAGAIN or _NO_THREAD.search(text):
        problem = "No further process or thread can be started."
        return UserError(problem, "Raise the limit with ulimit -u, or end other programs.")
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    limited = limit != resource.RLIM_INFINITY
    if number == errno.ENOMEM or isinstance(error, MemoryError) or _NO_MEMORY.search(text):
        return _memory_error(limit if limited else 0)
    return _memory_error(limit) if limited and _NOT_LOADED in text else None


def _memory_error(limit: int) -> UserError:
    if not limit:
        return UserError(OUT_OF_MEMORY, "End other programs, or choose a smaller task.")
    problem = f"The memory limit of this shell (ulimit -v), {limit / 1e9:.1f} GB, is too low."
    return UserError(problem, "Raise it with: ulimit -v unlimited")

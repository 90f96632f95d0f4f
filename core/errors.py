"""Errors meant for people: one sentence says what is wrong, one says what to do."""

from __future__ import annotations

import difflib
import errno
import re
import resource
from collections.abc import Iterable

_NEAR = 0.62
"""Likeness from which a name is taken for a misspelt one: `cifar` for `cifar10`, but not `queue` for `resume`."""
_PART, _MIN_PART = 0.9, 3
"""Likeness of a name to its beginning, and the least number of letters that this takes."""
_MAX_NEAR = 5
_MAX_LISTED = 20


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
    """Return the remedy for a name that doesn't exist: the nearest choices, or a list of all if there are few.

    For a dotted name these are the choices of its section, if there are any.
    """
    known = sorted(choices)
    section = wrong.rpartition(".")[0]
    known = [name for name in known if section and name.rpartition(".")[0] == section] or known
    nearest = sorted(known, key=lambda name: -_likeness(wrong, name))
    best = [name for name in nearest if _likeness(wrong, name) == _likeness(wrong, nearest[0]) >= _NEAR]
    best = [name for name in best if "." not in name or name.rpartition(".")[2] not in best]
    if 0 < len(best) <= _MAX_NEAR:
        return f"Did you mean {' or '.join(best)}?"
    if len(known) > _MAX_LISTED:
        return f"The nearest of {len(known)} names are {', '.join(nearest[:_MAX_NEAR])}."
    return f"Choose one of: {', '.join(known)}."


def _likeness(wrong: str, name: str) -> float:
    """Return how much alike two names are, from 0 to 1; the last word of a dotted name may stand for the whole.

    Of two names in one section only the last words are compared.
    """
    wanted, whole = (text.lower().lstrip("-") for text in (wrong, name))
    section, _, last = whole.rpartition(".")
    if section and wanted.rpartition(".")[0] == section:
        wanted = wanted.rpartition(".")[2]
        whole = last
    candidates = {whole, last}
    if wanted in candidates:
        return 1.0
    if len(wanted) >= _MIN_PART and any(candidate.startswith(wanted) for candidate in candidates):
        return _PART
    return max(difflib.SequenceMatcher(None, candidate, wanted).ratio() for candidate in candidates)


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
"""The loader's message for a memory limit, among other causes."""


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

"""Errors meant for people: one sentence says what is wrong, one says what to do."""

from __future__ import annotations

import difflib
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

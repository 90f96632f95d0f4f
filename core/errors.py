"""Errors meant for people: one sentence on what is wrong, one on what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the person at the keyboard can put right.

    `problem` says what is wrong and `remedy` what to do, a sentence each. The command line prints both and exits
    with code 2; a worker writes them into `run_failed` as error and hint. Never shown with a traceback.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str]]:
        return type(self), (self.problem, self.remedy)


def suggest(wrong: str, choices: Iterable[str]) -> str:
    """The remedy for a name that does not exist: the nearest right one, else all of them."""
    known = sorted(choices)
    near = difflib.get_close_matches(wrong.lower(), known, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]}?"
    return f"Choose one of: {', '.join(known)}."

"""What a check found: a state, a sentence, and what to do about it."""

from __future__ import annotations

import enum
from functools import partial

import msgspec


class Severity(enum.StrEnum):
    """How it stands: all is well, something is worth knowing, or what one asks for will fail."""

    ok = enum.auto()
    note = enum.auto()
    problem = enum.auto()


class Finding(msgspec.Struct, frozen=True):
    """One line of `dipddpm doctor`."""

    verdict: Severity
    what: str
    told: str
    remedy: str = ""
    """What to do, in a line; empty where there is nothing to do."""


ok = partial(Finding, Severity.ok)
"""All is well; a remedy then says what more there could be."""
note = partial(Finding, Severity.note)
"""Runs go on, but somebody should know."""
problem = partial(Finding, Severity.problem)
"""Runs will fail, or won't use what they were meant to use."""

"""What a check found: a state, a sentence, and what to do about it."""

from __future__ import annotations

import enum

import msgspec


class Severity(enum.StrEnum):
    """How it stands: all is well, something is worth knowing, or what one asks for will fail."""

    ok = enum.auto()
    note = enum.auto()
    problem = enum.auto()


class Finding(msgspec.Struct, frozen=True):
    """One line of `dipddpm doctor`."""

    what: str
    verdict: Severity
    told: str
    remedy: str = ""
    """What to do, in a line; empty where there is nothing to do."""


def ok(what: str, message: str, remedy: str = "") -> Finding:
    """All is well; a remedy then says what more there could be."""
    return Finding(what, Severity.ok, message, remedy)


def note(what: str, message: str, remedy: str = "") -> Finding:
    """Runs go on, but somebody should know."""
    return Finding(what, Severity.note, message, remedy)


def problem(what: str, message: str, remedy: str) -> Finding:
    """Runs will fail, or won't use what they were meant to use."""
    return Finding(what, Severity.problem, message, remedy)

"""The findings of checks: a severity, a message and a remedy."""

from __future__ import annotations

import enum
from functools import partial

import msgspec


class Severity(enum.StrEnum):
    """How severe a finding is: all is well, something is worth knowing, or runs will fail."""

    ok = enum.auto()
    note = enum.auto()
    problem = enum.auto()


class Finding(msgspec.Struct, frozen=True):
    """One line of `dipddpm doctor`."""

    verdict: Severity
    subject: str = msgspec.field(name="what")
    message: str = msgspec.field(name="told")
    remedy: str = ""
    """An action that solves the problem, in one line; empty if none is needed."""


ok = partial(Finding, Severity.ok)
"""A finding without a problem; its remedy, if any, is an optional improvement."""
note = partial(Finding, Severity.note)
"""A finding that the user should know about, although runs work."""
problem = partial(Finding, Severity.problem)
"""A finding because of which runs fail or can't use the GPU."""

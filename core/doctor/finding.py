"""The findings of checks: a severity, a message and a remedy; and what the process that loads torch reports."""

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


class TorchDevice(msgspec.Struct, frozen=True):
    """A CUDA device that torch lists."""

    name: str
    trouble: str = ""
    """Why the device can't add two numbers; empty if it can."""


class TorchReport(msgspec.Struct, frozen=True):
    """Versions and devices of torch, or why torch can't be loaded."""

    torch: str = ""
    """Version of torch; empty if torch can't be loaded."""
    trouble: str = ""
    """Why torch can't be loaded."""
    cuda: str = ""
    """The CUDA version of torch's build, such as `13.2`; empty for a build without CUDA."""
    hip: str = ""
    devices: list[TorchDevice] = []
    threads: int = 0
    torchvision: str = ""
    torchvision_trouble: str = ""
    seconds: float = 0.0
    """Seconds that loading torch took."""

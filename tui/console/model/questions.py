"""What dialogs ask for and what they answer, without a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dipddpm.core.config import AnyRun


@dataclass(frozen=True)
class PromptField:
    """A line of text that is asked for."""

    key: str
    label: str
    value: str = ""
    hint: str = ""


class LaunchRequest(NamedTuple):
    """What the form hands over: a run to start, at once or when a slot is free."""

    config: AnyRun
    now: bool
    missing: str = ""
    """A data set that must be fetched first."""

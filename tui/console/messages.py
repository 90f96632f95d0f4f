"""The messages that tell screens and the app what was read of the runs, most of them from the reader's thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.message import Message

from dipddpm.core.events import Event
from dipddpm.tui.console.model.host import HostSample
from dipddpm.tui.shared.runlist import RunRow


@dataclass
class RunsScanned(Message):
    """The rows of the run list, because something in them changed; `complete` once every folder has been read."""

    rows: Sequence[RunRow]
    complete: bool


class RowsChanged(Message):
    """The main screen shows the rows of every run, and something in them changed."""


@dataclass
class EventsRead(Message):
    """The events of a run's log from the byte `start` to the byte `end`; `caught_up` when that is the end of the log.

    The receiver knows by `start` whether a piece is missing: it then asks for the log from its first byte again.
    """

    run: str
    start: int
    end: int
    events: Sequence[Event]
    caught_up: bool


@dataclass
class OutputRead(Message):
    """More of what a run's process printed."""

    run: str
    lines: Sequence[str]
    restarted: bool


@dataclass
class HostSampled(Message):
    """The machine."""

    sample: HostSample


@dataclass
class ReaderFailed(Message):
    """The reader met an error that it can't go on from; without it the console would show the past for ever."""

    error: Exception

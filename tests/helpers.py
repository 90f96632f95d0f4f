"""What tests of several areas share: logs written and read, this process, and calls that are recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from dipddpm.core.events import Event, Item, RunStarted
from dipddpm.core.runs import EventLog, EventReader, Run, RunsFolder, heartbeat

if TYPE_CHECKING:
    from dipddpm.core.config import AnyRun, DdpmRun

Build = Callable[..., "DdpmRun"]
Until = Callable[..., Any]
Plain = Callable[[Item], Any]

E = TypeVar("E")


def recorded(run: Run, kind: type[E]) -> list[E]:
    """Every event of this kind in the log, superseded ones too."""
    return [event for event in EventReader(run.folder).read() if isinstance(event, kind)]


def append_events(run: Run, *events: Event) -> None:
    """Append these events to the log of a run."""
    log = EventLog(run.folder)
    for event in events:
        log.append(event)
    log.close()


def create_logged(runs: RunsFolder, config: AnyRun, *events: Event, time: float = 0.0) -> Run:
    """Create a run whose log says that it started, and then these events."""
    run = runs.create(config)
    append_events(run, RunStarted(kind=config.kind, method=config.method, device="cpu", time=time), *events)
    return run


def this_process() -> heartbeat.ProcessIdentity:
    """The identity of the process that runs the tests."""
    identity = heartbeat.process_identity()
    assert identity is not None
    return identity


def record_calls(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list[tuple[Any, ...]]:
    """The positional arguments of each call of `owner.name` from now on; the calls do what they did before."""
    calls: list[tuple[Any, ...]] = []
    original = getattr(owner, name)

    def recording(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, recording)
    return calls

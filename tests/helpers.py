"""Helpers for tests of several areas: writing and reading logs, process identity, and recorded calls."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from dipddpm.core.events import Event, Item, RunStarted
from dipddpm.core.launch import worker
from dipddpm.core.runs import EventLog, EventReader, Run, RunsFolder, heartbeat

if TYPE_CHECKING:
    from dipddpm.core.config import AnyRun, DdpmRun

Build = Callable[..., "DdpmRun"]
Until = Callable[..., Any]
Plain = Callable[[Item], Any]

E = TypeVar("E")

PATIENCE_SECONDS = 300.0
"""The longest wait for another process: one on a busy machine may take long to start and to react."""


def recorded(run: Run, kind: type[E]) -> list[E]:
    """Return every event of this kind in the log, void ones included."""
    return [event for event in EventReader(run.folder).read() if isinstance(event, kind)]


def append_events(run: Run, *events: Event) -> None:
    """Append these events to the log of a run."""
    log = EventLog(run.folder)
    for event in events:
        log.append(event)
    log.close()


def create_logged(runs: RunsFolder, config: AnyRun, *events: Event, time: float = 0.0) -> Run:
    """Create a run whose log has `RunStarted` and then these events."""
    run = runs.create(config)
    append_events(run, RunStarted(kind=config.kind, method=config.method, device="cpu", time=time), *events)
    return run


def work(run: Run, *options: str) -> int:
    """Carry out a run in this process, without a wait for a slot, and return the worker's exit code."""
    return worker.main([str(run.folder), "--now", *options])


def this_process() -> heartbeat.ProcessIdentity:
    """Return the identity of the process that runs the tests."""
    identity = heartbeat.process_identity()
    assert identity is not None
    return identity


def record_calls(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list[tuple[Any, ...]]:
    """Return a list that collects the positional arguments of each later call of `owner.name`, which still works."""
    calls: list[tuple[Any, ...]] = []
    original = getattr(owner, name)

    def recording(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, recording)
    return calls


@contextlib.contextmanager
def unprivileged() -> Iterator[Path]:
    """Become an ordinary user and yield a folder of that user, because the superuser ignores permissions.

    That user may not be able to import modules: import beforehand all that the block needs.
    """
    root = Path(tempfile.mkdtemp())
    superuser = os.geteuid() == 0
    if superuser:
        os.chown(root, 65534, 65534)
        os.seteuid(65534)
    try:
        yield root
    finally:
        if superuser:
            os.seteuid(0)
        for path in root.rglob("*"):
            path.chmod(0o700)
        shutil.rmtree(root)

"""Fixtures of the console's tests."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from dipddpm.core.launch import queue
from dipddpm.core.runs import RunsFolder
from dipddpm.tui.console.app import DipddpmApp
from dipddpm.tui.console.session import Options, Session
from tests.tui.driving import LARGE, Driver, Maker, ObservedReader, Opener


@pytest.fixture
def make(runs: RunsFolder) -> Iterator[Maker]:
    """Return a maker of run folders."""
    maker = Maker(runs.root)
    yield maker
    for process in maker.processes:
        process.kill()
        process.wait()


@pytest.fixture
def busy() -> Iterator[None]:
    """Occupy the CPU's only slot, so that started runs wait and load nothing heavy."""
    descriptor = os.open(queue.folder() / "cpu.0.slot", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


@pytest.fixture
def opened(runs: RunsFolder, monkeypatch: pytest.MonkeyPatch) -> Opener:
    """Open a console on the test's runs folder.

    Use it as `async with opened(size=SMALL, readonly=True) as driver`.
    """
    # `Driver.settle` replaces Textual's wait after each key, which takes longer and guesses.
    monkeypatch.setattr("textual.app.wait_for_idle", asyncio.sleep)
    # Notices stay, since on a busy machine their few seconds may pass before the test reads them.
    monkeypatch.setattr("textual.notifications.Notification.has_expired", False)

    @contextlib.asynccontextmanager
    async def open_console(size: tuple[int, int] = LARGE, **options: Any) -> AsyncIterator[Driver]:
        app = DipddpmApp(Session.open(Options(root=runs.root, fps=20.0, **options)))
        app._reader = reader = ObservedReader(runs.root, 20.0)
        async with app.run_test(size=size) as pilot:
            driver = Driver(app, pilot, reader)
            await driver.until(lambda: driver.main.all_runs_read, "the first scan of the runs folder")
            if driver.main.rows:
                await driver.until(lambda: app.first_frame_ready, "the first run shown")
            yield driver

    return open_console

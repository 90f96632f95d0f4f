"""Background work: its results, errors and bugs are handled on the screen's thread."""

from __future__ import annotations

import threading

import pytest
from textual.app import App

from dipddpm.core.errors import UserError
from dipddpm.tui.console.background import run_in_background


async def test_run_in_background_calls_back_on_screen_thread() -> None:
    threads: list[int] = []
    finished = threading.Event()

    def work() -> int:
        threads.append(threading.get_ident())
        return 7

    def then(result: int) -> None:
        threads.append(threading.get_ident())
        assert result == 7
        finished.set()

    app: App[None] = App()
    async with app.run_test() as pilot:
        run_in_background(app, work, then, lambda _: None)
        while not finished.is_set():
            await pilot.pause(0.01)
    assert threads[0] != threading.get_ident()
    assert threads[1] == threading.get_ident()


@pytest.mark.parametrize(
    ("error", "problem"),
    [(UserError("No room.", "Delete something."), "No room."), (OSError(28, "No space", "/x"), "No space.")],
)
async def test_run_in_background_passes_on_user_and_os_errors(error: Exception, problem: str) -> None:
    errors: list[UserError] = []

    def work() -> None:
        raise error

    app: App[None] = App()
    async with app.run_test() as pilot:
        run_in_background(app, work, lambda _: None, errors.append)
        while not errors:
            await pilot.pause(0.01)
    assert errors[0].problem == problem


async def test_run_in_background_ends_app_on_other_exception() -> None:
    def work() -> None:
        raise ZeroDivisionError

    app: App[None] = App()
    with pytest.raises(ZeroDivisionError):
        async with app.run_test() as pilot:
            run_in_background(app, work, lambda _: None, lambda _: None)
            for _ in range(500):
                await pilot.pause(0.01)

"""Slow work in background threads; results and errors are handled on the screen's thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import NoReturn, TypeVar

from textual.app import App

from dipddpm.core.errors import UserError

Result = TypeVar("Result")
THREAD_NAME = "background"


def run_in_background(
    app: App[None],
    work: Callable[[], Result],
    then: Callable[[Result], object],
    failed: Callable[[UserError], object],
) -> None:
    """Do the work in a thread; then call `then` with its result, or `failed` with its UserError or OSError.

    Any other exception is a bug and ends the console, as on the screen's thread. The thread is a daemon, unlike the
    threads of Textual's workers, so that quitting the console never waits for a slow disk.
    """

    def job() -> None:
        callback: Callable[[], object]
        try:
            callback = partial(then, work())
        except UserError as error:
            callback = partial(failed, error)
        except OSError as error:
            callback = partial(
                failed, UserError(f"{error.strerror or error}.", f"Check {error.filename or 'the disk'}.")
            )
        except Exception as error:
            callback = partial(_raise, error)
        with contextlib.suppress(RuntimeError):  # the console was quit meanwhile
            app.call_later(callback)

    threading.Thread(target=job, name=THREAD_NAME, daemon=True).start()


def is_working() -> bool:
    """Return whether any background work is in progress."""
    return any(thread.name == THREAD_NAME for thread in threading.enumerate())


def _raise(error: Exception) -> NoReturn:
    raise error

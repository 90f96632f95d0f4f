"""Check that there is a terminal, and restore it however the console ends.

Textual leaves the terminal in raw mode when a signal ends the process, and loops forever once the terminal is gone.
Here a signal requests an orderly exit, and a thread forces the exit if it takes longer than a second.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

EXIT_TIMEOUT_SECONDS = 0.7
"""Time allowed for an orderly exit; after it, the terminal is reset and the process is ended by force."""
RESET_SEQUENCES = (
    b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"  # mouse
    b"\x1b[?2004l\x1b[?1004l\x1b[?2048l\x1b[?2026l\x1b[?7h"  # paste, focus and resize reports; line wrap
    b"\x1b[<u\x1b[?1049l\x1b[?25h\x1b[0m"  # kitty's keys, the alternate screen, the cursor, colours
)


def is_interactive() -> bool:
    """Return whether a person uses this console, in a terminal or through textual-serve in a browser."""
    streams = (sys.stdin, sys.stdout, sys.stderr)  # a stream is None if it was closed before the program started
    return "TEXTUAL_DRIVER" in os.environ or all(stream and stream.isatty() for stream in streams)


@contextlib.contextmanager
def shield_screen() -> Iterator[None]:
    """Within the block, discard what C libraries write to descriptor 2; Python's error stream stays the terminal.

    Textual draws to Python's error stream. Messages of a library that knows only the descriptor, such as libtiff's
    about a damaged file, would stand in the middle of the screen.
    """
    terminal, streams = os.dup(2), (sys.stderr, sys.__stderr__)
    encoding = getattr(sys.stderr, "encoding", None)
    # Its flush at the end may fail, since the terminal may be gone; so no `with`.
    stream = open(terminal, "w", encoding=encoding, errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = sys.__stderr__ = stream  # type: ignore[misc]
    discarded = os.open(os.devnull, os.O_WRONLY)
    os.dup2(discarded, 2)
    os.close(discarded)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            stream.flush()
        os.dup2(terminal, 2)
        sys.stderr, sys.__stderr__ = streams  # type: ignore[misc]


class ExitGuard:
    """Exits in order on SIGTERM, SIGHUP, SIGINT and on loss of the terminal.

    If the orderly exit takes too long, the process is ended by force.
    """

    def __init__(self, request_exit: Callable[[], object]) -> None:
        self.status = 0
        """The exit code: 128 plus the signal's number after a signal, else 0."""
        self._request_exit = request_exit
        self._timer_lock = threading.Lock()
        self._terminal_restored = threading.Event()
        self._saved_attributes: list[Any] | None = None
        with contextlib.suppress(termios.error):
            self._saved_attributes = termios.tcgetattr(0)

    def install(self) -> None:
        """Install the signal handlers and start watching the terminal; call this from the main thread."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._on_signal)
        threading.Thread(target=self._wait_for_hangup, name="hangup", daemon=True).start()

    def start_exit_timer(self) -> None:
        """Force the exit if the orderly one, already requested, takes longer than `EXIT_TIMEOUT_SECONDS`."""
        if self._timer_lock.acquire(blocking=False):
            threading.Thread(target=self._exit_after_timeout, name="exit-timer", daemon=True).start()

    def cancel_exit_timer(self) -> None:
        """Stop the timer once the terminal is restored: the remaining work may take longer, unless a signal arrived."""
        if not self.status:
            self._terminal_restored.set()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._end(128 + number)

    def _wait_for_hangup(self) -> None:
        """Wait until the terminal is lost. Polling for no event reports only that, and costs nothing meanwhile."""
        poll = select.poll()
        poll.register(sys.__stdin__.fileno() if sys.__stdin__ else 0, 0)
        poll.poll()
        self._end(128 + signal.SIGHUP)

    def _end(self, status: int) -> None:
        self.status = self.status or status
        self.start_exit_timer()
        with contextlib.suppress(RuntimeError):  # the event loop has already ended
            self._request_exit()

    def _exit_after_timeout(self) -> None:
        if self._terminal_restored.wait(EXIT_TIMEOUT_SECONDS):
            self._terminal_restored.clear()
            self._timer_lock.release()
            return
        if self._saved_attributes is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(0, termios.TCSANOW, self._saved_attributes)
        with contextlib.suppress(OSError):
            descriptor = sys.__stderr__.fileno() if sys.__stderr__ else 2
            os.set_blocking(descriptor, False)
            os.write(descriptor, RESET_SEQUENCES)
        os._exit(self.status)

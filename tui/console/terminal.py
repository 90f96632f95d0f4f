"""The terminal: what the console needs of it, and how it gets it back whatever ends the console.

Textual leaves the terminal raw when a signal ends the process, and turns in circles once the terminal is gone. Here a
signal asks for an orderly end, and a thread sees to it that the end comes within a second.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

EXIT_TIMEOUT_SECONDS = 0.7
"""How long the orderly end may take before the terminal is put right by force and the process ends."""
RESET_SEQUENCES = (
    b"\x1b[?1000l\x1b[?1003l\x1b[?1015l\x1b[?1006l\x1b[?1016l"  # mouse
    b"\x1b[?2004l\x1b[?1004l\x1b[?2048l\x1b[?2026l\x1b[?7h"  # paste, focus and resize reports; line wrap
    b"\x1b[<u\x1b[?1049l\x1b[?25h\x1b[0m"  # kitty's keys, the alternate screen, the cursor, colours
)


def is_interactive() -> bool:
    """Whether a person sits at the other end, of a terminal or, where textual-serve has started this, of a browser."""
    streams = (sys.stdin, sys.stdout, sys.stderr)  # None where it was closed before the program began
    return "TEXTUAL_DRIVER" in os.environ or all(stream and stream.isatty() for stream in streams)


class ExitGuard:
    """Ends the program in order on SIGTERM, SIGHUP, SIGINT and when the terminal goes away.

    Whatever asked for the end, it comes: by force where the program doesn't come to it in time.
    """

    def __init__(self, request_exit: Callable[[], object]) -> None:
        self.status = 0
        """What the process should exit with: 128 and the signal's number, once one came."""
        self._request_exit = request_exit
        self._timer_lock = threading.Lock()
        self._terminal_restored = threading.Event()
        self._saved_attributes: list[Any] | None = None
        with contextlib.suppress(termios.error):
            self._saved_attributes = termios.tcgetattr(0)

    def install(self) -> None:
        """Begin; call this from the main thread."""
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, self._on_signal)
        threading.Thread(target=self._wait_for_hangup, name="hangup", daemon=True).start()

    def start_exit_timer(self) -> None:
        """See to it that the end, which is on its way, comes within a second."""
        if self._timer_lock.acquire(blocking=False):
            threading.Thread(target=self._exit_after_timeout, name="insist", daemon=True).start()

    def cancel_exit_timer(self) -> None:
        """The terminal is given back: what is left to do may take its time, unless a signal wants the end."""
        if not self.status:
            self._terminal_restored.set()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._end(128 + number)

    def _wait_for_hangup(self) -> None:
        """Asks for no event at all, so that only the loss of the terminal wakes this; it costs nothing meanwhile."""
        poll = select.poll()
        poll.register(sys.__stdin__.fileno() if sys.__stdin__ else 0, 0)
        poll.poll()
        self._end(128 + signal.SIGHUP)

    def _end(self, status: int) -> None:
        self.status = self.status or status
        self.start_exit_timer()
        with contextlib.suppress(RuntimeError):  # the loop has already ended
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
            os.set_blocking(2, False)
            os.write(2, RESET_SEQUENCES)
        os._exit(self.status)

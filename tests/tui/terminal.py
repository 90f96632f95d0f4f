"""A console in a pseudo-terminal, and the screen that a user would see."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence

import pyte

from tests.helpers import PATIENCE_SECONDS

COLUMNS, LINES = 80, 24


class Terminal:
    """A pseudo-terminal that runs the console or another command."""

    def __init__(
        self,
        *options: str,
        command: Sequence[str] = (),
        size: tuple[int, int] = (COLUMNS, LINES),
        controlling: bool = True,
        **environment: str,
    ) -> None:
        self.screen = pyte.Screen(*size)
        self.stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, size[::-1])
        self.attributes_before = termios.tcgetattr(self.slave)
        # The terminal that a session leader opens becomes its controlling terminal, so that the kernel sends the
        # signals for ctrl-c and for a lost line.
        opening = ["sh", "-c", 'exec "$@" 0<>"$0"', os.ttyname(self.slave)] if controlling else []
        self.process = subprocess.Popen(
            [*opening, *(command or (sys.executable, "-m", "dipddpm.tui.console.__main__")), *options],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=_without_size() | {"TERM": "xterm-256color"} | environment,
            start_new_session=True,
            preexec_fn=_reset_hangup_signal,  # noqa: PLW1509 - no threads here
        )

    def read(self) -> None:
        """Read the output and draw it on the screen."""
        while select.select([self.master], [], [], 0.02)[0]:
            try:
                block = os.read(self.master, 1 << 16)
            except OSError:
                return
            self.output += block
            with contextlib.suppress(Exception):  # pyte knows fewer sequences than terminals do
                self.stream.feed(block)

    def write(self, keys: bytes) -> None:
        """Type keys."""
        os.write(self.master, keys)

    @property
    def text(self) -> str:
        """The text on the screen."""
        return "\n".join(self.screen.display)

    def until_seen(self, words: str) -> None:
        """Wait until these words are on the screen."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(words in line for line in self.screen.display):
            assert time.monotonic() < deadline, self.text
            assert self.process.poll() is None, self.output[-2000:]
            self.read()

    def wait_for_exit(self) -> int:
        """Wait for the end of the process and return its exit code."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the console does not end"
            self.read()
        self.read()
        return self.process.returncode

    def close(self) -> None:
        """Close the terminal, as when a connection is lost."""
        for descriptor in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _reset_hangup_signal() -> None:
    """Stop ignoring SIGHUP, which child processes under nohup ignore."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def _without_size() -> dict[str, str]:
    """Return the environment without the size of the terminal in which the tests were started."""
    return {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}

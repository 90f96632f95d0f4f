"""The console in a real pseudo-terminal: what it leaves behind, whatever ends it."""

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
from collections.abc import Iterator

import pyte
import pytest

from core.runs import RunsFolder
from tests.tui.driving import Maker

COLUMNS, LINES = 80, 24
PATIENCE_SECONDS = 60.0


class Terminal:
    """A console in a pseudo-terminal, and the screen that a person would see."""

    def __init__(self, *options: str) -> None:
        self.screen = pyte.Screen(COLUMNS, LINES)
        self.stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.master, self.slave = pty.openpty()
        termios.tcsetwinsize(self.slave, (LINES, COLUMNS))
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tui.app", *options],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env=os.environ | {"TERM": "xterm-256color"},
            start_new_session=True,
        )

    def read(self) -> None:
        """Take in what was written."""
        while select.select([self.master], [], [], 0.02)[0]:
            try:
                block = os.read(self.master, 1 << 16)
            except OSError:
                return
            self.output += block
            with contextlib.suppress(Exception):  # pyte knows fewer sequences than terminals do
                self.stream.feed(block)

    def until_seen(self, words: str) -> None:
        """Wait until these words are on the screen."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(words in line for line in self.screen.display):
            assert time.monotonic() < deadline, "\n".join(self.screen.display)
            assert self.process.poll() is None, self.output[-2000:]
            self.read()

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, "the console does not end"
            self.read()
        self.read()
        return self.process.returncode

    def close(self) -> None:
        """The terminal goes away."""
        for descriptor in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)


@pytest.fixture
def terminal(make: Maker) -> Iterator[Terminal]:
    make(name="shirts")
    opened = Terminal()
    yield opened
    opened.process.kill()
    opened.process.wait()
    opened.close()


def assert_given_back(terminal: Terminal) -> None:
    """The terminal is as it was: its mode, its main screen, its cursor, and a mouse that is its own."""
    assert termios.tcgetattr(terminal.slave) == terminal.before
    assert b"Traceback" not in terminal.output
    for switched_on, switched_off in (
        (b"\x1b[?1049h", b"\x1b[?1049l"),
        (b"\x1b[?25l", b"\x1b[?25h"),
        (b"\x1b[?1003h", b"\x1b[?1003l"),
        (b"\x1b[?2004h", b"\x1b[?2004l"),
        (b"\x1b[?1004h", b"\x1b[?1004l"),
    ):
        assert terminal.output.rfind(switched_off) > terminal.output.rfind(switched_on) >= 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_the_console_and_gives_the_terminal_back(terminal: Terminal, number: signal.Signals) -> None:
    terminal.until_seen("shirts")
    terminal.process.send_signal(number)
    assert terminal.ended() == 128 + number
    assert_given_back(terminal)


def test_q_ends_it_too(terminal: Terminal) -> None:
    terminal.until_seen("shirts")
    os.write(terminal.master, b"q")
    assert terminal.ended() == 0
    assert_given_back(terminal)


def test_a_terminal_that_goes_away_ends_the_console(terminal: Terminal) -> None:
    terminal.until_seen("shirts")
    terminal.close()
    assert terminal.process.wait(PATIENCE_SECONDS) == 128 + signal.SIGHUP


def test_a_terminal_that_takes_no_more_output_does_not_hold_the_console(terminal: Terminal) -> None:
    terminal.until_seen("shirts")
    for _ in range(200):  # nobody reads what is drawn, until the console can't write any more
        with contextlib.suppress(BlockingIOError):
            os.write(terminal.master, b"0")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM
    assert termios.tcgetattr(terminal.slave) == terminal.before


def run(*options: str, **given: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tui.app", *options]
    return subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=os.environ | given, check=False
    )


def test_without_a_terminal_it_says_what_to_do_instead() -> None:
    done = run()
    assert done.returncode == 2
    assert "--once" in done.stderr
    assert done.stdout == ""


def test_once_prints_a_frame(make: Maker) -> None:
    make(name="shirts", losses=[0.3, 0.125])
    done = run("--once", COLUMNS="100", LINES="30")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 30
    assert max(map(len, lines)) <= 100
    assert "shirts" in done.stdout
    assert "Loss at epoch 2: 0.125" in done.stdout


def test_a_rate_that_is_none_is_refused() -> None:
    done = run("--fps", "0")
    assert done.returncode == 2
    assert "no rate between" in done.stderr


def test_the_console_loads_no_torch(make: Maker, runs: RunsFolder) -> None:
    make(name="shirts")
    script = (
        "import sys; from tui.app import main; status = main(['--once']);"
        "import tui.screens.form, tui.screens.storage, tui.screens.queue, tui.screens.palette, tui.screens.help;"
        "import tui.panes.images, tui.panes.compare, tui.panes.log, tui.panes.config;"
        "print(sorted({'torch', 'numpy', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

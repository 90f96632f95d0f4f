"""The console in a real pseudo-terminal: it restores the terminal, however it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest

from dipddpm.core.runs import RunsFolder
from dipddpm.tui.console.terminal import shield_screen
from tests.helpers import PATIENCE_SECONDS
from tests.tui.driving import Maker
from tests.tui.terminal import Terminal


@pytest.fixture
def terminal(request: pytest.FixtureRequest, make: Maker) -> Iterator[Terminal]:
    make(name="shirts")
    opened = Terminal(controlling=getattr(request, "param", True))
    yield opened
    opened.process.kill()
    opened.process.wait()
    opened.close()


def assert_restored(terminal: Terminal) -> None:
    """Assert that the terminal's mode, main screen, cursor and mouse are as before the console."""
    assert termios.tcgetattr(terminal.slave) == terminal.attributes_before
    assert b"Traceback" not in terminal.output
    for switched_on, switched_off in (
        (b"\x1b[?1049h", b"\x1b[?1049l"),
        (b"\x1b[?25l", b"\x1b[?25h"),
        (b"\x1b[?1003h", b"\x1b[?1003l"),
        (b"\x1b[?2004h", b"\x1b[?2004l"),
        (b"\x1b[?1004h", b"\x1b[?1004l"),
    ):
        assert terminal.output.rfind(switched_off) > terminal.output.rfind(switched_on) >= 0
    # The alternate screen is cleared: if it has grown, tmux would leave its lines to the shell.
    assert b"shirts" not in terminal.output[terminal.output.index(b"\x1b[2J\x1b[H") :]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_console_restores_terminal_on_signal(terminal: Terminal, number: signal.Signals) -> None:
    terminal.until_seen("shirts")
    terminal.process.send_signal(number)
    assert terminal.wait_for_exit() == 128 + number
    assert_restored(terminal)


def test_console_restores_terminal_on_q(terminal: Terminal) -> None:
    terminal.until_seen("shirts")
    terminal.write(b"q")
    assert terminal.wait_for_exit() == 0
    assert_restored(terminal)


@pytest.mark.parametrize("terminal", [True, False], indirect=True, ids=["controlling", "not-controlling"])
def test_console_ends_when_terminal_closes(terminal: Terminal) -> None:
    terminal.until_seen("shirts")
    terminal.close()
    assert terminal.process.wait(PATIENCE_SECONDS) == 128 + signal.SIGHUP


@pytest.mark.parametrize("leave", [b"q", signal.SIGTERM], ids=["q", "SIGTERM"])
def test_console_ends_while_terminal_output_is_blocked(terminal: Terminal, leave: bytes | signal.Signals) -> None:
    terminal.until_seen("shirts")
    for _ in range(200):  # the output is not read, until the console can't write any more
        with contextlib.suppress(BlockingIOError):
            terminal.write(b"0")
    if isinstance(leave, bytes):
        terminal.write(leave)
    else:
        terminal.process.send_signal(leave)
    assert terminal.process.wait(PATIENCE_SECONDS) == (0 if isinstance(leave, bytes) else 128 + leave)
    assert termios.tcgetattr(terminal.slave) == terminal.attributes_before


def run(*options: str, **given: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dipddpm.tui.console.__main__", *options]
    return subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=os.environ | given, check=False
    )


def test_console_suggests_once_without_terminal() -> None:
    done = run()
    assert done.returncode == 2
    assert "--once" in done.stderr
    assert done.stdout == ""


def test_console_refuses_closed_streams() -> None:
    closing = ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", sys.executable, "-m", "dipddpm.tui.console.__main__"]
    done = subprocess.run(closing, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stdout


def test_console_once_prints_one_frame(make: Maker) -> None:
    make(name="shirts", losses=[0.3, 0.125])
    done = run("--once", COLUMNS="100", LINES="30")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) == 30
    assert max(map(len, lines)) <= 100
    assert "shirts" in done.stdout
    assert "Loss at epoch 2: 0.125" in done.stdout


def test_console_refuses_zero_fps() -> None:
    done = run("--fps", "0")
    assert done.returncode == 2
    assert "not a number between" in done.stderr


def test_console_loads_no_torch(make: Maker, runs: RunsFolder) -> None:
    make(name="shirts")
    script = (
        "import sys; from dipddpm.tui.console.__main__ import main; status = main(['--once']);"
        "from dipddpm.tui.console.screens import dialogs, form, keys, queue, storage;"
        "from dipddpm.tui.console.panes import images, compare, log, config;"
        "print(sorted({'torch', 'numpy', 'typer'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_messages_of_libraries_stay_off_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    with shield_screen():
        os.write(2, b"tempfile.tif: Using code not yet in table.\n")
        print("a frame", file=sys.__stderr__)
        print("an error", file=sys.stderr)
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "a frame\nan error\nafterwards\n"

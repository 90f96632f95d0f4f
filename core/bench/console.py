"""What the console costs, seen from outside: it runs in a pseudo-terminal, as for a person, and is looked at there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil

from dipddpm.core.bench.program import TimingRow, make_runs, side_by_side

ROWS, COLUMNS = 45, 160
READY = b"bench-ready"
"""What is waited for on the screen; the bare program prints it, and so the last of the runs is called."""
BARE = f"""
from textual.app import App
from textual.widgets import Static
class Bare(App):
    def compose(self):
        yield Static({READY.decode()!r})
Bare().run()
"""
PATIENCE = 60.0
ESCAPES = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x1b\\|\x07)|\x1b[ -/]*[0-~]", re.DOTALL)


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """The console at rest, with runs to show and none of them at work."""

    runs: int
    cpu: float
    """Share of a core."""
    bytes_per_second: float
    """To the terminal."""
    memory: float
    """Resident, in MiB."""
    exit_seconds: float
    """From the key q to its end."""


def start(command: list[str], counts: tuple[int, ...] = (10, 1000), repeats: int = 5) -> list[TimingRow]:
    """Wall time from the start to the list of runs on the screen, against a bare Textual program's first screen."""
    with contextlib.ExitStack() as stack:
        work: dict[str, Callable[[], float]] = {"bare Textual program": lambda: _started([sys.executable, "-c", BARE])}
        for count in counts:
            folder = stack.enter_context(_listed(count))
            work[f"console, {count:,} runs"] = lambda folder=folder: _started([*command, "--runs-dir", folder])  # type: ignore[misc]
        return side_by_side("bare Textual program", work, repeats=repeats)


def idle(command: list[str], count: int = 1000, seconds: float = 5.0) -> Idle:
    """What it costs to leave the console open, with so many runs."""
    with _listed(count) as folder, _Terminal([*command, "--runs-dir", folder]) as terminal:
        terminal.until(READY)
        terminal.read_for(2.0)  # the chart and the pictures come after the list
        process = psutil.Process(terminal.pid)
        before, began = _processor(process), time.perf_counter()
        received = terminal.read_for(seconds)
        taken, used = time.perf_counter() - began, _processor(process) - before
        memory = process.memory_info().rss / 2**20
        os.write(terminal.master, b"q")
        left = time.perf_counter()
        terminal.until_end()
        return Idle(
            runs=count,
            cpu=used / taken,
            bytes_per_second=received / taken,
            memory=memory,
            exit_seconds=time.perf_counter() - left,
        )


class _Terminal:
    """A program in a pseudo-terminal of 160x45."""

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self.ended = False

    def __enter__(self) -> _Terminal:
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            os.execvp(self.command[0], self.command)
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.close(self.master)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def until(self, text: bytes) -> None:
        """Read until this stands in what was printed, escapes left out."""
        seen, deadline = b"", time.perf_counter() + PATIENCE
        while text not in ESCAPES.sub(b"", seen):
            more = self._read(deadline - time.perf_counter())
            if not more:
                raise TimeoutError(f"{self.command[0]} didn't show {text.decode()!r} within {PATIENCE:.0f} s")
            seen += more

    def read_for(self, seconds: float) -> int:
        """Read for so long; returns how many bytes came."""
        received, deadline = 0, time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            received += len(self._read(left))
        return received

    def until_end(self) -> None:
        """Read until the program has ended."""
        deadline = time.perf_counter() + PATIENCE
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{self.command[0]} didn't end within {PATIENCE:.0f} s")
            self._read(0.02)

    def _read(self, seconds: float) -> bytes:
        ready, _, _ = select.select([self.master], [], [], max(0.0, seconds))
        if not ready:
            return b""
        try:
            return os.read(self.master, 65536)
        except OSError:  # the program has closed its end
            time.sleep(min(0.02, max(0.0, seconds)))
            return b""


def _processor(process: psutil.Process) -> float:
    """Processor time so far, in seconds, to a hundredth as the kernel counts it."""
    times = process.cpu_times()
    return round(float(times.user + times.system), 2)


def _started(command: list[str]) -> float:
    began = time.perf_counter()
    with _Terminal(command) as terminal:
        terminal.until(READY)
        return time.perf_counter() - began


@contextlib.contextmanager
def _listed(count: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder), count, newest=READY.decode())
        yield folder

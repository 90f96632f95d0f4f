"""Benchmark of the console in a pseudo-terminal: its start-up time, and its resource use at rest."""

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
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import msgspec
import psutil

from benchmarks.program import make_runs
from benchmarks.timing import TimingRow, print_rows, side_by_side
from dipddpm.tui.cli.output import print_table

CONSOLE = [sys.executable, "-P", "-c", "from dipddpm.tui.console.__main__ import main; main()"]
BARE = [sys.executable, "-P", str(Path(__file__).with_name("bare.py"))]
BASELINE = "bare Textual program"
ROWS, COLUMNS = 45, 160
READY = b"bench-ready"
"""The text on the screen that ends a start-up: the bare program shows it, and the newest run is named after it."""
PATIENCE_SECONDS = 60.0
ESCAPES = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_].*?(?:\x1b\\|\x07)|\x1b[ -/]*[0-~]", re.DOTALL)


class ConsoleUse(msgspec.Struct, frozen=True, kw_only=True):
    """The resource use of an open console, at rest or while it follows a run."""

    runs: int
    cpu: float
    """The CPU time as a share of one core."""
    bytes_per_second: float
    """The output to the terminal, in bytes per second."""
    memory: float
    """The resident memory, in MiB."""
    exit_seconds: float
    """The seconds from the key q to the end of the process."""


def measure() -> None:
    """Measure the start-up time of the console and its resource use at rest."""
    print_rows(start(CONSOLE))
    use = idle(CONSOLE)
    costs = (f"{use.cpu:.1%}", f"{use.bytes_per_second:.0f} B/s", f"{use.memory:.0f} MiB")
    print()
    print_table(
        [
            ("CONSOLE AT REST", "SHARE OF A CORE", "OUTPUT", "MEMORY", "TIME TO EXIT"),
            (f"{use.runs:,} runs", *costs, f"{use.exit_seconds:.2f} s"),
        ]
    )


def start(command: list[str], counts: tuple[int, ...] = (10, 1000), repeats: int = 5) -> list[TimingRow]:
    """Measure the seconds until the list of runs is on the screen, against a bare Textual program's first screen."""
    with contextlib.ExitStack() as stack:
        work = {BASELINE: partial(_seconds_to_ready, BARE)}
        for count in counts:
            folder = stack.enter_context(_runs_folder(count))
            work[f"console, {count:,} runs"] = partial(_seconds_to_ready, [*command, "--runs-dir", folder])
        return side_by_side(BASELINE, work, repeats=repeats)


def idle(command: list[str], count: int = 1000, seconds: float = 5.0) -> ConsoleUse:
    """Measure the resource use of a console that lists `count` runs, over so many seconds."""
    with _runs_folder(count) as folder, _Terminal([*command, "--runs-dir", folder]) as terminal:
        terminal.read_until(READY)
        terminal.read_for(2.0)  # the console draws the chart and the pictures after the list
        return _use(terminal, count, seconds)


def following(command: list[str], folder: Path, seconds: float = 5.0) -> ConsoleUse:
    """Measure the resource use of a console that follows the live run `bench-ready`, the only one of a runs folder."""
    with _Terminal([*command, "--runs-dir", str(folder)]) as terminal:
        terminal.read_until(READY)
        terminal.read_for(2.0)
        return _use(terminal, 1, seconds)


def _use(terminal: _Terminal, count: int, seconds: float) -> ConsoleUse:
    process = psutil.Process(terminal.pid)
    cpu_before, began = _cpu_seconds(process), time.perf_counter()
    received = terminal.read_for(seconds)
    elapsed, used = time.perf_counter() - began, _cpu_seconds(process) - cpu_before
    memory = process.memory_info().rss / 2**20
    os.write(terminal.master, b"q")
    quit_at = time.perf_counter()
    terminal.read_until_end()
    return ConsoleUse(
        runs=count,
        cpu=used / elapsed,
        bytes_per_second=received / elapsed,
        memory=memory,
        exit_seconds=time.perf_counter() - quit_at,
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

    def read_until(self, text: bytes) -> None:
        """Read until the output, without escape sequences, contains the text; raise TimeoutError after a minute."""
        output, deadline = b"", time.perf_counter() + PATIENCE_SECONDS
        while text not in ESCAPES.sub(b"", output):
            more = self._read(deadline - time.perf_counter())
            if not more:
                raise TimeoutError(f"{self.command[0]} didn't show {text.decode()!r} within {PATIENCE_SECONDS:.0f} s")
            output += more

    def read_for(self, seconds: float) -> int:
        """Read for so many seconds and return the number of bytes received."""
        received, deadline = 0, time.perf_counter() + seconds
        while (left := deadline - time.perf_counter()) > 0:
            received += len(self._read(left))
        return received

    def read_until_end(self) -> None:
        """Read until the program has ended; raise TimeoutError after a minute."""
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{self.command[0]} didn't end within {PATIENCE_SECONDS:.0f} s")
            self._read(0.02)

    def _read(self, seconds: float) -> bytes:
        ready, _, _ = select.select([self.master], [], [], max(0.0, seconds))
        if not ready:
            return b""
        try:
            return os.read(self.master, 65536)
        except OSError:  # the program has closed the terminal
            time.sleep(min(0.02, max(0.0, seconds)))
            return b""


def _cpu_seconds(process: psutil.Process) -> float:
    """Return the process's CPU time so far, rounded to the kernel's hundredths of a second."""
    times = process.cpu_times()
    return round(float(times.user + times.system), 2)


def _seconds_to_ready(command: list[str]) -> float:
    began = time.perf_counter()
    with _Terminal(command) as terminal:
        terminal.read_until(READY)
        return time.perf_counter() - began


@contextlib.contextmanager
def _runs_folder(count: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder), count, newest=READY.decode())
        yield folder

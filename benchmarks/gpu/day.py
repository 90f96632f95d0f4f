"""The day itself: every part in a child process, its records written as they come, and the runs packed at the end.

Needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from benchmarks.gpu import archive, records
from benchmarks.gpu.parts import PARTS, Part, Settings, time_limit
from benchmarks.gpu.records import Note, PartResult, State

TOKEN = "DIPDDPM_GPU_DAY"
"""The environment variable by which all processes of a part are recognised, also those with a session of their own."""
POLL_SECONDS = 0.5
LEAST_SECONDS = 5.0
"""Time below which a part isn't started."""
MARGIN_SECONDS = 6.0
"""Time before its limit by which a part should have ended by itself."""
GRACE_SECONDS = 6.0
"""Time from SIGTERM until SIGKILL."""
TAIL_LINES = 12
ROOT = Path(__file__).parents[2]
"""The checkout."""
LOG = "log.txt"
MAX_LOG = 12 << 20


class Day:
    """All parts of the measurement, from the first that isn't measured yet until the time is over."""

    def __init__(self, settings: Settings, minutes: float, parts: Sequence[Part] = PARTS) -> None:
        self.settings = settings
        self.output = Path(settings.output)
        self.parts = parts
        self.until = time.monotonic() + 60 * minutes
        self.results = records.load(self.output / "results.json", miniature=settings.miniature)

    def run(self) -> bool:
        """Measure what isn't measured yet; return whether every part is done."""
        self.output.mkdir(parents=True, exist_ok=True)
        archive.unpack(self.output, self.settings.runs_folder)
        pending = [part for part in self.parts if not self._is_done(part)]
        while pending:
            limit = time_limit(pending, self.until - time.monotonic())
            part = pending.pop(0)
            if limit >= LEAST_SECONDS:
                self._measure(part, limit)
            else:
                self._note_unmeasured(part)
        return all(map(self._is_done, self.parts))

    def _is_done(self, part: Part) -> bool:
        return part.name in self.results and self.results[part.name].state == "done"

    def _note_unmeasured(self, part: Part) -> None:
        if part.name not in self.results:
            result = self._empty(part, 0.0)
            result.notes.append(Note("There was no time left for this part.", "unfinished"))
            self.results[part.name] = result
            self._save()

    def _empty(self, part: Part, limit: float) -> PartResult:
        return PartResult(name=part.name, title=part.title, goal=part.goal, state="cut", limit=limit)

    def _measure(self, part: Part, limit: float) -> None:
        """Run one part and save its records whenever there are new ones, in place of an earlier result's."""
        previous = self.results.get(part.name)
        result = self.results[part.name] = self._empty(part, limit)
        began = time.monotonic()
        print(f"{part.name}: at most {limit:.0f} s", flush=True)
        path = self.settings.runs_folder / f"records-{part.name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
        token = secrets.token_hex(8)
        with (self.output / LOG).open("ab") as log, path.open("rb") as lines:
            log.write(f"\n== {part.name} ==\n".encode())
            log.flush()
            start = log.tell()
            child = self._start(part, limit, path, token, log)
            while child.poll() is None and time.monotonic() < began + limit:
                time.sleep(POLL_SECONDS)
                self._take(result, lines)
            cut = child.poll() is None
            end(child, token)
            self._take(result, lines)
        result.seconds = time.monotonic() - began
        result.state = _state(result, cut, child.returncode)
        if result.state in {"cut", "failed"}:
            result.tail = _tail(self.output / LOG, start)
            if previous is not None and len(previous.figures) > len(result.figures):
                self.results[part.name] = previous  # this time it came less far
        if part.elastic:
            for name in archive.pack(self.settings.runs_folder, self.output):
                text = f"The run {name} is too large for runs.tar, so that another machine would begin it anew."
                self.results[part.name].notes.append(Note(text))
        self._save()
        _shorten(self.output / LOG)
        print(f"{part.name}: {result.state} after {result.seconds:.0f} s, {len(result.figures)} figures", flush=True)

    def _start(self, part: Part, limit: float, path: Path, token: str, log: BinaryIO) -> subprocess.Popen[bytes]:
        seconds = max(limit - MARGIN_SECONDS, limit / 2)
        settings = json.dumps(self.settings.to_dict())
        command = [
            sys.executable,
            "-u",
            "-P",
            "-m",
            "benchmarks.gpu.child",
            part.path,
            str(seconds),
            str(path),
            settings,
        ]
        environment = os.environ | {
            TOKEN: token,
            "DIPDDPM_SLOTS_DIR": str(self.settings.runs_folder.resolve() / "slots"),
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "PYTHONFAULTHANDLER": "1",
        }
        if self.settings.miniature:  # threads of several processes would only wait for each other
            environment["OMP_NUM_THREADS"] = "1"
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )

    def _take(self, result: PartResult, lines: BinaryIO) -> None:
        """Add the records that the part has written since the last call, and save them."""
        added = False
        while (line := lines.readline()).endswith(b"\n"):
            result.add(line.decode())
            added = True
        lines.seek(-len(line), os.SEEK_CUR)
        if added:
            self._save()

    def _save(self) -> None:
        order = [part.name for part in PARTS]
        records.save(
            self.output,
            sorted(self.results.values(), key=lambda result: order.index(result.name)),
            miniature=self.settings.miniature,
        )


def end(child: subprocess.Popen[bytes], token: str) -> None:
    """End a part's process, by SIGTERM and then by SIGKILL, and every process that it has left behind."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS)
    for pid in descendants(token):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.wait()


def descendants(token: str) -> list[int]:
    """Return the processes that were started with this token in their environment."""
    wanted = f"{TOKEN}={token}".encode()
    pids = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                pids.append(int(path.parent.name))
    return pids


def _state(result: PartResult, cut: bool, code: int) -> State:
    if cut:
        return "cut"
    if code:
        return "failed"
    return "partly done" if any(note.kind == "unfinished" for note in result.notes) else "done"


def _tail(path: Path, start: int) -> str:
    with path.open("rb") as log:
        log.seek(start)
        lines = log.read()[-20_000:].decode(errors="replace").splitlines()
    return "\n".join(lines[-TAIL_LINES:])


def _shorten(path: Path) -> None:
    """Keep only the end of a log that has become too long."""
    if path.stat().st_size > MAX_LOG:
        path.write_bytes(path.read_bytes()[-MAX_LOG // 2 :])

"""The list of runs: a row each, kept up to date by looking only where something may have changed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from core.runs import Glance, Run, RunsFolder, State
from core.runs.folder import by_time
from core.text import printable
from tui.model import marks

FIRST = 100
"""Rows that are read before anything is shown: more than a screen holds."""
BATCH_SECONDS = 0.25
LIVE_SECONDS = 1.0
"""A live run is looked at this often."""
SWEEP = 64
"""So many of the runs that have ended are checked at each scan, in turn: somebody may have resumed one."""
LIST_SECONDS = 30.0
"""The folder is listed again after this long, even if it says that nothing was added or removed."""
GRAIN_SECONDS = 3.0
"""Changes this close to a listing may not show in the folder's time stamp."""
AGE_SECONDS = 20.0


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run as a list shows it. Texts are safe to show, but for `id`, which is the folder's name as it is.

    Times are in seconds, rounded to what a list shows, so that rows that look the same are equal.
    """

    id: str
    kind: str = ""
    method: str = ""
    name: str = ""
    group: str = ""
    state: State = State.broken
    reference: bool = False
    """It ships with the program."""
    stalled: bool = False
    """Alive, but not advancing."""
    progress: float | None = None
    """0 to 1, in hundredths."""
    step: int = 0
    """Steps done; left at 0 while the run is live, for it would change at every look."""
    steps: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    best_loss: float | None = None
    psnr: float | None = None
    """Mean PSNR in dB where the stopping rule left the images, else at the last look."""
    peak_psnr: float | None = None
    gain: float | None = None
    """What a hybrid has over the better parent in as long, in dB."""
    ssim: float | None = None
    created: float = 0.0
    started: float = 0.0
    duration: float = 0.0
    age: float = 0.0
    eta: float | None = None
    device: str = ""
    dataset: str = ""
    error: str = ""
    hint: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""


def row_of(glance: Glance, marked: marks.Marks = marks.NONE) -> RunRow:
    """The row of a run as it was seen."""
    told, now = glance.summary, glance.at
    live = glance.state.live
    created = glance.run.created or told.started
    end = now if glance.state is State.running else told.ended or told.last
    left = told.seconds_left(now) if live else None
    share = told.progress
    return RunRow(
        id=glance.run.id,
        kind=printable(told.kind, 20),
        method=printable(told.method, 40),
        name=printable(told.name, 200),
        group=printable(told.group, 80),
        state=glance.state,
        reference=glance.run.reference,
        stalled=glance.stalled,
        progress=None if share is None else math.floor(share * 100) / 100,
        step=0 if live else told.step,
        steps=told.steps,
        epoch=told.epoch,
        epochs=told.epochs,
        loss=told.loss,
        best_loss=told.best_loss,
        psnr=told.result_psnr,
        peak_psnr=told.peak_psnr,
        gain=told.gain,
        ssim=told.ssim,
        created=created,
        started=told.started,
        duration=_coarse(max(0.0, end - told.started)) if told.started else 0.0,
        age=coarse_age(now - created),
        eta=None if left is None else _coarse(left),
        device=printable(told.device, 40),
        dataset=printable(told.dataset, 60),
        error=printable(told.error),
        hint=printable(told.hint),
        tags=marked.tags,
        note=marked.note,
    )


def arrange(rows: Sequence[RunRow], column: str, *, descending: bool = True) -> list[RunRow]:
    """The rows sorted by a column: live ones on top, those without a value last, equal ones newest first."""

    def value(row: RunRow) -> Any:
        found = getattr(row, column)
        if isinstance(found, float) and math.isnan(found):
            return None
        if isinstance(found, str):
            return found.casefold() or None
        return found if found != () else None

    newest_first = sorted(rows, key=lambda row: by_time(row.id), reverse=True)
    known = [row for row in newest_first if value(row) is not None]
    known.sort(key=value, reverse=descending)
    known += [row for row in newest_first if value(row) is None]
    return [row for row in known if row.state.live] + [row for row in known if not row.state.live]


class RunScanner:
    """Keeps the rows of a runs folder and of the reference runs. Not for several threads at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = RunsFolder(root)
        self._rows: dict[str, RunRow] = {}
        self._stamps: dict[str, int] = {}
        self._runs: dict[str, Run] = {}
        self._live: set[str] = set()
        self._listed_stamp = -1
        self._listed_at = -math.inf
        self._looked_at = -math.inf
        self._aged_at = -math.inf
        self._sweep_from = 0
        self._ended = False

    def scan(self) -> Iterator[tuple[list[RunRow], bool]]:
        """Look for changes; the rows, newest first, each time that they changed, and whether all have been read.

        The first scan hands over a screenful at once and the rest in batches. Later ones cost a few milliseconds and
        hand over nothing where nothing changed.
        """
        first = not math.isfinite(self._listed_at)
        changed = self._list() or first
        unread = [name for name in self._runs if name not in self._rows]
        shown, patience = time.monotonic(), BATCH_SECONDS
        for count, name in enumerate(unread, 1):
            if self._ended:
                return
            changed = self._read(name) or changed
            if (first and count == FIRST) or time.monotonic() - shown > patience:
                shown, patience = time.monotonic(), 2 * patience
                if count < len(unread):
                    yield self.rows(), False
        changed = self._look_again(set(unread)) or changed
        if changed:
            yield self.rows(), True

    def rows(self) -> list[RunRow]:
        """The rows read so far, newest first."""
        return [self._rows[name] for name in self._runs if name in self._rows]

    def end(self) -> None:
        """Nobody wants the rows any more: a scan that another thread is at ends with the run that it reads."""
        self._ended = True

    def refresh(self, name: str) -> None:
        """See to it that the next scan reads this run anew."""
        self._live.add(name)
        self._looked_at = -math.inf

    def _list(self) -> bool:
        """Find what was added and removed; whether something was removed."""
        now = time.time()
        stamp = _stamp(self.root)
        waited = now - self._listed_at
        settled = not 0 <= self._listed_at - stamp / 1e9 < GRAIN_SECONDS
        if stamp == self._listed_stamp and 0 <= waited < (LIST_SECONDS if settled else GRAIN_SECONDS):
            return False
        self._listed_stamp, self._listed_at = stamp, now
        self._runs = {run.id: run for run in (*self._folder.runs(), *self._folder.references())}
        gone = self._rows.keys() - self._runs.keys()
        for name in gone:
            del self._rows[name]
            self._stamps.pop(name, None)
            self._live.discard(name)
        return bool(gone)

    def _look_again(self, just_read: set[str]) -> bool:
        """Re-read the live runs now and then, and of the others those whose folder changed."""
        changed = False
        now = time.monotonic()
        if now - self._looked_at >= LIVE_SECONDS:
            self._looked_at = now
            for name in self._live & self._rows.keys() - just_read:
                changed = self._read(name) or changed
        if names := list(self._runs):
            for offset in range(min(SWEEP, len(names))):
                name = names[(self._sweep_from + offset) % len(names)]
                if name not in just_read and _stamp(self._runs[name].folder) != self._stamps.get(name):
                    changed = self._read(name) or changed
            self._sweep_from = (self._sweep_from + SWEEP) % len(names)
        if now - self._aged_at >= AGE_SECONDS:
            self._aged_at = now
            changed = self._grow_older() or changed
        return changed

    def _read(self, name: str) -> bool:
        """Read one run; whether its row is another one now."""
        run = self._runs[name]
        self._stamps[name] = _stamp(run.folder)  # taken before the look: what changes meanwhile is seen next time
        row = row_of(run.look(), marks.read(run.folder))
        (self._live.add if row.state.live else self._live.discard)(name)
        if self._rows.get(name) == row:
            return False
        self._rows[name] = row
        return True

    def _grow_older(self) -> bool:
        now = time.time()
        older = False
        for name, row in self._rows.items():
            age = coarse_age(now - row.created)
            if age != row.age:
                self._rows[name] = msgspec.structs.replace(row, age=age)
                older = True
        return older


def coarse_age(seconds: float) -> float:
    """An age in whole minutes, hours or days, as a list shows it; 0 where a clock jumped back."""
    for unit in (86400.0, 3600.0, 60.0):
        if seconds >= unit:
            return seconds // unit * unit
    return 0.0


def _coarse(seconds: float) -> float:
    """A time in steps of about a twentieth of it, and of a second at least; what is not finite stays so."""
    if not math.isfinite(seconds):
        return seconds
    grain = next((grain for grain in (300, 60, 30, 10, 5) if seconds >= 20 * grain), 1)
    return float(round(seconds / grain) * grain)


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

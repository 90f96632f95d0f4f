"""The rows of the run list, kept up to date by reading only runs that may have changed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dipddpm.core.io import atomic
from dipddpm.core.io.sanitize import printable
from dipddpm.core.means import PsnrMean, Quality
from dipddpm.core.runs import Run, RunsFolder, RunState, RunStatus
from dipddpm.core.runs.creation import order
from dipddpm.tui.shared import marks
from dipddpm.tui.shared.formatting import resume_point

FIRST_BATCH_ROWS = 100
"""Rows in the first batch: more than a screen shows."""
BATCH_SECONDS = 0.25
LIVE_SECONDS = 1.0
"""Seconds between reads of a live run."""
CHECKED_PER_SCAN = 64
"""Runs checked for changes at each scan, in turn, since an ended run may have been resumed."""
LIST_SECONDS = 30.0
"""Seconds after which the folder is listed again, even if its time stamp is unchanged."""
STAMP_RESOLUTION_SECONDS = 3.0
"""A change within this time of a listing may leave the folder's time stamp unchanged."""
AGE_SECONDS = 20.0
COPIED = (
    *("steps", "epoch", "epochs", "loss", "best_loss", "peak_psnr", "peak_exact", "gain", "ssim", "started"),
    *("truthless", "quality"),
)
"""The fields that a row copies from the summary."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """A run as a row of the list. Texts are safe to show, except `id`, which is the folder's name unchanged.

    Times are in seconds, rounded as the list shows them, so that rows that look the same are equal.
    """

    id: str
    kind: str = ""
    method: str = ""
    name: str = ""
    group: str = ""
    state: RunState = RunState.broken
    reference: bool = False
    """True for a run that ships with the program."""
    stalled: bool = False
    """True if the process is alive but makes no progress."""
    progress: float | None = None
    """0 to 1, in hundredths."""
    step: int = 0
    """Finished steps; 0 while the run is live, since it would change at every scan."""
    steps: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    best_loss: float | None = None
    psnr: float | None = None
    """Mean PSNR in dB where the stopping rule stopped, else the last one measured."""
    exact: int = 0
    """The number of exact images, which `psnr` leaves out unless all are exact."""
    peak_psnr: float | None = None
    peak_exact: int = 0
    gain: float | None = None
    """The smallest mean gain of a hybrid in dB: in recent runs that over the best of all rows of its board."""
    ssim: float | None = None
    truthless: bool = False
    """True for given pictures whose truth is not known."""
    quality: Quality | None = None
    """The measures that need no truth."""
    created: float = 0.0
    started: float = 0.0
    duration: float = 0.0
    age: float = 0.0
    eta: float | None = None
    device: str = ""
    dataset: str = ""
    resume: str = ""
    """Where a resume begins."""
    error: str = ""
    hint: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""

    @property
    def predicted(self) -> float | None:
        """The predicted PSNR in dB."""
        return self.quality.predicted if self.quality else None

    @property
    def residual(self) -> float | None:
        """The misfit to the measurements in grey levels."""
        return self.quality.residual if self.quality else None

    @property
    def result(self) -> PsnrMean | None:
        """The PSNR with the number of exact images; None if it wasn't measured."""
        return None if self.psnr is None else PsnrMean(self.exact, self.psnr)


def make_row(status: RunStatus, notes: marks.RunNotes = marks.NO_NOTES) -> RunRow:
    """Return the row of a run."""
    summary, now = status.summary, status.at
    live = status.state.live
    created = status.run.created or summary.started
    seconds_left = summary.seconds_left(now) if live else None
    return RunRow(
        id=status.run.id,
        kind=printable(summary.kind, 20),
        method=printable(summary.method, 40),
        name=printable(summary.name, 200),
        group=printable(summary.group, 80),
        state=status.state,
        reference=status.run.reference,
        stalled=status.stalled,
        progress=None if summary.percent is None else summary.percent / 100,
        step=0 if live else summary.step,
        psnr=summary.result_psnr,
        exact=0 if summary.result is None else summary.result.exact,
        created=created,
        duration=_round_seconds(elapsed_seconds(status)) if summary.started else 0.0,
        age=round_age(now - created),
        eta=None if seconds_left is None else _round_seconds(seconds_left),
        device=printable(summary.device, 40),
        dataset=printable(summary.dataset, 60),
        resume=resume_point(status),
        error=printable(summary.error),
        hint=printable(summary.hint),
        tags=notes.tags,
        note=notes.note,
        **{name: getattr(summary, name) for name in COPIED},
    )


def elapsed_seconds(status: RunStatus) -> float:
    """Return the seconds from the run's start to its end, or to now while it runs."""
    summary = status.summary
    end = status.at if status.state is RunState.running else summary.ended or summary.last
    return max(0.0, end - summary.started)


def sort_rows(rows: Sequence[RunRow], column: str, *, descending: bool = True) -> list[RunRow]:
    """Sort rows by a column: live runs first, runs without a value last, equal ones from new to old."""

    def value(row: RunRow) -> Any:
        field_value = getattr(row, column)
        if isinstance(field_value, float) and math.isnan(field_value):
            return None
        if column == "psnr":
            return row.result  # of two means, the one with more exact images is larger
        if isinstance(field_value, str):
            return field_value.casefold() or None
        return field_value if field_value != () else None

    newest_first = sorted(rows, key=lambda row: order(row.created, row.id), reverse=True)
    known = [row for row in newest_first if value(row) is not None]
    known.sort(key=value, reverse=descending)
    known += [row for row in newest_first if value(row) is None]
    return [row for row in known if row.state.live] + [row for row in known if not row.state.live]


class RunScanner:
    """Scans a runs folder and the reference runs, and stores their rows. Not thread-safe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = RunsFolder(root)
        self._rows: dict[str, RunRow] = {}
        self._stamps: dict[str, int] = {}
        self._runs: dict[str, Run] = {}
        self._live: set[str] = set()
        self._listed_stamp = -1
        self._listed_at = -math.inf
        self._live_read_at = -math.inf
        self._aged_at = -math.inf
        self._next_checked = 0
        self._stop_requested = False

    def scan(self) -> Iterator[tuple[list[RunRow], bool]]:
        """Scan for changes; yield all rows, newest first, and whether the scan is complete, each time they changed.

        The first scan yields after `FIRST_BATCH_ROWS` rows and then in batches. Later scans take a few milliseconds,
        and yield nothing if nothing changed.
        """
        first = not math.isfinite(self._listed_at)
        before = self.rows()
        self._list()
        unread = [name for name in self._runs if name not in self._rows]
        yielded_at, batch_seconds = time.monotonic(), BATCH_SECONDS
        for count, name in enumerate(unread, 1):
            if self._stop_requested:
                return
            self._read(name)
            if (first and count == FIRST_BATCH_ROWS) or time.monotonic() - yielded_at > batch_seconds:
                yielded_at, batch_seconds = time.monotonic(), 2 * batch_seconds
                if count < len(unread):
                    yield self.rows(), False
        for name in self._due() - set(unread):
            self._read(name)
        self._update_ages()
        rows = self.rows()
        if first or rows != before:
            yield rows, True

    def rows(self) -> list[RunRow]:
        """Return the rows read so far, newest first."""
        return [self._rows[name] for name in self._runs if name in self._rows]

    def stop(self) -> None:
        """Stop a scan in another thread, after the run that it is reading."""
        self._stop_requested = True

    def refresh(self, name: str) -> None:
        """Make the next scan read this run again."""
        self._live.add(name)
        self._live_read_at = -math.inf

    def _list(self) -> None:
        """List the folder if it may have changed, and drop the rows of removed runs."""
        now = time.time()
        stamp = _stamp(self.root)
        stamp_is_reliable = not 0 <= self._listed_at - stamp / 1e9 < STAMP_RESOLUTION_SECONDS
        valid_seconds = LIST_SECONDS if stamp_is_reliable else STAMP_RESOLUTION_SECONDS
        if stamp == self._listed_stamp and 0 <= now - self._listed_at < valid_seconds:
            return
        self._listed_stamp, self._listed_at = stamp, now
        self._runs = {run.id: run for run in (*self._folder.runs(), *self._folder.references())}
        for name in self._rows.keys() - self._runs.keys():
            del self._rows[name], self._stamps[name]

    def _due(self) -> set[str]:
        """Return the runs to read: every `LIVE_SECONDS` all live ones, and each time the next few if they changed."""
        names = list(self._runs)
        turn = names[self._next_checked : self._next_checked + CHECKED_PER_SCAN]
        self._next_checked += CHECKED_PER_SCAN
        if self._next_checked >= len(names):
            self._next_checked = 0
        due = {name for name in turn if _stamp(self._runs[name].folder) != self._stamps.get(name)}
        if time.monotonic() - self._live_read_at >= LIVE_SECONDS:
            self._live_read_at = time.monotonic()
            due |= self._live & self._rows.keys()
        return due

    def _read(self, name: str) -> None:
        run = self._runs[name]
        # Taken before reading, so that the next scan finds changes made meanwhile.
        self._stamps[name] = _stamp(run.folder)
        row = make_row(run.status(), marks.read(run.folder))
        if row.state is RunState.broken and not atomic.is_folder(run.folder):
            return  # it was deleted after the listing, and the next one drops it
        (self._live.add if row.state.live else self._live.discard)(name)
        if self._rows.get(name) != row:
            self._rows[name] = row

    def _update_ages(self) -> None:
        if time.monotonic() - self._aged_at >= AGE_SECONDS:
            self._aged_at = time.monotonic()
            for name, row in self._rows.items():
                if (age := round_age(time.time() - row.created)) != row.age:
                    self._rows[name] = msgspec.structs.replace(row, age=age)


def round_age(seconds: float) -> float:
    """Round an age down to whole minutes, hours or days, as the list shows it; 0 if the clock was set back."""
    for unit in (86400.0, 3600.0, 60.0):
        if seconds >= unit:
            return seconds // unit * unit
    return 0.0


def _round_seconds(seconds: float) -> float:
    """Round a time to about a twentieth of it, at least to whole seconds; a value that isn't finite stays."""
    if not math.isfinite(seconds):
        return seconds
    grain = next((grain for grain in (300, 60, 30, 10, 5) if seconds >= 20 * grain), 1)
    return float(round(seconds / grain) * grain)


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

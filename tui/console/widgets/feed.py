"""The feed: one line per event, the newest at the bottom; a new best model stands out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.text import Text

from dipddpm.core import events
from dipddpm.core.events import Event
from dipddpm.core.io.sanitize import printable
from dipddpm.tui.console.widgets.lines import LinesWidget
from dipddpm.tui.shared import formatting

Tone: TypeAlias = Literal["plain", "best", "good", "warning", "bad", "hint"]

MAX_ENTRIES = 1000
"""Entries kept; older ones are dropped."""
CLOCK_CELLS = 9


class FeedEntry(NamedTuple):
    """One line of the feed. Its text is never taken as markup."""

    time: float
    text: str
    tone: Tone = "plain"


def feed_entries(new_events: Iterable[Event]) -> list[FeedEntry]:
    """Return the feed's entries for these events; an error is followed by its remedy."""
    made = []
    for event in new_events:
        match event:
            case events.EpochFinished(best=True):
                pass  # BestModelStored has an entry
            case events.BestModelStored():
                position = f"epoch {event.epoch}" if event.epoch else f"step {event.step}"
                measure = event.measure.replace("_", "-").capitalize()
                text = f"{measure} at {position}: {event.value:.4g} --> Best model ever (stored)  {event.file}"
                made.append(FeedEntry(event.time, text, "best"))
            case events.RunFailed():
                made.append(FeedEntry(event.time, f"Failed: {event.error}", "bad"))
                made.append(FeedEntry(event.time, event.hint, "hint"))
            case events.Message(level="warning") | events.RunStopped():
                made.append(FeedEntry(event.time, formatting.event_line(event) or "", "warning"))
            case _:
                tone: Tone = "good" if isinstance(event, events.RunFinished) else "plain"
                made.append(FeedEntry(event.time, formatting.event_line(event) or "", tone))
    return [entry._replace(text=printable(entry.text)) for entry in made if entry.text]


class Feed(LinesWidget):
    """Shows as many of the newest entries as fit."""

    DEFAULT_CSS = """
    Feed {
        height: 1fr;
        & > .feed--time { color: $foreground 50%; }
        & > .feed--plain { color: $foreground 85%; }
        & > .feed--best { color: $success; text-style: bold; }
        & > .feed--good { color: $success; }
        & > .feed--warning { color: $warning; }
        & > .feed--bad { color: $error; text-style: bold; }
        & > .feed--hint { color: $warning; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.wraps = False
        """True if all entries are wrapped, not only errors; for a feed with much room."""
        self._entries: deque[FeedEntry] = deque(maxlen=MAX_ENTRIES)

    def add(self, new_entries: Iterable[FeedEntry]) -> None:
        """Append a batch and draw once."""
        self._entries.extend(new_entries)
        self.redraw()

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()
        self.redraw()

    def draw(self, width: int, height: int) -> list[list[Segment]]:
        """Return the last entries, the newest at the bottom. Errors and remedies wrap; others only if `wraps`."""
        drawn: list[list[Segment]] = []
        for entry in reversed(self._entries):
            drawn[:0] = self._entry(entry, width)
            if len(drawn) >= height:
                break
        return drawn[-height:]

    def _entry(self, entry: FeedEntry, width: int) -> list[list[Segment]]:
        clock = time.strftime("%H:%M:%S ", time.localtime(entry.time)) if entry.time else " " * CLOCK_CELLS
        room = max(1, width - CLOCK_CELLS)
        style = self.component_style(f"feed--{entry.tone}")
        parts = [entry.text]
        if cell_len(entry.text) > room:
            parts = [set_cell_size(entry.text, room - 1) + "…"]
            if self.wraps or entry.tone in {"bad", "hint"}:
                parts = [line.plain for line in Text(entry.text).wrap(self.app.console, room, overflow="fold")]
        heads = [Segment(clock, self.component_style("feed--time")), *[Segment(" " * CLOCK_CELLS)] * (len(parts) - 1)]
        return [[head, Segment(part, style)] for head, part in zip(heads, parts, strict=True)]

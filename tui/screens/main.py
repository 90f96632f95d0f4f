"""The main screen: the list on the left, the panes on the right, and who tells whom."""

from __future__ import annotations

import importlib
import time
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.timer import Timer
from textual.widgets import Static

from core.errors import UserError
from core.runs import State
from tui.columns import title
from tui.compositor import CellCompositor
from tui.follower import Broken, EventsRead, Follower, HostSampled, RunsScanned, TextRead
from tui.model.groups import GroupRow, gather
from tui.model.host import HostSample
from tui.model.query import Query, parse
from tui.model.runlist import RunRow, arrange
from tui.model.series import RunSeries
from tui.model.store import SeriesStore
from tui.panes.view import Compared, Member, Pane, View
from tui.screens.groups import GroupActions
from tui.widgets.hostline import HostLine
from tui.widgets.keyline import KeyLine
from tui.widgets.runhead import RunHead
from tui.widgets.runtable import RunTable
from tui.widgets.tabs import PANES, Tabs

SETTLE_SECONDS = 0.06
"""The cursor must rest this long before a run's log is read."""
BATCH_SECONDS = 1.0
"""While a long list is read for the first time, what has been read is shown this often."""
MOST_MARKED = 8
CHARTED = {"live", "compare"}


class MainScreen(GroupActions):
    """Holds the rows, the series of the runs that are looked at, the marks and the time cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(n), f"show('{pane}')", f"show {pane}", show=False) for n, pane in enumerate(PANES, start=1)),
        Binding("enter", "open", "open", show=False),
        Binding("comma,less_than_sign", "scrub(-1)", "back in time", key_display=",", show=False),
        Binding("full_stop,greater_than_sign", "scrub(1)", "forward in time", key_display=".", show=False),
        Binding("m,space", "mark", "mark", key_display="m"),
        Binding("M", "unmark", "unmark all", show=False),
        Binding("slash", "filter", "filter", key_display="/"),
        Binding("y", "log_y", "log y"),
        Binding("w", "smooth", "smooth"),
        Binding("a", "axis", "x axis"),
        Binding("o", "sort", "sort"),
        Binding("O", "reverse", "reverse the order", show=False),
        Binding("0", "history", "all columns"),
        Binding("f", "fork", "fork"),
        Binding("t", "tag", "tag and note"),
        Binding("e", "export", "export"),
        Binding("d", "delete", "delete"),
        Binding("z", "zoom", "hide the list", show=False),
        Binding("left_square_bracket", "resize(-4)", "narrower list", key_display="[", show=False),
        Binding("right_square_bracket", "resize(4)", "wider list", key_display="]", show=False),
        Binding("escape", "back", "back", show=False),
        Binding("q", "app.quit", "quit"),
    ]

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self._compositor = CellCompositor()
        self.follower = follower
        self.marked: dict[str, int] = {}
        self.step: int | None = None
        self._sample: HostSample | None = None
        self._query: Query = parse("")
        self._series = SeriesStore(follower.rewind)
        self._pane = self.preferences.pane
        self._titled = ""
        self._settling: Timer | None = None
        self.read_once = False
        """Whether every run has been read."""
        self._scanned_at = 0.0
        self.settled = False
        """Whether the list and the run under its cursor have been read to their ends."""

    def compose(self) -> ComposeResult:
        """The pieces; a pane comes when it is first shown, so that the list needn't wait for it."""
        yield HostLine()
        with Horizontal(id="body"):
            with Vertical(id="left"):
                yield Static(id="list-title", markup=False)
                yield RunTable()
            with Vertical(id="right"):
                yield Tabs()
                yield RunHead()
                empty = Static(id="empty", markup=False)
                empty.display = False
                yield empty
        yield KeyLine()

    def on_mount(self) -> None:
        """Begin to follow."""
        self._query = parse(self.preferences.filter)
        self._lay_out()
        self.table.focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What turns charts applies where charts are shown."""
        if action in {"log_y", "smooth", "axis"}:
            return (self._shown in CHARTED and not self.has_class("history")) and bool(self.row or self.group)
        return super().check_action(action, parameters)

    # What comes from the follower

    @on(RunsScanned)
    def _scanned(self, event: RunsScanned) -> None:
        soon_again = self.rows and not event.complete and time.monotonic() - self._scanned_at < BATCH_SECONDS
        if self.console.leaving or soon_again:
            return
        self._scanned_at = time.monotonic()
        before = self.row.state if self.row else None
        self.rows = event.rows
        self.show_rows()
        if (self.row.state if self.row else None) is not before:
            self.refresh_bindings()
        self._show_host()
        if event.complete and not self.read_once:
            self.read_once = True
            self._open_wanted()
        self.console.hear(event.rows, complete=event.complete)

    @on(EventsRead)
    def _read(self, event: EventsRead) -> None:
        if self._series.add(event.run, event.start, event.end, event.events) and event.caught_up:
            self.present()

    @on(Broken)
    def _broken(self, event: Broken) -> None:
        raise event.error

    @on(TextRead)
    def _printed(self, event: TextRead) -> None:
        pane = None if self.console.leaving else self._open_pane()
        if self._shown == "log" and pane is not None and self.row is not None and event.run == self.row.id:
            pane.add(event.lines, restarted=event.restarted)

    @on(HostSampled)
    def _sampled(self, event: HostSampled) -> None:
        self._sample = event.sample
        if not self.console.leaving:
            self._show_host()

    def _show_host(self) -> None:
        states = [row.state for row in self.rows if row.state.live]
        queue = states.count(State.running), states.count(State.queued)
        self.query_one(HostLine).show(self._sample, queue, str(self.console.options.root))

    # The list

    @property
    def table(self) -> RunTable:
        """The run list."""
        return self.query_one(RunTable)

    @property
    def row(self) -> RunRow | None:
        """The run under the cursor."""
        return self.table.row

    @property
    def _shown(self) -> str:
        """The pane that is shown: of a group there is nothing but to compare its combinations."""
        return "compare" if self.group is not None else self._pane

    def series_of(self, run: str) -> RunSeries | None:
        """The series of a run that was looked at."""
        return self._series.get(run)

    def show_rows(self) -> None:
        """Filter, sort and draw the list."""
        preferences = self.preferences
        shown = [row for row in self.rows if self._query.matches(row)] if self._query.text else list(self.rows)
        shown = arrange(shown, preferences.sort, descending=preferences.descending)
        entries = gather(
            shown, self.unfolded(shown, filtered=bool(self._query.text)), by_name=preferences.sort == "created"
        )
        variables = self.app.theme_variables
        marked = {run: variables[f"series-{colour}"] for run, colour in self.marked.items()}
        self.table.show(entries, marked, (preferences.sort, preferences.descending))
        self._title(len(shown))
        self._say_what_to_do(len(shown))
        self.query_one(Tabs).marked = len(self.marked)
        self.present()

    def go_to(self, run: str) -> bool:
        """Put the cursor on this run, out of a folded group if need be; whether the list knows it."""
        if self.table.go_to(run):
            return True
        hidden = next((row.group for row in self.rows if row.id == run and self._query.matches(row)), "")
        if hidden:
            self.turn(hidden)
        return self.table.go_to(run)

    def _title(self, shown: int) -> None:
        total = len(self.rows)
        title = f"Runs  {shown} of {total}" if self._query.text else f"Runs  {total}"
        if self._query.text:
            title += f"  /{self._query.text}"
        line = self.query_one("#list-title", Static)
        line.set_class(bool(self._query.problem), "wrong")
        if self._titled != (title := self._query.problem or title):
            self._titled = title
            line.update(title)

    def _say_what_to_do(self, shown: int) -> None:
        empty = self.query_one("#empty", Static)
        empty.display = not shown
        self.query_one(RunHead).display = bool(shown)
        self._display()
        if not shown and self.rows:
            empty.update("No run matches the filter.\n\n/  change it     esc  show all runs")
        elif not shown:
            empty.update(_welcome(self.console.options.root, readonly=self.console.options.readonly))

    @on(RunTable.Moved)
    def _moved(self, event: RunTable.Moved) -> None:
        self.step = None
        if self._settling is not None:
            self._settling.stop()
        if self._series:
            self._settling = self.set_timer(SETTLE_SECONDS, self._settled)
        else:
            self._settled()
        self.refresh_bindings()

    def _display(self) -> None:
        shown = self._shown if self.row or self.group else ""
        for pane in self.query(Pane):
            pane.display = pane.id == f"pane-{shown}"
        self.query_one(Tabs).shown = shown or self._pane

    def _settled(self) -> None:
        for pane in self.query(Pane):
            pane.clear()
        self._display()
        self._watch()
        self.present()

    def _watch(self) -> None:
        """Follow the run under the cursor, those drawn of a group, and the marked ones once they have been compared."""
        wanted = [self.row.id] if self.row else [row.id for one in self.combined() for row in one.drawn]
        if self._pane == "compare" and self.row:
            wanted += [run for run in self.marked if run not in wanted]
        self._series.watch(wanted)
        self.follower.watch(wanted)
        self.follower.watch_text(self.row.id if self.row and self._shown == "log" else "")

    def _open_wanted(self) -> None:
        if not (wanted := self.console.options.run):
            return
        try:
            self.go_to(self.console.runs.find(wanted).id)
        except UserError as error:
            self.console.complain(error)

    @on(RunTable.Opened)
    def _opened(self) -> None:
        self.action_open()

    # The panes

    def present(self) -> None:
        """Show the run or the group under the cursor in the pane that is open."""
        if self.console.leaving:
            return
        if self.group is not None:
            self._present_group(self.group)
            return
        if (row := self.row) is None:
            return
        head = self.query_one(RunHead)
        series = self._series.get(row.id)
        head.show(row, series, self.step)
        if series is None:
            return
        pane = self._open_pane()
        if pane is not None:
            by_id = {row.id: row for row in self.rows} if self.marked else {}
            marked = [
                Compared(title(by_id[run]), [self._member(by_id[run])], [by_id[run]], colour)
                for run, colour in self.marked.items()
                if run in by_id
            ]
            pane.show(View(self.console.runs.run(row.id), row, series, self.preferences, self.step, marked))
            self.settled = True

    def _present_group(self, group: GroupRow) -> None:
        self.query_one(RunHead).show_group(group)
        combined, pane = self.combined(), self._open_pane()
        if not combined or pane is None:
            return
        compared = [
            Compared(one.title, [self._member(row) for row in one.drawn], one.rows, one.colour, one.brief)
            for one in combined
        ]
        first = self._member(combined[0].rows[0])
        pane.show(View(first.run, first.row, first.series, self.preferences, None, compared))
        self.settled = True

    def _member(self, row: RunRow) -> Member:
        return Member(row, self._series.get(row.id) or RunSeries(), self.console.runs.run(row.id))

    def _open_pane(self) -> Pane | None:
        """The pane that is shown; it is made when it is first asked for, and None until it stands on the screen."""
        for found in self.query(f"#pane-{self._shown}").results(Pane):
            return found if found.is_mounted else None
        module = importlib.import_module(f"tui.panes.{self._shown}")
        pane = getattr(module, f"{self._shown.capitalize()}Pane")(id=f"pane-{self._shown}")
        self.query_one("#right").mount(pane)
        return None

    @on(Pane.Ready)
    def _ready(self) -> None:
        self.show_anew()

    def show_anew(self) -> None:
        """Follow and show what is under the cursor, of which more is known now."""
        self._watch()
        self.present()

    def action_show(self, pane: str) -> None:
        """Show another pane."""
        self._pane = self.preferences.pane = pane  # type: ignore[assignment]
        self._display()
        if self.has_class("history"):
            self._use_room()
        self._watch()
        self.present()
        self.refresh_bindings()

    # Keys

    def action_open(self) -> None:
        """From the wide list to the run; from the narrow one into the pane; a group is unfolded, or folded."""
        if self.group is not None and self.focused is self.table:
            self.turn(self.group.name)
        elif self.has_class("history"):
            self._use_room()
        else:
            self.app.action_focus_next()

    def _use_room(self, name: str = "") -> None:
        """Share the screen as `history` or `zoom` says, or between list and pane."""
        self.remove_class("history", "zoom")
        if name:
            self.add_class(name)
        self._lay_out()
        self.refresh_bindings()

    def action_back(self) -> None:
        """Undo the nearest narrowing: the time cursor, the zoom, the wide list, then the filter."""
        if self.step is not None:
            self.step = None
            self.present()
        elif self.focused is not self.table:
            self._use_room()
            self.table.focus()
        elif self.classes & {"zoom", "history"}:
            self._use_room()
        elif self._query.text:
            self.filter_by("")
        self.refresh_bindings()

    def action_history(self) -> None:
        """All columns of all runs, or the panes again."""
        self._use_room("" if self.has_class("history") else "history")
        self.table.focus()

    def action_zoom(self) -> None:
        """The pane alone, or the list beside it again."""
        self._use_room("" if self.has_class("zoom") else "zoom")

    def action_resize(self, by: int) -> None:
        """Make the list wider or narrower."""
        width = self.query_one("#left").size.width
        self.preferences.list_width = max(20, min(self.size.width - 40, width + by))
        self._lay_out()

    def action_mark(self) -> None:
        """Mark the run for comparison, or unmark it."""
        if self.row is None:
            return
        if self.row.id in self.marked:
            del self.marked[self.row.id]
        elif len(self.marked) >= MOST_MARKED:
            self.app.notify(f"{MOST_MARKED} runs can be compared at once.", severity="warning", markup=False)
            return
        else:
            free = (colour for colour in range(MOST_MARKED) if colour not in self.marked.values())
            self.marked[self.row.id] = next(free)
        self._watch()
        self.show_rows()
        self.refresh_bindings()

    def action_unmark(self) -> None:
        """Unmark all runs."""
        self.marked.clear()
        self._watch()
        self.show_rows()
        self.refresh_bindings()

    def action_scrub(self, by: int) -> None:
        """Move the time cursor to the next step at which something was measured, and past the last one to now."""
        series = self._series.get(self.row.id) if self.row else None
        steps = series.steps() if series else []
        if not steps:
            return
        stride = max(1, len(steps) // 100) * by
        place = len(steps) if self.step is None else steps.index(self.step) if self.step in steps else len(steps)
        place = max(0, place + stride)
        self.step = steps[place] if place < len(steps) else None
        self.present()

    def action_log_y(self) -> None:
        """Logarithmic or linear y."""
        self.preferences.log_y = not self.preferences.log_y
        self.present()

    def action_smooth(self) -> None:
        """The next of a few smoothing weights."""
        weights = (0.0, 0.6, 0.9, 0.98)
        place = weights.index(self.preferences.smoothing) if self.preferences.smoothing in weights else 0
        self.preferences.smoothing = weights[(place + 1) % len(weights)]
        self.present()

    def action_axis(self) -> None:
        """Steps, epochs or time along x, of those that the run has."""
        series = self._series.get(self.row.id) if self.row else None
        axes = series.axes() if series else ("step", "epoch", "time")
        here = self.preferences.axis
        self.preferences.axis = axes[(axes.index(here) + 1) % len(axes)] if here in axes else axes[0]
        self.present()

    # Filter and order

    def action_filter(self) -> None:
        """Write a filter; the list narrows meanwhile."""
        from tui.widgets.filter import Filter

        if self.has_class("zoom"):
            self._use_room()
        if not self.query(Filter):
            self.query_one("#left").mount(Filter(self._query.text), before=0)

    def filter_by(self, text: str) -> None:
        """Show the runs that match; all of them for the empty text."""
        self._query = parse(text)
        self.preferences.filter = self._query.text
        self.show_rows()

    def action_sort(self) -> None:
        """Choose the column to sort by; the same one again turns the order."""
        from tui.columns import COLUMNS
        from tui.screens.dialogs import Choose

        def sort(key: str | None) -> None:
            if key is None:
                return
            same = key == self.preferences.sort
            self.preferences.descending = not self.preferences.descending if same else key not in _ASCENDING
            self.preferences.sort = key
            self.show_rows()

        choices = [(column.key, column.title) for column in COLUMNS]
        self.app.push_screen(Choose("Sort by", choices, self.preferences.sort), sort)

    def action_reverse(self) -> None:
        """Turn the order."""
        self.preferences.descending = not self.preferences.descending
        self.show_rows()

    # Layout

    def on_resize(self) -> None:
        """Give the list its share."""
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.app.size.width
        share = 30 if width < 100 else min(48, max(38, width // 4))
        chosen = self.preferences.list_width
        beside = min(chosen, max(20, width - 40)) if chosen else share
        self.query_one("#left").styles.width = "1fr" if self.has_class("history") else beside
        self.query_one(Tabs).shown = self._shown


_ASCENDING = {"best_loss", "name", "kind", "method", "state"}


def _welcome(root: Path, *, readonly: bool) -> str:
    start = "" if readonly else "n  start the first one\n\nor, in a shell:\n"
    return f"No runs in {root} yet.\n\n{start}dipddpm run hybrid --preset quick\n\n?  help     q  quit"

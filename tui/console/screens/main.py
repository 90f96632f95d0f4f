"""The main screen: the list of runs on the left, the panes on the right, and the messages between them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.screen import Screen
from textual.timer import Timer

from dipddpm.core.runs import RunState
from dipddpm.tui.console.commands import RunCommands
from dipddpm.tui.console.compositor import use_cell_compositor
from dipddpm.tui.console.model.curves import AXES, SERIES_COLOURS
from dipddpm.tui.console.model.host import HostSample
from dipddpm.tui.console.model.series import SeriesStore
from dipddpm.tui.console.model.views import ViewMaker, toggle_mark
from dipddpm.tui.console.panes.area import PaneArea, empty_hint
from dipddpm.tui.console.panes.view import Pane
from dipddpm.tui.console.preferences import PaneName
from dipddpm.tui.console.reader import (
    EventsRead,
    HostSampled,
    OutputRead,
    Reader,
    ReaderFailed,
    RowsChanged,
    RunsScanned,
)
from dipddpm.tui.console.screens.keys import MAIN_KEYS
from dipddpm.tui.console.screens.surface import Surface
from dipddpm.tui.console.session import Session
from dipddpm.tui.console.widgets.hostline import HostLine
from dipddpm.tui.console.widgets.keyline import KeyLine
from dipddpm.tui.console.widgets.runlist import RunList
from dipddpm.tui.console.widgets.runtable import RunTable
from dipddpm.tui.shared.groups import GroupRow
from dipddpm.tui.shared.runlist import RunRow

CURSOR_REST_SECONDS = 0.06
"""The cursor must stay on a run this long before its log is read."""
BATCH_SECONDS = 1.0
"""Seconds between updates while a long list is being read for the first time."""
PANES_WITH_CHARTS = {"live", "compare"}


class MainScreen(Screen[None]):
    """The list and the panes; holds the watched runs' series, the marks and the time cursor."""

    BINDINGS: ClassVar[list[BindingType]] = list(MAIN_KEYS)

    def __init__(self, session: Session, reader: Reader) -> None:
        super().__init__()
        use_cell_compositor(self)
        self.session = session
        self.preferences = session.preferences
        self.reader = reader
        self.surface = Surface(self, session, self._runs_changed)
        self.commands = RunCommands(session, self.surface)
        self.marked: dict[str, int] = {}
        self.step: int | None = None
        self._sample: HostSample | None = None
        self._series = SeriesStore(reader.rewind)
        self.series_of = self._series.get
        self._views = ViewMaker(session, self.series_of, self.surface.background, self.refresh_pane)
        self._pane: PaneName = self.preferences.pane
        self._rest_timer: Timer | None = None
        self.all_runs_read = False
        self._scanned_at = 0.0
        self.first_frame_ready = False
        """True once the list and the log of the run under its cursor have been read and shown."""

    def compose(self) -> ComposeResult:
        """Add the host line, the list, the area of the panes and the footer."""
        yield HostLine()
        with Horizontal(id="body"):
            yield RunList(self.session, self.marked)
            yield PaneArea(self._pane)
        yield KeyLine()

    def on_mount(self) -> None:
        """Receive the reader's messages, also those posted so far."""
        self._lay_out()
        self.run_list.table.focus()
        self.reader.post_to(self.post_message)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Return whether a key applies now; the footer shows only keys that do."""
        if action == "command":
            # A group's header offers only the commands that apply to several runs.
            rows = self.run_list.chosen if self.row or parameters[0] in {"stop", "resume"} else ()
            return self.commands.allows(str(parameters[0]), rows)
        if action in {"log_y", "smooth", "axis"}:
            return (self._shown in PANES_WITH_CHARTS and not self.has_class("history")) and bool(self.row or self.group)
        if action in {"mark", "scrub"}:
            return self.row is not None
        return True

    # Messages of the reader

    @on(RunsScanned)
    def _scanned(self, event: RunsScanned) -> None:
        too_soon = self.rows and not event.complete and time.monotonic() - self._scanned_at < BATCH_SECONDS
        if self.session.is_closing or too_soon:
            return
        self._scanned_at = time.monotonic()
        before = self.row.state if self.row else None
        self.session.rows = event.rows
        self.show_rows()
        if (self.row.state if self.row else None) is not before:
            self.refresh_bindings()
        self._show_host()
        if event.complete and not self.all_runs_read:
            self.all_runs_read = True
            if wanted := self.session.options.run:
                self.surface.background(lambda: self.session.runs.find(wanted).id, self.run_list.go_to)
        self.run_list.go_to_awaited_run()
        if event.complete:
            self.post_message(RowsChanged())

    @on(EventsRead)
    def _read(self, event: EventsRead) -> None:
        if self._series.add(event.run, event.start, event.end, event.events) and event.caught_up:
            self.present()

    @on(ReaderFailed)
    def _reader_failed(self, event: ReaderFailed) -> None:
        raise event.error

    @on(OutputRead)
    def _printed(self, event: OutputRead) -> None:
        is_shown = self._shown == "log" and self.row is not None and event.run == self.row.id
        if is_shown and not self.session.is_closing:
            self._area.add_output(event.lines, restarted=event.restarted)

    @on(HostSampled)
    def _sampled(self, event: HostSampled) -> None:
        self._sample = event.sample
        if not self.session.is_closing:
            self._show_host()

    def _show_host(self) -> None:
        states = [row.state for row in self.rows]
        queue = states.count(RunState.running), states.count(RunState.queued)
        self.query_one(HostLine).show(self._sample, queue, str(self.session.options.root))

    def _runs_changed(self) -> None:
        self.run_list.go_to_awaited_run()  # the list may already hold it, and no further scan may come
        self.reader.wake()
        self.refresh_bindings()

    # The list

    @property
    def rows(self) -> Sequence[RunRow]:
        """The runs as last read."""
        return self.session.rows

    @property
    def run_list(self) -> RunList:
        """The list of runs, with its filter."""
        return self.query_one(RunList)

    @property
    def row(self) -> RunRow | None:
        """The run under the cursor, or None."""
        return self.run_list.table.row

    @property
    def group(self) -> GroupRow | None:
        """The group whose header is under the cursor, or None."""
        return self.run_list.table.group

    @on(RunList.Drawn)
    def show_rows(self) -> None:
        """Draw the list and the pane."""
        self.run_list.draw()
        self._area.show_hint("" if self.run_list.shown_count else empty_hint(self.session))
        self._area.tabs.marked = len(self.marked)
        self._show_pane()
        self.present()

    @on(RunTable.Moved)
    def _moved(self) -> None:
        self.step = None
        if self._rest_timer is not None:
            self._rest_timer.stop()
        if self._series:
            self._rest_timer = self.set_timer(CURSOR_REST_SECONDS, self._cursor_rested)
        else:
            self._cursor_rested()
        self.refresh_bindings()

    def _cursor_rested(self) -> None:
        self._area.clear()
        self._show_pane()
        self.refresh_pane()

    def _follow_logs(self) -> None:
        """Follow the logs of the run or the group under the cursor, and on the compare pane of the marked runs."""
        drawn = [
            row.id
            for combination in self._views.combinations(self.run_list.chosen if self.group else ())
            for row in combination.drawn
        ]
        wanted = [self.row.id] if self.row else drawn
        if self._pane == "compare" and self.row:
            wanted += [run for run in self.marked if run not in wanted]
        self._series.watch(wanted)
        self.reader.watch(wanted)
        self.reader.watch_output(self.row.id if self.row and self._shown == "log" else "")

    # The panes

    @property
    def _area(self) -> PaneArea:
        return self.query_one(PaneArea)

    @property
    def _shown(self) -> PaneName:
        """The pane that is shown: on a group's header it is always compare."""
        return "compare" if self.group is not None else self._pane

    def _show_pane(self) -> None:
        self._area.switch_to(self._shown, visible=bool(self.row or self.group))

    def present(self) -> None:
        """Show the run or the group under the cursor in the open pane."""
        if self.session.is_closing:
            return
        if self.group is not None:
            self._area.head.show_group(self.group)
            view = self._views.of_group(self.run_list.chosen)
        elif self.row is not None:
            self._area.head.show(self.row, self.series_of(self.row.id), self.step)
            view = self._views.of_run(self.row, self.step, self.marked)
        else:
            return
        if view is not None and self._area.show(view):
            self.first_frame_ready = True

    @on(Pane.Ready)
    def refresh_pane(self) -> None:
        """Follow and show the run or the group under the cursor."""
        self._follow_logs()
        self.present()

    def action_show(self, pane: PaneName) -> None:
        """Show another pane."""
        self._pane = self.preferences.pane = pane
        self._show_pane()
        if self.has_class("history"):
            self._set_layout()
        self.refresh_pane()
        self.refresh_bindings()

    # Commands

    def action_command(self, name: str) -> None:
        """Run a command on the run, or the runs of the group, under the cursor."""
        self.commands.perform(name, self.run_list.chosen)

    def action_queue(self) -> None:
        """Show the queue of waiting runs."""
        from dipddpm.tui.console.screens.queue import QueueScreen

        self.app.push_screen(QueueScreen(self.reader.wake, readonly=self.session.options.readonly))

    def action_disk(self) -> None:
        """Show the disk use of the runs."""
        from dipddpm.tui.console.screens.storage import Storage

        self.app.push_screen(Storage(self.session), lambda _: self._runs_changed())

    # Keys

    def action_open(self) -> None:
        """Fold or unfold a group; on a run, leave the wide list or go to the pane."""
        if self.group is not None and self.focused is self.run_list.table:
            self.run_list.toggle_fold(self.group.name)
        elif self.has_class("history"):
            self._set_layout()
        else:
            self.app.action_focus_next()

    def _set_layout(self, name: str = "") -> None:
        """Show only the list (`history`), only the pane (`zoom`), or both (empty name)."""
        self.remove_class("history", "zoom")
        if name:
            self.add_class(name)
        self._lay_out()
        self.refresh_bindings()

    def action_back(self) -> None:
        """Leave the time cursor, else the pane, else the zoom or the wide list, else the filter."""
        if self.step is not None:
            self.step = None
            self.present()
        elif self.focused is not self.run_list.table:
            self._set_layout()
            self.run_list.table.focus()
        elif self.classes & {"zoom", "history"}:
            self._set_layout()
        elif self.run_list.filter_query.text:
            self.run_list.filter_by("")
        self.refresh_bindings()

    def action_history(self) -> None:
        """Show the list with all columns instead of the panes, or the panes again."""
        self._set_layout("" if self.has_class("history") else "history")
        self.run_list.table.focus()

    def action_zoom(self) -> None:
        """Hide the list, or show it again."""
        self._set_layout("" if self.has_class("zoom") else "zoom")

    def action_resize(self, by: int) -> None:
        """Make the list wider by `by` columns."""
        self.run_list.resize(by, self.size.width)
        self._lay_out()

    def action_mark(self) -> None:
        """Mark the run for comparison, or unmark it."""
        if self.row is None:
            return
        if not toggle_mark(self.marked, self.row.id):
            text = f"At most {SERIES_COLOURS} runs can be compared: unmark one with m, or all with M."
            self.app.notify(text, severity="warning", markup=False)
            return
        self._marks_changed()

    def action_unmark(self) -> None:
        """Unmark all runs."""
        self.marked.clear()
        self._marks_changed()

    def _marks_changed(self) -> None:
        self._follow_logs()
        self.show_rows()
        self.refresh_bindings()

    def action_scrub(self, by: int) -> None:
        """Move the time cursor along the measured steps; past the last one, follow the run again."""
        if self.row is not None and (series := self.series_of(self.row.id)):
            self.step = series.next_step(self.step, by)
            self.present()

    def action_log_y(self) -> None:
        """Switch the y axis between logarithmic and linear."""
        self.preferences.log_y = not self.preferences.log_y
        self.present()

    def action_smooth(self) -> None:
        """Switch to the next smoothing weight."""
        self.preferences.turn_smoothing()
        self.present()

    def action_axis(self) -> None:
        """Switch the x axis to the next of steps, epochs and time, as far as the run has them."""
        series = self.series_of(self.row.id) if self.row else None
        self.preferences.turn_axis(series.axes() if series else AXES)
        self.present()

    # Filter and sort order

    def action_filter(self) -> None:
        """Edit the filter."""
        if self.has_class("zoom"):
            self._set_layout()
        self.run_list.edit_filter()

    def action_sort(self) -> None:
        """Choose the column to sort by; choosing the same one again reverses the order."""

        def sort(key: str) -> None:
            self.preferences.sort_by(key)
            self.show_rows()

        choices = [(column.key, column.title) for column in self.run_list.table.columns]
        self.surface.choose("Sort by", choices, sort, self.preferences.sort)

    def action_reverse(self) -> None:
        """Reverse the sort order."""
        self.preferences.descending = not self.preferences.descending
        self.show_rows()

    # Layout

    def on_resize(self) -> None:
        """Set the list's width."""
        self._lay_out()

    def _lay_out(self) -> None:
        self.run_list.lay_out(self.app.size.width, alone=self.has_class("history"))

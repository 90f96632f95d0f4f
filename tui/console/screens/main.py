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

from dipddpm.core.errors import UserError
from dipddpm.core.runs import RunState
from dipddpm.tui.console.compositor import CellCompositor
from dipddpm.tui.console.model.host import HostSample
from dipddpm.tui.console.model.query import Query, parse
from dipddpm.tui.console.model.series import RunSeries
from dipddpm.tui.console.model.store import SeriesStore
from dipddpm.tui.console.panes.view import ComparedRun, ComparisonEntry, Pane, View
from dipddpm.tui.console.reader import EventsRead, HostSampled, OutputRead, Reader, ReaderFailed, RunsScanned
from dipddpm.tui.console.screens.groups import GroupActions
from dipddpm.tui.console.widgets.hostline import HostLine
from dipddpm.tui.console.widgets.keyline import KeyLine
from dipddpm.tui.console.widgets.runhead import RunHead
from dipddpm.tui.console.widgets.runtable import RunTable
from dipddpm.tui.console.widgets.tabs import PANES, Tabs
from dipddpm.tui.shared.columns import run_title
from dipddpm.tui.shared.groups import GroupRow, group_rows
from dipddpm.tui.shared.runlist import RunRow, sort_rows

CURSOR_REST_SECONDS = 0.06
"""The cursor must rest this long before a run's log is read."""
BATCH_SECONDS = 1.0
"""While a long list is read for the first time, what has been read is shown this often."""
MAX_MARKED = 8
PANES_WITH_CHARTS = {"live", "compare"}


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

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self._compositor = CellCompositor()
        self.reader = reader
        self.marked: dict[str, int] = {}
        self.step: int | None = None
        self._sample: HostSample | None = None
        self._query: Query = parse("")
        self._series = SeriesStore(reader.rewind)
        self._pane = self.preferences.pane
        self._shown_title = ""
        self._rest_timer: Timer | None = None
        self.all_runs_read = False
        """Whether every run has been read."""
        self._scanned_at = 0.0
        self.first_frame_ready = False
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
            return (self._shown in PANES_WITH_CHARTS and not self.has_class("history")) and bool(self.row or self.group)
        return super().check_action(action, parameters)

    # What comes from the follower

    @on(RunsScanned)
    def _scanned(self, event: RunsScanned) -> None:
        too_soon = self.rows and not event.complete and time.monotonic() - self._scanned_at < BATCH_SECONDS
        if self.dipddpm_app.is_closing or too_soon:
            return
        self._scanned_at = time.monotonic()
        before = self.row.state if self.row else None
        self.rows = event.rows
        self.show_rows()
        if (self.row.state if self.row else None) is not before:
            self.refresh_bindings()
        self._show_host()
        if event.complete and not self.all_runs_read:
            self.all_runs_read = True
            self._go_to_requested_run()
        self.dipddpm_app.report_changes(event.rows, complete=event.complete)

    @on(EventsRead)
    def _read(self, event: EventsRead) -> None:
        if self._series.add(event.run, event.start, event.end, event.events) and event.caught_up:
            self.present()

    @on(ReaderFailed)
    def _reader_failed(self, event: ReaderFailed) -> None:
        raise event.error

    @on(OutputRead)
    def _printed(self, event: OutputRead) -> None:
        pane = None if self.dipddpm_app.is_closing else self._open_pane()
        if self._shown == "log" and pane is not None and self.row is not None and event.run == self.row.id:
            pane.add(event.lines, restarted=event.restarted)

    @on(HostSampled)
    def _sampled(self, event: HostSampled) -> None:
        self._sample = event.sample
        if not self.dipddpm_app.is_closing:
            self._show_host()

    def _show_host(self) -> None:
        states = [row.state for row in self.rows if row.state.live]
        queue = states.count(RunState.running), states.count(RunState.queued)
        self.query_one(HostLine).show(self._sample, queue, str(self.dipddpm_app.options.root))

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
        shown = sort_rows(shown, preferences.sort, descending=preferences.descending)
        entries = group_rows(
            shown, self.unfolded(shown, filtered=bool(self._query.text)), by_name=preferences.sort == "created"
        )
        variables = self.app.theme_variables
        marked = {run: variables[f"series-{colour}"] for run, colour in self.marked.items()}
        self.table.show(entries, marked, (preferences.sort, preferences.descending))
        self._show_title(len(shown))
        self._show_empty_hint(len(shown))
        self.query_one(Tabs).marked = len(self.marked)
        self.present()

    def go_to(self, run: str) -> bool:
        """Put the cursor on this run, out of a folded group if need be; whether the list knows it."""
        if self.table.go_to(run):
            return True
        hidden = next((row.group for row in self.rows if row.id == run and self._query.matches(row)), "")
        if hidden:
            self.toggle_fold(hidden)
        return self.table.go_to(run)

    def _show_title(self, shown: int) -> None:
        total = len(self.rows)
        title = f"Runs  {shown} of {total}" if self._query.text else f"Runs  {total}"
        if self._query.text:
            title += f"  /{self._query.text}"
        line = self.query_one("#list-title", Static)
        line.set_class(bool(self._query.problem), "wrong")
        if self._shown_title != (title := self._query.problem or title):
            self._shown_title = title
            line.update(title)

    def _show_empty_hint(self, shown: int) -> None:
        empty = self.query_one("#empty", Static)
        empty.display = not shown
        self.query_one(RunHead).display = bool(shown)
        self._show_pane()
        if not shown and self.rows:
            empty.update("No run matches the filter.\n\n/  change it     esc  show all runs")
        elif not shown:
            empty.update(_welcome(self.dipddpm_app.options.root, readonly=self.dipddpm_app.options.readonly))

    @on(RunTable.Moved)
    def _moved(self, event: RunTable.Moved) -> None:
        self.step = None
        if self._rest_timer is not None:
            self._rest_timer.stop()
        if self._series:
            self._rest_timer = self.set_timer(CURSOR_REST_SECONDS, self._cursor_rested)
        else:
            self._cursor_rested()
        self.refresh_bindings()

    def _show_pane(self) -> None:
        shown = self._shown if self.row or self.group else ""
        for pane in self.query(Pane):
            pane.display = pane.id == f"pane-{shown}"
        self.query_one(Tabs).shown = shown or self._pane

    def _cursor_rested(self) -> None:
        for pane in self.query(Pane):
            pane.clear()
        self._show_pane()
        self._follow_logs()
        self.present()

    def _follow_logs(self) -> None:
        """Follow the run under the cursor, those drawn of a group, and the marked ones once they have been compared."""
        wanted = (
            [self.row.id] if self.row else [row.id for combination in self.combinations() for row in combination.drawn]
        )
        if self._pane == "compare" and self.row:
            wanted += [run for run in self.marked if run not in wanted]
        self._series.watch(wanted)
        self.reader.watch(wanted)
        self.reader.watch_output(self.row.id if self.row and self._shown == "log" else "")

    def _go_to_requested_run(self) -> None:
        if not (wanted := self.dipddpm_app.options.run):
            return
        try:
            self.go_to(self.dipddpm_app.runs.find(wanted).id)
        except UserError as error:
            self.dipddpm_app.show_error(error)

    @on(RunTable.Opened)
    def _opened(self) -> None:
        self.action_open()

    # The panes

    def present(self) -> None:
        """Show the run or the group under the cursor in the pane that is open."""
        if self.dipddpm_app.is_closing:
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
                ComparisonEntry(run_title(by_id[run]), [self._compared_run(by_id[run])], [by_id[run]], colour)
                for run, colour in self.marked.items()
                if run in by_id
            ]
            pane.show(View(self.dipddpm_app.runs.run(row.id), row, series, self.preferences, self.step, marked))
            self.first_frame_ready = True

    def _present_group(self, group: GroupRow) -> None:
        self.query_one(RunHead).show_group(group)
        combinations, pane = self.combinations(), self._open_pane()
        if not combinations or pane is None:
            return
        compared = [
            ComparisonEntry(
                combination.title,
                [self._compared_run(row) for row in combination.drawn],
                combination.rows,
                combination.colour,
                combination.short_title,
            )
            for combination in combinations
        ]
        first = self._compared_run(combinations[0].rows[0])
        pane.show(View(first.run, first.row, first.series, self.preferences, None, compared))
        self.first_frame_ready = True

    def _compared_run(self, row: RunRow) -> ComparedRun:
        return ComparedRun(row, self._series.get(row.id) or RunSeries(), self.dipddpm_app.runs.run(row.id))

    def _open_pane(self) -> Pane | None:
        """The pane that is shown; it is made when it is first asked for, and None until it stands on the screen."""
        for mounted_pane in self.query(f"#pane-{self._shown}").results(Pane):
            return mounted_pane if mounted_pane.is_mounted else None
        module = importlib.import_module(f"dipddpm.tui.console.panes.{self._shown}")
        pane = getattr(module, f"{self._shown.capitalize()}Pane")(id=f"pane-{self._shown}")
        self.query_one("#right").mount(pane)
        return None

    @on(Pane.Ready)
    def _ready(self) -> None:
        self.refresh_pane()

    def refresh_pane(self) -> None:
        """Follow and show what is under the cursor, of which more is known now."""
        self._follow_logs()
        self.present()

    def action_show(self, pane: str) -> None:
        """Show another pane."""
        self._pane = self.preferences.pane = pane  # type: ignore[assignment]
        self._show_pane()
        if self.has_class("history"):
            self._set_layout()
        self._follow_logs()
        self.present()
        self.refresh_bindings()

    # Keys

    def action_open(self) -> None:
        """From the wide list to the run; from the narrow one into the pane; a group is unfolded, or folded."""
        if self.group is not None and self.focused is self.table:
            self.toggle_fold(self.group.name)
        elif self.has_class("history"):
            self._set_layout()
        else:
            self.app.action_focus_next()

    def _set_layout(self, name: str = "") -> None:
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
            self._set_layout()
            self.table.focus()
        elif self.classes & {"zoom", "history"}:
            self._set_layout()
        elif self._query.text:
            self.filter_by("")
        self.refresh_bindings()

    def action_history(self) -> None:
        """All columns of all runs, or the panes again."""
        self._set_layout("" if self.has_class("history") else "history")
        self.table.focus()

    def action_zoom(self) -> None:
        """The pane alone, or the list beside it again."""
        self._set_layout("" if self.has_class("zoom") else "zoom")

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
        elif len(self.marked) >= MAX_MARKED:
            self.app.notify(f"{MAX_MARKED} runs can be compared at once.", severity="warning", markup=False)
            return
        else:
            free = (colour for colour in range(MAX_MARKED) if colour not in self.marked.values())
            self.marked[self.row.id] = next(free)
        self._follow_logs()
        self.show_rows()
        self.refresh_bindings()

    def action_unmark(self) -> None:
        """Unmark all runs."""
        self.marked.clear()
        self._follow_logs()
        self.show_rows()
        self.refresh_bindings()

    def action_scrub(self, by: int) -> None:
        """Move the time cursor to the next step at which something was measured, and past the last one to now."""
        series = self._series.get(self.row.id) if self.row else None
        steps = series.steps() if series else []
        if not steps:
            return
        stride = max(1, len(steps) // 100) * by
        index = len(steps) if self.step is None else steps.index(self.step) if self.step in steps else len(steps)
        index = max(0, index + stride)
        self.step = steps[index] if index < len(steps) else None
        self.present()

    def action_log_y(self) -> None:
        """Logarithmic or linear y."""
        self.preferences.log_y = not self.preferences.log_y
        self.present()

    def action_smooth(self) -> None:
        """The next of a few smoothing weights."""
        weights = (0.0, 0.6, 0.9, 0.98)
        index = weights.index(self.preferences.smoothing) if self.preferences.smoothing in weights else 0
        self.preferences.smoothing = weights[(index + 1) % len(weights)]
        self.present()

    def action_axis(self) -> None:
        """Steps, epochs or time along x, of those that the run has."""
        series = self._series.get(self.row.id) if self.row else None
        axes = series.axes() if series else ("step", "epoch", "time")
        axis = self.preferences.axis
        self.preferences.axis = axes[(axes.index(axis) + 1) % len(axes)] if axis in axes else axes[0]
        self.present()

    # Filter and order

    def action_filter(self) -> None:
        """Write a filter; the list narrows meanwhile."""
        from dipddpm.tui.console.widgets.filter import Filter

        if self.has_class("zoom"):
            self._set_layout()
        if not self.query(Filter):
            self.query_one("#left").mount(Filter(self._query.text), before=0)

    def filter_by(self, text: str) -> None:
        """Show the runs that match; all of them for the empty text."""
        self._query = parse(text)
        self.preferences.filter = self._query.text
        self.show_rows()

    def action_sort(self) -> None:
        """Choose the column to sort by; the same one again turns the order."""
        from dipddpm.tui.console.screens.dialogs import ChoiceDialog
        from dipddpm.tui.shared.columns import COLUMNS

        def sort(key: str | None) -> None:
            if key is None:
                return
            same = key == self.preferences.sort
            self.preferences.descending = not self.preferences.descending if same else key not in _ASCENDING
            self.preferences.sort = key
            self.show_rows()

        choices = [(column.key, column.title) for column in COLUMNS]
        self.app.push_screen(ChoiceDialog("Sort by", choices, self.preferences.sort), sort)

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
        list_width = min(chosen, max(20, width - 40)) if chosen else share
        self.query_one("#left").styles.width = "1fr" if self.has_class("history") else list_width
        self.query_one(Tabs).shown = self._shown


_ASCENDING = {"best_loss", "name", "kind", "method", "state"}


def _welcome(root: Path, *, readonly: bool) -> str:
    start = "" if readonly else "n  start the first one\n\nor, in a shell:\n"
    return f"No runs in {root} yet.\n\n{start}dipddpm run hybrid --preset quick\n\n?  help     q  quit"

"""The left half of the main screen: the number of runs, the filter while it is edited, and the list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, Static

from dipddpm.tui.console.model.query import Query, parse
from dipddpm.tui.console.session import Session
from dipddpm.tui.console.widgets.runtable import RunTable
from dipddpm.tui.shared.groups import group_rows
from dipddpm.tui.shared.runlist import RunRow, sort_rows


class Filter(Input):
    """The input line for the filter, which applies while it is typed. Enter keeps the filter, Esc clears it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "keep the filter"),
        Binding("escape", "clear_filter", "show all runs"),
        Binding("down", "submit", show=False),
    ]

    def __init__(self, text: str) -> None:
        super().__init__(text, compact=True, placeholder="words  kind:hybrid  loss<0.04  tag:x")
        self.cursor_blink = False

    def on_mount(self) -> None:
        """Take the focus."""
        self.focus()

    async def action_clear_filter(self) -> None:
        """Clear the filter and close the line."""
        self.value = ""
        await self.action_submit()


class RunList(Vertical):
    """The session's runs, filtered, grouped and sorted by the user's preferences."""

    class Drawn(Message):
        """Posted when the filter has changed or a group has been folded or unfolded."""

    def __init__(self, session: Session, marked: Mapping[str, int]) -> None:
        """Create the list; `marked` holds the colour index of each marked run."""
        super().__init__(id="left")
        self._session = session
        self._toggled_groups: set[str] = set()
        self._title = ""
        self.filter_query: Query = parse(session.preferences.filter)
        self.shown_count = 0
        self._marked = marked

    def compose(self) -> ComposeResult:
        """Add the title and the table."""
        yield Static(id="list-title", markup=False)
        yield RunTable()

    @property
    def table(self) -> RunTable:
        """The table of runs."""
        return self.query_one(RunTable)

    @property
    def chosen(self) -> Sequence[RunRow]:
        """The run under the cursor, or the runs of the group whose header is under the cursor."""
        if (group := self.table.group) is not None:
            wanted = set(group.runs)
            return [row for row in self._session.rows if row.id in wanted]
        return [self.table.row] if self.table.row else []

    def draw(self) -> None:
        """Filter, group, sort and show the rows."""
        query, preferences = self.filter_query, self._session.preferences
        shown = [row for row in self._session.rows if query.matches(row)]
        shown = sort_rows(shown, preferences.sort, descending=preferences.descending)
        groups = {row.group for row in shown}
        # Groups are folded at first, or unfolded while there is a filter; the user may toggle each.
        unfolded = groups - self._toggled_groups if query.text else groups & self._toggled_groups
        entries = group_rows(shown, unfolded, by_name=preferences.sort == "created")
        variables = self.app.theme_variables
        marked = {run: variables[f"series-{colour}"] for run, colour in self._marked.items()}
        self.table.show(entries, marked, (preferences.sort, preferences.descending))
        self.shown_count = len(shown)
        self._show_title()

    def go_to(self, run: str) -> bool:
        """Move the cursor to this run, unfolding its group if necessary; return whether the list holds it."""
        if self.table.go_to(run):
            return True
        rows = self._session.rows
        hidden = next((row.group for row in rows if row.id == run and self.filter_query.matches(row)), "")
        if hidden:
            self.toggle_fold(hidden)
        return self.table.go_to(run)

    def go_to_awaited_run(self) -> None:
        """Move the cursor to the run just created or brought back, if the list holds it."""
        if self._session.awaited_run and self.go_to(self._session.awaited_run):
            self._session.awaited_run = ""

    def toggle_fold(self, group: str) -> None:
        """Fold or unfold a group."""
        self._toggled_groups ^= {group}
        self.draw()
        self.post_message(self.Drawn())

    @on(RunTable.FoldToggled)
    def _fold_toggled(self, event: RunTable.FoldToggled) -> None:
        self.toggle_fold(event.group)

    def filter_by(self, text: str) -> None:
        """Show the runs that match; all runs for an empty text."""
        self.filter_query = parse(text)
        self._session.preferences.filter = self.filter_query.text
        self.draw()
        self.post_message(self.Drawn())

    def edit_filter(self) -> None:
        """Open the input line of the filter."""
        if not self.query(Filter):
            self.mount(Filter(self.filter_query.text), before=0)

    @on(Input.Changed)
    def _filter_edited(self, event: Input.Changed) -> None:
        self.filter_by(event.value)

    @on(Input.Submitted)
    def _filter_closed(self, event: Input.Submitted) -> None:
        self.table.focus()
        event.input.remove()

    def lay_out(self, room: int, *, alone: bool) -> None:
        """Set the list's width to the user's choice or a share of `room` columns; to all of them if it is `alone`."""
        share = 30 if room < 100 else min(48, max(38, room // 4))
        chosen = self._session.preferences.list_width
        width = min(chosen, max(20, room - 40)) if chosen else share
        self.styles.width = "1fr" if alone else width

    def resize(self, by: int, room: int) -> None:
        """Make the list wider by `by` columns."""
        self._session.preferences.list_width = max(20, min(room - 40, self.size.width + by))

    def _show_title(self) -> None:
        query, total = self.filter_query, len(self._session.rows)
        title = f"Runs  {self.shown_count} of {total}  /{query.text}" if query.text else f"Runs  {total}"
        line = self.query_one("#list-title", Static)
        line.set_class(bool(query.problem), "wrong")
        if self._title != (title := query.problem or title):
            self._title = title
            line.update(title)

"""The left half of the main screen: how many runs there are, the filter while it is written, and the list."""

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
    """The line in which a filter is written; the list narrows meanwhile. Enter keeps the filter, Esc takes it back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "take_back", show=False),
        Binding("down", "submit", show=False),
    ]

    def __init__(self, text: str) -> None:
        super().__init__(text, compact=True, placeholder="words  kind:hybrid  loss<0.04  tag:x")
        self.cursor_blink = False

    def on_mount(self) -> None:
        """Take the keys."""
        self.focus()

    async def action_take_back(self) -> None:
        """Show all runs again, and leave."""
        self.value = ""
        await self.action_submit()


class RunList(Vertical):
    """Filters, groups and sorts the session's runs as the preferences have it."""

    class Drawn(Message):
        """The list shows other rows than before, or the same ones in another way."""

    def __init__(self, session: Session, marked: Mapping[str, int]) -> None:
        """`marked` holds the colour index of each marked run."""
        super().__init__(id="left")
        self._session = session
        self._toggled_groups: set[str] = set()
        self._title = ""
        self.filter_query: Query = parse(session.preferences.filter)
        self.shown_count = 0
        self._marked = marked

    def compose(self) -> ComposeResult:
        """The title and the table."""
        yield Static(id="list-title", markup=False)
        yield RunTable()

    @property
    def table(self) -> RunTable:
        """The table itself."""
        return self.query_one(RunTable)

    @property
    def chosen(self) -> Sequence[RunRow]:
        """The run under the cursor, or those of the group whose header is there."""
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
        # Groups start folded, or unfolded while a filter looks for runs.
        unfolded = groups - self._toggled_groups if query.text else groups & self._toggled_groups
        entries = group_rows(shown, unfolded, by_name=preferences.sort == "created")
        variables = self.app.theme_variables
        marked = {run: variables[f"series-{colour}"] for run, colour in self._marked.items()}
        self.table.show(entries, marked, (preferences.sort, preferences.descending))
        self.shown_count = len(shown)
        self._show_title()

    def go_to(self, run: str) -> bool:
        """Put the cursor on this run, out of a folded group if need be; whether the list holds it."""
        if self.table.go_to(run):
            return True
        rows = self._session.rows
        hidden = next((row.group for row in rows if row.id == run and self.filter_query.matches(row)), "")
        if hidden:
            self.toggle_fold(hidden)
        return self.table.go_to(run)

    def toggle_fold(self, group: str) -> None:
        """Unfold a group, or fold it."""
        self._toggled_groups ^= {group}
        self.draw()
        self.post_message(self.Drawn())

    @on(RunTable.FoldToggled)
    def _fold_toggled(self, event: RunTable.FoldToggled) -> None:
        self.toggle_fold(event.group)

    def filter_by(self, text: str) -> None:
        """Show the runs that match; all of them for the empty text."""
        self.filter_query = parse(text)
        self._session.preferences.filter = self.filter_query.text
        self.draw()
        self.post_message(self.Drawn())

    def edit_filter(self) -> None:
        """Open the line in which the filter is written."""
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
        """Take a share of so many columns, the one that was chosen or by the terminal's width; all of it if alone."""
        share = 30 if room < 100 else min(48, max(38, room // 4))
        chosen = self._session.preferences.list_width
        width = min(chosen, max(20, room - 40)) if chosen else share
        self.styles.width = "1fr" if alone else width

    def resize(self, by: int, room: int) -> None:
        """Choose another width."""
        self._session.preferences.list_width = max(20, min(room - 40, self.size.width + by))

    def _show_title(self) -> None:
        query, total = self.filter_query, len(self._session.rows)
        title = f"Runs  {self.shown_count} of {total}  /{query.text}" if query.text else f"Runs  {total}"
        line = self.query_one("#list-title", Static)
        line.set_class(bool(query.problem), "wrong")
        if self._title != (title := query.problem or title):
            self._title = title
            line.update(title)

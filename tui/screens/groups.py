"""Groups on the main screen: which are unfolded, and the combinations of the one whose header is under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from textual import on

from core.runs import Run
from tui.screens.actions import RunActions
from tui.widgets.runtable import RunTable

if TYPE_CHECKING:
    from tui.model.combinations import Combinations, Combined
    from tui.model.groups import GroupRow
    from tui.model.runlist import RunRow


class GroupActions(RunActions):
    """An action on the header of a group is one on all its runs."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: Sequence[RunRow] = ()
        self._turned: set[str] = set()
        """The groups that are not as they are without being asked: folded, but where a filter looks for runs."""
        self._combinations: Combinations | None = None
        self._reading = False

    @property
    def group(self) -> GroupRow | None:
        """The group whose header is under the cursor."""
        return self.table.group

    @property
    def chosen(self) -> Sequence[RunRow]:
        """The run under the cursor, or those of the group whose header is there."""
        if self.group is not None:
            wanted = set(self.group.runs)
            return [row for row in self.rows if row.id in wanted]
        return [self.row] if self.row else []

    def unfolded(self, rows: Sequence[RunRow], *, filtered: bool) -> set[str]:
        """The groups of these rows whose runs are shown."""
        groups = {row.group for row in rows}
        return groups - self._turned if filtered else groups & self._turned

    def turn(self, group: str) -> None:
        """Unfold a group, or fold it."""
        self._turned ^= {group}
        self.show_rows()

    @on(RunTable.Turned)
    def _turn(self, event: RunTable.Turned) -> None:
        self.turn(event.group)

    def combined(self) -> list[Combined]:
        """The combinations of the group under the cursor; none until what was asked of its runs has been read."""
        if self.group is None:
            return []
        if self._combinations is None:
            from tui.model.combinations import Combinations

            self._combinations = Combinations()
        rows = self.chosen
        lacking = self._combinations.lacks(rows)
        if not lacking:
            return self._combinations.of(rows)
        if not self._reading:
            self._reading = True
            runs = [self.console.runs.run(run) for run in lacking]
            self.console.in_background(partial(self._read_options, self._combinations, runs))
        return []

    def _read_options(self, into: Combinations, runs: Sequence[Run]) -> Callable[[], None]:
        into.read(runs)
        return self._options_read

    def _options_read(self) -> None:
        self._reading = False
        self.show_anew()

    def show_rows(self) -> None:
        """Draw the list."""
        raise NotImplementedError

    def show_anew(self) -> None:
        """Follow and show what is under the cursor, of which more is known now."""
        raise NotImplementedError

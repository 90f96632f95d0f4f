"""Groups on the main screen: which are unfolded, and the combinations of the one whose header is under the cursor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from textual import on

from dipddpm.core.runs import Run
from dipddpm.tui.console.screens.actions import RunActions
from dipddpm.tui.console.widgets.runtable import RunTable

if TYPE_CHECKING:
    from dipddpm.tui.console.model.combinations import CombinationCache, GroupCombination
    from dipddpm.tui.shared.groups import GroupRow
    from dipddpm.tui.shared.runlist import RunRow


class GroupActions(RunActions):
    """An action on the header of a group is one on all its runs."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: Sequence[RunRow] = ()
        self._toggled: set[str] = set()
        """The groups that are not as they are without being asked: folded, but where a filter looks for runs."""
        self._combination_cache: CombinationCache | None = None
        self._reading_options = False

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
        return groups - self._toggled if filtered else groups & self._toggled

    def toggle_fold(self, group: str) -> None:
        """Unfold a group, or fold it."""
        self._toggled ^= {group}
        self.show_rows()

    @on(RunTable.FoldToggled)
    def _fold_toggled(self, event: RunTable.FoldToggled) -> None:
        self.toggle_fold(event.group)

    def combinations(self) -> list[GroupCombination]:
        """The combinations of the group under the cursor; none until what was asked of its runs has been read."""
        if self.group is None:
            return []
        if self._combination_cache is None:
            from dipddpm.tui.console.model.combinations import CombinationCache

            self._combination_cache = CombinationCache()
        rows = self.chosen
        unread = self._combination_cache.missing_options(rows)
        if not unread:
            return self._combination_cache.combinations(rows)
        if not self._reading_options:
            self._reading_options = True
            runs = [self.dipddpm_app.runs.run(run) for run in unread]
            self.dipddpm_app.run_in_background(partial(self._read_options, self._combination_cache, runs))
        return []

    def _read_options(self, cache: CombinationCache, runs: Sequence[Run]) -> Callable[[], None]:
        cache.read(runs)
        return self._options_read

    def _options_read(self) -> None:
        self._reading_options = False
        self.refresh_pane()

    def show_rows(self) -> None:
        """Draw the list."""
        raise NotImplementedError

    def refresh_pane(self) -> None:
        """Follow and show what is under the cursor, of which more is known now."""
        raise NotImplementedError

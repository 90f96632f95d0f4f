"""What the run list has marked, unfolded and chosen."""

from __future__ import annotations

from collections.abc import Sequence

from dipddpm.tui.shared.groups import GroupRow
from dipddpm.tui.shared.runlist import RunRow

MAX_MARKED = 8
"""As many as there are colours."""


def toggle_mark(marked: dict[str, int], run: str) -> bool:
    """Mark a run with the first free colour, which it keeps, or unmark it; False where no colour is free."""
    if run in marked:
        del marked[run]
        return True
    free = sorted(set(range(MAX_MARKED)) - set(marked.values()))
    if free:
        marked[run] = free[0]
    return bool(free)


def unfolded_groups(rows: Sequence[RunRow], toggled: set[str], *, filtered: bool) -> set[str]:
    """The groups of these rows whose runs are shown: they start folded, or unfolded while a filter looks for runs."""
    groups = {row.group for row in rows}
    return groups - toggled if filtered else groups & toggled


def chosen_rows(rows: Sequence[RunRow], row: RunRow | None, group: GroupRow | None) -> Sequence[RunRow]:
    """The run under the cursor, or those of the group whose header is there."""
    if group is not None:
        wanted = set(group.runs)
        return [row for row in rows if row.id in wanted]
    return [row] if row else []

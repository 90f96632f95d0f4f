"""Groups in the run list: which are unfolded, and the runs that the cursor's line stands for."""

from __future__ import annotations

from collections.abc import Sequence

from dipddpm.tui.shared.groups import GroupRow
from dipddpm.tui.shared.runlist import RunRow


class GroupSelection:
    """The groups whose fold state was toggled: they start folded, or unfolded while a filter looks for runs."""

    def __init__(self) -> None:
        self._toggled: set[str] = set()

    def toggle(self, group: str) -> None:
        """Unfold a group, or fold it."""
        self._toggled ^= {group}

    def unfolded(self, rows: Sequence[RunRow], *, filtered: bool) -> set[str]:
        """The groups of these rows whose runs are shown."""
        groups = {row.group for row in rows}
        return groups - self._toggled if filtered else groups & self._toggled


def chosen_rows(rows: Sequence[RunRow], row: RunRow | None, group: GroupRow | None) -> Sequence[RunRow]:
    """The run under the cursor, or those of the group whose header is there."""
    if group is not None:
        wanted = set(group.runs)
        return [row for row in rows if row.id in wanted]
    return [row] if row else []

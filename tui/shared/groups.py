"""Groups of runs as rows of the list: a header that can be folded, and the runs below it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TypeAlias

import msgspec

from dipddpm.core.runs import RunState
from dipddpm.tui.shared.runlist import RunRow


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """The header of a group. `kind` and `method` are empty unless all its runs have the same."""

    name: str
    unfolded: bool
    runs: tuple[str, ...]
    """The runs' ids, in the list's order."""
    states: tuple[tuple[RunState, int], ...]
    """The number of runs in each state, in the order of `_STATE_PRIORITY`."""
    kind: str = ""
    method: str = ""
    progress: float
    """The mean share of the work done, rounded down to hundredths."""
    age: float = 0.0

    @property
    def id(self) -> str:
        """An id that no run can have."""
        return f"/{self.name}"

    @property
    def state(self) -> RunState:
        """The state of highest priority among the runs."""
        return self.states[0][0]

    @property
    def finished(self) -> int:
        """The number of finished runs."""
        return dict(self.states).get(RunState.finished, 0)


ListEntry: TypeAlias = RunRow | GroupRow
_STATE_PRIORITY = (
    RunState.running,
    RunState.queued,
    RunState.failed,
    RunState.crashed,
    RunState.broken,
    RunState.stopped,
    RunState.finished,
)


def group_rows(rows: Sequence[RunRow], unfolded: Collection[str], *, by_name: bool) -> list[ListEntry]:
    """Return the rows with each group's header in the position of its first run; its runs follow if it is `unfolded`.

    A group with a single run among the rows has no header. `by_name` sorts the runs of a group by their names.
    """
    members: dict[str, list[RunRow]] = {}
    for row in rows:
        if row.group:
            members.setdefault(row.group, []).append(row)
    entries: list[ListEntry] = []
    for row in rows:
        group_members = members.get(row.group, ())
        if len(group_members) < 2:
            entries.append(row)
        elif row is group_members[0]:
            is_unfolded = row.group in unfolded
            ordered = sorted(group_members, key=lambda run: natural_sort_key(run.name)) if by_name else group_members
            entries.append(_header(row.group, ordered, unfolded=is_unfolded))
            entries += ordered if is_unfolded else ()
    return entries


def _header(name: str, rows: Sequence[RunRow], *, unfolded: bool) -> GroupRow:
    counts = Counter(row.state for row in rows)
    kinds, methods = {row.kind for row in rows}, {row.method for row in rows}
    return GroupRow(
        name=name,
        unfolded=unfolded,
        runs=tuple(row.id for row in rows),
        states=tuple((state, counts[state]) for state in _STATE_PRIORITY if counts[state]),
        kind=kinds.pop() if len(kinds) == 1 else "",
        method=methods.pop() if len(methods) == 1 else "",
        progress=int(100 * sum(row.progress or 0.0 for row in rows) / len(rows)) / 100,
        age=min(row.age for row in rows),
    )


def natural_sort_key(text: str) -> list[tuple[int, float, str]]:
    """Return a sort key for texts that sorts numbers by their value, and before words."""
    parts = re.finditer(r"([+-]?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\D+", text)
    return [(0, float(part[1]), "") if part[1] else (1, 0.0, part[0]) for part in parts]

"""Runs that are marked for comparison, each with a colour that it keeps."""

from __future__ import annotations

MAX_MARKED = 8
"""As many as there are colours."""


def toggle_mark(marked: dict[str, int], run: str) -> bool:
    """Mark a run with the first free colour, or unmark it; False where no colour is free."""
    if run in marked:
        del marked[run]
        return True
    free = sorted(set(range(MAX_MARKED)) - set(marked.values()))
    if free:
        marked[run] = free[0]
    return bool(free)

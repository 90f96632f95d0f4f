"""Where an iteration may be cut: only after a `Step`."""

from __future__ import annotations

from collections.abc import Iterable

from dipddpm.core.events import Item, Step


def until_step(items: Iterable[Item], count: int) -> list[Item]:
    """The items up to the `Step` of this number, counted from 1, and nothing beyond it; all where there are fewer."""
    taken: list[Item] = []
    for item in items if count else ():
        taken.append(item)
        count -= isinstance(item, Step)
        if not count:
            break
    return taken


def count_steps(items: Iterable[Item]) -> int:
    """How many `Step`s there are, each of which is a place to cut."""
    return sum(isinstance(item, Step) for item in items)

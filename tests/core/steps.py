"""Where an iteration may be cut: only after a `Step`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TypeVar

from dipddpm.core.events import Experiment, Item, Step
from dipddpm.core.methods.base import Restorer

Resumable = TypeVar("Resumable", Experiment, Restorer)


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


def resumed_at(make: Callable[[], Resumable], cuts: Iterable[int]) -> tuple[list[Item], Resumable]:
    """Iterate something that is stopped, and made and loaded anew, after each of these `Step`s in turn.

    Returns all items, and the last of those that were made. As many resumes as cuts cost no more than one iteration;
    a state that is off after any of them shows in all that follows.
    """
    current, done = make(), 0
    items: list[Item] = []
    for cut in cuts:
        items += until_step(current, cut - done)
        state, current, done = copy.deepcopy(current.state_dict()), make(), cut
        current.load_state_dict(state)
    return items + list(current), current

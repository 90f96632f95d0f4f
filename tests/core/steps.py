"""Helpers that interrupt and resume an iteration, which is possible only after a `Step`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TypeVar

from dipddpm.core.events import Experiment, Item, Step
from dipddpm.core.methods.base import Restorer

Resumable = TypeVar("Resumable", Experiment, Restorer)


def until_step(items: Iterable[Item], count: int) -> list[Item]:
    """Return the items up to and including the `count`-th `Step`, or all items if there are fewer."""
    taken: list[Item] = []
    for item in items if count else ():
        taken.append(item)
        count -= isinstance(item, Step)
        if not count:
            break
    return taken


def count_steps(items: Iterable[Item]) -> int:
    """Return the number of `Step`s, after each of which an iteration can be interrupted."""
    return sum(isinstance(item, Step) for item in items)


def resumed_at(make: Callable[[], Resumable], cuts: Iterable[int]) -> tuple[list[Item], Resumable]:
    """Iterate an object that is interrupted, made again and resumed from its state after each of these `Step`s.

    Returns all items and the last object. All the resumes together cost no more than one iteration, and an error in any
    stored state shows in all later items.
    """
    current, done = make(), 0
    items: list[Item] = []
    for cut in cuts:
        items += until_step(current, cut - done)
        state, current, done = copy.deepcopy(current.state_dict()), make(), cut
        current.load_state_dict(state)
    return items + list(current), current
